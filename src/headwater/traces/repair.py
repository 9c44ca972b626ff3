"""Repairs: pure steps from sorted spans to a forest, each counting what it mended.

A `Draft` is a trace table in the making. The order of `REPAIRS` matters and is argued beside each step; nothing is mended silently.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from headwater.model.spans import I32, I64, KIND_CLIENT, KIND_SERVER, U64, Bool, SpanTable
from headwater.traces.kernels import attach_kernel, cut_kernel, find_kernel, first_kernel

SKEWED: Final = "headwater.defect.skewed"
"""Numbers column that decoders set to 1 on a span whose end they raised to its start."""
SKEW_NS: Final = 1_000_000
"""A server span further than this outside its client's span is the work of two clocks."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Draft:
    """`spans` sorted by (trace, start, end descending, span id); trace i is rows offset[i]:offset[i+1]. parent (n,) i64 row, −1 = root or
    not found. `counts`: defect name → (m,) i32 so far. Traces are never empty.
    """

    spans: SpanTable
    offset: I64
    parent: I64
    counts: Mapping[str, I32]

    def trace_of_row(self) -> I64:
        return np.repeat(np.arange(self.offset.size - 1, dtype=np.int64), np.diff(self.offset))

    def with_count(self, **rows: Bool) -> "Draft":
        """Add the marked rows (n,) to the count of that name, trace by trace."""
        counts = dict(self.counts)
        trace = self.trace_of_row()
        for name, marked in rows.items():
            found = np.bincount(trace[marked], minlength=self.offset.size - 1).astype(np.int32)
            counts[name] = counts[name] + found if name in counts else found
        return replace(self, counts=counts)


Repair = Callable[[Draft], Draft]


def trace_starts(trace_id: U64) -> I64:
    """(m,) i64: rows at which a new trace begins, of ids sorted by trace."""
    if not trace_id.shape[0]:
        return np.empty(0, np.int64)
    new = np.any(trace_id[1:] != trace_id[:-1], axis=1)
    return np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)


def drop_duplicates(draft: Draft) -> Draft:
    """Keep one row a (trace, span id): the earliest start, then the latest end. `conflicts` counts copies that say something else."""
    spans = draft.spans
    first = first_kernel(draft.trace_of_row(), spans.span_id)
    again = first != np.arange(len(spans))
    rows, kept = np.flatnonzero(again), np.flatnonzero(~again)
    differs = np.zeros(len(spans), np.bool_)
    if rows.size:
        for column in (spans.start_ns, spans.end_ns, spans.parent_id, spans.status, spans.name.codes, spans.stage.codes):
            differs[rows] |= column[rows] != column[first[rows]]
    counted = draft.with_count(duplicates=again, conflicts=differs)
    if not rows.size:
        return counted
    offset = np.concatenate([[0], np.cumsum(~again)])[draft.offset].astype(np.int64)
    return replace(counted, spans=spans.take(kept), offset=offset, parent=draft.parent[kept])


def _named_parents(draft: Draft) -> I64:
    trace = draft.trace_of_row()
    rows: I64 = find_kernel(trace, draft.spans.span_id, trace, draft.spans.parent_id)
    return rows


def resolve_parents(draft: Draft) -> Draft:
    """Parent ids to rows of the same trace. `orphans` counts ids that are not there, `rootless` traces in which every span names a parent."""
    spans = draft.spans
    parent = _named_parents(draft)
    named = spans.parent_id != 0
    rootless = np.logical_and.reduceat(named, draft.offset[:-1]).astype(np.int32)
    counted = replace(draft, parent=parent).with_count(orphans=named & (parent < 0))
    return replace(counted, counts={**counted.counts, "rootless": rootless})


def cut_loops(draft: Draft) -> Draft:
    """Detach the earliest span of every parent loop (a self-parent is one): it becomes a root. `cycles` counts the cuts."""
    parent, cut = cut_kernel(draft.parent)
    return replace(draft, parent=parent).with_count(cycles=cut)


def attach_orphans(draft: Draft) -> Draft:
    """Make each orphan a child of the shortest span that encloses it and is not below it: same service first, else any; with none it stays a root.

    That it was an orphan can still be seen: its parent id is not the id of its parent row.
    """
    spans = draft.spans
    orphan = (spans.parent_id != 0) & (draft.parent < 0)
    if "cycles" in draft.counts and np.any(draft.counts["cycles"]):
        known = _named_parents(draft)
        orphan &= known < 0  # a span detached from a loop has its parent here; it is a root, not an orphan
    if not np.any(orphan):
        return draft
    parent = attach_kernel(draft.offset, spans.start_ns, spans.end_ns, (spans.service.codes, draft.parent, orphan))
    return replace(draft, parent=parent)


def count_skew(draft: Draft) -> Draft:
    """`skewed`: spans whose end was raised to their start at decode, and server spans more than 1 ms outside their client's span."""
    spans = draft.spans
    raised = np.nan_to_num(spans.number(SKEWED)) > 0
    child = np.flatnonzero((draft.parent >= 0) & (spans.kind == KIND_SERVER))
    parent = draft.parent[child]
    early = spans.start_ns[parent] - spans.start_ns[child]
    late = spans.end_ns[child] - spans.end_ns[parent]
    apart = np.zeros(len(spans), np.bool_)
    apart[child] = (spans.kind[parent] == KIND_CLIENT) & (np.maximum(early, late) > SKEW_NS)
    return draft.with_count(skewed=raised | apart)


REPAIRS: Final[tuple[Repair, ...]] = (
    drop_duplicates,  # first: a second copy of a parent must not be found in the place of the kept one
    resolve_parents,  # needs unique ids
    cut_loops,  # before orphans are attached: walking up from an enclosing span must end
    attach_orphans,
    count_skew,  # last: it compares children with the parents they ended up with
)


def repair(draft: Draft) -> Draft:
    """All of `REPAIRS` in order."""
    for step in REPAIRS:
        draft = step(draft)
    return draft
