"""The known cases: each a small trace drawn by hand, with the one right answer."""

import numpy as np
import pytest

from headwater.analysis.critical_path import partition
from headwater.model.latency import FLAGS
from headwater.model.spans import KIND_CLIENT, KIND_CONSUMER, KIND_INTERNAL, KIND_PRODUCER, KIND_SERVER, SpanTable, TextColumn
from headwater.model.traces import DEFECTS
from headwater.simulate.trees import chain, sequence
from headwater.traces.assemble import assemble

MS = 1_000_000


def trace(*spans, links=(), unit=MS):
    """Spans (name, parent name, start, end, options) in one trace; a name is the stage unless options say stage=None. Times in ms."""
    names = [span[0] for span in spans]
    ids = {name: index + 1 for index, name in enumerate(names)}
    options = [span[4] if len(span) > 4 else {} for span in spans]
    n = len(spans)
    return SpanTable.build(
        trace_id=np.tile(np.array([[0, 7]], np.uint64), (n, 1)),
        span_id=np.array([ids[name] for name in names], np.uint64),
        parent_id=np.array([ids.get(span[1], 999) if span[1] else 0 for span in spans], np.uint64),
        start_ns=np.array([span[2] * unit for span in spans], np.int64),
        end_ns=np.array([span[3] * unit for span in spans], np.int64),
        name=TextColumn.of(names),
        stage=TextColumn.of([option.get("stage", span[0]) for span, option in zip(spans, options, strict=True)]),
        service=TextColumn.of([option.get("service", "app") for option in options]),
        kind=np.array([option.get("kind", KIND_INTERNAL) for option in options], np.int8),
        blocking=np.array([option.get("blocking", -1) for option in options], np.int8),
        final=np.array([option.get("final", False) for option in options], np.bool_),
        link_row=np.array([names.index(link[0]) for link in links], np.int64),
        link_trace_id=np.tile(np.array([[0, 7]], np.uint64), (len(links), 1)),
        link_span_id=np.array([ids[link[1]] for link in links], np.uint64),
        link_kind=np.array([link[2] if len(link) > 2 else 1 for link in links], np.int8),
    )


