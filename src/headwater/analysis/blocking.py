"""Did the parent wait for this child? What is recorded wins; what is not is decided per edge from the timing of all its calls."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.model.spans import (
    I64,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_PRODUCER,
    KIND_SERVER,
    KIND_UNSPECIFIED,
    Bool,
    SpanTable,
    lock,
)
from headwater.model.traces import TraceTable

OVERHANG_NS: Final = 1_000_000
"""Most children that outlast their parent do so by less than this: clocks and late bookkeeping, not fire-and-forget."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Waiting:
    """Per span (n,) bool. blocks: the parent waited · handoff: a consumer under its producer, a task of its own on the same way ·
    inferred: found not to block from timing alone · doubtful: the decision rests on timing, and `other` is the decision it might as well be.
    """

    blocks: Bool
    handoff: Bool
    inferred: Bool
    doubtful: Bool
    other: Bool

    def __post_init__(self) -> None:
        lock(self.blocks, self.handoff, self.inferred, self.doubtful, self.other)


def waiting(traces: TraceTable, *, overhang_ns: int = OVERHANG_NS) -> Waiting:
    """Decide for every span.

    ``headwater.blocking`` wins; a consumer under a producer does not block; a server under its client always does. Else an INTERNAL, PRODUCER
    or UNSPECIFIED child does not block if, on its edge (parent operation, child operation), most calls outlast their parent by more than
    `overhang_ns` and 10 % of the child. Everything else blocks and is clipped. "It ends after its parent, so it did not block" call by call
    would be wrong on real data.
    """
    spans, parent = traces.spans, traces.parent
    n = len(spans)
    up = np.where(parent >= 0, parent, 0)
    child = parent >= 0
    parent_kind = np.where(child, spans.kind[up], KIND_UNSPECIFIED) if n else spans.kind
    consumer = child & (parent_kind == KIND_PRODUCER) & (spans.kind == KIND_CONSUMER)
    said = spans.blocking >= 0
    blocks = np.where(said, spans.blocking == 1, ~consumer)
    free = np.isin(spans.kind, (KIND_UNSPECIFIED, KIND_INTERNAL, KIND_PRODUCER))
    open_question = child & ~said & ~consumer & free & ~((parent_kind == KIND_CLIENT) & (spans.kind == KIND_SERVER))
    late = open_question & _outlasts(spans, up, overhang_ns)
    inferred = np.zeros(n, np.bool_)
    if np.any(late):
        rows = np.flatnonzero(open_question)
        inferred[rows] = _most_of_edge(spans, up, rows, late)
    blocks = blocks & ~inferred
    # The other reading: an edge found asynchronous waits after all; a single late call of an edge that waits does not.
    doubtful = inferred | late
    return Waiting(blocks=blocks, handoff=consumer & ~said, inferred=inferred, doubtful=doubtful, other=np.where(doubtful, ~blocks, blocks))


def _outlasts(spans: SpanTable, up: I64, overhang_ns: int) -> Bool:
    if not len(spans):
        return np.empty(0, np.bool_)
    overhang = spans.end_ns - spans.end_ns[up]
    tenth = (spans.end_ns - spans.start_ns) // 10
    outlasts: Bool = overhang > np.maximum(overhang_ns, tenth)
    return outlasts


def _most_of_edge(spans: SpanTable, up: I64, rows: I64, late: Bool) -> Bool:
    """(rows,) bool: is the edge of this child late in more than half of its calls?"""
    width = [len(column.values) + 1 for column in (spans.service, spans.stage, spans.name)]
    plain = ((spans.service.codes + 1).astype(np.int64) * width[1] + spans.stage.codes + 1) * width[2] + spans.name.codes + 1
    operation = np.unique(plain, return_inverse=True)[1].astype(np.int64)
    edge = np.unique(operation[up[rows]] * (int(operation.max()) + 1) + operation[rows], return_inverse=True)[1]
    calls, late_calls = np.bincount(edge), np.bincount(edge, weights=late[rows])
    most: Bool = (late_calls > 0.5 * calls)[edge]
    return most
