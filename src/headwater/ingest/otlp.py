"""OTLP protobuf: `ExportTraceServiceRequest` bytes ↔ columns and wire rows.

The outer messages are walked by hand, each span is parsed alone: one bad span is rejected alone, its neighbours are kept, and every kept span's own
bytes are at hand for a lossless export.
"""

from collections.abc import Iterator
from typing import Final

from headwater.ingest.columns import ColumnBuilder
from headwater.ingest.limits import FROM_FILE, RECEIVED, Limits, RejectedSpanError, check_size, check_spans
from headwater.ingest.salvage import take
from headwater.ingest.wire import LEN, MalformedError, encode_len, fields
from headwater.model.errors import UndecodableError
from headwater.model.spans import SpanBatch, WireRows

_RESOURCE_SPANS: Final = 1
_SCOPE_SPANS: Final = 2
_SPANS: Final = 2
Group = tuple[bytes, bytes, list[tuple[int, int]]]


def decode(body: bytes, *, limits: Limits = RECEIVED) -> SpanBatch:
    """The spans of one `ExportTraceServiceRequest`, in the order of the body.

    Raises UndecodableError if the outer messages are not OTLP or end early (nothing is taken), OverLimitError above the limits of a request. A span
    is rejected alone for: malformed, invalid_utf8, invalid_trace_id, invalid_span_id, invalid_parent_id, time_out_of_range, too_many_attributes,
    too_many_events, too_many_links, too_many_fields; all spans of a resource or scope that does not parse for malformed_resource, malformed_scope.
    """
    check_size(len(body), limits)
    groups = list(_groups(body, limits))  # all of it, before the first span is built: a body that ends early gives nothing
    builder = ColumnBuilder()
    for resource, scope, ranges in groups:
        try:
            origin = builder.origin(resource, scope)
        except RejectedSpanError as error:
            builder.reject(error.reason, len(ranges))
            continue
        for start, end in ranges:
            take(builder, body[start:end], origin, limits)
    return builder.build()


def check(body: bytes) -> int:
    """Number of spans in the body, walking only its outer messages; UndecodableError as `decode`."""
    return sum(len(ranges) for _, _, ranges in _groups(body, FROM_FILE))


def split(body: bytes, *, chunk_bytes: int = 8 << 20) -> Iterator[bytes]:
    """Bodies of about chunk_bytes (at least one ResourceSpans each) that concatenate to `body`; UndecodableError if it ends early."""
    start = 0
    try:
        for _, _, _, _, end in fields(body, 0, len(body)):
            if end - start >= chunk_bytes:
                yield body[start:end]
                start = end
    except MalformedError as error:
        raise _not_otlp(str(error)) from error
    if start < len(body):
        yield body[start:]


def encode(wire: WireRows) -> bytes:
    """`ExportTraceServiceRequest` bytes that decode to these rows in this order; each span byte for byte as it came. b"" for no rows."""
    out: list[bytes] = []
    row = 0
    while row < len(wire):
        resource = int(wire.resource_codes[row])
        scopes: list[bytes] = [wire.resource_values[resource]]
        while row < len(wire) and wire.resource_codes[row] == resource:
            scope = int(wire.scope_codes[row])
            spans: list[bytes] = [wire.scope_values[scope]]
            while row < len(wire) and wire.resource_codes[row] == resource and wire.scope_codes[row] == scope:
                spans.append(encode_len(_SPANS, wire.span[row]))
                row += 1
            scopes.append(encode_len(_SCOPE_SPANS, b"".join(spans)))
        out.append(encode_len(_RESOURCE_SPANS, b"".join(scopes)))
    return b"".join(out)


def _groups(body: bytes, limits: Limits) -> Iterator[Group]:
    """(resource bytes, scope bytes, byte ranges of its spans) per ScopeSpans. All fields but the spans belong to the resource or scope bytes.

    Counts while it walks, so that five million empty messages are refused before a list of them exists.
    """
    tally = [0, 0]  # messages, spans
    try:
        unknown = known = 0
        for number, wire_type, _, start, end in fields(body, 0, len(body)):
            if number != _RESOURCE_SPANS:
                unknown += 1
                continue
            known += 1
            check_spans(known, limits)  # like scopes: one without spans is of no use, so honest bodies have fewer of them than spans
            _require_message(wire_type)
            yield from _resource_groups(body, (start, end), tally, limits)
    except MalformedError as error:
        raise _not_otlp(str(error)) from error
    if unknown and not known:
        raise _not_otlp("no resource_spans in it")


def _resource_groups(body: bytes, inside: tuple[int, int], tally: list[int], limits: Limits) -> Iterator[Group]:
    resource = bytearray()
    scopes: list[tuple[int, int]] = []
    for number, wire_type, tag_at, at, stop in fields(body, *inside):
        if number == _SCOPE_SPANS:
            _require_message(wire_type)
            scopes.append((at, stop))
            tally[0] += 1
            check_spans(tally[0], limits)
        else:
            resource += body[tag_at:stop]
    for scope_range in scopes:
        spans: list[tuple[int, int]] = []
        scope = bytearray()
        for number, wire_type, tag_at, at, stop in fields(body, *scope_range):
            if number == _SPANS:
                _require_message(wire_type)
                spans.append((at, stop))
                tally[1] += 1
                check_spans(tally[1], limits)
            else:
                scope += body[tag_at:stop]
        if spans:
            yield bytes(resource), bytes(scope), spans


def _require_message(wire_type: int) -> None:
    if wire_type != LEN:
        raise MalformedError(f"wire type {wire_type} where a message belongs")


def _not_otlp(why: str) -> UndecodableError:
    return UndecodableError(
        f"the body is not an OTLP ExportTraceServiceRequest ({why}); nothing of it was taken",
        next_command="headwater doctor",
    )