def spent(spans, **options):
    """Component → ms, of one trace; zero components do not appear."""
    cut = partition(assemble(spans), **options)
    return {name: int(time) // MS for name, time in zip(cut.components, cut.matrix()[0], strict=True)}


def flags_of(spans, component):
    cut = partition(assemble(spans))
    code = cut.components.index(component)
    return {name for bit, name in enumerate(FLAGS) if np.any(cut.flags[cut.component == code] & (1 << bit))}


ROOT = {"stage": None}


def test_back_to_back():
    spans = trace(("R", None, 0, 300, ROOT), ("A", "R", 0, 100), ("B", "R", 100, 200), ("C", "R", 200, 300))
    assert spent(spans) == {"self:A": 100, "self:B": 100, "self:C": 100}


def test_back_to_back_with_a_zero_length_marker_on_the_seam():
    spans = trace(("R", None, 0, 300, ROOT), ("A", "R", 0, 100), ("mark", "R", 100, 100), ("B", "R", 100, 200), ("C", "R", 200, 300))
    assert spent(spans) == {"self:A": 100, "self:B": 100, "self:C": 100}


def test_streaming_overlap():
    spans = trace(("R", None, 0, 300, ROOT), ("A", "R", 0, 200), ("B", "R", 50, 300))
    assert spent(spans) == {"self:A": 50, "self:B": 250}
    assert flags_of(spans, "self:A") == {"overlap"}
    assert flags_of(spans, "self:B") == set()


def test_fire_and_forget():
    spans = trace(("R", None, 0, 100), ("W", "R", 5, 95), ("log", "R", 1, 400, {"blocking": 0}))
    assert spent(spans) == {"self:W": 90, "self:R": 10}
    cut = partition(assemble(spans))
    assert cut.after_response_ns.tolist() == [300 * MS]
    assert cut.ambiguous_share == 0


def test_late_child_found_not_to_block():
    spans = trace(("R", None, 0, 300, ROOT), ("P", "R", 0, 100), ("L", "P", 90, 500), ("D", "R", 100, 300))
    assert spent(spans) == {"self:P": 100, "self:D": 200}
    assert flags_of(spans, "self:P") == {"inferred_async", "ambiguous"}
    cut = partition(assemble(spans))
    assert cut.after_response_ns.tolist() == [200 * MS]
    assert cut.ambiguous_share == pytest.approx(10 / 300)
    assert spent(spans, other_reading=True) == {"self:P": 90, "self:L": 10, "self:D": 200}


def test_producer_and_consumer():
    spans = trace(("R", None, 0, 100, {"kind": KIND_PRODUCER}), ("C", "R", 200, 500, {"kind": KIND_CONSUMER}))
    assert spent(spans) == {"self:R": 100, "queue:R->C": 100, "self:C": 300}


def test_orphan_is_attached_to_the_tightest_span_of_its_service():
    other = {"service": "other"}
    spans = trace(("R", None, 0, 300), ("A", "R", 0, 200), ("X", "R", 40, 160, other), ("O", "lost", 50, 150), ("B", "R", 200, 300))
    traces = assemble(spans)
    assert traces.defects.totals()["orphans"] == 1
    row = traces.spans.name.codes.tolist().index(traces.spans.name.code_of("O"))
    assert traces.spans.name.at(int(traces.parent[row])) == "A"
    cut = partition(traces)
    assert dict(zip(cut.components, (cut.matrix()[0] // MS).tolist(), strict=True))["self:O"] == 100
    assert "orphan" in flags_of(spans, "self:O")


def test_orphan_of_a_service_without_an_enclosing_span_goes_to_any():
    spans = trace(("R", None, 0, 300), ("A", "R", 0, 200), ("O", "lost", 50, 150, {"service": "other"}))
    assert spent(spans) == {"self:A": 100, "self:O": 100, "self:R": 100}


def test_orphan_that_nothing_encloses_is_an_extra_root():
    spans = trace(("R", None, 0, 100), ("O", "lost", 150, 250))
    assert spent(spans) == {"self:R": 100, "unaccounted": 50, "self:O": 100}


def test_fifty_thousand_sequential_children():
    cut = partition(assemble(sequence(50_000)))
    assert cut.trace.size == 50_000
    assert cut.self_ns.sum() == 500_000
    assert np.all(cut.end_ns - cut.start_ns == 10)


def test_chain_fifty_thousand_deep():
    cut = partition(assemble(chain(50_000)))
    assert int(cut.path_ns.sum()) == 1_000_000
    assert np.array_equal(cut.path_ns, cut.self_ns)
    assert cut.trace.size == 2 * 50_000 - 1


# The pitfalls that the definitions name.


def test_a_pipeline_root_without_a_stage_has_unaccounted_gaps_and_one_with_a_stage_has_self():
    gap = (("A", "R", 0, 100), ("B", "R", 150, 300))
    assert spent(trace(("R", None, 0, 300, ROOT), *gap)) == {"self:A": 100, "unaccounted": 50, "self:B": 150}
    assert spent(trace(("R", None, 0, 300), *gap)) == {"self:A": 100, "self:R": 50, "self:B": 150}


def test_a_helper_span_works_for_its_stage_but_a_server_span_does_not():
    spans = trace(
        ("R", None, 0, 300, ROOT),
        ("A", "R", 0, 100),
        ("helper", "A", 20, 60, {"stage": None}),
        ("B", "R", 100, 300),
        ("call", "B", 110, 290, {"stage": None, "kind": KIND_CLIENT}),
        ("server", "call", 120, 280, {"stage": None, "kind": KIND_SERVER, "service": "remote"}),
    )
    assert spent(spans) == {"self:A": 100, "self:B": 20, "edge:remote": 20, "unaccounted": 160}


def test_edge_is_named_after_the_stage_behind_the_server_span():
    spans = trace(
        ("R", None, 0, 300, ROOT),
        ("call", "R", 0, 300, {"stage": None, "kind": KIND_CLIENT}),
        ("server", "call", 50, 250, {"stage": None, "kind": KIND_SERVER}),
        ("asr", "server", 60, 250),
    )
    assert spent(spans) == {"edge:asr": 100, "unaccounted": 10, "self:asr": 190}


def test_a_client_with_two_servers_is_no_edge():
    server = {"kind": KIND_SERVER}
    spans = trace(("R", None, 0, 300, {"kind": KIND_CLIENT}), ("A", "R", 0, 100, server), ("B", "R", 200, 300, server))
    assert spent(spans) == {"self:A": 100, "self:R": 100, "self:B": 100}


def test_a_small_overhang_is_clipped_not_asynchronous():
    spans = trace(("R", None, 0, 1000, ROOT), ("A", "R", 0, 500), ("helper", "A", 100, 501, {}), ("B", "R", 500, 1000))
    assert spent(spans) == {"self:A": 100, "self:helper": 400, "self:B": 500}
    assert flags_of(spans, "self:helper") == {"clipped"}
    assert partition(assemble(spans)).ambiguous_share == 0


def test_an_overhang_under_a_tenth_of_a_long_child_is_clipped_too():
    spans = trace(("R", None, 0, 1000, ROOT), ("A", "R", 0, 500), ("long", "A", 0, 540))
    assert spent(spans) == {"self:long": 500, "unaccounted": 500}
    spans = trace(("R", None, 0, 1000, ROOT), ("A", "R", 0, 500), ("long", "A", 0, 560))
    assert spent(spans) == {"self:A": 500, "unaccounted": 500}


def test_a_server_that_outlasts_its_client_still_blocks():
    spans = trace(("R", None, 0, 100, {"kind": KIND_CLIENT}), ("S", "R", 10, 400, {"kind": KIND_SERVER}))
    assert spent(spans) == {"edge:S": 10, "self:S": 90}


def test_an_edge_is_asynchronous_only_if_most_of_its_calls_outlast_the_parent():
    calls = [("R", None, 0, 900, ROOT)]
    for index, late in enumerate((0, 0, 150)):
        base = index * 300
        calls += [(f"P{index}", "R", base, base + 100, {"stage": "P"}), (f"L{index}", f"P{index}", base + 50, base + 90 + late, {"stage": "L"})]
    names = trace(*calls)
    columns = {name: getattr(names, name) for name in ("trace_id", "span_id", "parent_id", "start_ns", "end_ns", "stage")}
    spans = SpanTable.build(**columns)  # without names: an operation is then its stage alone
    assert spent(spans) == {"self:P": 50 + 10 + 50 + 10 + 50, "self:L": 40 + 40 + 50, "unaccounted": 600}
    assert 0 < partition(assemble(spans)).ambiguous_share < 0.1


def test_declared_blocking_wins_over_kind_and_timing():
    spans = trace(("R", None, 0, 100, {"kind": KIND_CLIENT}), ("S", "R", 10, 90, {"kind": KIND_SERVER, "blocking": 0}))
    assert "self:S" not in spent(spans)
    spans = trace(("R", None, 0, 100), ("L", "R", 50, 900, {"blocking": 1}))
    assert spent(spans) == {"self:R": 50, "self:L": 50}


def test_the_final_span_ends_the_horizon_of_a_queue():
    spans = trace(
        ("R", None, 0, 100, {"kind": KIND_PRODUCER}),
        ("C", "R", 200, 500, {"kind": KIND_CONSUMER, "final": True}),
        ("audit", "R", 150, 900, {"kind": KIND_CONSUMER}),
    )
    assert spent(spans) == {"self:R": 100, "queue:R->C": 100, "self:C": 300}
    cut = partition(assemble(spans))
    assert cut.horizon_end_ns.tolist() == [500 * MS]
    assert cut.after_response_ns.tolist() == [400 * MS]


def test_a_consumer_that_starts_before_its_producer_ended_did_not_queue():
    spans = trace(("R", None, 0, 300, {"kind": KIND_PRODUCER}), ("C", "R", 200, 500, {"kind": KIND_CONSUMER}))
    assert spent(spans) == {"self:R": 200, "self:C": 300}


def test_roots_joined_by_links():
    spans = trace(("A", None, 0, 100), ("B", None, 130, 200), links=[("B", "A")])
    assert spent(spans) == {"self:A": 100, "queue:A->B": 30, "self:B": 70}


def test_a_consumer_of_several_messages_waits_for_its_batch():
    spans = trace(("A", None, 0, 100), ("A2", None, 10, 120), ("B", None, 150, 200, {"kind": KIND_CONSUMER}), links=[("B", "A", 2), ("B", "A2", 2)])
    assert spent(spans) == {"self:A": 10, "self:A2": 110, "batch_wait:B": 30, "self:B": 50}


def test_the_queue_leads_back_into_the_task_that_produced():
    spans = trace(
        ("R", None, 0, 1000, ROOT),
        ("vad", "R", 20, 100),
        ("send", "vad", 80, 100, {"stage": None, "kind": KIND_PRODUCER}),
        ("asr", "send", 1100, 1500, {"kind": KIND_CONSUMER}),
    )
    assert spent(spans) == {"unaccounted": 20, "self:vad": 80, "queue:vad->asr": 1000, "self:asr": 400}


def test_ties_go_to_the_later_start():
    spans = trace(("R", None, 0, 100, ROOT), ("A", "R", 0, 100), ("B", "R", 40, 100))
    assert spent(spans) == {"self:A": 40, "self:B": 60}


def test_no_spans_one_span_and_a_span_of_no_length():
    cut = partition(assemble(SpanTable.empty()))
    assert cut.matrix().shape == (0, 0)
    assert cut.components == ()
    assert spent(trace(("A", None, 0, 5))) == {"self:A": 5}
    cut = partition(assemble(trace(("A", None, 3, 3))))
    assert cut.trace.size == 0
    assert cut.horizon_end_ns.tolist() == cut.horizon_start_ns.tolist() == [3 * MS]


def test_nothing_of_these_is_a_defect():
    spans = trace(("R", None, 0, 300, ROOT), ("A", "R", 0, 200), ("B", "R", 50, 300))
    assert assemble(spans).defects.totals() == dict.fromkeys(DEFECTS, 0)
