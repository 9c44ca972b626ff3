"""Properties of the partition on random trees: equal to a tick-by-tick oracle, exact, and indifferent to order, shift and scale."""

import numpy as np
import pytest
from path_oracle import oracle

from headwater.analysis.critical_path import partition
from headwater.model.spans import SpanTable
from headwater.simulate.trees import chain, random_trees, sequence
from headwater.traces.assemble import assemble

OVERHANG = 2
N_TREES = 3000


@pytest.fixture(scope="module")
def spans():
    return random_trees(np.random.default_rng(20), n_traces=N_TREES)


@pytest.fixture(scope="module")
def traces(spans):
    return assemble(spans)


@pytest.fixture(scope="module")
def cut(traces):
    return partition(traces, overhang_ns=OVERHANG)


def owners(cut, trace):
    """tick → row, None or "queue", read off the segments."""
    found = {}
    for place in np.flatnonzero(cut.trace == trace):
        row = int(cut.row[place])
        name = cut.components[cut.component[place]]
        owner = row if row >= 0 else "queue" if name.startswith(("queue:", "batch_wait:")) else None
        found |= dict.fromkeys(range(int(cut.start_ns[place]), int(cut.end_ns[place])), owner)
    return found


def test_three_thousand_trees_equal_the_oracle(traces, cut):
    assert len(traces) == N_TREES
    answers, own = oracle(traces, OVERHANG)
    assert cut.self_ns.tolist() == own
    for trace, (begin, end, owner) in enumerate(answers):
        assert (int(cut.horizon_start_ns[trace]), int(cut.horizon_end_ns[trace])) == (begin, end)
        plain = {tick: "queue" if isinstance(who, tuple) else who for tick, who in owner.items()}
        assert owners(cut, trace) == plain, f"trace {trace}"


def test_the_trees_trip_over_everything(traces, cut):
    totals = traces.defects.totals()
    assert min(totals["orphans"], totals["cycles"]) > 100
    seen = np.bitwise_or.reduce(cut.flags)
    assert seen == 0b11111  # every flag occurs
    kinds = {name.split(":")[0] for name in cut.components}
    assert kinds == {"self", "edge", "queue", "batch_wait", "unaccounted"}
    assert np.sum(np.bincount(traces.trace_of_row()[traces.parent < 0]) > 1) > 300  # several roots
    assert cut.after_response_ns.max() > 0


def test_sums_are_exact_and_no_span_is_longer_on_the_path_than_its_self_time(cut):
    assert np.array_equal(cut.matrix().sum(axis=1), cut.horizon_end_ns - cut.horizon_start_ns)
    assert np.all(cut.path_ns <= cut.self_ns)
    assert np.all(cut.path_ns >= 0)


def test_order_of_the_spans_does_not_matter(spans, cut):
    shuffled = partition(assemble(spans.take(np.random.default_rng(1).permutation(len(spans)))), overhang_ns=OVERHANG)
    for name in ("trace", "component", "row", "start_ns", "end_ns", "flags", "self_ns", "path_ns"):
        assert np.array_equal(getattr(shuffled, name), getattr(cut, name)), name
    assert shuffled.components == cut.components


@pytest.mark.parametrize(("factor", "shift"), [(1, 1_700_000_000_000_000_000), (1000, 0), (7, -11)])
def test_shift_and_scale(spans, cut, factor, shift):
    # Scaling keeps "more than 10 % of the child" only up to whole ticks, so blocking is decided before.
    columns = {name: getattr(spans, name) for name in ("trace_id", "span_id", "parent_id", "kind", "stage", "service", "name", "final")}
    columns |= {name: getattr(spans, name) for name in ("link_row", "link_trace_id", "link_span_id", "link_kind")}
    decided = np.where(spans.blocking < 0, np.int8(1), spans.blocking)
    plain = SpanTable.build(**columns, blocking=decided, start_ns=spans.start_ns, end_ns=spans.end_ns)
    moved = SpanTable.build(**columns, blocking=decided, start_ns=spans.start_ns * factor + shift, end_ns=spans.end_ns * factor + shift)
    before, after = partition(assemble(plain)), partition(assemble(moved))
    assert np.array_equal(after.start_ns, before.start_ns * factor + shift)
    assert np.array_equal(after.end_ns, before.end_ns * factor + shift)
    assert np.array_equal(after.row, before.row)
    assert after.components == before.components
    assert np.array_equal(after.component, before.component)


def test_the_other_reading_is_the_opposite_and_differs_by_the_ambiguous_share(traces, cut):
    other = partition(traces, overhang_ns=OVERHANG, other_reading=True)
    # A trace of several tasks may end elsewhere under the other reading, so the shares are compared where the horizons agree.
    assert cut.ambiguous_share > 0
    assert other.ambiguous_share > 0
    assert np.any(cut.flags & 0b1000)
    same = np.flatnonzero((cut.horizon_end_ns == other.horizon_end_ns) & (cut.horizon_start_ns == other.horizon_start_ns))
    differing = sum(sum(a != b for a, b in zip(owners(cut, t).values(), owners(other, t).values(), strict=True)) for t in same[:400])
    assert differing > 0


def test_work_is_linear_in_children_and_in_depth():
    # Counted, not timed: the pieces are as many as the tree has turns, and doubling the tree doubles them.
    for build, per_span in ((sequence, 1), (chain, 2)):
        sizes = [partition(assemble(build(k))).trace.size for k in (1000, 2000, 4000)]
        assert sizes == [per_span * k - (per_span - 1) for k in (1000, 2000, 4000)]
