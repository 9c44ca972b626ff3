"""Latency answers: the exact partition of each trace, and quantiles whose parts add up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.model.attribution import Attribution, ReportWarning
from headwater.model.errors import require
from headwater.model.spans import F64, I32, I64, lock
from headwater.model.traces import TraceTable

FLAGS: Final = ("overlap", "clipped", "orphan", "ambiguous", "inferred_async")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Partition:
    """Every trace's horizon cut into disjoint labelled segments, sorted by (trace, start).

    g segments: trace (g,) i64, component (g,) i32 into `components` ("self:asr", "edge:asr", "queue:a->b", "batch_wait:x", "unaccounted"),
    row (g,) i64 span row that owns the time, −1 = none; start_ns, end_ns (g,) i64; flags (g,) u8, bit j = FLAGS[j].
    Per trace (m,): horizon_start_ns, horizon_end_ns, after_response_ns i64. Per span (n,): self_ns, path_ns i64.
    Checked: segments of a trace are disjoint, in order, and sum to horizon_end − horizon_start exactly; path ≤ self for every span.
    """

    components: tuple[str, ...]
    trace: I64
    component: I32
    row: I64
    start_ns: I64
    end_ns: I64
    flags: np.ndarray[tuple[int], np.dtype[np.uint8]]
    horizon_start_ns: I64
    horizon_end_ns: I64
    after_response_ns: I64
    self_ns: I64
    path_ns: I64
    ambiguous_share: float

    def __post_init__(self) -> None:
        m = int(self.horizon_start_ns.size)
        length = self.end_ns - self.start_ns
        require(bool(np.all(length > 0)), "a segment of no length")
        total = np.zeros(m, np.int64)
        np.add.at(total, self.trace, length)
        require(bool(np.array_equal(total, self.horizon_end_ns - self.horizon_start_ns)), "segments do not sum to the horizon")
        same = self.trace[1:] == self.trace[:-1]
        require(bool(np.all(self.start_ns[1:][same] >= self.end_ns[:-1][same])), "segments overlap or are out of order")
        require(bool(np.all(self.path_ns <= self.self_ns)), "a span is longer on the path than its self time")
        lock(self.trace, self.component, self.row, self.start_ns, self.end_ns, self.flags)
        lock(self.horizon_start_ns, self.horizon_end_ns, self.after_response_ns, self.self_ns, self.path_ns)

    def matrix(self) -> I64:
        """(m, c) i64: time of each component in each trace; rows sum to the horizon exactly."""
        times = np.zeros((self.horizon_start_ns.size, len(self.components)), np.int64)
        np.add.at(times, (self.trace, self.component), self.end_ns - self.start_ns)
        return times


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatencyStatistic:
    """One statistic ("mean", "p50", "p95", "p99") of the end-to-end latency; `spent` splits it over components and sums to value_ns.

    on_path_share (c,): share of traces in which the component takes time. drag_ns (c,): how far it can shrink before another branch
    dominates, NaN = unknown.
    """

    statistic: str
    value_ns: float
    low_ns: float
    high_ns: float
    spent: Attribution
    on_path_share: F64
    drag_ns: F64


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentChange:
    """One component between two windows: spent_delta_ns is accounting; own, inherited and mix are cause.

    None = not identifiable; a warning of the report says why.
    """

    component: str
    spent_delta_ns: float
    low_ns: float
    high_ns: float
    own_ns: float | None
    own_low_ns: float | None
    own_high_ns: float | None
    inherited_ns: Mapping[str, float]
    mix_ns: float | None
    flagged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyChange:
    """One statistic in two windows; Σ spent_delta_ns == delta_ns, and where causes are known Σ (own + inherited + mix) == delta_ns."""

    statistic: str
    baseline_ns: float
    current_ns: float
    delta_ns: float
    low_ns: float
    high_ns: float
    components: tuple[ComponentChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageLatency:
    """One stage over all its calls, on or off the path. Unknown = NaN."""

    stage: str
    calls: int
    p50_ns: float
    p95_ns: float
    p99_ns: float
    error_rate: float
    cpu_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyReport:
    """Everything `headwater report latency` prints. weights: "none" (nothing was sampled), "th", or "unknown".

    With a comparison: n_baseline and baseline_stages say what it was compared with; None = not known.
    """

    pipeline: str
    n_traces: int
    n_effective: float
    weights: str
    completeness: Mapping[str, int]
    level: float
    statistics: tuple[LatencyStatistic, ...]
    comparison: tuple[LatencyChange, ...] | None
    stages: tuple[StageLatency, ...]
    warnings: tuple[ReportWarning, ...]
    n_baseline: int | None = None
    baseline_stages: tuple[StageLatency, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatencyInput:
    """Traces with their partition: one side of a comparison."""

    traces: TraceTable
    partition: Partition
