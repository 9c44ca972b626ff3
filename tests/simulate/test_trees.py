"""Random trees: seeded, and full of the trouble they promise."""

import numpy as np
import pytest

from headwater.simulate.trees import chain, random_trees, sequence


def test_the_same_seed_gives_the_same_trees():
    one, two = (random_trees(np.random.default_rng(4), n_traces=50) for _ in range(2))
    assert np.array_equal(one.span_id, two.span_id)
    assert np.array_equal(one.start_ns, two.start_ns)
    assert not np.array_equal(one.start_ns[:40], random_trees(np.random.default_rng(5), n_traces=50).start_ns[:40])


def test_trees_hold_every_kind_of_trouble():
    spans = random_trees(np.random.default_rng(6), n_traces=2000)
    assert len({tuple(key) for key in spans.trace_id.tolist()}) == 2000
    by_id = {int(span): row for row, span in enumerate(spans.span_id)}
    child = [(row, by_id[int(parent)]) for row, parent in enumerate(spans.parent_id) if int(parent) in by_id]
    length = spans.end_ns - spans.start_ns
    trouble = {
        "no length": np.sum(length == 0),
        "outlasts its parent": sum(spans.end_ns[a] > spans.end_ns[b] for a, b in child),
        "begins before its parent": sum(spans.start_ns[a] < spans.start_ns[b] for a, b in child),
        "its own parent": sum(a == b for a, b in child),
        "no such parent": np.sum(~np.isin(spans.parent_id, [0, *by_id])),
        "says if it blocks": np.sum(spans.blocking >= 0),
        "links": spans.link_row.size,
        "final": spans.final.sum(),
    }
    assert min(trouble.values()) > 50, trouble


@pytest.mark.parametrize("build", [chain, sequence])
def test_large_shapes_are_one_valid_trace(build):
    spans = build(500)
    assert np.all(spans.trace_id == spans.trace_id[0])
    assert np.all(spans.end_ns >= spans.start_ns)
    assert int(np.sum(spans.parent_id == 0)) == 1
    depth = 0
    at = int(spans.span_id[-1])
    while at:
        at, depth = int(spans.parent_id[at - 1]), depth + 1
    assert depth == (500 if build is chain else 2)
