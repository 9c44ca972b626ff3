"""Traces to the graph of their pipeline: stages in order, and which stage's output reaches which."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.conventions.attributes import LINK_KINDS
from headwater.model.pipeline import PipelineGraph
from headwater.model.spans import I64, Bool
from headwater.model.traces import TraceTable
from headwater.traces.kernels import ancestor_kernel, find_kernel, precedence_kernel

_INPUT: Final = LINK_KINDS.index("input")


def graph(traces: TraceTable) -> PipelineGraph:
    """Stages and edges of `traces`, which should be of one pipeline (the most frequent name is taken). No traces give no stages.

    Links of kind input declare edges. A stage that no declared edge leads to is placed by observation: among stage spans under the same stage, an
    edge runs to each from those that ended last before it began (a sequence is a chain, parallel stages fan out); a first one has its edge from the
    stage around it. Spans count per stage, so a retry is no loop: within a trace an edge back to a stage that began earlier is left out. An edge
    stays if it is in more than half of the traces that have both its stages; `calls` counts those traces.
    """
    stages = _Stages.of(traces)
    declared = _traces_with(stages, *_declared(traces))
    observed = _traces_with(stages, *_observed(traces, stages))
    settled = np.zeros(stages.size, np.bool_)
    settled[declared.pairs[declared.calls * 2 > stages.shared(declared.pairs), 1]] = True
    free = ~settled[observed.pairs[:, 1]]
    pairs = np.concatenate([declared.pairs, observed.pairs[free]])
    calls = np.concatenate([declared.calls, observed.calls[free]])
    both = stages.shared(pairs)
    most = calls * 2 > both
    return _ordered(traces, stages, pairs[most], (calls[most], bool(declared.calls.size)))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Stages:
    """Where stages are. row (k,) their span rows; trace, code (k,); seen: sorted unique trace · size + code, first_ns its earliest start."""

    size: int
    row: I64
    trace: I64
    code: I64
    seen: I64
    first_ns: I64

    @classmethod
    def of(cls, traces: TraceTable) -> "_Stages":
        column = traces.spans.stage
        row = np.flatnonzero(column.codes >= 0)
        trace, code = traces.trace_of_row()[row], column.codes[row].astype(np.int64)
        size = len(column.values)
        # Rows are sorted by start within a trace, so the first row of a (trace, stage) has its earliest start.
        seen, first = np.unique(trace * size + code, return_index=True)
        return cls(size=size, row=row, trace=trace, code=code, seen=seen, first_ns=traces.spans.start_ns[row[first]])

    def first(self, trace: I64, code: I64) -> I64:
        return self.first_ns[np.searchsorted(self.seen, trace * self.size + code)]

    def shared(self, pairs: I64) -> I64:
        """(e,) in how many traces both stages of a pair occur."""
        trace, code = np.divmod(self.seen, max(self.size, 1))
        of_stage = {int(stage): trace[code == stage] for stage in np.unique(pairs)}
        return np.array([np.intersect1d(of_stage[int(a)], of_stage[int(b)], assume_unique=True).size for a, b in pairs], np.int64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Edges:
    """pairs (e, 2) stage codes, calls (e,) the traces in which each was seen."""

    pairs: I64
    calls: I64


def _traces_with(stages: _Stages, trace: I64, pair: I64) -> _Edges:
    """Count traces by pair, the same pair twice in a trace once."""
    size = max(stages.size, 1)
    once = np.unique((trace * size + pair[:, 0]) * size + pair[:, 1])
    key, calls = np.unique(once % (size * size), return_counts=True)
    return _Edges(pairs=np.stack(np.divmod(key, size), axis=1).reshape(-1, 2), calls=calls.astype(np.int64))


def _declared(traces: TraceTable) -> tuple[I64, I64]:
    """(trace, pair (k, 2)) of input links between two stages of one trace; a link from or to a helper span counts for the stage above it."""
    spans = traces.spans
    link = np.flatnonzero(spans.link_kind == _INPUT)
    none = np.empty(0, np.int64), np.empty((0, 2), np.int64)
    if not link.size:
        return none
    holder = spans.link_row[link]
    inside = np.all(spans.link_trace_id[link] == spans.trace_id[holder], axis=1)
    link, holder = link[inside], holder[inside]
    trace = traces.trace_of_row()
    target = find_kernel(trace, spans.span_id, trace[holder], spans.link_span_id[link])
    marked = spans.stage.codes >= 0
    above = ancestor_kernel(traces.parent, marked)
    own = np.where(marked, np.arange(len(spans)), above)
    found = np.flatnonzero(target >= 0)
    source, sink = own[target[found]], own[holder[found]]
    both = np.flatnonzero((source >= 0) & (sink >= 0))
    pair = spans.stage.codes[np.stack([source[both], sink[both]], axis=1)].astype(np.int64)
    apart = pair[:, 0] != pair[:, 1]
    return trace[sink[both]][apart], pair[apart]


def _observed(traces: TraceTable, stages: _Stages) -> tuple[I64, I64]:
    """(trace, pair (k, 2)) read off parentage and the order of siblings."""
    spans = traces.spans
    above = ancestor_kernel(traces.parent, spans.stage.codes >= 0)[stages.row]
    order = np.lexsort((spans.end_ns[stages.row], spans.start_ns[stages.row], above, stages.trace))
    row = stages.row[order]
    group_above, group_trace = above[order], stages.trace[order]
    new = np.flatnonzero((np.diff(group_above) != 0) | (np.diff(group_trace) != 0)) + 1
    cuts = np.concatenate([[0], new, [row.size]]).astype(np.int64) if row.size else np.zeros(1, np.int64)
    before, after = precedence_kernel(cuts, spans.start_ns[row], spans.end_ns[row])
    led = np.zeros(row.size, np.bool_)
    led[after] = True
    first = np.flatnonzero(~led & (group_above >= 0))
    code = spans.stage.codes.astype(np.int64)
    source = np.concatenate([code[row[before]], code[group_above[first]]])
    sink = np.concatenate([code[row[after]], code[row[first]]])
    trace = np.concatenate([group_trace[after], group_trace[first]])
    keep = (source != sink) & _forward(stages, trace, source, sink)
    return trace[keep], np.stack([source[keep], sink[keep]], axis=1)


def _forward(stages: _Stages, trace: I64, source: I64, sink: I64) -> Bool:
    """Did the source stage begin first in its trace? An edge back is a retry or a loop of the caller."""
    forward: Bool = stages.first(trace, source) <= stages.first(trace, sink)
    return forward


def _ordered(traces: TraceTable, stages: _Stages, pairs: I64, found: tuple[I64, bool]) -> PipelineGraph:
    """Number the stages: by their mean place among first starts, then so that edges run forward where they can."""
    calls, declared = found
    present = np.unique(stages.code)
    trace, code = np.divmod(stages.seen, max(stages.size, 1))
    by_start = np.lexsort((code, stages.first_ns, trace))
    starts = np.searchsorted(trace[by_start], trace[by_start])
    place = np.zeros(trace.size)
    place[by_start] = np.arange(trace.size) - starts
    mean = np.bincount(code, weights=place, minlength=stages.size) / np.maximum(np.bincount(code, minlength=stages.size), 1)
    values = traces.spans.stage.values
    order = sorted(present.tolist(), key=lambda stage: (mean[stage], values[stage]))
    draft = _graph(traces, stages, (order, pairs, calls), declared=declared)
    topological = draft.order()
    if topological is None:
        return draft
    return _graph(traces, stages, ([order[index] for index in topological], pairs, calls), declared=declared)


def _graph(traces: TraceTable, stages: _Stages, parts: tuple[list[int], I64, I64], *, declared: bool) -> PipelineGraph:
    order, pairs, calls = parts
    number = np.full(max(stages.size, 1), -1, np.int64)
    number[order] = np.arange(len(order))
    edge = number[pairs].astype(np.int32).reshape(-1, 2)
    by_stage = np.lexsort((edge[:, 1], edge[:, 0]))
    known = traces.pipeline.codes[traces.pipeline.codes >= 0]
    return PipelineGraph(
        pipeline=traces.pipeline.values[int(np.bincount(known).argmax())] if known.size else "",
        stages=tuple(traces.spans.stage.values[stage] for stage in order),
        edge=edge[by_stage],
        calls=calls[by_stage],
        stage_calls=np.bincount(stages.code, minlength=stages.size)[order].astype(np.int64) if order else np.empty(0, np.int64),
        declared=declared,
    )
