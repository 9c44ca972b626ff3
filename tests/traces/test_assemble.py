"""Assembly: grouping, repairs that are counted, and outcomes that come later."""

import numpy as np
import pytest

from headwater.conventions.attributes import CANARY, LINK_KINDS, OUTCOME_AUDIT, OUTCOME_LOSS, OUTCOME_NAME, OUTCOME_SPAN_NAME, RUN_ID
from headwater.model.spans import KIND_CLIENT, KIND_SERVER, SpanTable, TextColumn
from headwater.model.traces import DEFECTS
from headwater.simulate.trees import chain, random_trees
from headwater.traces.assemble import assemble, canary_runs
from headwater.traces.repair import REPAIRS, SKEWED

MS = 1_000_000


def table(*spans):
    """Spans as dictionaries: trace, span, parent, start, end and any other column by its value."""
    n = len(spans)

    def of(key, default):
        return [span.get(key, default) for span in spans]

    return SpanTable.build(
        trace_id=np.array([[0, trace] for trace in of("trace", 1)], np.uint64).reshape(n, 2),
        span_id=np.array(of("span", 1), np.uint64),
        parent_id=np.array(of("parent", 0), np.uint64),
        start_ns=np.array(of("start", 0), np.int64),
        end_ns=np.array(of("end", 10), np.int64),
        kind=np.array(of("kind", 1), np.int8),
        name=TextColumn.of(of("name", None)),
        service=TextColumn.of(of("service", None)),
        pipeline=TextColumn.of(of("pipeline", None)),
        numbers={SKEWED: np.array(of("skewed", np.nan)), CANARY.name: np.array(of("canary", np.nan))},
        texts={RUN_ID.name: TextColumn.of(of("run", None))},
    )


def verdict(span, *, loss, end, link=None, run=None, name=None, audit=None, trace=900):
    """One outcome span in its own trace."""
    return SpanTable.build(
        trace_id=np.array([[0, trace + span]], np.uint64),
        span_id=np.array([span], np.uint64),
        start_ns=[end],
        end_ns=[end],
        name=TextColumn.of([OUTCOME_SPAN_NAME]),
        numbers={OUTCOME_LOSS.name: np.array([loss])} | ({} if audit is None else {OUTCOME_AUDIT.name: np.array([audit])}),
        texts={RUN_ID.name: TextColumn.of([run]), OUTCOME_NAME.name: TextColumn.of([name])},
        link_row=np.zeros(0 if link is None else 1, np.int64),
        link_trace_id=np.array([] if link is None else [[0, link]], np.uint64).reshape(-1, 2),
        link_span_id=np.array([] if link is None else [1], np.uint64),
        link_kind=np.full(0 if link is None else 1, LINK_KINDS.index("outcome"), np.int8),
    )


def test_nothing_gives_an_empty_table():
    traces = assemble(SpanTable.empty())
    assert len(traces) == 0
    assert traces.offset.tolist() == [0]
    assert traces.outcome_loss.shape == (0,)
    assert traces.run_id.values == ()
    assert traces.defects.totals() == dict.fromkeys(DEFECTS, 0)


def test_outcomes_alone_give_an_empty_table():
    assert len(assemble(verdict(5, loss=1.0, end=3, run="r"))) == 0


def test_spans_are_grouped_and_sorted_and_parents_found():
    spans = table(
        {"trace": 2, "span": 5, "parent": 4, "start": 7, "end": 8},
        {"trace": 1, "span": 3, "parent": 1, "start": 2, "end": 4},
        {"trace": 1, "span": 2, "parent": 1, "start": 2, "end": 9},
        {"trace": 2, "span": 4, "start": 5, "end": 9},
        {"trace": 1, "span": 1, "start": 0, "end": 10},
    )
    traces = assemble(spans)
    assert traces.trace_id.tolist() == [[0, 1], [0, 2]]
    assert traces.offset.tolist() == [0, 3, 5]
    assert traces.spans.span_id.tolist() == [1, 2, 3, 4, 5]
    assert traces.parent.tolist() == [-1, 0, 0, -1, 3]


def test_the_same_span_id_in_two_traces_is_two_spans():
    traces = assemble(table({"trace": 1, "span": 1}, {"trace": 2, "span": 1}, {"trace": 2, "span": 2, "parent": 1}))
    assert len(traces.spans) == 3
    assert traces.parent.tolist() == [-1, -1, 1]


def test_trace_ids_are_compared_in_full():
    spans = SpanTable.build(
        trace_id=np.array([[1, 2], [2, 1], [1, 2], [3, 0]], np.uint64), span_id=np.array([1, 1, 2, 1], np.uint64), start_ns=[0] * 4, end_ns=[1] * 4
    )
    assert np.diff(assemble(spans).offset).tolist() == [2, 1, 1]


