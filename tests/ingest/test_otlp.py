import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.support.otlp_samples import T0, assert_same_table, body, make_span, outcome_span, request, set_attributes, speech_trace

from headwater.conventions.attributes import DEFECT_CUT, DEFECT_SKEWED
from headwater.ingest import otlp
from headwater.ingest.columns import weight_of
from headwater.ingest.limits import Limits, OverLimitError
from headwater.ingest.values import wire_attributes
from headwater.ingest.wire import encode_len
from headwater.model.errors import UndecodableError


def replace_span(message: ExportTraceServiceRequest, index: int, raw: bytes) -> bytes:
    """The request's bytes with the raw bytes of one span replaced."""
    group = message.resource_spans[0].scope_spans[0]
    spans = [encode_len(2, raw if i == index else span.SerializeToString()) for i, span in enumerate(group.spans)]
    scope = encode_len(1, group.scope.SerializeToString())
    resource = encode_len(1, message.resource_spans[0].resource.SerializeToString())
    return encode_len(1, resource + encode_len(2, scope + b"".join(spans)))


def test_columns_of_a_stage_span() -> None:
    table = otlp.decode(body(*speech_trace(7))).spans
    assert [table.stage.at(i) for i in range(3)] == [None, "vad", "asr"]
    assert [table.pipeline.at(i) for i in range(3)] == ["speech"] * 3
    assert [table.service.at(i) for i in range(3)] == ["svc"] * 3
    assert table.trace_id.tolist() == [[0, 7]] * 3
    assert table.parent_id.tolist() == [0, (7 << 20) + 1, (7 << 20) + 1]
    np.testing.assert_array_equal(table.confidence, [np.nan, 0.9, 0.5])
    np.testing.assert_array_equal(table.number("headwater.own.dropped_p"), [np.nan, 0.25, np.nan])
    assert table.text("headwater.model.version").at(2) == "1.2"
    assert table.text("headwater.run.id").at(0) == "run-7"
    assert table.text("session.id").at(0) == "s1"
    assert (table.end_ns - table.start_ns).tolist() == [30_000_000, 10_000_000, 10_000_000]


def test_values_of_the_wrong_type_are_read_for_what_they_are() -> None:
    span = make_span(
        1, 1, headwater__quality__snr="0.5", headwater__run__id=17, headwater__canary=True, headwater__items=3, headwater__blocking=False
    )
    set_attributes(
        span.attributes, {"headwater.own.bad": "a word", "headwater.quality.inf": float("inf"), "headwater.final": True, "headwater.mine": "x"}
    )
    table = otlp.decode(body(span)).spans
    assert table.number("headwater.quality.snr")[0] == 0.5
    assert table.text("headwater.run.id").at(0) == "17"
    assert table.number("headwater.canary")[0] == 1.0
    assert table.number("headwater.items")[0] == 3.0
    assert table.blocking.tolist() == [0]
    assert table.final.tolist() == [True]
    assert table.text("headwater.mine").at(0) == "x"
    assert "headwater.own.bad" not in table.numbers
    assert "headwater.quality.inf" not in table.numbers


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), "high"])
def test_confidence_outside_its_range_is_missing_and_said_so(value) -> None:
    table = otlp.decode(body(make_span(1, 1, headwater__confidence=value), make_span(1, 2, headwater__confidence=1.0))).spans
    np.testing.assert_array_equal(table.confidence, [np.nan, 1.0])
    assert table.text("headwater.confidence.kind").at(0) == "invalid"
    assert table.text("headwater.confidence.kind").at(1) is None


def test_a_span_that_ends_before_it_starts_is_kept_and_marked() -> None:
    table = otlp.decode(body(make_span(1, 1, length=-5), make_span(1, 2))).spans
    assert (table.end_ns - table.start_ns).tolist() == [0, 10_000_000]
    np.testing.assert_array_equal(table.number(DEFECT_SKEWED), [1.0, np.nan])


@pytest.mark.parametrize(
    ("state", "weight"),
    [
        ("ot=th:0", 1.0),
        ("ot=th:8", 2.0),
        ("ot=th:c", 4.0),
        ("a=b, ot=rv:1;th:fd70a4;x:y", 1 / (1 - 0xFD70A4 / 2**24)),
        ("ot=rv:1", np.nan),
        ("notot=th:8", np.nan),
    ],
)
def test_weight_from_trace_state(state, weight) -> None:
    np.testing.assert_allclose(weight_of(state), weight, rtol=1e-12)


