"""Spans to send, spans that arrived, and the comparison of the two."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent import futures
from typing import Any

import grpc
import httpx
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service_grpc
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

Key = tuple[str, str]  # trace id (32 hex digits), span id (16)
Values = Mapping[str, Any]
_LIMITS = (("grpc.max_receive_message_length", 16 * 1024 * 1024), ("grpc.max_send_message_length", -1))


def wait_until(condition: Callable[[], bool], what: Callable[[], str], timeout_s: float = 20.0) -> None:
    """Poll `condition`; after `timeout_s` fail with what was seen last."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"after {timeout_s} s: {what()}"
        time.sleep(0.05)


def _any_value(value: Any) -> common_pb2.AnyValue:
    if isinstance(value, bool):
        return common_pb2.AnyValue(bool_value=value)
    if isinstance(value, int):
        return common_pb2.AnyValue(int_value=value)
    if isinstance(value, float):
        return common_pb2.AnyValue(double_value=value)
    return common_pb2.AnyValue(string_value=value)


def pairs(values: Values) -> list[common_pb2.KeyValue]:
    return [common_pb2.KeyValue(key=key, value=_any_value(value)) for key, value in values.items()]


def make_span(
    name: str, values: Values | None = None, *, trace: bytes | None = None, parent: bytes = b"", duration_ns: int = 1_000_000
) -> trace_pb2.Span:
    start = time.time_ns()
    return trace_pb2.Span(
        trace_id=trace or secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=start + duration_ns,
        attributes=pairs(values or {}),
    )


def make_request(spans: Iterable[trace_pb2.Span], resource: Values | None = None) -> service_pb.ExportTraceServiceRequest:
    request = service_pb.ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.extend(pairs({"service.name": "e2e", **(resource or {})}))
    block.scope_spans.add().spans.extend(spans)
    return request


def key_of(span: trace_pb2.Span) -> Key:
    return span.trace_id.hex(), span.span_id.hex()


def value_of(value: common_pb2.AnyValue) -> Any:
    which = value.WhichOneof("value")
    return getattr(value, which) if which else None


def values_of(span: trace_pb2.Span) -> dict[str, Any]:
    return {pair.key: value_of(pair.value) for pair in span.attributes}


class Sender:
    """One OTLP/gRPC client. `acknowledged` holds the spans of every request that was answered OK, and no others."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=_LIMITS)
        self._stub = service_grpc.TraceServiceStub(self._channel)
        self.acknowledged: set[Key] = set()

    def send(self, spans: list[trace_pb2.Span], resource: Values | None = None, timeout_s: float = 10.0) -> None:
        """grpc.RpcError if it was not acknowledged."""
        self._stub.Export(make_request(spans, resource), timeout=timeout_s, wait_for_ready=True)
        self.acknowledged.update(key_of(span) for span in spans)

    def close(self) -> None:
        self._channel.close()


class Sink(service_grpc.TraceServiceServicer):
    """A receiver with headwater's limit of 16 MiB a request that remembers what came, and can be told to be unavailable."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.available = True
        self.counts: Counter[Key] = Counter()
        self.spans: dict[Key, trace_pb2.Span] = {}
        self.resources: dict[Key, dict[str, Any]] = {}
        self.request_sizes: list[int] = []
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=_LIMITS)
        service_grpc.add_TraceServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"127.0.0.1:{port}") == port
        self._server.start()

    def Export(self, request: service_pb.ExportTraceServiceRequest, context: grpc.ServicerContext) -> service_pb.ExportTraceServiceResponse:
        if not self.available:
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to be unavailable")
        with self._lock:
            self.request_sizes.append(request.ByteSize())
            for block in request.resource_spans:
                resource = {pair.key: value_of(pair.value) for pair in block.resource.attributes}
                for scope in block.scope_spans:
                    for span in scope.spans:
                        key = key_of(span)
                        self.counts[key] += 1
                        self.spans[key] = span
                        self.resources[key] = resource
        return service_pb.ExportTraceServiceResponse()

    def keys(self) -> set[Key]:
        with self._lock:
            return set(self.counts)

    def wait_for(self, wanted: set[Key], timeout_s: float = 20.0) -> None:
        wait_until(lambda: wanted <= self.keys(), lambda: f"{len(wanted - self.keys())} of {len(wanted)} spans did not arrive", timeout_s)

    def close(self) -> None:
        self._server.stop(grace=0.5).wait()


def _json_value(value: Mapping[str, Any]) -> Any:
    if "intValue" in value:
        return int(value["intValue"])
    if "arrayValue" in value:
        return [_json_value(item) for item in value["arrayValue"].get("values", [])]
    return next(iter(value.values()), None)


def json_spans(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The spans of one OTLP/JSON document, flat: trace, span, parent (hex as sent), name, start, end, values, resource."""
    return [
        {
            "trace": span["traceId"],
            "span": span["spanId"],
            "parent": span.get("parentSpanId", ""),
            "name": span["name"],
            "start": int(span["startTimeUnixNano"]),
            "end": int(span["endTimeUnixNano"]),
            "values": {pair["key"]: _json_value(pair["value"]) for pair in span.get("attributes", [])},
            "links": [(link["traceId"], link["spanId"]) for link in span.get("links", [])],
            "resource": {pair["key"]: _json_value(pair["value"]) for pair in block.get("resource", {}).get("attributes", [])},
        }
        for block in document.get("resourceSpans", [])
        for scope in block.get("scopeSpans", [])
        for span in scope.get("spans", [])
    ]


def jaeger_spans(query: str, traces: Iterable[str]) -> list[dict[str, Any]]:
    """The spans of traces as Jaeger's query API (/api/v3, OTLP/JSON) has them; a trace it does not know gives none."""
    found: list[dict[str, Any]] = []
    with httpx.Client(timeout=10) as client:
        for trace in traces:
            answer = client.get(f"{query}/api/v3/traces/{trace}")
            if answer.status_code != 404:
                answer.raise_for_status()
                found += json_spans(answer.json()["result"])
    return found
