"""What the service answers with: analysis results joined with what a page or a document needs beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

from headwater.model.alert import Alert
from headwater.model.attribution import ReportWarning
from headwater.model.blame import ErrorReport, TraceBlame
from headwater.model.errors import require
from headwater.model.latency import LatencyReport, Partition
from headwater.model.pipeline import PipelineGraph
from headwater.model.ports import PipelineSummary, Window
from headwater.model.spans import F64, I64, lock
from headwater.model.traces import TraceTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked: one pipeline, a window, perhaps a baseline window, the outcome explained, and the attribute that clusters runs."""

    pipeline: str
    window: Window
    baseline: Window | None = None
    outcome: str = "loss"
    cluster: str | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TraceAnswer:
    """One trace (m = 1): its partition and, where its loss is known, its blame judged against the pipeline's default window."""

    traces: TraceTable
    partition: Partition
    blame: TraceBlame | None
    blame_missing: str | None
    jaeger_url: str | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Flow:
    """Runs through each stage over time: edges_ns (b + 1,) i64 bin edges UTC; calls, errors (b, s) i64 by `stages`."""

    stages: tuple[str, ...]
    edges_ns: I64
    calls: I64
    errors: I64

    def __post_init__(self) -> None:
        require(self.calls.shape == self.errors.shape == (self.edges_ns.size - 1, len(self.stages)), "flow columns differ in shape")
        lock(self.edges_ns, self.calls, self.errors)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OverviewAnswer:
    """The overview page.

    durations_ns: stage → (calls,) f64 of its own spans; failed_traces: trace ids, highest loss first; errors None = see errors_missing.
    """

    pipelines: tuple[PipelineSummary, ...]
    query: Query
    graph: PipelineGraph
    latency: LatencyReport
    errors: ErrorReport | None
    errors_missing: str | None
    durations_ns: Mapping[str, F64]
    baseline_durations_ns: Mapping[str, F64] | None
    flow: Flow
    alerts: tuple[Alert, ...]
    failed_traces: tuple[str, ...]
    slowest_traces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `headwater doctor`: what was looked at, whether it is all right, and the next command if not."""

    name: str
    ok: bool
    text: str
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Ingest figures of the running service: counts since start.

    lag_ns = newest receipt − its span's end; queue = spans in memory, not yet in a segment.
    """

    received: int
    accepted: int
    duplicates: int
    rejected: Mapping[str, int]
    lag_ns: int | None
    queue: int
    disk_bytes: int
    checks: tuple[Check, ...]
    warnings: tuple[ReportWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One line of a list of traces. status: "error" if any span failed, else "ok"; loss None = unlabelled."""

    trace_id: str
    start_ns: int
    duration_ns: int
    n_spans: int
    status: str
    loss: float | None
    partial: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """One judged outcome as a person or a file states it: exactly one of trace_id (hex) and run_id; judged_at_ns None = now, by the receiver."""

    trace_id: str | None
    run_id: str | None
    loss: float
    name: str = "loss"
    label: str | None = None
    judged_at_ns: int | None = None
    source: str | None = None
    audit: bool = False

    def __post_init__(self) -> None:
        require((self.trace_id is None) != (self.run_id is None), "an outcome names either a trace or a run")
