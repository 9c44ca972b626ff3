"""Jaeger's JSON, as its query service answers /api/traces and as its page downloads: {"data": [{"spans": […], "processes": {…}}]}.

What that form loses stays lost: times are microseconds, arrays are text, links have no attributes and so no kind (those of an outcome span are
outcomes).
"""

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from headwater.conventions.attributes import LINK_KIND, OUTCOME_SPAN_NAME, SERVICE_NAME
from headwater.ingest.columns import ColumnBuilder, Origin
from headwater.ingest.limits import FROM_FILE, Limits, RejectedSpanError, check_size, check_spans
from headwater.ingest.salvage import take
from headwater.model.errors import UndecodableError
from headwater.model.spans import SpanBatch

_KINDS: Final = {
    "internal": Span.SPAN_KIND_INTERNAL,
    "server": Span.SPAN_KIND_SERVER,
    "client": Span.SPAN_KIND_CLIENT,
    "producer": Span.SPAN_KIND_PRODUCER,
    "consumer": Span.SPAN_KIND_CONSUMER,
}
_STATUS: Final = {"OK": Status.STATUS_CODE_OK, "ERROR": Status.STATUS_CODE_ERROR}
# What Jaeger's own translation turned into tags, turned back; the tag otel.scope.name names the scope.
_SCOPE_NAME: Final = ("otel.scope.name", "otel.library.name")
_SCOPE_VERSION: Final = ("otel.scope.version", "otel.library.version")
_MADE_BY_JAEGER: Final = frozenset(
    {"span.kind", "otel.status_code", "otel.status_description", "w3c.tracestate", "internal.span.format", *_SCOPE_NAME, *_SCOPE_VERSION}
)
Json = Mapping[str, Any]


def decode(body: bytes, *, limits: Limits = FROM_FILE) -> SpanBatch:
    """The spans of a Jaeger answer or of one trace of it. UndecodableError if it is neither; single spans are rejected alone, as in OTLP."""
    check_size(len(body), limits)
    try:
        value = json.loads(body.decode(errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise UndecodableError(f"the body is not JSON ({error}); nothing of it was taken") from error
    if not is_answer(value):
        raise UndecodableError('the JSON has neither "data" with traces nor "spans" with "processes": not Jaeger\'s; nothing of it was taken')
    traces = value.get("data", [value])
    check_spans(sum(len(trace["spans"]) for trace in traces), limits)
    builder = ColumnBuilder()
    for trace in traces:
        _take_trace(builder, trace, limits)
    return builder.build()


def is_answer(value: object) -> bool:
    """Does parsed JSON look like Jaeger's?"""
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        return all(_is_trace(trace) for trace in value["data"])
    return _is_trace(value)


def _is_trace(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("spans"), list) and isinstance(value.get("processes"), dict)


def _take_trace(builder: ColumnBuilder, trace: Json, limits: Limits) -> None:
    for held in trace["spans"]:
        try:
            span, origin = _converted(builder, held, trace["processes"])
            raw = span.SerializeToString(deterministic=True)
        except RejectedSpanError as error:
            builder.reject(error.reason)
        except UnicodeError:
            builder.reject("invalid_utf8")
        except Exception:  # noqa: BLE001  a wrong type or range anywhere in the file
            builder.reject("malformed")
        else:
            take(builder, raw, origin, limits)


def _converted(builder: ColumnBuilder, held: Json, processes: Json) -> tuple[Span, Origin]:
    tags = {tag["key"]: tag for tag in held.get("tags") or ()}
    process = held.get("process") or processes.get(str(held.get("processID")), {})
    resource = ResourceSpans()
    resource.resource.SetInParent()
    if process.get("serviceName"):
        resource.resource.attributes.add(key=SERVICE_NAME.name).value.string_value = process["serviceName"]
    _attributes(resource.resource.attributes, process.get("tags") or ())
    scope = ScopeSpans()
    scope.scope.SetInParent()
    scope.scope.name, scope.scope.version = _tag(tags, *_SCOPE_NAME), _tag(tags, *_SCOPE_VERSION)
    origin = builder.origin(resource.SerializeToString(deterministic=True), scope.SerializeToString(deterministic=True))
    return _span(held, tags), origin


def _span(held: Json, tags: Json) -> Span:
    start = int(held["startTime"]) * 1_000
    status, is_error = _tag(tags, "otel.status_code"), _tag(tags, "error") == "true"
    trace_id = _hex(held.get("traceID"), 16, "invalid_trace_id")
    span = Span(
        trace_id=trace_id,
        span_id=_hex(held.get("spanID"), 8, "invalid_span_id"),
        name=held["operationName"],
        kind=_KINDS.get(_tag(tags, "span.kind"), Span.SPAN_KIND_UNSPECIFIED),
        trace_state=_tag(tags, "w3c.tracestate"),
        start_time_unix_nano=start,
        end_time_unix_nano=start + int(held["duration"]) * 1_000,
    )
    if status or is_error:
        span.status.code = _STATUS.get(status, Status.STATUS_CODE_ERROR if is_error else Status.STATUS_CODE_UNSET)
        span.status.message = _tag(tags, "otel.status_description")
    # Jaeger adds error=true for the error status; where no status stands beside it, the tag is the sender's own.
    made_up = _MADE_BY_JAEGER | ({"error"} if status == "ERROR" else set())
    _attributes(span.attributes, [tag for key, tag in tags.items() if key not in made_up])
    _references(span, held.get("references") or (), trace_id)
    for log in held.get("logs") or ():
        event = span.events.add(time_unix_nano=int(log["timestamp"]) * 1_000)
        fields = {field["key"]: field for field in log.get("fields") or ()}
        event.name = _tag(fields, "event")
        _attributes(event.attributes, [field for key, field in fields.items() if key != "event"])
    return span


def _references(span: Span, references: Any, trace_id: bytes) -> None:
    """The first CHILD_OF in the same trace is the parent; every other reference is a link."""
    for reference in references:
        target, span_id = _hex(reference["traceID"], 16, "malformed"), _hex(reference["spanID"], 8, "malformed")
        if reference.get("refType") == "CHILD_OF" and target == trace_id and not span.parent_span_id:
            span.parent_span_id = span_id
            continue
        link = span.links.add(trace_id=target, span_id=span_id)
        if span.name == OUTCOME_SPAN_NAME:
            link.attributes.add(key=LINK_KIND.name).value.string_value = "outcome"


def _attributes(target: Any, tags: Any) -> None:
    for tag in tags:
        value, kind = tag.get("value"), tag.get("type")
        held = target.add(key=tag["key"]).value
        if kind == "bool":
            held.bool_value = value if isinstance(value, bool) else str(value).lower() == "true"
        elif kind == "int64":
            held.int_value = int(value)
        elif kind == "float64":
            held.double_value = float(value)
        elif kind == "binary":
            held.bytes_value = base64.b64decode(value)
        else:
            held.string_value = str(value)


def _tag(tags: Json, *keys: str) -> str:
    """The first of the tags that is there, as text; booleans as true and false."""
    found: Iterator[Any] = (tags[key].get("value") for key in keys if key in tags)
    value = next(found, "")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _hex(text: Any, size: int, reason: str) -> bytes:
    """Bytes of a hex id; Jaeger leaves leading zeros out of 64-bit trace ids."""
    try:
        return bytes.fromhex(text.zfill(2 * size))
    except (TypeError, ValueError, AttributeError):
        raise RejectedSpanError(reason) from None
