"""The critical path walk, compiled: integer times, an explicit window stack, plain arrays.

A span is walked backwards over a window [low, t]. Of its blocking children the one that ends last at or before t is followed; the time after it
belongs to a child still running at t (earliest start first, flag `overlap`) and else to the span itself. t only ever falls, so each span keeps
one pointer into its children, sorted by end: O(k log k) for k children, however often it is entered.

A trace of several tasks (roots, and consumers that a queue joins to their producer) is walked task by task, back to its earliest start.
"""

import numpy as np
from numba import njit

from headwater.model.spans import I64, Bool

OVERLAP = 1
NOBODY = -1

Tree = tuple[I64, I64, I64, I64]
State = tuple[I64, I64, I64, I64, I64]
Above = tuple[I64, I64, I64, I64]
"""(parent, link offset (n + 1,), link target, top): what stands above a span; the links are those of task heads, to rows of their own trace."""


@njit(cache=True)
def emit(out: I64, used: int, base: int, piece: tuple[int, int, int, int, int]) -> tuple[I64, int]:
    """Append (start, end, row, flags, producer) to `out`, or lengthen the last piece of this trace if it is the same owner without a break."""
    start, end, row, flags, producer = piece
    if used > base and producer < 0:
        last = used - 1
        if out[last, 0] == end and out[last, 2] == row and out[last, 3] == flags and out[last, 4] < 0:
            out[last, 0] = start
            return out, used
    if used == out.shape[0]:
        wider = np.empty((2 * used + 16, 5), np.int64)
        wider[:used] = out
        out = wider
    out[used, 0], out[used, 1], out[used, 2], out[used, 3], out[used, 4] = start, end, row, flags, producer
    return out, used + 1


@njit(cache=True)
def advance(row: int, t: int, tree: Tree, state: State) -> int:
    """Move the pointer of `row` past children that end after t, remembering the earliest start among them. Returns the pointer."""
    offset, child, low, high = tree
    pointer, running = state[0], state[1]
    place = pointer[row]
    while place < offset[row + 1] and high[child[place]] > t:
        item, best = child[place], running[row]
        if best < 0 or low[item] < low[best] or (low[item] == low[best] and item < best):
            running[row] = item
        place += 1
    pointer[row] = place
    return place  # type: ignore[no-any-return]


@njit(cache=True)
def walk(window: tuple[int, int, int, int], tree: Tree, state: State, sink: tuple[I64, int, int]) -> tuple[I64, int]:
    """Walk a task backwards; window = (task, low, t, flags). sink = (out, used, base of this trace). Returns (out, used)."""
    offset, child, low, high = tree
    running, rows, lows, flags = state[1], state[2], state[3], state[4]
    out, used, base = sink
    rows[0], lows[0], t, flags[0] = window
    depth = 1
    while depth > 0:
        row, floor, flag = rows[depth - 1], lows[depth - 1], flags[depth - 1]
        if t <= floor:
            depth -= 1
            continue
        place = advance(row, t, tree, state)
        last, last_end = NOBODY, floor
        if place < offset[row + 1] and high[child[place]] > floor:
            last = child[place]
            last_end = high[last]
        still = running[row]
        if t > last_end and still >= 0 and low[still] < t:
            rows[depth], lows[depth], flags[depth] = still, max(low[still], last_end), flag | OVERLAP
            depth += 1
            continue
        if t > last_end:
            out, used = emit(out, used, base, (last_end, t, row, flag, NOBODY))
            t = last_end
        if last >= 0:
            rows[depth], lows[depth], flags[depth] = last, max(low[last], floor), flag
            depth += 1
    return out, used


@njit(cache=True)
def terminal_kernel(rows: tuple[int, int], tree: Tree, top: I64, marks: tuple[Bool, Bool]) -> tuple[int, int]:
    """(row, end) of the span that gives the answer: of those marked final, else of the heads of eligible tasks, the last to end.

    Ties: the later start, then the smaller row. marks = (eligible, final).
    """
    _, _, low, high = tree
    eligible, final = marks
    best, best_final = -1, False
    for row in range(rows[0], rows[1]):
        if not (final[row] or eligible[row]):
            continue
        if best >= 0 and final[row] == best_final:
            if high[row] < high[best] or (high[row] == high[best] and low[row] <= low[best]):
                continue
        elif best >= 0 and best_final:
            continue
        best, best_final = row, final[row]
    return top[best], high[best]


@njit(cache=True)
def _predecessor(task: int, t: int, tree: Tree, above: tuple[I64, I64, I64]) -> int:
    """The span that handed `task` its work: of its links and its parent, what ended last before t and began before it; −1 = nobody."""
    _, _, low, high = tree
    parent, link_offset, link_target = above
    best = -1
    for place in range(link_offset[task] - 1, link_offset[task + 1]):
        row = parent[task] if place < link_offset[task] else link_target[place]
        if row < 0 or low[row] >= t:
            continue
        if best < 0:
            best = row
            continue
        here, there = min(high[row], t), min(high[best], t)
        if here > there or (here == there and (low[row] > low[best] or (low[row] == low[best] and row < best))):
            best = row
    return best


