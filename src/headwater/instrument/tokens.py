"""What travels between processes: the token of a run, and what a token or the headers of a request say.

hw1;<traceparent>;<run id>              the run, for outcomes and for joining it
hw1;<traceparent>;<run id>;p=shop&t=…   with ``queued=True``: also what the run hands down, and when the token was taken
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headwater.conventions.attributes import CANARY, PIPELINE_NAME, PIPELINE_VERSION, ROUTE, RUN_ID
from headwater.instrument.runinfo import TOKEN_MARK, RunInfo
from headwater.instrument.text import clean
from headwater.instrument.values import Attributes

TOKEN_KEY: Final = "headwater_token"  # noqa: S105  the key or attribute of an item that holds its token
TOKEN_HEADER: Final = "headwater-token"  # noqa: S105
PROPAGATOR: Final = TraceContextTextMapPropagator()
_FLOWS: Final = {"p": PIPELINE_NAME.name, "v": PIPELINE_VERSION.name, "r": ROUTE.name, "c": CANARY.name}
_TAKEN: Final = "t"


class Carried:
    """A run taken up from elsewhere: the span to continue under (None: only the run id is known), the run, and when the token was taken (ns since
    the epoch; None if it does not say).
    """

    __slots__ = ("context", "queued_at_ns", "run")

    def __init__(self, context: SpanContext | None, run: RunInfo | None, queued_at_ns: int | None = None) -> None:
        self.context = context
        self.run = run
        self.queued_at_ns = queued_at_ns

    def waited_ns(self, now_ns: int) -> int | None:
        """Time in the queue up to `now_ns`, both by the wall clock; None if the token does not say, or says it was taken later than now."""
        waited = None if self.queued_at_ns is None else now_ns - self.queued_at_ns
        return waited if waited is not None and waited >= 0 else None


def handed_down(run: RunInfo | None, now_ns: int | None) -> str:
    """The fourth field of a token."""
    attributes: Attributes = {} if run is None else run.attributes
    said: list[tuple[str, Any]] = [(key, attributes[name]) for key, name in _FLOWS.items() if name in attributes]
    return urlencode([*said, *([] if now_ns is None else [(_TAKEN, now_ns)])], errors="replace")


def parse_token(text: str) -> tuple[SpanContext | None, str]:
    """(target span, run id) of a token; a text that is no token is a run id. Raises ValueError for a token whose traceparent is broken."""
    parts = text.split(";")
    if len(parts) not in {3, 4} or parts[0] != TOKEN_MARK:
        return None, text
    parent, run_id = parts[1:3]
    if not parent:
        return None, unquote(run_id)
    context = _span_context({"traceparent": parent})
    if context is None:
        message = f"token {text!r} holds no valid traceparent; pass what hw.token() gave, unchanged, or a bare run id"
        raise ValueError(message)
    return context, unquote(run_id)


def read_carried(found: str | Mapping[str, str] | SpanContext) -> Carried | None:
    """What a token, a run id, the headers of a request (`traceparent`, `tracestate`, `headwater-token`, in any case) or a span context says.

    None where it says nothing: an empty text, headers without either. Raises ValueError for a broken token, TypeError for anything else.
    """
    if isinstance(found, SpanContext):
        return Carried(found, None) if found.is_valid else None
    if isinstance(found, str):
        return _of_token(found) if found else None
    if not isinstance(found, Mapping):
        message = f"found {type(found).__name__}; allowed: a token (what hw.token() gave), headers (what hw.headers() gave), a SpanContext"
        raise TypeError(message)
    headers = {str(name).lower(): str(value) for name, value in found.items() if isinstance(name, str)}
    context = _span_context(headers)
    token = headers.get(TOKEN_HEADER, "")
    if not token:
        return Carried(context, None) if context is not None else None
    carried = _of_token(token)
    return Carried(context or carried.context, carried.run, carried.queued_at_ns)


def _of_token(text: str) -> Carried:
    context, run_id = parse_token(text)
    parts = text.split(";")
    said = dict(parse_qsl(parts[3])) if len(parts) == 4 and parts[0] == TOKEN_MARK else {}
    flows: Attributes = {name: clean(said[key]) for key, name in _FLOWS.items() if key in said}
    if CANARY.name in flows:
        flows[CANARY.name] = True
    taken = said.get(_TAKEN, "")
    known = RunInfo(clean(run_id), {**flows, RUN_ID.name: clean(run_id)}, context) if run_id else None
    return Carried(context, known, int(taken) if taken.isdecimal() else None)


def _span_context(headers: Mapping[str, str]) -> SpanContext | None:
    context = trace.get_current_span(PROPAGATOR.extract(headers, context=Context())).get_span_context()
    return context if context.is_valid else None
