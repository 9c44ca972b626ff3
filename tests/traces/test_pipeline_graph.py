"""Graphs read off small traces."""

import numpy as np

from headwater.conventions.attributes import LINK_KINDS
from headwater.model.spans import SpanTable, TextColumn
from headwater.traces.assemble import assemble
from headwater.traces.pipeline import graph

INPUT = LINK_KINDS.index("input")


def run(trace, spans, links=()):
    """(name, parent, start, end): a name before "#" is the stage; "-" in front of it = no stage."""
    names = [span[0] for span in spans]
    n = len(spans)
    place = {name: index for index, name in enumerate(names)}
    return SpanTable.build(
        trace_id=np.tile(np.array([[0, trace]], np.uint64), (n, 1)),
        span_id=np.arange(1, n + 1).astype(np.uint64),
        parent_id=np.array([place[span[1]] + 1 if span[1] else 0 for span in spans], np.uint64),
        start_ns=[span[2] for span in spans],
        end_ns=[span[3] for span in spans],
        stage=TextColumn.of([None if name[0] == "-" else name.split("#")[0] for name in names]),
        service=TextColumn.of(["app"] * n),
        pipeline=TextColumn.of(["speech"] * n),
        link_row=np.array([place[link[0]] for link in links], np.int64),
        link_trace_id=np.tile(np.array([[0, trace]], np.uint64), (len(links), 1)),
        link_span_id=np.array([place[link[1]] + 1 for link in links], np.uint64),
        link_kind=np.full(len(links), INPUT, np.int8),
    )


def edges(*parts):
    found = graph(assemble(SpanTable.concatenate(list(parts))))
    return {(found.stages[a], found.stages[b]): int(calls) for (a, b), calls in zip(found.edge, found.calls, strict=True)}


CHAIN = [("-run", None, 0, 100), ("vad", "-run", 0, 20), ("asr", "-run", 20, 70), ("nlu", "-run", 75, 100)]


def test_siblings_in_sequence_are_a_chain():
    found = graph(assemble(SpanTable.concatenate([run(1, CHAIN), run(2, CHAIN)])))
    assert found.stages == ("vad", "asr", "nlu")
    assert found.edge.tolist() == [[0, 1], [1, 2]]
    assert found.calls.tolist() == [2, 2]
    assert found.stage_calls.tolist() == [2, 2, 2]
    assert found.pipeline == "speech"
    assert not found.declared
    assert found.acyclic


def test_parallel_siblings_fan_out_and_join():
    spans = [("-run", None, 0, 100), ("split", "-run", 0, 20), ("left", "-run", 20, 70), ("right", "-run", 25, 60), ("join", "-run", 71, 100)]
    assert edges(run(1, spans)) == {("split", "left"): 1, ("split", "right"): 1, ("left", "join"): 1, ("right", "join"): 1}


def test_a_retry_is_no_loop():
    spans = [("-run", None, 0, 100), ("vad", "-run", 0, 20), ("asr", "-run", 20, 30), ("vad#2", "-run", 30, 40), ("asr#2", "-run", 41, 50)]
    found = graph(assemble(run(1, [*spans, ("nlu", "-run", 50, 60)])))
    assert found.stages == ("vad", "asr", "nlu")
    assert found.edge.tolist() == [[0, 1], [1, 2]]
    assert found.stage_calls.tolist() == [2, 2, 1]


def test_nested_stages_are_edges_from_the_stage_around_them():
    spans = [("serve", None, 0, 100), ("-helper", "serve", 1, 99), ("a", "-helper", 2, 40), ("b", "-helper", 50, 90)]
    assert edges(run(1, spans)) == {("serve", "a"): 1, ("a", "b"): 1}


def test_links_of_kind_input_declare_the_edges():
    found = graph(assemble(run(1, CHAIN, links=[("asr", "vad"), ("nlu", "vad")])))
    assert found.declared
    assert {(found.stages[a], found.stages[b]) for a, b in found.edge} == {("vad", "asr"), ("vad", "nlu")}


def test_a_stage_that_no_link_touches_is_still_placed():
    extra = [*CHAIN, ("store", "-run", 100, 110)]
    assert edges(run(1, extra, links=[("asr", "vad"), ("nlu", "asr")])) == {("vad", "asr"): 1, ("asr", "nlu"): 1, ("nlu", "store"): 1}


def test_an_edge_must_be_in_most_traces_that_have_both_stages():
    swapped = [("-run", None, 0, 100), ("asr", "-run", 0, 20), ("vad", "-run", 20, 70), ("nlu", "-run", 75, 100)]
    assert edges(run(1, CHAIN), run(2, CHAIN), run(3, swapped)) == {("vad", "asr"): 2, ("asr", "nlu"): 2}


def test_a_rare_route_keeps_its_edges():
    rare = [("-run", None, 0, 100), ("vad", "-run", 0, 20), ("human", "-run", 30, 90)]
    assert edges(run(1, CHAIN), run(2, CHAIN), run(3, rare))["vad", "human"] == 1


def test_streams_that_overlap_have_no_order():
    spans = [("-run", None, 0, 100), ("a", "-run", 0, 60), ("b", "-run", 10, 100)]
    assert edges(run(1, spans)) == {}


def test_markers_of_no_length_take_their_place():
    spans = [("-run", None, 0, 100), ("a", "-run", 0, 50), ("mark", "-run", 50, 50), ("b", "-run", 50, 100)]
    assert edges(run(1, spans)) == {("a", "mark"): 1, ("mark", "b"): 1}


def test_no_traces_and_no_stages():
    found = graph(assemble(SpanTable.empty()))
    assert found.stages == ()
    assert found.edge.shape == (0, 2)
    assert found.pipeline == ""
    assert graph(assemble(run(1, [("-run", None, 0, 1)]))).stages == ()


def test_five_thousand_siblings_are_quick_to_order():
    spans = [("-run", None, 0, 50_000), *((f"s{i % 7}#{i}", "-run", 10 * i, 10 * i + 10) for i in range(5000))]
    found = graph(assemble(run(1, spans)))
    assert len(found.stages) == 7
    assert found.edge.tolist() == [[i, i + 1] for i in range(6)]


def test_a_declared_edge_elsewhere_takes_no_observed_edge_away():
    """a feeds b by link; c follows b without a link: the chain is a → b → c, although b has declared links of its own."""
    n = 4
    spans = SpanTable.build(
        trace_id=np.ones((n, 2), np.uint64),
        span_id=np.arange(1, n + 1, dtype=np.uint64),
        parent_id=np.array([0, 1, 1, 1], np.uint64),
        start_ns=[0, 10, 20, 30],
        end_ns=[100, 20, 30, 40],
        stage=TextColumn.of([None, "a", "b", "c"]),
        pipeline=TextColumn.of(["p"] * n),
        link_row=np.array([2]),
        link_trace_id=np.ones((1, 2), np.uint64),
        link_span_id=np.array([2], np.uint64),
        link_kind=np.array([LINK_KINDS.index("input")], np.int8),
    )
    found = graph(assemble(spans))
    assert sorted((found.stages[a], found.stages[b]) for a, b in found.edge) == [("a", "b"), ("b", "c")]