def test_links_keep_their_kind_and_target() -> None:
    table = otlp.decode(body(make_span(1, 1), outcome_span(9, target=5))).spans
    assert table.link_row.tolist() == [1]
    assert table.link_trace_id.tolist() == [[0, 5]]
    assert table.link_span_id.tolist() == [(5 << 20) + 1]
    assert table.link_kind.tolist() == [3]


@pytest.mark.parametrize(
    ("reason", "span"),
    [
        ("invalid_trace_id", Span(trace_id=bytes(16), span_id=b"12345678")),
        ("invalid_trace_id", Span(trace_id=b"short", span_id=b"12345678")),
        ("invalid_span_id", Span(trace_id=b"x" * 16, span_id=bytes(8))),
        ("invalid_parent_id", Span(trace_id=b"x" * 16, span_id=b"12345678", parent_span_id=b"123")),
        ("time_out_of_range", Span(trace_id=b"x" * 16, span_id=b"12345678", end_time_unix_nano=2**63)),
    ],
)
def test_a_span_no_trace_can_hold_is_rejected_alone(reason, span) -> None:
    batch = otlp.decode(body(make_span(1, 1), span, make_span(1, 2)))
    assert batch.rejected == {reason: 1}
    assert batch.spans.span_id.tolist() == [(1 << 20) + 1, (1 << 20) + 2]
    assert len(batch.wire) == 2


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("invalid_utf8", make_span(1, 9, name="name").SerializeToString().replace(b"name", b"\xff\xfe\xfd\xfc")),
        ("invalid_utf8", make_span(1, 9, user__key="text").SerializeToString().replace(b"text", b"\xff\xfe\xfd\xfc")),
        ("malformed", b"\xff" * 9),
        ("malformed", make_span(1, 9).SerializeToString()[:-3]),
        ("malformed", make_span(1, 9).SerializeToString() + b"\x0c"),
    ],
)
def test_bytes_that_are_no_span_are_rejected_alone(reason, raw) -> None:
    batch = otlp.decode(replace_span(request(make_span(1, 1), make_span(1, 2), make_span(1, 3)), 1, raw))
    assert batch.rejected == {reason: 1}
    assert batch.spans.span_id.tolist() == [(1 << 20) + 1, (1 << 20) + 3]


def test_a_resource_that_does_not_parse_takes_only_its_own_spans_with_it() -> None:
    bad = body(make_span(2, 1), make_span(2, 2), service="oops").replace(b"oops", b"\xff\xfe\xfd\xfc")
    batch = otlp.decode(body(make_span(1, 1)) + bad + body(make_span(3, 1)))
    assert batch.rejected == {"malformed_resource": 2}
    assert batch.spans.trace_id[:, 1].tolist() == [1, 3]


def test_a_body_that_ends_early_gives_nothing() -> None:
    whole = body(*speech_trace(1), *speech_trace(2))
    for cut in range(1, len(whole)):
        with pytest.raises(UndecodableError, match="not an OTLP"):
            otlp.decode(whole[:cut])


@pytest.mark.parametrize("text", [b"hello world, this is no trace", b"{}", b"\x1a\x02hi", b"\x00", b"\x08\x01"])
def test_other_bytes_are_refused_with_a_sentence(text) -> None:
    with pytest.raises(UndecodableError, match="nothing of it was taken"):
        otlp.decode(text)


def test_an_empty_body_is_an_empty_request() -> None:
    assert len(otlp.decode(b"").spans) == 0
    assert otlp.encode(otlp.decode(b"").wire) == b""


def nested(depth: int):
    value: object = "leaf"
    for level in range(depth - 1):
        value = [value] if level % 2 else {"k": value}
    return value


def raw_nested(depth: int) -> bytes:
    """An AnyValue nested `depth` deep, written by hand: beyond what the parser accepts."""
    value = encode_len(1, b"leaf")
    for _ in range(depth - 1):
        value = encode_len(5, encode_len(1, value))
    return value