def test_duplicates_are_dropped_and_those_that_differ_are_conflicts():
    same, longer = {"span": 2, "parent": 1, "start": 1, "end": 5}, {"span": 2, "parent": 1, "start": 1, "end": 6}
    traces = assemble(table({"span": 1}, same, same, longer))
    assert traces.spans.span_id.tolist() == [1, 2]
    assert traces.spans.end_ns.tolist() == [10, 6]
    totals = traces.defects.totals()
    assert (totals["duplicates"], totals["conflicts"]) == (2, 2)
    again = assemble(table({"span": 1}, longer, same, same))
    assert again.spans.end_ns.tolist() == [10, 6]
    assert assemble(table({"span": 1}, same, same)).defects.totals()["conflicts"] == 0


def test_links_follow_their_span_through_sorting_and_deduplication():
    spans = SpanTable.build(
        trace_id=np.array([[0, 1]] * 4, np.uint64),
        span_id=np.array([3, 1, 3, 2], np.uint64),
        start_ns=[5, 0, 5, 2],
        end_ns=[6, 9, 6, 3],
        link_row=np.array([0, 3], np.int64),
        link_trace_id=np.array([[0, 1]] * 2, np.uint64),
        link_span_id=np.array([2, 1], np.uint64),
        link_kind=np.ones(2, np.int8),
    )
    traces = assemble(spans)
    held = {int(traces.spans.span_id[row]): int(span) for row, span in zip(traces.spans.link_row, traces.spans.link_span_id, strict=True)}
    assert held == {3: 2, 2: 1}


def test_a_self_parent_and_a_loop_are_cut_and_counted():
    traces = assemble(table({"trace": 1, "span": 1, "parent": 1}))
    assert traces.parent.tolist() == [-1]
    assert traces.defects.totals() | {"cycles": 1, "orphans": 0} == traces.defects.totals()
    loop = [{"trace": 2, "span": 1}, {"trace": 2, "span": 2, "parent": 4, "start": 3}, {"trace": 2, "span": 3, "parent": 2, "start": 4}]
    traces = assemble(table(*loop, {"trace": 2, "span": 4, "parent": 3, "start": 5}))
    assert traces.parent.tolist() == [-1, -1, 1, 2]
    assert traces.defects.cycles.tolist() == [1]
    assert traces.defects.orphans.tolist() == [0]


def test_rootless_is_counted_once_a_trace():
    traces = assemble(table({"trace": 1, "span": 2, "parent": 9}, {"trace": 1, "span": 3, "parent": 2}, {"trace": 2, "span": 1}))
    assert traces.defects.rootless.tolist() == [1, 0]
    assert traces.defects.orphans.tolist() == [1, 0]


def test_skew_is_what_the_decoder_marked_and_servers_far_outside_their_client():
    spans = table(
        {"span": 1, "start": 0, "end": 10 * MS, "kind": KIND_CLIENT},
        {"span": 2, "parent": 1, "start": -2 * MS, "end": 9 * MS, "kind": KIND_SERVER},
        {"span": 3, "parent": 1, "start": 1, "end": 10 * MS + 5, "kind": KIND_SERVER},
        {"span": 4, "parent": 1, "start": 3, "end": 3, "skewed": 1.0},
    )
    assert assemble(spans).defects.totals()["skewed"] == 2


def test_pipeline_and_run_come_from_the_root_else_the_first_span_that_has_one():
    spans = table(
        {"trace": 1, "span": 1, "service": "s"},
        {"trace": 1, "span": 2, "parent": 1, "start": 1, "pipeline": "speech", "run": "r2", "service": "t"},
        {"trace": 1, "span": 3, "parent": 1, "start": 2, "pipeline": "other", "run": "r3"},
        {"trace": 2, "span": 1, "service": "s", "pipeline": "root", "run": "r1", "start": 5},
        {"trace": 2, "span": 2, "parent": 1, "start": 3, "pipeline": "early", "run": "r9"},
        {"trace": 3, "span": 1, "service": "svc"},
        {"trace": 4, "span": 1},
    )
    traces = assemble(spans)
    assert [traces.pipeline.at(row) for row in range(4)] == ["speech", "root", "svc", None]
    assert [traces.run_id.at(row) for row in range(4)] == ["r2", "r1", None, None]


def test_outcomes_join_by_link_else_by_run_and_the_latest_wins():
    runs = [{"trace": trace, "span": 1, "run": f"run-{trace}"} for trace in (1, 2, 3, 4)]
    parts = [
        table(*runs),
        verdict(11, loss=0.25, end=500, link=1, run="run-2"),  # the link wins over the run id
        verdict(12, loss=1.0, end=400, link=1),
        verdict(13, loss=0.5, end=300, run="run-3", audit=1.0),
        verdict(14, loss=np.nan, end=900, run="run-3"),
        verdict(15, loss=1.0, end=100, link=77, run="run-4"),  # its trace is not here
        verdict(16, loss=9.0, end=950, run="run-3", name="cost"),
    ]
    traces = assemble(SpanTable.concatenate(parts))
    assert len(traces) == 4
    assert traces.outcome_loss == pytest.approx([0.25, np.nan, 0.5, 1.0], nan_ok=True)
    assert traces.outcome_at_ns.tolist() == [500, 0, 300, 100]
    assert traces.outcome_audit.tolist() == [False, False, True, False]
    other = assemble(SpanTable.concatenate(parts), outcome="cost")
    assert other.outcome == "cost"
    assert other.outcome_loss == pytest.approx([np.nan, np.nan, 9.0, np.nan], nan_ok=True)


