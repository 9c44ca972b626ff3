"""The same trace through every decoder gives the equal SpanTable."""

import base64
import json
from collections.abc import Callable

import numpy as np
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from tests.support.otlp_samples import MS, T0, assert_same_table, body, make_span, outcome_span, speech_trace

from headwater.ingest import jaeger, otlp, otlp_json, parquet
from headwater.model.spans import SpanBatch, SpanTable

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


def jaeger_json(batch: SpanBatch) -> bytes:
    """The batch as Jaeger's query service shows it: microseconds, tags, references, processes."""
    traces: dict[str, dict] = {}
    for row, raw in enumerate(batch.wire.span):
        span = Span.FromString(raw)
        resource = ResourceSpans.FromString(batch.wire.resource_values[batch.wire.resource_codes[row]]).resource
        scope = ScopeSpans.FromString(batch.wire.scope_values[batch.wire.scope_codes[row]]).scope
        trace = traces.setdefault(span.trace_id.hex(), {"traceID": span.trace_id.hex(), "spans": [], "processes": {}})
        process = f"p{len(trace['processes'])}"
        tags = [tag(pair) for pair in resource.attributes]
        service = next((t["value"] for t in tags if t["key"] == "service.name"), "")
        trace["processes"][process] = {"serviceName": service, "tags": [t for t in tags if t["key"] != "service.name"]}
        extra = [{"key": "otel.scope.name", "type": "string", "value": scope.name}]
        if span.kind:
            extra.append({"key": "span.kind", "type": "string", "value": KINDS[span.kind]})
        if span.status.code:
            extra.append({"key": "otel.status_code", "type": "string", "value": {1: "OK", 2: "ERROR"}[span.status.code]})
        if span.status.code == 2:
            extra.append({"key": "error", "type": "bool", "value": True})
        if span.trace_state:
            extra.append({"key": "w3c.tracestate", "type": "string", "value": span.trace_state})
        references = [{"refType": "FOLLOWS_FROM", "traceID": link.trace_id.hex(), "spanID": link.span_id.hex()} for link in span.links]
        if span.parent_span_id:
            references.insert(0, {"refType": "CHILD_OF", "traceID": span.trace_id.hex(), "spanID": span.parent_span_id.hex()})
        trace["spans"].append(
            {
                "traceID": span.trace_id.hex(),
                "spanID": span.span_id.hex(),
                "operationName": span.name,
                "references": references,
                "startTime": span.start_time_unix_nano // 1_000,
                "duration": (span.end_time_unix_nano - span.start_time_unix_nano) // 1_000,
                "tags": [tag(pair) for pair in span.attributes] + extra,
                "logs": [
                    {"timestamp": e.time_unix_nano // 1_000, "fields": [{"key": "event", "type": "string", "value": e.name}]} for e in span.events
                ],
                "processID": process,
                "warnings": None,
            }
        )
    return json.dumps({"data": list(traces.values()), "total": 0, "errors": None}).encode()


def tag(pair) -> dict:
    kind = pair.value.WhichOneof("value")
    value = getattr(pair.value, kind)
    types = {"string_value": "string", "bool_value": "bool", "int_value": "int64", "double_value": "float64", "bytes_value": "binary"}
    return {"key": pair.key, "type": types[kind], "value": base64.b64encode(value).decode() if kind == "bytes_value" else value}


def sample() -> SpanBatch:
    odd = make_span(
        3, 1, start=T0 + 70 * MS, length=0, name="ödd", headwater__items=7, headwater__canary=False, headwater__blocking=True, blob=b"\x00\xff"
    )
    odd.kind, odd.status.code, odd.trace_state = Span.SPAN_KIND_CLIENT, 2, "ot=th:c"
    odd.events.add(time_unix_nano=T0, name="late")
    odd.links.add(trace_id=(9).to_bytes(16, "big"), span_id=(4).to_bytes(8, "big"))
    fine = make_span(4, 1, headwater__confidence=2.0, headwater__difficulty__snr=-3.5, headwater__final=True, headwater__batch__size=2**53 + 1)
    fine.status.code = 1
    return otlp.decode(
        body(*speech_trace(1)) + body(*speech_trace(2), service="other", region="eu") + body(odd, fine, outcome_span(80, target=2, run="run-2"))
    )


PATHS: dict[str, Callable[[SpanBatch], SpanBatch]] = {
    "otlp": lambda batch: otlp.decode(otlp.encode(batch.wire)),
    "otlp_json": lambda batch: otlp_json.decode(otlp_json.encode(batch.wire)),
    "parquet": lambda batch: parquet.decode(parquet.encode([batch])),
    "jaeger": lambda batch: jaeger.decode(jaeger_json(batch)),
}


@pytest.mark.parametrize("path", PATHS)
def test_every_decoder_gives_the_equal_table(path: str) -> None:
    batch = sample()
    again = PATHS[path](batch)
    assert not again.rejected
    assert_same_table(again.spans, batch.spans)


@pytest.mark.parametrize("path", ["otlp", "otlp_json", "parquet"])
def test_the_lossless_ones_give_the_equal_bytes(path: str) -> None:
    batch = sample()
    again = PATHS[path](batch)
    assert again.wire.span == batch.wire.span
    assert otlp.encode(again.wire) == otlp.encode(batch.wire)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_in_nothing_out(path: str) -> None:
    empty = otlp.decode(b"")
    if path == "otlp_json":
        assert otlp_json.encode(empty.wire) == b""
        assert len(otlp_json.decode(b"{}").spans) == 0
    else:
        assert len(PATHS[path](empty).spans) == 0


def test_integers_beyond_a_double_come_back_through_jaeger() -> None:
    again = jaeger.decode(jaeger_json(sample()))
    held = [Span.FromString(raw) for raw in again.wire.span]
    sizes = [pair.value.int_value for span in held for pair in span.attributes if pair.key == "headwater.batch.size"]
    assert sizes == [2**53 + 1]


def test_the_sample_exercises_every_column() -> None:
    table = sample().spans
    for name in SpanTable.__slots__:
        column = getattr(table, name)
        values = column.codes if hasattr(column, "codes") else column
        assert len(values), name
        if isinstance(values, np.ndarray):
            assert np.unique(values).size > 1 or name == "link_row", name
