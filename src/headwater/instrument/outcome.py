"""Late outcomes: what became of a run, said hours later and from any process."""

import math
from datetime import datetime
from time import time_ns
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, TraceFlags, Tracer

from headwater.conventions.attributes import (
    ANNOTATION_LABEL,
    ANNOTATION_NAME,
    ANNOTATION_SCORE,
    DEFAULT_OUTCOME,
    LINK_KIND,
    OUTCOME_AUDIT,
    OUTCOME_LABEL,
    OUTCOME_LOSS,
    OUTCOME_NAME,
    OUTCOME_SOURCE,
    OUTCOME_SPAN_NAME,
    RUN_ID,
)
from headwater.instrument import isolate, live
from headwater.instrument.extract import as_number
from headwater.instrument.opening import current_handle
from headwater.instrument.runinfo import format_token
from headwater.instrument.text import clean, safe_str
from headwater.instrument.tokens import handed_down, parse_token
from headwater.instrument.values import Attributes


def token(*, queued: bool = False) -> str:
    """The current run as a str for a database row, a message header, JSON: ``hw1;<traceparent of its root span>;<run id>``.

    `queued`: for a message that another process takes up with `hw.resume`: the token also says what the run hands down (pipeline, its version,
    route, canary) and when it was taken, so that the first stage there knows how long the message waited.

    Outside a run, the current span alone; outside a span too, the empty text. Without a provider the traceparent is empty and the run id remains.
    """
    run = current_handle().run
    root = trace.get_current_span(get_current()).get_span_context() if run is None else run.root
    plain = format_token(root, "" if run is None else run.run_id)
    return f"{plain};{handed_down(run, time_ns())}" if queued and plain else plain


def outcome(
    target: str,
    *,
    loss: Any = None,
    label: str | None = None,
    at: datetime | float | None = None,
    name: str = DEFAULT_OUTCOME,
    source: str | None = None,
    audit: bool = False,
) -> None:
    """Say what became of a run: a span ``headwater.outcome`` in its own trace.

    Args:
        target: what `hw.token` gave (then the span has exactly one link, of kind outcome, to the run), or a bare run id (no link).
        loss: loss of the final result, 0 right, 1 wrong, or any finite number. May be missing if there is a `label`.
        label: the judgement in words.
        at: when it was judged: an aware datetime, int nanoseconds or float seconds since the epoch. Default: now.
        name: which outcome this is, where a pipeline has several.
        source: who or what judged it.
        audit: the run was drawn at random for labelling.

    An outcome is recorded whatever the sampler says, except for a run whose token says that it was not sampled: nothing of it was recorded.
    Nothing is raised into the host: a missing provider, NaN, a naive datetime and the like are counted and logged (see `isolate`).
    """
    with isolate.isolated("outcome"):
        context, run_id = parse_token(target)
        attributes = _attributes(run_id, loss=loss, label=label, name=name, source=source)
        if audit:
            attributes[OUTCOME_AUDIT.name] = True
        at_ns = _nanoseconds(at)
        if context is None and not run_id:
            message = "the target is empty; pass hw.token() taken inside the run, or the run id"
            raise ValueError(message)
        if context is not None and not context.trace_flags & TraceFlags.SAMPLED:
            isolate.count("outcome of an unsampled run left out")
            return
        tracer = _tracer()
        if tracer is None:
            isolate.note("outcome dropped", "no TracerProvider is set; call hw.configure() or set one up first")
            return
        links = [Link(context, {LINK_KIND.name: "outcome"})] if context is not None else []
        span = tracer.start_span(OUTCOME_SPAN_NAME, context=Context(), links=links, start_time=at_ns)
        span.set_attributes(attributes)
        span.end(end_time=at_ns)


def _attributes(run_id: str, *, loss: Any, label: str | None, name: str, source: str | None) -> Attributes:
    number = as_number(loss)
    if number is None and label is None:
        message = "neither loss nor label; give loss=0.0 (right) .. 1.0 (wrong) or any finite loss, or label='wrong'"
        raise ValueError(message)
    if number is not None and not math.isfinite(number):
        message = f"loss={number}; allowed: a finite number. Leave a run without a verdict unlabelled"
        raise ValueError(message)
    found: Attributes = {OUTCOME_NAME.name: clean(name), ANNOTATION_NAME.name: clean(name)}
    if run_id:
        found[RUN_ID.name] = clean(run_id)
    if number is not None:
        found[OUTCOME_LOSS.name] = number
        if 0.0 <= number <= 1.0:
            found[ANNOTATION_SCORE.name] = 1.0 - number
    if label is not None:
        found[OUTCOME_LABEL.name] = found[ANNOTATION_LABEL.name] = clean(safe_str(label))
    if source is not None:
        found[OUTCOME_SOURCE.name] = clean(safe_str(source))
    return found


def _nanoseconds(at: datetime | float | None) -> int:
    if at is None:
        return time_ns()
    if isinstance(at, datetime):
        if at.tzinfo is None:
            message = f"at={at.isoformat()} has no time zone; pass an aware datetime, e.g. datetime.now(UTC)"
            raise ValueError(message)
        return int(at.timestamp() * 1e6) * 1000
    nanoseconds = at if isinstance(at, int) else int(at * 1e9)
    if nanoseconds < 0:
        message = f"at={at!r} lies before 1970; allowed: an aware datetime, int nanoseconds or float seconds since the epoch"
        raise ValueError(message)
    return nanoseconds


def _tracer() -> Tracer | None:
    """A tracer of its own scope, whose sampler keeps everything: a label is worth more than the one per cent a ratio sampler leaves of it."""
    seen = live.seen()
    if seen.tracer is None:
        return None
    tracer = trace.get_tracer(live.OUTCOME_SCOPE, tracer_provider=seen.provider)  # type: ignore[arg-type]  # a provider, since it gave a tracer
    if hasattr(tracer, "sampler"):
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        tracer.sampler = ALWAYS_ON
    return tracer
