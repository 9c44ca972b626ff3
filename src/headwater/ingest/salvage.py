"""One span at a time: parsed alone, cut to size if need be, rejected alone with its reason."""

from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headwater.ingest.columns import ColumnBuilder, Origin
from headwater.ingest.limits import Limits, RejectedSpanError
from headwater.ingest.wire import texts, trim

# A span shorter than this can hold neither too many attributes nor too long a string, so it goes to the parser as it is.
_SMALL: Final = 2_048
_ARRAY_TAG: Final = b"\x2a"
_KVLIST_TAG: Final = b"\x32"


def take(builder: ColumnBuilder, raw: bytes, origin: Origin, limits: Limits) -> None:
    """Adds one span from its bytes, cut to `limits`, or counts why not."""
    try:
        span = None
        if len(raw) <= _SMALL:
            span = _parsed(raw)
        if span is None or _may_be_deep(raw, limits):
            raw, _ = trim(raw, limits)
            span = _parsed(raw)
        if span is None:
            builder.reject(_diagnose(raw))
        else:
            builder.add(span, raw, origin)
    except RejectedSpanError as error:
        builder.reject(error.reason)


def _parsed(raw: bytes) -> Span | None:
    """The span; None if the parser refuses it: invalid UTF-8, a wrong wire type, or nesting beyond its own limit."""
    try:
        return Span.FromString(raw)
    except DecodeError:
        return None


def _may_be_deep(raw: bytes, limits: Limits) -> bool:
    """Each level of nesting has the tag of an array or of a key-value list in it, so fewer of these bytes than levels means: not deep."""
    return raw.count(_ARRAY_TAG) + raw.count(_KVLIST_TAG) >= limits.depth


def _diagnose(raw: bytes) -> str:
    """Why the parser refused a span whose fields are well-formed: text that is not UTF-8, the usual case, or a field of the wrong wire type."""
    return "malformed" if all(_is_utf8(text) for text in texts(raw)) else "invalid_utf8"


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