@pytest.mark.parametrize(("depth", "cut"), [(2, False), (32, False), (33, True)])
def test_values_nested_too_deep_are_cut_and_the_span_kept(depth, cut) -> None:
    batch = otlp.decode(body(make_span(1, 1, deep=nested(depth), headwater__confidence=0.5)))
    assert len(batch.spans) == 1
    assert (DEFECT_CUT in batch.spans.numbers) == cut
    assert batch.spans.confidence[0] == 0.5
    assert ("leaf" in wire_attributes(batch.wire.span[0], batch.wire.resource_values[0])["deep"]) == (not cut)


@pytest.mark.parametrize("depth", [60, 5_000])
def test_nesting_beyond_the_parser_is_cut_too(depth) -> None:
    attribute = encode_len(9, encode_len(1, b"deep") + encode_len(2, raw_nested(depth)))
    batch = otlp.decode(replace_span(request(make_span(1, 1), make_span(1, 2)), 1, make_span(1, 2).SerializeToString() + attribute))
    assert not batch.rejected
    np.testing.assert_array_equal(batch.spans.number(DEFECT_CUT), [np.nan, 1.0])


def test_long_strings_are_cut_between_characters() -> None:
    limits = Limits(string_bytes=3_000)
    span = make_span(1, 1, long="é" * 2_000, short="e", blob=b"\x80" * 4_000)
    batch = otlp.decode(body(span, make_span(1, 2, odd="x" + "é" * 2_000)), limits=limits)
    assert batch.spans.number(DEFECT_CUT).tolist() == [1.0, 1.0]
    first = wire_attributes(batch.wire.span[0], batch.wire.resource_values[0])
    assert (first["long"], first["short"], first["blob"]) == ("é" * 1_500, "e", "80" * 3_000)
    assert wire_attributes(batch.wire.span[1], batch.wire.resource_values[0])["odd"] == "x" + "é" * 1_499
    again = otlp.decode(otlp.encode(batch.wire), limits=limits)
    assert_same_table(again.spans, batch.spans)


def test_too_many_attributes_reject_the_span_before_it_is_built() -> None:
    many = make_span(1, 1, **{f"k{i}": "v" for i in range(1_025)})
    event = make_span(1, 3)
    set_attributes(event.events.add().attributes, {f"k{i}": "v" for i in range(1_025)})
    enough = make_span(1, 2, **{f"k{i}": "v" for i in range(1_024)})
    batch = otlp.decode(body(many, enough, event))
    assert batch.rejected == {"too_many_attributes": 2}
    assert len(batch.spans) == 1


def test_a_request_over_the_limits_is_refused_whole() -> None:
    with pytest.raises(OverLimitError, match="more than 2 spans"):
        otlp.decode(body(make_span(1, 1), make_span(1, 2), make_span(1, 3)), limits=Limits(spans=2))
    with pytest.raises(OverLimitError, match="more than 50000 spans"):
        otlp.decode(encode_len(1, encode_len(2, b"\x12\x00" * 50_001)))
    with pytest.raises(OverLimitError, match="more than 10 bytes"):
        otlp.decode(body(make_span(1, 1)), limits=Limits(body_bytes=10))


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (b"\x0a\x00" * 50_001, OverLimitError),
        (encode_len(1, b"\x12\x00" * 50_001), OverLimitError),
        (make_span(1, 1).SerializeToString() + b"\x4a\x00" * 1_000_000, "too_many_attributes"),
        (make_span(1, 1).SerializeToString() + b"\x5a\x00" * 1_000_000, "too_many_events"),
        (make_span(1, 1).SerializeToString() + b"\x6a\x00" * 1_000_000, "too_many_links"),
        (make_span(1, 1).SerializeToString() + b"\xa8\x01\x01" * 1_000_000, "too_many_fields"),
    ],
)
def test_empty_messages_by_the_million_are_refused_before_they_are_objects(message, answer) -> None:
    if isinstance(answer, str):
        assert otlp.decode(encode_len(1, encode_len(2, encode_len(2, message)))).rejected == {answer: 1}
    else:
        with pytest.raises(answer):
            otlp.decode(message)


def test_long_lists_are_cut() -> None:
    batch = otlp.decode(body(make_span(1, 1, long=list(range(20_000)), after="kept")))
    assert batch.spans.number(DEFECT_CUT).tolist() == [1.0]
    held = wire_attributes(batch.wire.span[0], b"")
    assert held["long"].startswith("[0,1,2,")
    assert held["long"].endswith("16383]")
    assert held["after"] == "kept"


