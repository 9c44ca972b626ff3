"""`SpanReader` over one table in memory: the real answers without a disk."""

from collections.abc import Iterator, Mapping

import numpy as np

from headwater.conventions.attributes import OUTCOME_SPAN_NAME
from headwater.model.ports import PipelineSummary, Window
from headwater.model.spans import SpanBatch, SpanTable


class MemoryReader:
    """One pipeline; outcome spans follow the traces they point to, whichever window is asked."""

    def __init__(self, name: str, spans: SpanTable, stages: tuple[str, ...]) -> None:
        self._name, self._spans, self._stages = name, spans, stages
        self._is_outcome = np.array([spans.name.at(row) == OUTCOME_SPAN_NAME for row in range(len(spans))])

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        own = np.flatnonzero(~self._is_outcome)
        starts = self._spans.start_ns[own]
        traces = len(np.unique(self._spans.trace_id[own], axis=0))
        summary = PipelineSummary(
            pipeline=self._name,
            stages=self._stages,
            n_traces=traces,
            n_spans=own.size,
            first_start_ns=int(starts.min()),
            last_start_ns=int(starts.max()),
            n_outcomes=int(self._is_outcome.sum()),
        )
        return (summary,)

    def _with_outcomes(self, chosen: set[tuple[int, int]]) -> SpanTable:
        ids = [tuple(int(part) for part in row) for row in self._spans.trace_id]
        target = {int(row): tuple(int(part) for part in self._spans.link_trace_id[place]) for place, row in enumerate(self._spans.link_row)}
        keep = [row for row in range(len(ids)) if (target.get(row) if self._is_outcome[row] else ids[row]) in chosen]
        return self._spans.take(np.array(keep, np.int64))

    def window(self, pipeline: str, window: Window) -> SpanTable:
        low = -(2**62) if window.start_ns is None else window.start_ns
        high = 2**62 if window.end_ns is None else window.end_ns
        first: dict[tuple[int, int], int] = {}
        for row in np.flatnonzero(~self._is_outcome):
            key = (int(self._spans.trace_id[row, 0]), int(self._spans.trace_id[row, 1]))
            first[key] = min(first.get(key, 2**62), int(self._spans.start_ns[row]))
        return self._with_outcomes({key for key, start in first.items() if low <= start < high and pipeline == self._name})

    def trace(self, trace_id: tuple[int, int]) -> SpanTable:
        return self._with_outcomes({trace_id})

    def root_attribute(self, pipeline: str, window: Window, key: str) -> Mapping[str, str]:
        return {}

    def batches(self, pipeline: str | None, window: Window) -> Iterator[SpanBatch]:
        return iter(())
