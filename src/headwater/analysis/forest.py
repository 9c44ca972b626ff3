"""The forest under the walk: children clipped and sorted, heads of tasks, and sums over spans and pieces. Compiled, linear but for the sorts.

Kernels that call each other stand in one file: compiled code is kept by file, and a change here must not leave a stale caller elsewhere.
"""

import numpy as np
from numba import njit

from headwater.model.spans import I64, Bool
from headwater.model.traces import TraceTable


@njit(cache=True)
def clip_kernel(parent: I64, blocks: Bool, start: I64, end: I64) -> tuple[I64, I64, I64]:
    """(clipped start, clipped end, top), each (n,): a blocking child is cut to its clipped parent; top = the ancestor-or-self nobody waits for."""
    n = parent.size
    low, high = start.copy(), end.copy()
    top = np.full(n, -1, np.int64)
    stack = np.empty(n + 1, np.int64)
    for first in range(n):
        depth, row = 0, first
        while top[row] < 0:
            stack[depth] = row
            depth += 1
            if parent[row] < 0 or not blocks[row]:
                top[row] = row
                break
            row = parent[row]
        while depth > 0:
            depth -= 1
            row = stack[depth]
            if top[row] >= 0:
                continue
            above = parent[row]
            top[row] = top[above]
            low[row] = min(max(start[row], low[above]), high[above])
            high[row] = min(max(end[row], low[above]), high[above])
    return low, high, top


@njit(cache=True)
def self_kernel(parent: I64, blocks: Bool, start: I64, end: I64) -> I64:
    """(n,) self time: duration less the union of the blocking children within the span. Rows are sorted by start within a trace."""
    own = end - start
    reached = start.copy()
    for row in range(parent.size):
        above = parent[row]
        if above < 0 or not blocks[row]:
            continue
        begin = max(start[row], reached[above])
        finish = min(end[row], end[above])
        if finish > begin:
            own[above] -= finish - begin
            reached[above] = finish
    return own


@njit(cache=True)
def _before(a: int, b: int, low: I64, high: I64) -> bool:
    """Order of children in the walk: the later end first, then the later start, then the smaller row."""
    if high[a] != high[b]:
        return bool(high[a] > high[b])
    if low[a] != low[b]:
        return bool(low[a] > low[b])
    return a < b


@njit(cache=True)
def sort_run(items: I64, spare: I64, low: I64, high: I64) -> None:
    """Sort `items` in place in walk order: insertion for short runs (they come nearly sorted), bottom-up merge for long ones."""
    k = items.size
    run = 24
    for base in range(0, k, run):
        for i in range(base + 1, min(base + run, k)):
            item, j = items[i], i - 1
            while j >= base and _before(item, items[j], low, high):
                items[j + 1] = items[j]
                j -= 1
            items[j + 1] = item
    while run < k:
        for base in range(0, k, 2 * run):
            middle, stop = min(base + run, k), min(base + 2 * run, k)
            i, j = base, middle
            for place in range(base, stop):
                take_left = j >= stop or (i < middle and not _before(items[j], items[i], low, high))
                spare[place] = items[i] if take_left else items[j]
                if take_left:
                    i += 1
                else:
                    j += 1
        items[:] = spare[:k]
        run *= 2


@njit(cache=True)
def children_kernel(parent: I64, blocks: Bool, low: I64, high: I64) -> tuple[I64, I64]:
    """(offset (n + 1,), child): blocking children of some length, in walk order. Filled from the last row so that runs come nearly sorted."""
    n = parent.size
    offset = np.zeros(n + 1, np.int64)
    for row in range(n):
        if parent[row] >= 0 and blocks[row] and high[row] > low[row]:
            offset[parent[row] + 1] += 1
    longest = np.int64(0)
    for row in range(n):
        longest = max(longest, offset[row + 1])
        offset[row + 1] += offset[row]
    child, place, spare = np.empty(offset[n], np.int64), offset[:n].copy(), np.empty(longest, np.int64)
    for row in range(n - 1, -1, -1):
        above = parent[row]
        if above >= 0 and blocks[row] and high[row] > low[row]:
            child[place[above]] = row
            place[above] += 1
    for row in range(n):
        if offset[row + 1] - offset[row] > 1:
            sort_run(child[offset[row] : offset[row + 1]], spare, low, high)
    return offset, child


