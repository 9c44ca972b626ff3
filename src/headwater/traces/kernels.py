"""Compiled loops of assembly: ids to rows by hashing, loops cut, orphans attached. Linear time in spans (attachment: amortised)."""

import numpy as np
from numba import njit

from headwater.model.spans import I32, I64, U64, Bool

_MIX_A = np.uint64(0x9E3779B97F4A7C15)
_MIX_B = np.uint64(0xBF58476D1CE4E5B9)
_S30 = np.uint64(30)
_S27 = np.uint64(27)


@njit(cache=True)
def _slot(trace: int, span: int, mask: int) -> np.int64:
    """Home slot of (trace, span): the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    h = np.uint64(span) + np.uint64(trace) * _MIX_A
    h = (h ^ (h >> _S30)) * _MIX_B
    h ^= h >> _S27
    return np.int64(h & np.uint64(mask))


@njit(cache=True)
def _fill(trace: I64, span_id: U64, first: I64) -> I32:
    """Open-addressing table of rows + 1, 0 = free; `first` becomes the earliest row with the same (trace, span id)."""
    size = 16
    while size < 2 * span_id.size:
        size *= 2
    table = np.zeros(size, np.int32)
    for row in range(span_id.size):
        slot = _slot(trace[row], span_id[row], size - 1)
        while table[slot] != 0:
            other = table[slot] - 1
            if span_id[other] == span_id[row] and trace[other] == trace[row]:
                break
            slot = (slot + 1) & (size - 1)
        if table[slot] == 0:
            table[slot] = row + 1
        first[row] = table[slot] - 1
    return table


@njit(cache=True)
def first_kernel(trace: I64, span_id: U64) -> I64:
    """(n,) i64: the earliest row with the same (trace, span id); the row itself where there is no earlier one."""
    first = np.empty(span_id.size, np.int64)
    _fill(trace, span_id, first)
    return first


@njit(cache=True)
def find_kernel(trace: I64, span_id: U64, want_trace: I64, want_id: U64) -> I64:
    """(k,) i64: the row of that trace with the wanted id; −1 where the id is 0 or not there. Span ids are unique in a trace."""
    first = np.empty(span_id.size, np.int64)
    table = _fill(trace, span_id, first)
    mask = table.size - 1
    found = np.full(want_id.size, -1, np.int64)
    for place in range(want_id.size):
        if want_id[place] == np.uint64(0):
            continue
        slot = _slot(want_trace[place], want_id[place], mask)
        while table[slot] != 0:
            row = table[slot] - 1
            if span_id[row] == want_id[place] and trace[row] == want_trace[place]:
                found[place] = row
                break
            slot = (slot + 1) & mask
    return found


@njit(cache=True)
def cut_kernel(parent: I64) -> tuple[I64, Bool]:
    """Cut every loop at its smallest row. Returns the parents (a copy) and which rows were cut."""
    result = parent.copy()
    cut = np.zeros(parent.size, np.bool_)
    seen = np.full(parent.size, -1, np.int64)
    for start in range(parent.size):
        row = start
        while row >= 0 and seen[row] < 0:
            seen[row] = start
            row = result[row]
        if row < 0 or seen[row] != start:
            continue
        lowest, walk = row, result[row]
        while walk != row:
            lowest = min(lowest, walk)
            walk = result[walk]
        result[lowest] = -1
        cut[lowest] = True
    return result, cut


@njit(cache=True)
def _below(row: int, top: int, parent: I64) -> bool:
    """Is `row` the span `top` or somewhere below it?"""
    while row >= 0:
        if row == top:
            return True
        row = parent[row]
    return False


@njit(cache=True)
def _tightest(row: int, interval: tuple[I64, I64], chain: tuple[I64, I64], parent: I64) -> np.int64:
    """The shortest enclosing span among the rows before `row` on `chain` = (previous, previous with a later end); −1 = none.

    A span that starts at s lasts at least end[row] − s if it encloses `row`, so the search stops where that passes the best found.
    """
    start, end = interval
    previous, longer = chain
    best, shortest = np.int64(-1), np.int64(0)
    at = previous[row]
    while at >= 0 and (best < 0 or end[row] - start[at] < shortest):
        if end[at] < end[row]:
            at = longer[at]
            continue
        length = end[at] - start[at]
        if (best < 0 or length < shortest) and not _below(at, row, parent):
            best, shortest = at, length
        at = previous[at]
    return best


@njit(cache=True)
def _longer(row: int, previous: I64, longer: I64, end: I64) -> np.int64:
    """The nearest earlier row on the chain with a later end; each step jumps over rows that end too early."""
    at: np.int64 = previous[row]
    while at >= 0 and end[at] <= end[row]:
        at = longer[at]
    return at


@njit(cache=True)
def attach_kernel(offset: I64, start: I64, end: I64, columns: tuple[I32, I64, Bool]) -> I64:
    """New parents (n,) i64; columns = (service codes, parent rows, which rows are orphans). Rows sorted by (trace, start, end descending)."""
    service, old, orphan = columns
    n = start.size
    parent = old.copy()
    previous, longer = np.empty(n, np.int64), np.empty(n, np.int64)
    kin, kin_longer = np.empty(n, np.int64), np.empty(n, np.int64)
    last = np.full(service.max() + 2, -1, np.int64)
    for trace in range(offset.size - 1):
        low, high = offset[trace], offset[trace + 1]
        if not np.any(orphan[low:high]):
            continue
        for row in range(low, high):
            previous[row] = row - 1 if row > low else -1
            kin[row] = last[service[row] + 1]
            last[service[row] + 1] = row
            longer[row] = _longer(row, previous, longer, end)
            kin_longer[row] = _longer(row, kin, kin_longer, end)
        for row in range(low, high):
            last[service[row] + 1] = -1
        for row in range(low, high):
            if not orphan[row]:
                continue
            found = _tightest(row, (start, end), (kin, kin_longer), parent) if service[row] >= 0 else -1
            if found < 0:
                found = _tightest(row, (start, end), (previous, longer), parent)
            parent[row] = found
    return parent


@njit(cache=True)
def ancestor_kernel(parent: I64, marked: Bool) -> I64:
    """(n,) i64: the nearest marked row above, not the row itself; −1 = none. Parents form a forest."""
    found = np.full(parent.size, -2, np.int64)
    for first in range(parent.size):
        row = first
        while found[row] == -2 and parent[row] >= 0 and not marked[parent[row]]:
            row = parent[row]
        answer = found[row] if found[row] != -2 else parent[row]
        row = first
        while found[row] == -2:
            found[row] = answer
            if parent[row] < 0 or marked[parent[row]]:
                break
            row = parent[row]
    return found


@njit(cache=True)
def _just_before(place: int, latest: np.int64, times: tuple[I64, I64, I64], found: I64) -> np.int64:
    """Fill `found` with the rows, among those that ended up to `place`, that nothing lies behind; times = (start, end, rows by end). Their number."""
    start, end, by_end = times
    used = np.int64(0)
    while place >= 0 and end[by_end[place]] >= latest:
        row = by_end[place]
        if end[row] > latest or start[row] == latest:
            found[used] = row
            used += 1
        place -= 1
    return used


@njit(cache=True)
def precedence_kernel(cuts: I64, start: I64, end: I64) -> tuple[I64, I64]:
    """Pairs (before, after) of rows: `before` ended when `after` began, and nothing of the same group lies between.

    Groups are rows cuts[i]:cuts[i + 1], sorted by (start, end). This is the transitive reduction of the interval order, found by walking back from
    the last to end while ends lie after the latest start among those that had ended.
    """
    befores, afters, used = np.empty(start.size + 16, np.int64), np.empty(start.size + 16, np.int64), np.int64(0)
    found = np.empty(start.size, np.int64)
    for group in range(cuts.size - 1):
        low, high = cuts[group], cuts[group + 1]
        by_end = np.argsort(end[low:high], kind="mergesort") + low
        ended, latest = 0, np.int64(0)
        for row in range(low, high):
            while ended < high - low and end[by_end[ended]] <= start[row] and by_end[ended] < row:
                latest = start[by_end[ended]] if ended == 0 else max(latest, start[by_end[ended]])
                ended += 1
            more = _just_before(ended - 1, latest, (start, end, by_end), found)
            while used + more > befores.size:
                befores, afters = _doubled(befores), _doubled(afters)
            befores[used : used + more], afters[used : used + more] = found[:more], row
            used += more
    return befores[:used], afters[:used]


@njit(cache=True)
def _doubled(values: I64) -> I64:
    wider = np.empty(2 * values.size, np.int64)
    wider[: values.size] = values
    return wider
