import json

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from headwater.ingest import jaeger
from headwater.ingest.values import wire_attributes
from headwater.model.errors import UndecodableError


def answer(*spans, processes=None) -> bytes:
    return json.dumps(
        {"data": [{"traceID": "1", "spans": list(spans), "processes": processes or {"p1": {"serviceName": "svc", "tags": []}}}]}
    ).encode()


def span(number: int = 1, **extra) -> dict:
    return {"traceID": "abc", "spanID": f"{number:x}", "operationName": "x", "startTime": 5, "duration": 7, "processID": "p1", "tags": [], **extra}


def test_short_ids_and_microseconds() -> None:
    table = jaeger.decode(answer(span(0x1F))).spans
    assert table.trace_id.tolist() == [[0, 0xABC]]
    assert table.span_id.tolist() == [0x1F]
    assert (table.start_ns.tolist(), table.end_ns.tolist()) == ([5_000], [12_000])
    assert table.service.at(0) == "svc"


def test_an_opentracing_error_tag_is_an_error_and_stays() -> None:
    batch = jaeger.decode(answer(span(tags=[{"key": "error", "type": "bool", "value": True}])))
    assert batch.spans.status.tolist() == [2]
    assert wire_attributes(batch.wire.span[0], b"")["error"] == "true"


def test_a_parent_is_a_child_of_reference_in_the_same_trace() -> None:
    elsewhere = {"refType": "CHILD_OF", "traceID": "def", "spanID": "9"}
    follows = {"refType": "FOLLOWS_FROM", "traceID": "abc", "spanID": "8"}
    parent = {"refType": "CHILD_OF", "traceID": "abc", "spanID": "7"}
    table = jaeger.decode(answer(span(1, references=[elsewhere, follows, parent]))).spans
    assert table.parent_id.tolist() == [7]
    assert table.link_span_id.tolist() == [9, 8]
    assert table.link_kind.tolist() == [0, 0]


def test_one_trace_alone_and_a_span_with_its_own_process() -> None:
    one = json.loads(answer(span(process={"serviceName": "own", "tags": [{"key": "region", "type": "string", "value": "eu"}]})))["data"][0]
    batch = jaeger.decode(json.dumps(one).encode())
    assert batch.spans.service.at(0) == "own"
    assert wire_attributes(batch.wire.span[0], batch.wire.resource_values[0])["region"] == "eu"


def test_logs_become_events() -> None:
    log = {"timestamp": 6, "fields": [{"key": "event", "type": "string", "value": "boom"}, {"key": "n", "type": "int64", "value": 3}]}
    held = Span.FromString(jaeger.decode(answer(span(logs=[log]))).wire.span[0]).events[0]
    assert (held.time_unix_nano, held.name, held.attributes[0].value.int_value) == (6_000, "boom", 3)


@pytest.mark.parametrize(
    ("reason", "bad"),
    [
        ("invalid_trace_id", span(traceID="xyz")),
        ("invalid_trace_id", span(traceID="0")),
        ("invalid_span_id", span(spanID=None)),
        ("malformed", span(startTime="soon")),
        ("malformed", {"traceID": "abc", "spanID": "1"}),
        ("malformed", 5),
        ("invalid_utf8", span(operationName="\udcff")),
    ],
)
def test_one_bad_span_is_rejected_alone(reason, bad) -> None:
    batch = jaeger.decode(answer(span(1), bad, span(2)))
    assert batch.rejected == {reason: 1}
    assert batch.spans.span_id.tolist() == [1, 2]


@pytest.mark.parametrize("text", [b"", b"{", b"{}", b"[]", b'{"data": [1]}', b'{"data": [{"spans": 1, "processes": {}}]}'])
def test_other_json_is_refused(text) -> None:
    with pytest.raises(UndecodableError, match="nothing of it was taken"):
        jaeger.decode(text)