@njit(cache=True)
def heads_kernel(offset: I64, simple: Bool, eligible: Bool, interval: tuple[I64, I64]) -> tuple[I64, I64]:
    """(offset (m + 1,), row): the task heads of some length of each trace in walk order; none for simple traces, whose root is the only task."""
    low, high = interval
    cuts = np.zeros(offset.size, np.int64)
    heads = np.empty(low.size, np.int64)
    spare, used = np.empty(low.size, np.int64), np.int64(0)
    for trace in range(offset.size - 1):
        if not simple[trace]:
            first = used
            for row in range(offset[trace], offset[trace + 1]):
                if eligible[row] and high[row] > low[row]:
                    heads[used] = row
                    used += 1
            sort_run(heads[first:used], spare, low, high)
        cuts[trace + 1] = used
    return cuts, heads[:used].copy()


@njit(cache=True)
def eligible_kernel(parent: I64, handoff: Bool, top: I64) -> Bool:
    """(n,) bool: spans that head a task on the way to an answer: roots, and consumers whose producer hangs on such a task."""
    n = parent.size
    known = np.zeros(n, np.int8)
    for first in range(n):
        row = first
        while parent[row] >= 0 and handoff[row] and known[row] == 0:
            row = top[parent[row]]
        heads = known[row] == 1 or parent[row] < 0
        row = first
        while known[row] == 0:
            known[row] = 1 if heads else 2
            if parent[row] < 0 or not handoff[row]:
                break
            row = top[parent[row]]
    heading: Bool = known == 1
    return heading


@njit(cache=True)
def after_kernel(offset: I64, start: I64, end: I64, horizon_end: I64) -> I64:
    """(m,) time after the horizon in which some span of the trace still ran. Rows are sorted by start within a trace."""
    after = np.zeros(horizon_end.size, np.int64)
    for trace in range(horizon_end.size):
        reached = horizon_end[trace]
        for row in range(offset[trace], offset[trace + 1]):
            begin = max(start[row], reached)
            if end[row] > begin:
                after[trace] += end[row] - begin
                reached = end[row]
    return after


@njit(cache=True)
def path_kernel(row: I64, length: I64, n: int) -> I64:
    """(n,) time on the path of each span; pieces whose row is −1 are nobody's."""
    path = np.zeros(n, np.int64)
    for piece in range(row.size):
        if row[piece] >= 0:
            path[row[piece]] += length[piece]
    return path


@njit(cache=True)
def differ_kernel(left: I64, right: I64, marked: Bool) -> int:
    """Time in which two cuts of one horizon, pieces (start, end, row) in ascending order, name different owners; marks such pieces of `left`."""
    total, j = 0, 0
    for i in range(left.shape[0]):
        while j < right.shape[0] and right[j, 1] <= left[i, 0]:
            j += 1
        k = j
        while k < right.shape[0] and right[k, 0] < left[i, 1]:
            common = min(left[i, 1], right[k, 1]) - max(left[i, 0], right[k, 0])
            if common > 0 and left[i, 2] != right[k, 2]:
                total += common
                marked[i] = True
            k += 1
    return total


def simple_traces(traces: TraceTable, handoff: Bool) -> Bool:
    """(m,) bool: one root and no consumer under a producer; the horizon is the root's interval."""
    trace = traces.trace_of_row()
    roots = np.bincount(trace[traces.parent < 0], minlength=len(traces))
    simple: Bool = (roots == 1) & (np.bincount(trace[handoff], minlength=len(traces)) == 0)
    return simple
