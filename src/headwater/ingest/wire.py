"""The protobuf wire format by hand: just enough to find the spans in a body and to cut a hostile span down to size.

Source of the format: protobuf.dev/programming-guides/encoding. Field numbers: opentelemetry-proto trace/v1, common/v1.
"""

from collections.abc import Iterator
from typing import Final

from headwater.conventions.attributes import DEFECT_CUT
from headwater.ingest.limits import Limits, RejectedSpanError

VARINT: Final = 0
I64: Final = 1
LEN: Final = 2
I32: Final = 5
_FIXED: Final = {I64: 8, I32: 4}

SPAN_ATTRIBUTES: Final = 9
SPAN_EVENTS: Final = 11
SPAN_LINKS: Final = 13
_TOO_MANY: Final = {SPAN_ATTRIBUTES: "too_many_attributes", SPAN_EVENTS: "too_many_events", SPAN_LINKS: "too_many_links"}
_ATTRIBUTES_OF: Final = {SPAN_EVENTS: 3, SPAN_LINKS: 4}
# Message kind → field number → kind of the field: text and bytes are leaves, everything not named here is passed on untouched.
_SCHEMA: Final[dict[str, dict[int, str]]] = {
    "span": {3: "text", 5: "text", SPAN_ATTRIBUTES: "pair", SPAN_EVENTS: "event", SPAN_LINKS: "link", 15: "status"},
    "event": {2: "text", 3: "pair"},
    "link": {3: "text", 4: "pair"},
    "status": {2: "text"},
    "pair": {1: "text", 2: "value"},
    "value": {1: "text", 5: "list", 6: "map", 7: "bytes"},
    "list": {1: "value"},
    "map": {1: "pair"},
}

Field = tuple[int, int, int, int, int]


class MalformedError(ValueError):
    """Bytes that are not a protobuf message: cut short, an unknown wire type, an over-long varint."""


def varint(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, position after it) of the varint at `at`; MalformedError if it leaves buffer[:end] or has more than 10 bytes."""
    value = shift = 0
    while at < end and shift < 70:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedError("a varint is cut short or too long")


def fields(buffer: bytes, start: int, end: int) -> Iterator[Field]:
    """(number, wire type, start of the tag, start of the value, end of the value) of each field in buffer[start:end]; MalformedError."""
    at = start
    while at < end:
        tag_at = at
        tag, at = varint(buffer, at, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == LEN:
            length, at = varint(buffer, at, end)
            stop = at + length
        elif wire_type == VARINT:
            stop = varint(buffer, at, end)[1]
        elif wire_type in _FIXED:
            stop = at + _FIXED[wire_type]
        else:
            raise MalformedError(f"wire type {wire_type}")
        if not number or stop > end:
            raise MalformedError("a field leaves its message")
        yield number, wire_type, tag_at, at, stop
        at = stop


def encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_len(number: int, payload: bytes) -> bytes:
    """One length-delimited field."""
    return encode_varint(number << 3 | LEN) + encode_varint(len(payload)) + payload


# The span says itself that it was cut, so that the mark survives export and import: attributes { key: DEFECT_CUT, value { bool_value: true } }.
_CUT_MARK: Final = encode_len(SPAN_ATTRIBUTES, encode_len(1, DEFECT_CUT.encode()) + encode_len(2, b"\x10\x01"))


def trim(span: bytes, limits: Limits) -> tuple[bytes, bool]:
    """The span with every value nested deeper than limits.depth emptied, strings cut to limits.string_bytes, lists to limits.items; was it cut?

    Raises RejectedSpanError("malformed" | "too_many_attributes" | "too_many_events" | "too_many_links" | "too_many_fields"). Works on bytes, because
    the parser would first build what is too large, and refuses deep nesting outright. A cut span carries the attribute DEFECT_CUT.
    """
    try:
        _count(span, limits)
        trimmed, cut = _trim(span, "span", 0, limits)
    except MalformedError:
        raise RejectedSpanError("malformed") from None
    return (trimmed + _CUT_MARK, True) if cut else (span, False)


def _count(span: bytes, limits: Limits) -> None:
    counts = {SPAN_ATTRIBUTES: 0, SPAN_EVENTS: 0, SPAN_LINKS: 0}
    allowed = {SPAN_ATTRIBUTES: limits.attributes, SPAN_EVENTS: limits.items, SPAN_LINKS: limits.items}
    for total, (number, wire_type, _, start, end) in enumerate(fields(span, 0, len(span))):
        if total > 4 * limits.items:
            raise RejectedSpanError("too_many_fields")
        if wire_type != LEN or number not in counts:
            continue
        counts[number] += 1
        inner = _ATTRIBUTES_OF.get(number)
        if inner is not None:
            counts[SPAN_ATTRIBUTES] += sum(1 for field in fields(span, start, end) if field[0] == inner)
        for counted in (number, SPAN_ATTRIBUTES):
            if counts[counted] > allowed[counted]:
                raise RejectedSpanError(_TOO_MANY[counted])


def _trim(message: bytes, kind: str, depth: int, limits: Limits) -> tuple[bytes, bool]:
    """One message of `kind` inside `depth` values; the recursion ends at limits.depth because only values nest."""
    depth += kind == "value"
    if depth > limits.depth:
        return b"", True
    out: list[bytes] = []
    copied = count = 0  # message[:copied] is in `out`; what never changes is never taken apart
    for number, wire_type, tag_at, start, end in fields(message, 0, len(message)):
        if kind in {"list", "map"} and count >= limits.items:
            return b"".join((*out, message[copied:tag_at])), True
        count += 1
        child = _SCHEMA[kind].get(number) if wire_type == LEN else None
        if child is None:
            continue
        payload, changed = message[start:end], False
        if child in {"text", "bytes"}:
            changed = end - start > limits.string_bytes
            payload = _shorten(payload, child, limits) if changed else payload
        else:
            payload, changed = _trim(payload, child, depth, limits)
        if changed:
            out += (message[copied:tag_at], encode_len(number, payload))
            copied = end
    return (b"".join((*out, message[copied:])), True) if out else (message, False)


def _shorten(value: bytes, kind: str, limits: Limits) -> bytes:
    """The first string_bytes bytes; for text, not in the middle of a character (invalid UTF-8 stays so and is refused by the parser)."""
    stop = limits.string_bytes
    while kind == "text" and stop and value[stop] & 0xC0 == 0x80:
        stop -= 1
    return value[:stop]


def texts(message: bytes, kind: str = "span") -> Iterator[bytes]:
    """Every field of the span that must be UTF-8. MalformedError. For trimmed spans: their nesting is bounded."""
    for number, wire_type, _, start, end in fields(message, 0, len(message)):
        child = _SCHEMA[kind].get(number) if wire_type == LEN else None
        if child == "text":
            yield message[start:end]
        elif child is not None and child != "bytes":
            yield from texts(message[start:end], child)
