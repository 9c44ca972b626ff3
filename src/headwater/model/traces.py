"""Traces: spans grouped, ordered and joined with their final outcome; defects counted and carried."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.model.errors import require
from headwater.model.spans import F64, I32, I64, U64, Bool, SpanTable, TextColumn, lock

DEFECTS: Final = ("orphans", "duplicates", "conflicts", "skewed", "cycles", "rootless", "late")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Defects:
    """Per trace (m,) i32: what was wrong with the trace data itself, after repair.

    orphans: spans whose parent is not here · duplicates: equal (trace, span) dropped · conflicts: duplicates that differed · skewed: end < start set
    to start, or child far outside its parent across hosts · cycles: parent loops cut · rootless: 1 if no span was without a parent ·
    late: spans that came after the trace was first reported.
    """

    orphans: I32
    duplicates: I32
    conflicts: I32
    skewed: I32
    cycles: I32
    rootless: I32
    late: I32

    def __post_init__(self) -> None:
        arrays = [getattr(self, name) for name in DEFECTS]
        require(len({array.shape for array in arrays}) == 1, "defect columns differ in length")
        lock(*arrays)

    @classmethod
    def none(cls, m: int) -> "Defects":
        return cls(**{name: np.zeros(m, np.int32) for name in DEFECTS})

    def totals(self) -> dict[str, int]:
        """Sum over traces by name."""
        return {name: int(getattr(self, name).sum()) for name in DEFECTS}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TraceTable:
    """m traces over n spans.

    `spans` is sorted by (trace, start, end descending, span id); trace i is rows offset[i]:offset[i+1] and trace_id[i] (m, 2). parent (n,) i64 is the
    row of the parent in `spans`, −1 = root or orphan. outcome_loss (m,) f64, NaN = unlabelled; outcome_at_ns (m,) i64, 0 = unlabelled;
    outcome_audit (m,) bool. `outcome` names the outcome explained. partial (m,) bool: the trace may still grow. Outcome spans are joined, not kept.
    """

    spans: SpanTable
    offset: I64
    trace_id: U64
    parent: I64
    pipeline: TextColumn
    run_id: TextColumn
    outcome: str
    outcome_loss: F64
    outcome_at_ns: I64
    outcome_audit: Bool
    partial: Bool
    defects: Defects

    def __post_init__(self) -> None:
        n, m = len(self.spans), len(self)
        require(self.offset.shape == (m + 1,) and int(self.offset[0]) == 0 and int(self.offset[-1]) == n, "offset does not cover the spans")
        require(bool(np.all(np.diff(self.offset) > 0)), "an empty trace, or offsets out of order")
        require(self.parent.shape == (n,), "parent has another length than spans")
        trace = self.trace_of_row()
        child = np.flatnonzero(self.parent >= 0)
        require(not child.size or int(self.parent.max()) < n, "a parent row outside the table")
        require(bool(np.all(trace[self.parent[child]] == trace[child])), "a parent in another trace")
        require(_loop_free(self.parent), "a parent loop: assemble cuts and counts it")
        for array in (self.outcome_loss, self.outcome_at_ns, self.outcome_audit, self.partial):
            require(array.shape == (m,), "a trace column has another length")
        require(len(self.pipeline) == m and len(self.run_id) == m, "a trace text column has another length")
        lock(self.offset, self.trace_id, self.parent, self.outcome_loss, self.outcome_at_ns, self.outcome_audit, self.partial)

    def __len__(self) -> int:
        return int(self.trace_id.shape[0])

    def trace_of_row(self) -> I64:
        """(n,) i64: the trace each span row belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offset))

    def root_row(self) -> I64:
        """(m,) i64: the earliest span without a parent row; the first span where a trace has none."""
        roots = np.flatnonzero(self.parent < 0)
        first = self.offset[:-1].copy()
        trace = self.trace_of_row()[roots]
        seen, place = np.unique(trace, return_index=True)
        first[seen] = roots[place]
        return first

    def take(self, traces: I64) -> "TraceTable":
        """The traces at those positions, ascending order expected."""
        lengths = np.diff(self.offset)[traces]
        rows = np.concatenate([np.arange(self.offset[i], self.offset[i + 1]) for i in traces]) if traces.size else np.empty(0, np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        moved = np.repeat(starts[:-1] - self.offset[traces], lengths)  # a parent is in its child's trace, so it moves as far
        old = self.parent[rows]
        return TraceTable(
            spans=self.spans.take(rows),
            offset=starts,
            trace_id=self.trace_id[traces],
            parent=np.where(old < 0, -1, old + moved),
            pipeline=self.pipeline.take(traces),
            run_id=self.run_id.take(traces),
            outcome=self.outcome,
            outcome_loss=self.outcome_loss[traces],
            outcome_at_ns=self.outcome_at_ns[traces],
            outcome_audit=self.outcome_audit[traces],
            partial=self.partial[traces],
            defects=Defects(**{name: getattr(self.defects, name)[traces] for name in DEFECTS}),
        )


def _loop_free(parent: I64) -> bool:
    """Pointer jumping: after log2(n) doublings every row of a forest has reached −1."""
    jump = parent.copy()
    for _ in range(max(1, int(parent.size).bit_length() + 1)):
        live = np.flatnonzero(jump >= 0)
        if not live.size:
            return True
        jump[live] = jump[jump[live]]
    return not np.any(jump >= 0)


def format_trace_id(high: int, low: int) -> str:
    """32 lower-case hex digits, as Jaeger and W3C write it."""
    return f"{int(high):016x}{int(low):016x}"


def format_span_id(value: int) -> str:
    """16 lower-case hex digits."""
    return f"{int(value):016x}"


def parse_trace_id(text: str) -> tuple[int, int]:
    """(high, low) of up to 32 hex digits; ValueError otherwise."""
    value = int(text, 16)
    require_hex = 0 < len(text) <= 32 and value > 0
    if not require_hex:
        raise ValueError(f"{text!r} is not a trace id of 32 hex digits")
    return value >> 64, value & 0xFFFF_FFFF_FFFF_FFFF
