"""Drag: how far a component can shrink before another branch decides when the answer comes.

A child c on the path has as slack the time between its end and the end of the last sibling that ran beside it: shrunk by more, c no longer holds its
parent up. A component can shrink in a trace by what its pieces and the slacks of all spans above them let through, which is a flow in a tree and so
found greedily, piece by piece.

    R |------------------|
    A |------------------|    slack of A: 4 columns, so drag of self:A is 4 although it spends 18
    B |-------------|
"""

import numpy as np
from numba import njit

from headwater.analysis.blocking import waiting
from headwater.analysis.forest import children_kernel, clip_kernel, simple_traces
from headwater.analysis.walk import OVERLAP
from headwater.model.latency import LatencyInput
from headwater.model.spans import F64, I64

_NONE = np.int64(2**62)
_STEPS = 4096


@njit(cache=True)
def _slack_kernel(tree: tuple[I64, I64, I64, I64], slack: I64) -> None:
    """Fill slack (n,): children come in walk order, so the last to end of the others is the next one; it ran beside if it ended after the start."""
    offset, child, low, high = tree
    for row in range(offset.size - 1):
        for place in range(offset[row], offset[row + 1]):
            here = child[place]
            beside = place + 1
            if beside < offset[row + 1] and high[child[beside]] > low[here]:
                slack[here] = high[here] - high[child[beside]]


@njit(cache=True)
def _narrow_kernel(parent: I64, slack: I64) -> I64:
    """(n,) the nearest row at or above with a finite slack, −1 = none."""
    found = np.full(parent.size, -2, np.int64)
    for first in range(parent.size):
        row = first
        while row >= 0 and found[row] == -2 and slack[row] == _NONE:
            row = parent[row]
        answer = row if row < 0 or slack[row] != _NONE else found[row]
        row = first
        while row >= 0 and found[row] == -2:
            found[row] = answer
            if slack[row] != _NONE:
                break
            row = parent[row]
    return found


@njit(cache=True)
def _flow_kernel(pieces: tuple[I64, I64, I64, I64], narrow: I64, above: tuple[I64, I64], out: F64) -> None:
    """Add to out (m, c) what each piece can lose; pieces = (trace, row, length, component) sorted by (component, trace), above = (parent, slack)."""
    trace, rows, lengths, component = pieces
    parent, slack = above
    left, stamp = slack.copy(), np.full(parent.size, -1, np.int64)
    for piece in range(trace.size):
        mark = component[piece]
        amount = lengths[piece]
        at, steps = narrow[rows[piece]], 0
        while at >= 0 and steps < _STEPS:
            if stamp[at] != mark:
                stamp[at], left[at] = mark, slack[at]
            amount = min(amount, left[at])
            at, steps = narrow[parent[at]] if parent[at] >= 0 else -1, steps + 1
        at, steps = narrow[rows[piece]], 0
        while at >= 0 and steps < _STEPS:
            left[at] -= amount
            at, steps = narrow[parent[at]] if parent[at] >= 0 else -1, steps + 1
        out[trace[piece], mark] += amount


def drag(given: LatencyInput, components: tuple[str, ...]) -> F64:
    """(m, c) f64 ns a trace; 0 where a component takes no time. Exact for traces of one task whose branches all end before the next begins.

    NaN = unknown: traces of several tasks (another consumer may take over), and components with time that was given to a child still running
    (whether a stream that ends sooner lets the next stage start sooner is not recorded). Above 4,096 branchings deep it is an upper bound.
    """
    traces, cut = given.traces, given.partition
    spans, parent = traces.spans, traces.parent
    out = np.zeros((len(traces), len(components)))
    if not len(traces):
        return out
    wait = waiting(traces)
    low, high, _ = clip_kernel(parent, wait.blocks, spans.start_ns, spans.end_ns)
    offset, child = children_kernel(parent, wait.blocks, low, high)
    slack = np.full(len(spans), _NONE, np.int64)
    _slack_kernel((offset, child, low, high), slack)
    place = np.array([components.index(name) for name in cut.components], np.int64)
    component = place[cut.component] if place.size else np.empty(0, np.int64)
    owned = np.flatnonzero(cut.row >= 0)
    order = owned[np.lexsort((cut.trace[owned], component[owned]))]
    pieces = (cut.trace[order], cut.row[order], (cut.end_ns - cut.start_ns)[order], component[order])
    _flow_kernel(pieces, _narrow_kernel(parent, slack), (parent, slack), out)
    streamed = np.flatnonzero(cut.flags & OVERLAP)
    out[cut.trace[streamed], component[streamed]] = np.nan
    nobody = np.flatnonzero(cut.row < 0)
    out[cut.trace[nobody], component[nobody]] = np.nan
    times = np.zeros(out.shape, np.int64)
    times[:, place] = cut.matrix()
    several = ~simple_traces(traces, wait.handoff)
    out[several[:, None] & (times > 0)] = np.nan
    return out