@njit(cache=True)
def _pick(span: tuple[int, int], heads: I64, cursor: I64, tree: Tree) -> tuple[int, int, int]:
    """(still running at t or −1, last to end by t or −1, its end or the floor) among task heads in walk order.

    span = (floor, t); cursor = [place in heads, earliest start among those passed].
    """
    floor, t = span
    _, _, low, high = tree
    while cursor[0] < heads.size and high[heads[cursor[0]]] > t:
        item = heads[cursor[0]]
        if cursor[1] < 0 or low[item] < low[cursor[1]] or (low[item] == low[cursor[1]] and item < cursor[1]):
            cursor[1] = item
        cursor[0] += 1
    last, last_end = -1, floor
    if cursor[0] < heads.size and high[heads[cursor[0]]] > floor:
        last = heads[cursor[0]]
        last_end = high[last]
    still = cursor[1] if cursor[1] >= 0 and low[cursor[1]] < t and last_end < t else -1
    return still, last, last_end


@njit(cache=True)
def walk_tasks(way: tuple[int, int, int, I64], tree: Tree, above: Above, scratch: tuple[State, I64, int]) -> tuple[I64, int]:
    """Cover the horizon of one trace; way = (t0, t1, terminal task, its tasks in walk order), scratch = (state, out, used). Returns (out, used).

    From the start of a task the walk goes to the span that handed it its work, over a queue if that had ended. With nobody recorded it goes on in
    time, as if all tasks were children of one span: time in which none ran is nobody's.
    """
    low, high = tree[2], tree[3]
    parent, link_offset, link_target, top = above
    state, out, used = scratch
    base = used
    t0, t, task, heads = way
    floor, flag = t0, 0
    cursor = np.array([0, -1], np.int64)
    while t > t0:
        if task >= 0:
            bottom = max(floor, low[task])
            if bottom < t:
                out, used = walk((task, bottom, t, flag), tree, state, (out, used, base))
                t = bottom
            ended = t <= low[task]
            giver = _predecessor(task, t, tree, (parent, link_offset, link_target)) if ended else -1
            consumer, task, floor, flag = task, -1, t0, 0
            if giver >= 0:
                consumer_start = t
                t = max(t0, min(t, high[giver]))
                if t < consumer_start:
                    out, used = emit(out, used, base, (t, consumer_start, consumer, 0, giver))
                task = top[giver]
            continue
        still, last, last_end = _pick((t0, t), heads, cursor, tree)
        if still >= 0:
            task, floor, flag = still, max(low[still], last_end), OVERLAP
            continue
        if last_end < t:
            out, used = emit(out, used, base, (last_end, t, NOBODY, 0, NOBODY))
            t = last_end
        task = last
    return out, used


@njit(cache=True)
def partition_kernel(chosen: tuple[I64, I64, I64, I64], tree: Tree, above: Above, marks: tuple[Bool, Bool, Bool]) -> tuple[I64, I64, I64, I64]:
    """Cut the horizons of some traces; chosen = (positions, offset (m + 1,), head offset, heads), marks = (simple (m,), eligible (n,), final (n,)).

    Returns pieces (g, 5): start, end, row, flags, producer row, ascending in (trace, start); a piece with a producer is a queue and its row the
    consumer; piece offset per chosen trace; horizon start and end.
    """
    simple, eligible, final = marks
    wanted, offset, head_offset, heads = chosen
    n, child_offset, low, high = above[0].size, tree[0], tree[2], tree[3]
    most = np.int64(1)
    for trace in wanted:
        most = max(most, offset[trace + 1] - offset[trace])
    state = (
        child_offset[:n].copy(),
        np.full(n, -1, np.int64),
        np.empty(most + 2, np.int64),
        np.empty(most + 2, np.int64),
        np.empty(most + 2, np.int64),
    )
    out, used = np.empty((n + n // 2 + 16, 5), np.int64), 0
    cuts = np.zeros(wanted.size + 1, np.int64)
    begins, ends = np.empty(wanted.size, np.int64), np.empty(wanted.size, np.int64)
    for index in range(wanted.size):
        trace, base = wanted[index], used
        first, stop = offset[trace], offset[trace + 1]
        if simple[trace]:
            root = first
            while above[0][root] >= 0:
                root += 1
            begins[index], ends[index] = low[root], high[root]
            out, used = walk((root, low[root], high[root], 0), tree, state, (out, used, base))
        else:
            terminal, t1 = terminal_kernel((first, stop), tree, above[3], (eligible, final))
            t0 = low[first]
            for row in range(first, stop):
                t0 = min(t0, low[row])
            own_heads = heads[head_offset[trace] : head_offset[trace + 1]]
            begins[index], ends[index] = t0, t1
            out, used = walk_tasks((t0, t1, terminal, own_heads), tree, above, (state, out, used))
        out[base:used] = out[base:used][::-1].copy()
        cuts[index + 1] = used
    return out[:used], cuts, begins, ends
