"""What one run hands down to its stages, and the text it travels as."""

from typing import Final
from urllib.parse import quote

from opentelemetry.trace import SpanContext

from headwater.instrument.flow import Flow
from headwater.instrument.values import Attributes

TOKEN_MARK: Final = "hw1"  # noqa: S105  a format mark, not a secret


class RunInfo:
    """What one run hands down to its stages by context: its id, the attributes every span of it carries, its root span, and what its stages
    put out so far (`flow`; made when first needed).
    """

    __slots__ = ("attributes", "flow", "root", "run_id")

    def __init__(self, run_id: str, attributes: Attributes, root: SpanContext | None) -> None:
        self.run_id = run_id
        self.attributes = attributes
        self.root = root
        self.flow: Flow | None = None

    def flowing(self) -> Flow:
        if self.flow is None:
            self.flow = Flow()
        return self.flow


def format_token(context: SpanContext | None, run_id: str) -> str:
    """``hw1;<traceparent>;<run id, percent-encoded>``; printable ASCII without blanks. Empty where there is neither span nor run."""
    valid = context is not None and context.is_valid
    if not valid and not run_id:
        return ""
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags) & 1:02x}" if context is not None and valid else ""
    return f"{TOKEN_MARK};{parent};{quoted(run_id)}"


def quoted(text: str) -> str:
    return quote(text, safe="-._~:/@+", errors="replace")
