"""The exact partition: every nanosecond between a request and its answer belongs to exactly one component.

A walk from the answer back to the request follows, at each instant, the child that was waited for last (`headwater.analysis.walk`); time that no
child covers is the span's own. Unlike the "last finishing child" walk, streaming overlap, fire-and-forget children, back-to-back stages and children
that outlast their parent keep the sum exact and no span gets more path than its self time.

    R |----------------------------|         R  0..300
    A |-----------------|                    A  0..200   streams into B
    B      |-----------------------|         B 50..300
      A A A B B B B B B B B B B B B          self:A 50, self:B 250
"""

from typing import Final

import numpy as np

from headwater.analysis.blocking import OVERHANG_NS, Waiting, waiting
from headwater.analysis.components import label, names, orphans
from headwater.analysis.forest import (
    after_kernel,
    children_kernel,
    clip_kernel,
    differ_kernel,
    eligible_kernel,
    heads_kernel,
    path_kernel,
    self_kernel,
    simple_traces,
)
from headwater.analysis.walk import partition_kernel
from headwater.conventions.attributes import LINK_KINDS
from headwater.model.latency import FLAGS, Partition
from headwater.model.spans import I64, Bool
from headwater.model.traces import TraceTable

_CLIPPED: Final = 1 << FLAGS.index("clipped")
_ORPHAN: Final = 1 << FLAGS.index("orphan")
_AMBIGUOUS: Final = 1 << FLAGS.index("ambiguous")
_ASYNC: Final = 1 << FLAGS.index("inferred_async")
_NOT_WORK: Final = (LINK_KINDS.index("outcome"), LINK_KINDS.index("retry_of"))


def partition(traces: TraceTable, *, overhang_ns: int = OVERHANG_NS, other_reading: bool = False) -> Partition:
    """Cut every trace's horizon into labelled segments; times in integer ns, sums exact. No traces give an empty partition.

    Which children were waited for is recorded or decided per edge (`headwater.analysis.blocking`). Where that decision rests on timing alone the
    walk is done again with the opposite decision: `ambiguous_share` is the share of all horizon time that would then have another owner, and those
    segments carry the flag. `other_reading` returns that opposite walk itself, so that both attributions can be shown.
    """
    wait = waiting(traces, overhang_ns=overhang_ns)
    links = _task_links(traces, wait.handoff)
    every = np.arange(len(traces))
    blocks = wait.other if other_reading else wait.blocks
    pieces, cuts, begins, ends = _cut(traces, wait, blocks, (links, every))
    doubtful, different = np.zeros(pieces.shape[0], np.bool_), 0
    touched = np.unique(traces.trace_of_row()[wait.doubtful])
    if touched.size:
        opposite = wait.blocks if other_reading else wait.other
        others, other_cuts, _, _ = _cut(traces, wait, opposite, (links, touched))
        for index, trace in enumerate(touched.tolist()):
            span = slice(int(cuts[trace]), int(cuts[trace + 1]))
            different += differ_kernel(pieces[span], others[other_cuts[index] : other_cuts[index + 1]], doubtful[span])
    components, code = label(pieces, names(traces))
    spans = traces.spans
    queue = pieces[:, 4] >= 0
    row = np.where(queue, -1, pieces[:, 2])
    total = int(np.sum(ends - begins))
    return Partition(
        components=components,
        trace=np.repeat(every, np.diff(cuts)),
        component=code,
        row=row,
        start_ns=pieces[:, 0].copy(),
        end_ns=pieces[:, 1].copy(),
        flags=_flags(traces, wait, blocks, (pieces[:, 3], row, doubtful)),
        horizon_start_ns=begins,
        horizon_end_ns=ends,
        after_response_ns=after_kernel(traces.offset, spans.start_ns, spans.end_ns, ends),
        self_ns=self_kernel(traces.parent, blocks, spans.start_ns, spans.end_ns),
        path_ns=path_kernel(row, pieces[:, 1] - pieces[:, 0], len(spans)),
        ambiguous_share=different / total if total else 0.0,
    )


def _cut(traces: TraceTable, wait: Waiting, blocks: Bool, where: tuple[tuple[I64, I64], I64]) -> tuple[I64, I64, I64, I64]:
    """Pieces, their offsets, horizon starts and ends of the traces where[1], with the task links where[0]."""
    spans, parent = traces.spans, traces.parent
    (holder, target), chosen = where
    low, high, top = clip_kernel(parent, blocks, spans.start_ns, spans.end_ns)
    child_offset, child = children_kernel(parent, blocks, low, high)
    order = np.argsort(holder, kind="stable")
    link_offset = np.concatenate([[0], np.cumsum(np.bincount(holder, minlength=len(spans)))]).astype(np.int64)
    simple, eligible = simple_traces(traces, wait.handoff), eligible_kernel(parent, wait.handoff, top)
    head_offset, heads = heads_kernel(traces.offset, simple, eligible, (low, high))
    marks = (simple, eligible, spans.final)
    above = (parent, link_offset, target[order], top)
    pieces, cuts, begins, ends = partition_kernel((chosen, traces.offset, head_offset, heads), (child_offset, child, low, high), above, marks)
    return pieces, cuts, begins, ends


def _flags(traces: TraceTable, wait: Waiting, blocks: Bool, piece: tuple[I64, I64, Bool]) -> "np.ndarray[tuple[int], np.dtype[np.uint8]]":
    """(g,) u8: what the walk said, what is true of the owner, and doubt."""
    walked, row, doubtful = piece
    spans, parent = traces.spans, traces.parent
    of_span = np.zeros(len(spans) + 1, np.uint8)  # the last place is for pieces without an owner
    child = np.flatnonzero((parent >= 0) & blocks)
    outside = (spans.end_ns[child] > spans.end_ns[parent[child]]) | (spans.start_ns[child] < spans.start_ns[parent[child]])
    of_span[child[outside]] |= _CLIPPED
    of_span[:-1][orphans(traces)] |= _ORPHAN
    of_span[parent[wait.inferred & ~blocks]] |= _ASYNC
    flags = walked.astype(np.uint8) | of_span[row]
    flags[doubtful] |= _AMBIGUOUS
    return flags


def _task_links(traces: TraceTable, handoff: Bool) -> tuple[I64, I64]:
    """(holder row, target row) of links between spans of one trace whose holder heads a task: it has no parent, or consumes what another produced."""
    spans = traces.spans
    head = (traces.parent < 0) | handoff
    work = np.flatnonzero(~np.isin(spans.link_kind, _NOT_WORK) & head[spans.link_row]) if spans.link_row.size else np.empty(0, np.int64)
    none = np.empty(0, np.int64)
    if not work.size:
        return none, none
    trace = traces.trace_of_row()
    holder = spans.link_row[work]
    inside = np.all(spans.link_trace_id[work] == spans.trace_id[holder], axis=1)
    work, holder = work[inside], holder[inside]
    rows = np.flatnonzero(np.isin(trace, trace[holder]))
    # Exact match on (trace, span id): ids are ranked first so that the pair fits one integer.
    _, rank = np.unique(np.concatenate([spans.span_id[rows], spans.link_span_id[work]]), return_inverse=True)
    width = int(rank.max(initial=0)) + 1
    key, wanted = trace[rows] * width + rank[: rows.size], trace[holder] * width + rank[rows.size :]
    order = np.argsort(key)
    place = np.minimum(np.searchsorted(key[order], wanted), max(rows.size - 1, 0))
    found = key[order][place] == wanted if rows.size else np.empty(0, np.bool_)
    target = rows[order][place[found]]
    apart = target != holder[found]
    return holder[found][apart], target[apart]