def test_column_names_are_bounded_and_nothing_is_lost_on_the_wire() -> None:
    spans = [make_span(1, i + 1, **{f"headwater__quality__m{i}_{k}": 1.0 for k in range(50)}) for i in range(20)]
    batch = otlp.decode(body(*spans, make_span(1, 99, headwater__input__size=3.0)))
    assert 200 < len(batch.spans.numbers) <= 257
    assert batch.spans.number("headwater.input.size")[-1] == 3.0
    assert otlp.encode(batch.wire) == body(*spans, make_span(1, 99, headwater__input__size=3.0))


def test_split_gives_bodies_that_add_up() -> None:
    whole = b"".join(body(*speech_trace(i)) for i in range(1, 20))
    parts = list(otlp.split(whole, chunk_bytes=2_000))
    assert len(parts) > 3
    assert b"".join(parts) == whole
    assert sum(otlp.check(part) for part in parts) == 57
    with pytest.raises(UndecodableError):
        list(otlp.split(whole[:-1]))


# One NaN: JSON writes "NaN" for every payload and sign of it.
doubles = st.one_of(st.floats(allow_nan=False), st.just(math.nan))
scalars = st.one_of(st.text(max_size=20), st.booleans(), st.integers(-(2**63), 2**63 - 1), doubles, st.binary(max_size=20), st.none())
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)), max_leaves=6
)
keys_drawn = st.one_of(
    st.text(max_size=8), st.sampled_from(["headwater.confidence", "headwater.stage.name", "headwater.quality.x", "headwater.run.id", "session.id"])
)


@st.composite
def requests(draw):
    message = ExportTraceServiceRequest()
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        owner = message.resource_spans.add(schema_url=draw(st.text(max_size=5)))
        set_attributes(owner.resource.attributes, draw(st.dictionaries(st.sampled_from(["service.name", "x"]), scalars, max_size=2)))
        for _ in range(draw(st.integers(0, 2))):
            group = owner.scope_spans.add(schema_url=draw(st.text(max_size=5)))
            group.scope.name = draw(st.text(max_size=5))
            for _ in range(draw(st.integers(0, 3))):
                number += 1
                span = make_span(
                    draw(st.integers(1, 2**128 - 1)), number, start=draw(st.integers(0, 2**62)), length=0, name=draw(st.text(max_size=5))
                )
                span.trace_state = draw(st.sampled_from(["", "ot=th:8", "vendor=x"]))
                span.status.code = draw(st.integers(0, 2))
                set_attributes(span.attributes, draw(st.dictionaries(keys_drawn, values, max_size=4)))
                set_attributes(span.events.add(name="e").attributes, draw(st.dictionaries(keys_drawn, values, max_size=2)))
                group.spans.append(span)
    return message


@settings(max_examples=60, deadline=None)
@given(requests())
def test_decode_and_encode_lose_nothing(message) -> None:
    batch = otlp.decode(message.SerializeToString())
    assert not batch.rejected
    again = otlp.decode(otlp.encode(batch.wire))
    assert_same_table(again.spans, batch.spans)
    assert again.wire.span == batch.wire.span
    sent = [span.SerializeToString() for owner in message.resource_spans for group in owner.scope_spans for span in group.spans]
    assert list(batch.wire.span) == sent
    flat = [
        (owner.resource, owner.schema_url, g.scope, g.schema_url, s) for owner in message.resource_spans for g in owner.scope_spans for s in g.spans
    ]
    back = ExportTraceServiceRequest.FromString(otlp.encode(batch.wire))
    assert [repr(x) for x in flat] == [
        repr((o.resource, o.schema_url, g.scope, g.schema_url, s)) for o in back.resource_spans for g in o.scope_spans for s in g.spans
    ]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_flipped_bytes_never_crash_the_decoder(data) -> None:
    """Flips inside the body, not only truncation: that never gets past the outer length."""
    raw = bytearray(body(*speech_trace(1), make_span(1, 8, deep=[1, {"a": b"x"}], start=T0)))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        batch = otlp.decode(bytes(raw))
    except UndecodableError:
        return
    assert len(batch.spans) == len(batch.wire)
    assert len(otlp.decode(otlp.encode(batch.wire)).spans) == len(batch.spans)
