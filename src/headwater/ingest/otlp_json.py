"""OTLP/JSON: one `ExportTraceServiceRequest` a line, as the Collector's file exporter writes it.

Not protobuf's own JSON mapping: ids are hex here, where that mapping reads base64 and would make 24 wrong bytes of 16. Integers may be numbers or
strings, enums numbers or names, unknown keys are ignored. Source: opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.
"""

import base64
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from headwater.conventions.attributes import DEFECT_CUT
from headwater.ingest.columns import ColumnBuilder
from headwater.ingest.limits import RECEIVED, Limits, RejectedSpanError, check_size, check_spans
from headwater.ingest.salvage import take
from headwater.model.errors import UndecodableError
from headwater.model.spans import SpanBatch, WireRows

_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
Json = Mapping[str, Any]


def decode(body: bytes, *, limits: Limits = RECEIVED) -> SpanBatch:
    """The spans of one request in JSON.

    Raises UndecodableError if it is not JSON or not a request (nothing is taken), OverLimitError above the limits of a request. Spans are rejected
    alone, for the reasons of the protobuf decoder; a value nested too deep is cut, but nesting beyond what the JSON parser itself bears (about a
    thousand levels) makes the whole body undecodable.
    """
    check_size(len(body), limits)
    groups = _groups(_parsed(body))
    check_spans(sum(len(spans) for _, _, spans in groups), limits)
    builder = ColumnBuilder()
    for resource, scope, spans in groups:
        try:
            origin = builder.origin(_bytes(_resource, resource, limits), _bytes(_scope, scope, limits))
        except RejectedSpanError:
            builder.reject("malformed_resource", len(spans))
            continue
        for span in spans:
            try:
                raw = _bytes(_span, span, limits)
            except RejectedSpanError as error:
                builder.reject(error.reason)
            else:
                take(builder, raw, origin, limits)
    return builder.build()


def is_request(value: object) -> bool:
    """Does parsed JSON look like an ExportTraceServiceRequest?"""
    return isinstance(value, dict) and isinstance(value.get("resourceSpans"), list)


