"""OTLP requests for the tests of ingest, store and service, built with the official protobuf classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headwater.model.spans import SpanTable, TextColumn

T0 = 1_700_000_000_000_000_000
MS = 1_000_000


def set_value(target, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for item in value:
            set_value(target.array_value.values.add(), item)
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        set_attributes(target.kvlist_value.values, value)
    elif value is not None:
        target.string_value = value


def set_attributes(target, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        pair = target.add()
        pair.key = key
        set_value(pair.value, value)


def make_span(trace: int, number: int, *, parent: int = 0, start: int = T0, length: int = 10 * MS, name: str = "step", **attributes: Any) -> Span:
    """Span `number` of trace `trace`; keyword names use __ for dots: headwater__run__id="r1"."""
    span = Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=((trace << 20) % 2**63 + number).to_bytes(8, "big"),
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=start,
        end_time_unix_nano=start + length,
    )
    if parent:
        span.parent_span_id = ((trace << 20) % 2**63 + parent).to_bytes(8, "big")
    set_attributes(span.attributes, {key.replace("__", "."): value for key, value in attributes.items()})
    return span


def request(*spans: Span, service: str | None = "svc", scope: str = "tests", **resource: Any) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    owner = message.resource_spans.add()
    if service is not None:
        set_attributes(owner.resource.attributes, {"service.name": service})
    set_attributes(owner.resource.attributes, {key.replace("__", "."): value for key, value in resource.items()})
    group = owner.scope_spans.add()
    group.scope.name = scope
    group.spans.extend(spans)
    return message


def body(*spans: Span, **kwargs: Any) -> bytes:
    return request(*spans, **kwargs).SerializeToString()


def speech_trace(trace: int, *, start: int = T0, pipeline: str = "speech", run: str | None = None) -> list[Span]:
    """Root and two stages, as the wrapper writes them."""
    common = {"headwater__pipeline__name": pipeline, "headwater__run__id": run or f"run-{trace}"}
    return [
        make_span(trace, 1, start=start, length=30 * MS, name="speech", **common, session__id=f"s{trace % 3}"),
        make_span(
            trace,
            2,
            parent=1,
            start=start + MS,
            name="vad",
            **common,
            headwater__stage__name="vad",
            headwater__confidence=0.9,
            headwater__own__dropped_p=0.25,
        ),
        make_span(
            trace,
            3,
            parent=1,
            start=start + 12 * MS,
            name="asr",
            **common,
            headwater__stage__name="asr",
            headwater__confidence=0.5,
            headwater__model__version="1.2",
        ),
    ]


def outcome_span(trace: int, *, target: int | None = None, run: str | None = None, loss: float = 1.0, start: int = T0) -> Span:
    span = make_span(trace, 1, start=start, length=0, name="headwater.outcome", headwater__outcome__loss=loss, headwater__outcome__name="loss")
    if run is not None:
        set_attributes(span.attributes, {"headwater.run.id": run})
    if target is not None:
        link = span.links.add()
        link.trace_id = target.to_bytes(16, "big")
        link.span_id = ((target << 20) % 2**63 + 1).to_bytes(8, "big")
        set_attributes(link.attributes, {"headwater.link.kind": "outcome"})
    return span


def assert_same_table(left: SpanTable, right: SpanTable) -> None:
    """Every column equal row by row; a text dictionary may be in another order."""
    assert len(left) == len(right)
    for name in SpanTable.__slots__:
        a, b = getattr(left, name), getattr(right, name)
        if name in {"numbers", "texts"}:
            assert set(a) == set(b), name
            for key in a:
                assert_same_column(a[key], b[key], key)
        else:
            assert_same_column(a, b, name)


def assert_same_column(a: Any, b: Any, name: str) -> None:
    if isinstance(a, TextColumn):
        assert [a.at(row) for row in range(len(a))] == [b.at(row) for row in range(len(b))], name
    else:
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)


def keys(table: SpanTable) -> set[tuple[int, int, int]]:
    return {(int(high), int(low), int(span)) for (high, low), span in zip(table.trace_id, table.span_id, strict=True)}
