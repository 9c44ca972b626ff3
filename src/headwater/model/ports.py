"""Ports: what a room needs of another without importing it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from headwater.model.spans import SpanBatch, SpanTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Traces whose earliest span starts in [start_ns, end_ns) UTC; None = unbounded.

    `where`: (attribute, value) pairs, each must hold on some span of the trace.
    """

    start_ns: int | None = None
    end_ns: int | None = None
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSummary:
    """One line of `headwater pipelines`: name, stages by first appearance, trace and span counts, first and last start in ns UTC."""

    pipeline: str
    stages: tuple[str, ...]
    n_traces: int
    n_spans: int
    first_start_ns: int
    last_start_ns: int
    n_outcomes: int


class SpanReader(Protocol):
    """Reads spans back. Every table is deduplicated on (trace id, span id), the first copy kept; an empty table, not None, if there are none."""

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        """One summary a pipeline, by name."""

    def window(self, pipeline: str, window: Window) -> SpanTable:
        """All spans of the pipeline's traces in the window, plus every outcome span that points to one of them by link or run id."""

    def trace(self, trace_id: tuple[int, int]) -> SpanTable:
        """All spans of one trace, plus the outcome spans that point to it."""

    def root_attribute(self, pipeline: str, window: Window, key: str) -> Mapping[str, str]:
        """Any attribute of each trace's root span as text: trace id in hex → value; traces whose root lacks it are left out."""

    def batches(self, pipeline: str | None, window: Window) -> Iterator[SpanBatch]:
        """The stored spans with their wire rows, for export; all pipelines if None. Each span once."""


class SpanWriter(Protocol):
    """Takes decoded batches. `append` makes them readable at once; they are durable when `flush` returns (until then the spool holds them)."""

    def append(self, batches: Sequence[SpanBatch]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...