def test_an_outcome_nobody_named_matches_only_the_default():
    parts = [table({"run": "r"}), verdict(11, loss=1.0, end=5, run="r")]
    assert assemble(SpanTable.concatenate(parts)).outcome_loss.tolist() == [1.0]
    assert np.isnan(assemble(SpanTable.concatenate(parts), outcome="cost").outcome_loss).all()


def test_a_run_of_two_traces_is_judged_in_both():
    parts = [table({"trace": 1, "run": "r"}, {"trace": 2, "run": "r"}), verdict(11, loss=1.0, end=5, run="r")]
    assert assemble(SpanTable.concatenate(parts)).outcome_loss.tolist() == [1.0, 1.0]


def test_an_outcome_in_the_trace_of_its_target_is_taken_out():
    spans = SpanTable.concatenate([table({"trace": 911, "span": 1}), verdict(11, loss=1.0, end=5, link=911)])
    traces = assemble(spans)
    assert len(traces.spans) == 1
    assert traces.outcome_loss.tolist() == [1.0]


def test_partial_and_late_are_told_by_trace():
    spans = table({"trace": 1}, {"trace": 2}, {"trace": 3})
    traces = assemble(spans, partial=frozenset({(0, 2), (0, 50)}), late={(0, 3): 4})
    assert traces.partial.tolist() == [False, True, False]
    assert traces.defects.late.tolist() == [0, 0, 4]


def test_canary_runs_stay_and_can_be_told():
    traces = assemble(table({"trace": 1}, {"trace": 2, "span": 1}, {"trace": 2, "span": 2, "parent": 1, "canary": 1.0}, {"trace": 3, "canary": 0.0}))
    assert canary_runs(traces).tolist() == [False, True, False]


def test_a_deep_chain_and_many_orphans_take_linear_time():
    assert len(assemble(chain(200_000)).spans) == 200_000
    n = 200_000
    lost = SpanTable.build(
        trace_id=np.tile(np.array([[0, 1]], np.uint64), (n, 1)),
        span_id=np.arange(1, n + 1, dtype=np.uint64),
        parent_id=np.concatenate([[0], np.full(n - 1, 10**9)]).astype(np.uint64),
        start_ns=np.concatenate([[0], np.arange(n - 1) * 10]),
        end_ns=np.concatenate([[n * 10], np.arange(n - 1) * 10 + 10]),
        service=TextColumn(codes=np.concatenate([[0], np.ones(n - 1)]).astype(np.int32), values=("front", "back")),
    )
    traces = assemble(lost)
    assert traces.defects.totals()["orphans"] == n - 1
    assert np.all(traces.parent[1:] == 0)


def oracle_parents(traces):
    """Parents from the definitions, span by span: resolve, cut loops at their first row, attach orphans to the shortest enclosing earlier row."""
    spans, trace = traces.spans, traces.trace_of_row().tolist()
    n = len(spans)
    key = {(trace[row], int(spans.span_id[row])): row for row in range(n)}
    named = [int(value) for value in spans.parent_id]
    parent = [key.get((trace[row], named[row]), -1) if named[row] else -1 for row in range(n)]
    missing = [row for row in range(n) if named[row] and parent[row] < 0]
    cuts = [0] * len(traces)
    for row in range(n):
        seen, walk = {row}, parent[row]
        while walk >= 0 and walk not in seen:
            seen.add(walk)
            walk = parent[walk]
        if walk == row:
            parent[row] = -1
            cuts[trace[row]] += 1

    def below(row, top):
        while row >= 0:
            if row == top:
                return True
            row = parent[row]
        return False

    for row in missing:
        around = [
            other
            for other in range(int(traces.offset[trace[row]]), row)
            if spans.end_ns[other] >= spans.end_ns[row] and spans.start_ns[other] <= spans.start_ns[row] and not below(other, row)
        ]
        kin = [other for other in around if spans.service.codes[other] == spans.service.codes[row] >= 0]
        parent[row] = min(kin or around, key=lambda other: (spans.end_ns[other] - spans.start_ns[other], -other), default=-1)
    return parent, cuts, np.bincount([trace[row] for row in missing], minlength=len(traces)).tolist()


@pytest.mark.parametrize("seed", [3, 4])
def test_random_trees_have_the_parents_of_the_definition(seed):
    traces = assemble(random_trees(np.random.default_rng(seed), n_traces=1500, n_spans_max=16))
    parent, cuts, orphans = oracle_parents(traces)
    assert traces.parent.tolist() == parent
    assert traces.defects.cycles.tolist() == cuts
    assert traces.defects.orphans.tolist() == orphans
    assert sum(orphans) > 300
    assert sum(cuts) > 100


def test_every_repair_leaves_a_repaired_draft_as_it_is():
    # A repair that changed its own result would make the order of repairs, and how often they ran, matter.
    spans = random_trees(np.random.default_rng(8), n_traces=300)
    traces = assemble(spans)
    again = assemble(traces.spans)
    assert np.array_equal(again.parent, traces.parent)
    assert len(REPAIRS) == 5
