import json

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.ingest.test_otlp import requests
from tests.support.otlp_samples import assert_same_table, body, make_span, outcome_span, speech_trace

from headwater.conventions.attributes import DEFECT_CUT
from headwater.ingest import otlp, otlp_json
from headwater.ingest.limits import Limits, OverLimitError
from headwater.model.errors import UndecodableError


def line(*spans: dict) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def json_span(number: int = 1, **extra) -> dict:
    return {"traceId": f"{7:032x}", "spanId": f"{number:016x}", "name": "x", "startTimeUnixNano": "5", "endTimeUnixNano": "9", **extra}


@settings(max_examples=60, deadline=None)
@given(requests())
def test_protobuf_to_json_and_back_loses_nothing(message: ExportTraceServiceRequest) -> None:
    batch = otlp.decode(message.SerializeToString(deterministic=True))
    text = otlp_json.encode(batch.wire)
    assert text.count(b"\n") == bool(len(batch.wire))
    again = otlp_json.decode(text or b"{}")
    assert not again.rejected
    assert_same_table(again.spans, batch.spans)
    assert again.wire.span == batch.wire.span
    assert [again.wire.resource_values[c] for c in again.wire.resource_codes] == [batch.wire.resource_values[c] for c in batch.wire.resource_codes]
    assert [again.wire.scope_values[c] for c in again.wire.scope_codes] == [batch.wire.scope_values[c] for c in batch.wire.scope_codes]


def test_numbers_may_be_text_and_enums_names() -> None:
    value = {"key": "headwater.items", "value": {"intValue": 7}}
    text = {"key": "headwater.batch.size", "value": {"intValue": "9007199254740993"}}
    spans = otlp_json.decode(
        line(json_span(kind="SPAN_KIND_SERVER", status={"code": "STATUS_CODE_ERROR"}, startTimeUnixNano=5, attributes=[value, text]))
    ).spans
    assert (spans.kind.tolist(), spans.status.tolist(), spans.start_ns.tolist(), spans.end_ns.tolist()) == ([2], [2], [5], [9])
    assert spans.number("headwater.items")[0] == 7
    exact = otlp_json.decode(line(json_span(attributes=[text]))).wire.span[0]
    assert b'"intValue":"9007199254740993"' in otlp_json.encode(
        otlp.decode(otlp.encode(otlp_json.decode(line(json_span(attributes=[text]))).wire)).wire
    )
    assert exact


def test_ids_in_base64_are_refused_not_misread() -> None:
    wrong = MessageToJson(ExportTraceServiceRequest.FromString(body(*speech_trace(1))), indent=None).encode()
    assert otlp_json.decode(wrong).rejected == {"invalid_trace_id": 3}


@pytest.mark.parametrize(
    ("reason", "span"),
    [
        ("invalid_trace_id", json_span(traceId="00")),
        ("invalid_trace_id", json_span(traceId="0" * 32)),
        ("invalid_trace_id", json_span(traceId=None)),
        ("invalid_span_id", json_span(spanId="xyz")),
        ("invalid_parent_id", json_span(parentSpanId="12")),
        ("malformed", json_span(startTimeUnixNano="soon")),
        ("malformed", json_span(startTimeUnixNano=-1)),
        ("malformed", json_span(startTimeUnixNano=1.5)),
        ("malformed", json_span(attributes=[{"value": {}}])),
        ("malformed", json_span(attributes="none")),
        ("malformed", json_span(attributes=[{"key": "k", "value": {"bytesValue": "*"}}])),
        ("malformed", json_span(kind="SPAN_KIND_ODD")),
        ("invalid_utf8", json_span(name="\ud800")),
        ("time_out_of_range", json_span(endTimeUnixNano=str(2**63))),
        ("malformed", 5),
        ("too_many_attributes", json_span(attributes=[{"key": f"k{i}", "value": {"stringValue": ""}} for i in range(1_025)])),
    ],
)
def test_one_bad_span_is_rejected_alone(reason, span) -> None:
    batch = otlp_json.decode(line(json_span(1), span, json_span(2)))
    assert batch.rejected == {reason: 1}
    assert batch.spans.span_id.tolist() == [1, 2]


def test_bytes_that_are_not_utf8_cost_their_own_span() -> None:
    batch = otlp_json.decode(line(json_span(1), json_span(2, name="NAME")).replace(b"NAME", b"\xff\xfe"))
    assert batch.rejected == {"invalid_utf8": 1}
    assert batch.spans.span_id.tolist() == [1]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"[]",
        b'{"resourceMetrics": []}',
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [3]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":7}]}]}',
        line(json_span())[:-3],
    ],
)
def test_what_is_no_request_is_refused_with_a_sentence(text) -> None:
    with pytest.raises(UndecodableError, match="nothing of"):
        otlp_json.decode(text)


def test_deep_values_are_cut_and_absurd_ones_refused() -> None:
    deep: dict = {"stringValue": "leaf"}
    for level in range(40):
        deep = {"arrayValue": {"values": [deep]}} if level % 2 else {"kvlistValue": {"values": [{"key": "k", "value": deep}]}}
    batch = otlp_json.decode(line(json_span(1, attributes=[{"key": "deep", "value": deep}]), json_span(2)))
    np.testing.assert_array_equal(batch.spans.number(DEFECT_CUT), [1.0, np.nan])
    assert len(otlp.decode(otlp.encode(batch.wire)).spans) == 2
    absurd = b'{"resourceSpans":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(UndecodableError, match="nested too deep"):
        otlp_json.decode(absurd)


def test_the_deepest_allowed_value_survives_uncut() -> None:
    deep: dict = {"stringValue": "leaf"}
    for _ in range(31):
        deep = {"kvlistValue": {"values": [{"key": "k", "value": deep}]}}
    batch = otlp_json.decode(line(json_span(1, attributes=[{"key": "deep", "value": deep}])))
    assert DEFECT_CUT not in batch.spans.numbers
    assert b"leaf" in batch.wire.span[0]


def test_limits_of_a_request() -> None:
    with pytest.raises(OverLimitError):
        otlp_json.decode(line(json_span(1), json_span(2)), limits=Limits(spans=1))
    with pytest.raises(OverLimitError):
        otlp_json.decode(line(json_span(1)), limits=Limits(body_bytes=20))


def test_outcome_links_survive() -> None:
    batch = otlp.decode(body(outcome_span(9, target=5), make_span(1, 1)))
    assert otlp_json.decode(otlp_json.encode(batch.wire)).spans.link_kind.tolist() == [3]
