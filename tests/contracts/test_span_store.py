"""The suite every span store must pass, in each state its spans can be in: memory, one segment, many, beside a writer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.otlp_samples import MS, T0, assert_same_table, body, keys, make_span, outcome_span, speech_trace

from headwater.ingest import otlp
from headwater.ingest.values import wire_attributes
from headwater.model.ports import Window
from headwater.model.spans import SpanBatch, SpanTable
from headwater.store.rows import first_copies
from headwater.store.span_store import SpanStore

Opened = Callable[..., SpanStore]
ALL = Window()


def batch(*spans, **kwargs) -> SpanBatch:
    return otlp.decode(body(*spans, **kwargs))


@pytest.fixture(params=["memory", "one_segment", "segment_each", "half_in_memory", "reader", "reader_with_log"])
def opened(request, tmp_path: Path) -> Iterator[Opened]:
    """A function: batches → a store that holds them."""
    state, kept = request.param, []

    def build(*batches: SpanBatch) -> SpanStore:
        store = SpanStore(tmp_path / "store", writer=True, attributes=wire_attributes)
        kept.append(store)
        for position, held in enumerate(batches):
            store.append([held])
            if state in {"segment_each", "reader"} or (state in {"half_in_memory", "reader_with_log"} and position < len(batches) // 2):
                store.flush()
        if state == "one_segment":
            store.flush()
        if state.startswith("reader"):
            # A reader sees the whole log, also what the writer has flushed since: overlap must not double anything.
            recent = batches if state == "reader_with_log" else ()
            store = SpanStore(tmp_path / "store", writer=False, attributes=wire_attributes, recent=recent)
            kept.append(store)
        return store

    yield build
    for store in reversed(kept):
        store.close()


def test_an_empty_store_has_nothing_and_says_so_with_empty_tables(opened: Opened) -> None:
    store = opened()
    assert store.pipelines() == ()
    assert len(store.window("speech", ALL)) == 0
    assert len(store.trace((0, 1))) == 0
    assert list(store.batches(None, ALL)) == []
    assert store.root_attribute("speech", ALL, "x") == {}


def test_what_was_appended_comes_back_whole(opened: Opened) -> None:
    parts = [batch(*speech_trace(1)), batch(*speech_trace(2, start=T0 + 10), outcome_span(50, target=1)), batch(*speech_trace(3, start=T0 + 20))]
    table = opened(*parts).window("speech", ALL)
    sent = SpanTable.concatenate([part.spans for part in parts])
    order = [np.lexsort((t.span_id, t.trace_id[:, 1])).astype(np.int64) for t in (table, sent)]
    assert_same_table(table.take(order[0]), sent.take(order[1]))


def test_the_pipeline_is_that_of_the_first_span_naming_one_else_the_service(opened: Opened) -> None:
    late_name = [
        make_span(1, 1),
        make_span(1, 2, start=T0 + MS, headwater__pipeline__name="z"),
        make_span(1, 3, start=T0 + 2 * MS, headwater__pipeline__name="b"),
    ]
    store = opened(
        batch(late_name[2]), batch(late_name[0]), batch(late_name[1]), batch(make_span(2, 1), service="shop"), batch(make_span(3, 1), service=None)
    )
    assert [(p.pipeline, p.n_traces, p.n_spans) for p in store.pipelines()] == [("shop", 1, 1), ("unknown_service", 1, 1), ("z", 1, 3)]
    assert len(store.window("z", ALL)) == 3
    assert len(store.window("b", ALL)) == 0
    assert len(store.window("shop", ALL)) == 1


def test_summaries_count_traces_spans_stages_and_outcomes(opened: Opened) -> None:
    store = opened(
        batch(*speech_trace(1), *speech_trace(2, start=T0 + 5)),
        batch(outcome_span(90, target=1), outcome_span(91, run="run-2"), outcome_span(92, run="run-2", target=2), outcome_span(93, run="nobody")),
        batch(*speech_trace(3, start=T0 + 50, pipeline="other")),
    )
    other, speech = store.pipelines()
    assert (speech.pipeline, speech.stages, speech.n_traces, speech.n_spans, speech.n_outcomes) == ("speech", ("vad", "asr"), 2, 6, 3)
    assert (speech.first_start_ns, speech.last_start_ns) == (T0, T0 + 5)
    assert (other.pipeline, other.n_traces, other.n_outcomes) == ("other", 1, 0)


def test_a_window_goes_by_the_earliest_span_and_brings_the_whole_trace(opened: Opened) -> None:
    early, late = make_span(1, 1, start=T0), make_span(1, 2, start=T0 + 1_000, parent=1)
    store = opened(batch(late, make_span(2, 1, start=T0 + 1_000)), batch(early))
    assert keys(store.window("svc", Window(start_ns=T0, end_ns=T0 + 1))) == {(0, 1, (1 << 20) + 1), (0, 1, (1 << 20) + 2)}
    assert keys(store.window("svc", Window(start_ns=T0 + 1))) == {(0, 2, (2 << 20) + 1)}
    assert len(store.window("svc", Window(end_ns=T0))) == 0
    assert len(store.window("svc", Window(end_ns=T0 + 1_001))) == 3


def test_each_span_once_the_first_copy_kept(opened: Opened) -> None:
    first, changed = make_span(1, 1, name="first"), make_span(1, 1, name="second")
    same_low_half = make_span((1 << 64) + 1, 1, name="another trace")
    same_low_half.span_id = first.span_id
    store = opened(batch(first, first), batch(changed, make_span(1, 2)), batch(first, same_low_half))
    table = store.window("svc", ALL)
    assert sorted(table.name.at(i) or "" for i in range(len(table))) == ["another trace", "first", "step"]
    assert store.pipelines()[0].n_spans == 3
    assert sum(len(part.spans) for part in store.batches(None, ALL)) == 3


def test_outcomes_join_by_link_or_run_id_whenever_they_arrive(opened: Opened) -> None:
    store = opened(
        batch(outcome_span(80, target=1, loss=0.25)),
        batch(*speech_trace(1), *speech_trace(2, start=T0 + 10)),
        batch(outcome_span(81, run="run-2", loss=0.5, start=T0 + 10**15), outcome_span(82, run="someone else"), outcome_span(83, target=7)),
    )
    whole = store.window("speech", ALL)
    assert {key[1] for key in keys(whole)} == {1, 2, 80, 81}
    losses = whole.number("headwater.outcome.loss")
    assert sorted(losses[~np.isnan(losses)].tolist()) == [0.25, 0.5]
    assert {key[1] for key in keys(store.window("speech", Window(start_ns=T0 + 10)))} == {2, 81}
    assert {key[1] for key in keys(store.trace((0, 1)))} == {1, 80}
    assert {key[1] for key in keys(store.trace((0, 2)))} == {2, 81}


def test_an_outcome_inside_the_trace_it_judges_is_there_once(opened: Opened) -> None:
    inside = make_span(1, 9, parent=1, name="headwater.outcome", headwater__outcome__loss=1.0, headwater__run__id="run-1")
    inside.links.add(trace_id=(1).to_bytes(16, "big"), span_id=((1 << 20) + 1).to_bytes(8, "big"))
    store = opened(batch(*speech_trace(1)), batch(inside, outcome_span(80, target=1)))
    assert len(store.window("speech", ALL)) == len(store.trace((0, 1))) == 5
    assert store.pipelines()[0].n_outcomes == 2


def test_an_outcome_that_names_another_pipeline_does_not_join_by_run_id(opened: Opened) -> None:
    foreign = outcome_span(80, run="run-1")
    pair = foreign.attributes.add()
    pair.key, pair.value.string_value = "headwater.pipeline.name", "other"
    store = opened(batch(*speech_trace(1)), batch(foreign))
    assert {key[1] for key in keys(store.window("speech", ALL))} == {1}


@pytest.mark.parametrize(
    ("where", "traces"),
    [
        ((("headwater.stage.name", "asr"),), {1, 2, 3}),
        ((("headwater.run.id", "run-2"),), {2}),
        ((("headwater.own.dropped_p", "0.25"),), {1, 2, 3}),
        ((("headwater.own.dropped_p", "0.250"), ("session.id", "s1")), {1}),
        ((("service.name", "b"),), {2}),
        ((("headwater.confidence", "0.9"), ("headwater.model.version", "1.2")), {1, 2, 3}),
        ((("http.route", "/x"),), {3}),
        ((("http.status", "200"),), {3}),
        ((("http.status", "200.0"),), {3}),
        ((("region", "eu"),), {2}),
        ((("region", "eu"), ("http.route", "/x")), set()),
        ((("nobody.has", "this"),), set()),
    ],
)
def test_where_filters_traces_by_any_attribute(opened: Opened, where, traces) -> None:
    odd = make_span(3, 9, start=T0 + 3, http__route="/x", http__status=200)
    store = opened(
        batch(*speech_trace(1)), batch(*speech_trace(2), service="b", region="eu"), batch(*speech_trace(3), odd), batch(outcome_span(80, target=2))
    )
    found = store.window("speech", Window(where=where))
    assert {key[1] for key in keys(found)} == traces | ({80} if 2 in traces else set())
    # all spans of a trace that matches, not only the one that does
    assert all(sum(key[1] == trace for key in keys(found)) >= 3 for trace in traces)


def test_root_attribute_reads_columns_and_wire(opened: Opened) -> None:
    root = make_span(1, 1, start=T0 + 5, customer__tier="gold", headwater__canary=True)
    child = make_span(1, 2, start=T0, parent=1, customer__tier="wrong", headwater__canary=False)
    store = opened(batch(child), batch(root), batch(make_span(2, 1, session__id="s9"), region="eu"))
    assert store.root_attribute("svc", ALL, "customer.tier") == {f"{1:032x}": "gold"}
    assert store.root_attribute("svc", ALL, "region") == {f"{2:032x}": "eu"}
    assert store.root_attribute("svc", ALL, "session.id") == {f"{2:032x}": "s9"}
    assert store.root_attribute("svc", ALL, "headwater.canary") == {f"{1:032x}": "1"}


def test_export_gives_each_span_byte_for_byte(opened: Opened) -> None:
    parts = [
        batch(*speech_trace(1), scope="a"),
        batch(*speech_trace(2), region="eu"),
        batch(outcome_span(80, target=2), *speech_trace(5, pipeline="other")),
    ]
    store = opened(*parts)
    sent = {
        (wire.span[i], wire.resource_values[wire.resource_codes[i]], wire.scope_values[wire.scope_codes[i]])
        for p in parts
        for wire in [p.wire]
        for i in range(len(wire))
    }

    def exported(pipeline: str | None, window: Window = ALL) -> set:
        found = list(store.batches(pipeline, window))
        for part in found:
            assert_same_table(part.spans, otlp.decode(otlp.encode(part.wire)).spans)
        triples = [
            (w.span[i], w.resource_values[w.resource_codes[i]], w.scope_values[w.scope_codes[i]])
            for p in found
            for w in [p.wire]
            for i in range(len(w))
        ]
        assert len(triples) == len(set(triples))
        return set(triples)

    assert exported(None) == sent
    assert len(exported("speech")) == 7
    assert len(exported("other")) == 3
    assert len(exported("speech", Window(where=(("region", "eu"),)))) == 4
    assert len(exported("nobody")) == 0


def test_first_copies_compares_all_128_bits() -> None:
    table = SpanTable.build(
        trace_id=np.array([[1, 2], [2, 1], [1, 2], [3, 3]], np.uint64), span_id=np.array([5, 5, 5, 5], np.uint64), start_ns=[0] * 4, end_ns=[0] * 4
    )
    assert first_copies(table).tolist() == [0, 1, 3]
