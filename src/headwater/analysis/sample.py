"""Traces as a sample: latency and parts of each, what it stands for, and what it is resampled with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from headwater.analysis.quantiles import effective_size
from headwater.conventions.attributes import CANARY, SESSION_ID
from headwater.model.errors import require
from headwater.model.latency import LatencyInput
from headwater.model.spans import F64, I64, Bool, SpanTable, lock


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """m traces in ascending order of latency. position (m,): where each stands in the input; latency_ns (m,) f64; times_ns (m, c) f64 by
    `components`, rows sum to the latency; weight (m,) f64 > 0; cluster (m,) i64. weights: "none", "th" or "unknown" (then every weight is 1).
    mixed: traces whose spans disagree on the weight; n_canaries were left out.
    """

    components: tuple[str, ...]
    position: I64
    latency_ns: F64
    times_ns: F64
    weight: F64
    cluster: I64
    weights: str
    mixed: int
    n_canaries: int

    def __post_init__(self) -> None:
        require(self.times_ns.shape == (self.latency_ns.size, len(self.components)), "times have another shape than traces and components")
        require(bool(np.all(np.abs(self.times_ns.sum(axis=1) - self.latency_ns) <= 1e-9 * np.maximum(1, self.latency_ns))), "parts miss the latency")
        require(bool(np.all(np.diff(self.latency_ns) >= 0)), "a sample out of order")
        lock(self.position, self.latency_ns, self.times_ns, self.weight, self.cluster)

    def __len__(self) -> int:
        return int(self.latency_ns.size)

    @property
    def n_effective(self) -> float:
        return effective_size(self.weight)


def sample_of(given: LatencyInput, components: tuple[str, ...], *, cluster: str | None = None) -> Sample:
    """The traces of `given` without canary runs, their parts in the order of `components` (which must hold every component of the partition).

    Clusters go by the attribute `cluster` of the root (default ``session.id``); a trace without it is a cluster of its own.
    """
    traces, cut = given.traces, given.partition
    trace = traces.trace_of_row()
    canary = np.zeros(len(traces), np.bool_)
    canary[trace[_truth(traces.spans, CANARY.name)]] = True
    kept = np.flatnonzero(~canary)
    length = (cut.horizon_end_ns - cut.horizon_start_ns)[kept]
    kept = kept[np.argsort(length, kind="stable")]
    times = np.zeros((kept.size, len(components)))
    times[:, [components.index(name) for name in cut.components]] = cut.matrix()[kept]
    weight, known, mixed = _weights(traces.spans.weight, traces.offset)
    column = traces.spans.text(cluster or SESSION_ID.name)
    group = column.codes[traces.root_row()].astype(np.int64) if len(traces) else np.empty(0, np.int64)
    group = np.where(group >= 0, group, len(column.values) + np.arange(len(traces)))
    return Sample(
        components=components,
        position=kept,
        latency_ns=np.sort(length).astype(np.float64),
        times_ns=times,
        weight=weight[kept],
        cluster=group[kept],
        weights=known,
        mixed=mixed,
        n_canaries=int(canary.sum()),
    )


def completeness(given: LatencyInput, sample: Sample) -> Mapping[str, int]:
    """Defects by name, traces that may still grow, and canary runs left out."""
    return {**given.traces.defects.totals(), "partial": int(given.traces.partial.sum()), "canaries": sample.n_canaries}


def _truth(spans: SpanTable, name: str) -> Bool:
    column = spans.text(name)
    words = np.array([*(value.lower() in {"true", "1"} for value in column.values), False], np.bool_)
    said: Bool = words[column.codes] | (np.nan_to_num(spans.number(name)) != 0)
    return said


def _weights(weight: F64, offset: I64) -> tuple[F64, str, int]:
    """(weight a trace, what is known of them, traces whose spans disagree). A trace stands for as many as its rarest span: the largest weight.

    One trace without any weight leaves the proportions open, so then all count 1 and the weights are "unknown".
    """
    m = offset.size - 1
    if not m:
        return np.empty(0), "unknown", 0
    largest = np.maximum.reduceat(np.where(np.isnan(weight), -np.inf, weight), offset[:-1])
    smallest = np.minimum.reduceat(np.where(np.isnan(weight), np.inf, weight), offset[:-1])
    if np.any(np.isinf(largest)):
        return np.ones(m), "unknown", 0
    mixed = int(np.sum(largest > smallest * (1 + 1e-9)))
    return largest, "none" if np.all(largest == 1) else "th", mixed
