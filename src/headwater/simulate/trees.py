"""Random traces with everything a walk can trip over, on small integer times: for properties that must hold of every tree."""

from typing import Final

import numpy as np

from headwater.model.spans import (
    I64,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    SpanTable,
    TextColumn,
)

_KINDS: Final = np.array([KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER], np.int8)
_KIND_ODDS: Final = (0.5, 0.14, 0.14, 0.12, 0.1)
INPUT_LINK: Final = 1


def random_trees(rng: np.random.Generator, *, n_traces: int, n_spans_max: int = 12, ticks: int = 24) -> SpanTable:
    """Spans of `n_traces` random trees of 1 to `n_spans_max` spans, shuffled; start and end in 0..ticks, so ties and zero lengths are common.

    Children are drawn near their parent's interval: some stick out, start early or lie outside; some name a parent that is not there, some are
    their own parent or close a loop; some say whether they block; kinds are mixed; some spans link to one or two others; a few spans are final.
    """
    sizes = rng.integers(1, n_spans_max + 1, n_traces)
    n = int(sizes.sum())
    trace = np.repeat(np.arange(n_traces), sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.arange(n) - first
    above = first + np.where(place > 0, (rng.random(n) * place).astype(np.int64), 0)
    start, end = _intervals(rng, above, place, ticks)
    span_id = rng.permutation(n).astype(np.uint64) + np.uint64(1)
    parent_id = np.where(place > 0, span_id[above], 0).astype(np.uint64)
    chance = rng.random(n)
    parent_id = np.where((place > 0) & (chance < 0.08), np.uint64(10**9) + span_id, parent_id)
    parent_id = np.where((chance > 0.97) & (place > 0), span_id, parent_id)
    loop = np.flatnonzero((chance > 0.94) & (chance <= 0.95) & (place > 1))
    parent_id[above[loop]] = span_id[loop]
    parent_id = np.where((place > 0) & (chance > 0.9) & (chance <= 0.94), np.uint64(0), parent_id)
    links = np.repeat(np.arange(n), rng.choice(3, n, p=(0.8, 0.1, 0.1)))
    target = first[links] + (rng.random(links.size) * sizes[trace[links]]).astype(np.int64)
    trace_id = np.stack([np.zeros(n, np.uint64), trace.astype(np.uint64) + np.uint64(1)], axis=1)
    names = ("a", "b", "c", "d")
    table = SpanTable.build(
        trace_id=trace_id,
        span_id=span_id,
        start_ns=start,
        end_ns=end,
        parent_id=parent_id,
        kind=rng.choice(_KINDS, n, p=_KIND_ODDS),
        blocking=rng.choice(np.array([-1, 0, 1], np.int8), n, p=(0.75, 0.12, 0.13)),
        final=rng.random(n) < 0.03,
        name=TextColumn(codes=rng.integers(0, 4, n).astype(np.int32), values=names),
        stage=TextColumn(codes=rng.integers(-2, 4, n).clip(-1).astype(np.int32), values=names),
        service=TextColumn(codes=rng.integers(-1, 2, n).astype(np.int32), values=("x", "y")),
        link_row=links,
        link_trace_id=trace_id[links],
        link_span_id=span_id[target],
        link_kind=np.full(links.size, INPUT_LINK, np.int8),
    )
    return table.take(rng.permutation(n))


def _intervals(rng: np.random.Generator, above: I64, place: I64, ticks: int) -> tuple[I64, I64]:
    """Start and end of each span: a root anywhere, a child at random points of its parent, moved by a few ticks in a third of the cases."""
    n = above.size
    start, end = np.zeros(n, np.int64), np.zeros(n, np.int64)
    uniform = rng.random((n, 2))
    nudge = np.where(rng.random((n, 2)) < 0.17, rng.integers(-4, 7, (n, 2)), 0)
    for row in range(n):
        low, high = (0, ticks) if place[row] == 0 else (int(start[above[row]]), int(end[above[row]]))
        points = np.sort(low + np.round(uniform[row] * (high - low)).astype(np.int64)) + nudge[row]
        points = np.clip(points, 0, 2 * ticks)
        start[row], end[row] = points.min(), points.max()
    return start, end


def chain(depth: int, *, length_ns: int = 1_000_000) -> SpanTable:
    """One trace: a span in a span in a span, each one tick shorter at both ends while the length lasts, then of no length."""
    place = np.arange(depth, dtype=np.int64)
    half = length_ns // 2
    return _one_trace(np.maximum(place - 1, -1), np.minimum(place, half), np.maximum(length_ns - place, half))


def sequence(children: int, *, each_ns: int = 10) -> SpanTable:
    """One trace: a root and its children one after the other without a gap."""
    place = np.arange(children, dtype=np.int64)
    start = np.concatenate([[0], place * each_ns])
    end = np.concatenate([[children * each_ns], (place + 1) * each_ns])
    return _one_trace(np.concatenate([[-1], np.zeros(children, np.int64)]), start, end)


def _one_trace(parent: I64, start: I64, end: I64) -> SpanTable:
    n = parent.size
    span_id = np.arange(1, n + 1, dtype=np.uint64)
    return SpanTable.build(
        trace_id=np.tile(np.array([[0, 1]], np.uint64), (n, 1)),
        span_id=span_id,
        start_ns=start,
        end_ns=end,
        parent_id=np.where(parent >= 0, span_id[parent], np.uint64(0)).astype(np.uint64),
        stage=TextColumn(codes=np.zeros(n, np.int32), values=("step",)),
    )
