"""What a page shows beside the analyses: durations, flow, exemplars; plain look-ups in a `TraceTable`."""

import zlib
from dataclasses import fields
from typing import Any, Final

import numpy as np

from headwater.model.answers import Flow, Query
from headwater.model.blame import TraceBlame
from headwater.model.latency import LatencyInput, Partition
from headwater.model.spans import F64, STATUS_ERROR
from headwater.model.traces import TraceTable, format_trace_id

_FLOW_BINS: Final = 24
_EXEMPLARS: Final = 8


def rng_for(query: Query) -> np.random.Generator:
    """A generator seeded by the question alone: the same data and question give the same intervals, after a restart too."""
    parts = (query.pipeline, query.window, query.baseline, query.outcome, query.cluster)
    return np.random.default_rng(zlib.crc32(repr(parts).encode()))


def blame_of_row(blame: TraceBlame, row: int) -> TraceBlame:
    """The blame of one trace (m = 1)."""
    columns: dict[str, Any] = {field.name: getattr(blame, field.name) for field in fields(blame)}
    one: dict[str, Any] = {name: value[row : row + 1] if isinstance(value, np.ndarray) else value for name, value in columns.items()}
    return TraceBlame(**one)


def partition_of_row(side: LatencyInput, row: int) -> Partition:
    """The partition of one trace (m = 1) as decided within its window: which edges are asynchronous is a matter of many traces."""
    whole = side.partition
    first, last = (int(bound) for bound in np.searchsorted(whole.trace, [row, row + 1]))
    begin, end = int(side.traces.offset[row]), int(side.traces.offset[row + 1])
    codes, components = np.unique(whole.component[first:last], return_inverse=True)
    owner = whole.row[first:last]
    return Partition(
        components=tuple(whole.components[code] for code in codes),
        trace=np.zeros(last - first, np.int64),
        component=components.astype(np.int32),
        row=np.where(owner < 0, -1, owner - begin),
        start_ns=whole.start_ns[first:last],
        end_ns=whole.end_ns[first:last],
        flags=whole.flags[first:last],
        horizon_start_ns=whole.horizon_start_ns[row : row + 1],
        horizon_end_ns=whole.horizon_end_ns[row : row + 1],
        after_response_ns=whole.after_response_ns[row : row + 1],
        self_ns=whole.self_ns[begin:end],
        path_ns=whole.path_ns[begin:end],
        ambiguous_share=whole.ambiguous_share,
    )


def extremes(traces: TraceTable) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(slowest, failed) trace ids, worst first, a few of each; slowest by last end − first start, failed by loss then recency."""
    spans = traces.spans
    starts = spans.start_ns[traces.offset[:-1]]
    lengths = np.maximum.reduceat(spans.end_ns, traces.offset[:-1]) - starts
    slowest = np.argsort(-lengths, kind="stable")[:_EXEMPLARS]
    loss = np.nan_to_num(traces.outcome_loss)
    order = np.lexsort((-starts, -loss))
    failed = order[loss[order] > 0][:_EXEMPLARS]
    names = [tuple(format_trace_id(*traces.trace_id[i]) for i in rows) for rows in (slowest, failed)]
    return names[0], names[1]


def durations(traces: TraceTable, stages: tuple[str, ...]) -> dict[str, F64]:
    """Stage → (calls,) f64 ns, every call of it."""
    spans = traces.spans
    lengths = (spans.end_ns - spans.start_ns).astype(np.float64)
    return {stage: lengths[spans.stage.codes == spans.stage.code_of(stage)] for stage in stages if spans.stage.code_of(stage) >= 0}


def flow(traces: TraceTable, stages: tuple[str, ...]) -> Flow:
    """Calls and failed calls of each stage in 24 equal bins over the window's runs."""
    spans = traces.spans
    edges = np.linspace(int(spans.start_ns.min()), int(spans.start_ns.max()) + 1, _FLOW_BINS + 1).astype(np.int64)
    edges[-1] = int(spans.start_ns.max()) + 1
    edges = np.unique(edges)
    bins = np.clip(np.searchsorted(edges, spans.start_ns, side="right") - 1, 0, edges.size - 2)
    calls = np.zeros((edges.size - 1, len(stages)), np.int64)
    errors = np.zeros_like(calls)
    for column, stage in enumerate(stages):
        mine = (spans.stage.codes == spans.stage.code_of(stage)) & (spans.stage.codes >= 0)
        np.add.at(calls[:, column], bins[mine], 1)
        np.add.at(errors[:, column], bins[mine & (spans.status == STATUS_ERROR)], 1)
    return Flow(stages=stages, edges_ns=edges, calls=calls, errors=errors)