def encode(wire: WireRows) -> bytes:
    """One line of JSON, with its newline, that decodes to these rows in this order; b"" for no rows."""
    owners: list[dict[str, Any]] = []
    row = 0
    while row < len(wire):
        resource = int(wire.resource_codes[row])
        owner = _resource_json(ResourceSpans.FromString(wire.resource_values[resource]))
        while row < len(wire) and wire.resource_codes[row] == resource:
            scope = int(wire.scope_codes[row])
            group = _scope_json(ScopeSpans.FromString(wire.scope_values[scope]))
            while row < len(wire) and wire.resource_codes[row] == resource and wire.scope_codes[row] == scope:
                group["spans"].append(_span_json(Span.FromString(wire.span[row])))
                row += 1
            owner["scopeSpans"].append(group)
        owners.append(owner)
    return json.dumps({"resourceSpans": owners}, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n" if owners else b""


# -- JSON → protobuf ----------------------------------------------------------------------------------------------------


def _parsed(body: bytes) -> Json:
    try:
        # Bytes that are not UTF-8 become lone surrogates, which no protobuf string takes: they cost their own span, not the request.
        value = json.loads(body.decode(errors="surrogateescape"))
    except RecursionError:
        raise UndecodableError("the JSON body is nested too deep to be read; nothing of it was taken") from None
    except ValueError as error:
        raise UndecodableError(f"the body is not JSON ({error}); nothing of it was taken", next_command="headwater doctor") from error
    if not isinstance(value, dict) or not (value == {} or is_request(value)):
        raise UndecodableError('the JSON body has no list "resourceSpans": not an OTLP request; nothing of it was taken')
    return value


def _groups(request: Json) -> list[tuple[Json, Json, list[Any]]]:
    """(resource, scope, spans) of the request; UndecodableError if a list or an object is missing where one belongs."""
    groups: list[tuple[Json, Json, list[Any]]] = []
    for owner in request.get("resourceSpans", ()):
        scopes = owner.get("scopeSpans") or [] if isinstance(owner, dict) else None
        if not isinstance(scopes, list):
            raise UndecodableError('"resourceSpans" holds something that is no object with a list "scopeSpans"; nothing of the body was taken')
        for group in scopes:
            spans = group.get("spans") or [] if isinstance(group, dict) else None
            if not isinstance(spans, list):
                raise UndecodableError('"scopeSpans" holds something that is no object with a list "spans"; nothing of the body was taken')
            groups.append((owner, group, spans))
    return groups


def _bytes(build: Callable[[Json, Limits], Any], value: Any, limits: Limits) -> bytes:
    """The message's bytes; RejectedSpanError for anything JSON can hold and the message cannot."""
    try:
        raw: bytes = build(value, limits).SerializeToString(deterministic=True)
    except RejectedSpanError:
        raise
    except UnicodeError:
        raise RejectedSpanError("invalid_utf8") from None
    except Exception as error:  # a wrong type or range anywhere in the sender's JSON
        raise RejectedSpanError("malformed") from error
    return raw


def _resource(owner: Json, limits: Limits) -> ResourceSpans:
    message = ResourceSpans(schema_url=owner.get("schemaUrl", ""))
    resource = owner.get("resource")
    if resource is not None:
        message.resource.SetInParent()
        _attributes(message.resource.attributes, resource, limits)
        message.resource.dropped_attributes_count = _int(resource.get("droppedAttributesCount"))
    return message


def _scope(group: Json, limits: Limits) -> ScopeSpans:
    message = ScopeSpans(schema_url=group.get("schemaUrl", ""))
    scope = group.get("scope")
    if scope is not None:
        message.scope.SetInParent()
        message.scope.name, message.scope.version = scope.get("name", ""), scope.get("version", "")
        _attributes(message.scope.attributes, scope, limits)
        message.scope.dropped_attributes_count = _int(scope.get("droppedAttributesCount"))
    return message


def _span(data: Json, limits: Limits) -> Span:
    status = data.get("status") or {}
    span = Span(
        trace_id=_hex(data.get("traceId"), "invalid_trace_id"),
        span_id=_hex(data.get("spanId"), "invalid_span_id"),
        parent_span_id=_hex(data.get("parentSpanId") or "", "invalid_parent_id"),
        trace_state=data.get("traceState", ""),
        flags=_int(data.get("flags")),
        name=data.get("name", ""),
        kind=_enum(Span.SpanKind, data.get("kind")),
        start_time_unix_nano=_int(data.get("startTimeUnixNano")),
        end_time_unix_nano=_int(data.get("endTimeUnixNano")),
        dropped_attributes_count=_int(data.get("droppedAttributesCount")),
        dropped_events_count=_int(data.get("droppedEventsCount")),
        dropped_links_count=_int(data.get("droppedLinksCount")),
    )
    if "status" in data:
        span.status.SetInParent()
        span.status.code, span.status.message = _enum(Status.StatusCode, status.get("code")), status.get("message", "")
    cut = _attributes(span.attributes, data, limits)
    for held in data.get("events") or ():
        event = span.events.add(time_unix_nano=_int(held.get("timeUnixNano")), name=held.get("name", ""))
        event.dropped_attributes_count = _int(held.get("droppedAttributesCount"))
        cut |= _attributes(event.attributes, held, limits)
    for held in data.get("links") or ():
        link = span.links.add(trace_state=held.get("traceState", ""), flags=_int(held.get("flags")))
        link.trace_id, link.span_id = _hex(held.get("traceId"), "malformed"), _hex(held.get("spanId") or "", "malformed")
        link.dropped_attributes_count = _int(held.get("droppedAttributesCount"))
        cut |= _attributes(link.attributes, held, limits)
    if cut:
        span.attributes.add(key=DEFECT_CUT).value.bool_value = True
    return span


def _attributes(target: Any, owner: Json, limits: Limits) -> bool:
    """Fills `target` from owner["attributes"]; was a value cut for its depth?"""
    cut = False
    for held in owner.get("attributes") or ():
        cut |= _pair(target.add(), held, 1, limits)
    return cut


def _value(target: AnyValue, data: Json | None, depth: int, limits: Limits) -> bool:
    """Fills one AnyValue at nesting `depth`; was anything in it cut?"""
    if depth > limits.depth:
        return True
    if not data:
        return False
    (kind, value), *_ = data.items()
    if kind == "arrayValue":
        target.array_value.SetInParent()
        return sum(_value(target.array_value.values.add(), item, depth + 1, limits) for item in value.get("values") or ()) > 0
    if kind == "kvlistValue":
        target.kvlist_value.SetInParent()
        return sum(_pair(target.kvlist_value.values.add(), item, depth + 1, limits) for item in value.get("values") or ()) > 0
    read = _PLAIN.get(kind)
    if read is not None:
        setattr(target, read[0], read[1](value))
    return False


def _pair(target: KeyValue, data: Json, depth: int, limits: Limits) -> bool:
    target.key, value = data["key"], data.get("value")
    if value is None:
        return False
    target.value.SetInParent()
    return _value(target.value, value, depth, limits)


def _hex(text: Any, reason: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise RejectedSpanError(reason) from None


def _int(value: Any) -> int:
    """An integer as a number or as text; absent is 0."""
    if value is None:
        return 0
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return int(value)


def _float(value: Any) -> float:
    special = _SPECIAL.get(value) if isinstance(value, str) else None
    return float(value) if special is None else special


def _enum(enum: Any, value: Any) -> Any:
    """A number or a name; absent is 0."""
    return enum.Value(value) if isinstance(value, str) and not value.isdecimal() else _int(value)


_PLAIN: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "stringValue": ("string_value", lambda value: value),
    "boolValue": ("bool_value", lambda value: value),
    "intValue": ("int_value", _int),
    "doubleValue": ("double_value", _float),
    "bytesValue": ("bytes_value", lambda value: base64.b64decode(value, validate=True)),
}


# -- protobuf → JSON ----------------------------------------------------------------------------------------------------


def _resource_json(message: ResourceSpans) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if message.HasField("resource"):
        out["resource"] = {
            **_attributes_json(message.resource.attributes),
            **_count("droppedAttributesCount", message.resource.dropped_attributes_count),
        }
    return {**out, **_text("schemaUrl", message.schema_url), "scopeSpans": []}


def _scope_json(message: ScopeSpans) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if message.HasField("scope"):
        scope = message.scope
        out["scope"] = {**_text("name", scope.name), **_text("version", scope.version), **_attributes_json(scope.attributes)}
        out["scope"] |= _count("droppedAttributesCount", scope.dropped_attributes_count)
    return {**out, **_text("schemaUrl", message.schema_url), "spans": []}


def _span_json(span: Span) -> dict[str, Any]:
    out: dict[str, Any] = {"traceId": span.trace_id.hex(), "spanId": span.span_id.hex(), **_text("parentSpanId", span.parent_span_id.hex())}
    out |= {**_text("traceState", span.trace_state), **_count("flags", span.flags), "name": span.name, "kind": span.kind}
    out |= {"startTimeUnixNano": str(span.start_time_unix_nano), "endTimeUnixNano": str(span.end_time_unix_nano)}
    out |= {**_attributes_json(span.attributes), **_count("droppedAttributesCount", span.dropped_attributes_count)}
    if span.events:
        out["events"] = [
            {"timeUnixNano": str(event.time_unix_nano), "name": event.name, **_attributes_json(event.attributes)}
            | _count("droppedAttributesCount", event.dropped_attributes_count)
            for event in span.events
        ]
    out |= _count("droppedEventsCount", span.dropped_events_count)
    if span.links:
        out["links"] = [
            {
                "traceId": link.trace_id.hex(),
                "spanId": link.span_id.hex(),
                **_text("traceState", link.trace_state),
                **_attributes_json(link.attributes),
            }
            | _count("droppedAttributesCount", link.dropped_attributes_count)
            | _count("flags", link.flags)
            for link in span.links
        ]
    out |= _count("droppedLinksCount", span.dropped_links_count)
    if span.HasField("status"):
        out["status"] = {**_text("message", span.status.message), **_count("code", span.status.code)}
    return out


def _text(key: str, value: str) -> dict[str, str]:
    return {key: value} if value else {}


def _count(key: str, value: int) -> dict[str, int]:
    return {key: value} if value else {}


def _attributes_json(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    pairs = _pairs_json(attributes)
    return {"attributes": pairs} if pairs else {}


def _pairs_json(pairs: Iterable[KeyValue]) -> list[dict[str, Any]]:
    return [{"key": pair.key, "value": _value_json(pair.value)} if pair.HasField("value") else {"key": pair.key} for pair in pairs]


def _value_json(value: AnyValue) -> dict[str, Any]:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return {"arrayValue": {"values": [_value_json(item) for item in value.array_value.values]}}
    if kind == "kvlist_value":
        return {"kvlistValue": {"values": _pairs_json(value.kvlist_value.values)}}
    if kind == "bytes_value":
        return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    if kind == "int_value":
        return {"intValue": str(value.int_value)}
    if kind == "double_value":
        number = value.double_value
        return {"doubleValue": number if math.isfinite(number) else next(text for text, special in _SPECIAL.items() if repr(special) == repr(number))}
    return {"stringValue": value.string_value} if kind == "string_value" else {"boolValue": value.bool_value} if kind == "bool_value" else {}
