"""Where the time goes, and why it changed: mean and quantiles whose parts add up, and causes split into own, inherited and mix.

Two different questions, never mixed. *Spent* is accounting: which components fill the traces that make up p95. When a stage slows, it chooses which
traces those are, so an unchanged stage may show a negative spent delta. *Cause* exchanges mechanisms between the windows (`mechanisms`, `exchange`).
Both sum to the statistic, or to its change; asserted where they are made and again by the types that carry them.
"""

from typing import Final

import numpy as np

from headwater.analysis.comparison import compare
from headwater.analysis.critical_path import partition
from headwater.analysis.drag import drag
from headwater.analysis.intervals import DEFAULT_LEVEL, bootstrap_weights, normal_interval, percentile_interval
from headwater.analysis.quantiles import order_statistic_bounds, quantile_weights, replicate_weights
from headwater.analysis.sample import Sample, completeness, sample_of
from headwater.conventions.attributes import CPU_TIME_NS
from headwater.model.attribution import Attribution, ReportWarning
from headwater.model.errors import TooLittleDataError
from headwater.model.latency import LatencyInput, LatencyReport, LatencyStatistic, Partition, StageLatency
from headwater.model.spans import F64, I64, STATUS_ERROR

QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
FEW: Final = 30
AMBIGUOUS_MAX: Final = 0.05
DRAG_KNOWN_MIN: Final = 0.95
_DRAW_CELLS: Final = 4_000_000


def report(
    current: LatencyInput,
    *,
    pipeline: str,
    baseline: LatencyInput | None = None,
    rng: np.random.Generator,
    level: float = DEFAULT_LEVEL,
    replicates: int = 200,
    cluster: str | None = None,
) -> LatencyReport:
    """The report of one window, and of its change against `baseline` if given. Canary runs are left out of both.

    Intervals: the mean by influence functions summed over clusters (``session.id`` of the root, or the attribute `cluster`), quantiles by a Poisson
    bootstrap of clusters. With fewer than 30 effective traces beyond a quantile (n_eff · min(p, 1 − p)) there is a warning and the interval is
    widened to the distribution-free bounds of order statistics, its parts in proportion; with fewer than one there is no interval (NaN).
    Raises TooLittleDataError if no trace is left.
    """
    components = _components(current, baseline)
    sample = sample_of(current, components, cluster=cluster)
    if not len(sample):
        raise TooLittleDataError(
            f"no trace of pipeline {pipeline!r} in this window; traces come from the wrapper or from files.", next_command="headwater ingest PATH"
        )
    warnings = _warnings(current, sample)
    shrink = drag(current, components)[sample.position]
    if np.any(np.isnan(shrink)):
        warnings.append(_drag_warning())
    statistics = [_mean(sample, shrink, level)]
    for (name, p), bootstrapped in zip(QUANTILES, _bootstrap(sample, rng, replicates), strict=True):
        few = sample.n_effective * min(p, 1 - p)
        if few < FEW:
            warnings.append(ReportWarning(code="few_traces_at_quantile", text=_few_text(name, few)))
        statistics.append(_quantile(sample, (name, p), (shrink, bootstrapped), level=level))
    comparison, other = None, None
    if baseline is not None:
        other = sample_of(baseline, components, cluster=cluster)
        warnings += _few_in_baseline(other)
        comparison, more = compare((baseline, current), (other, sample), rng=rng, level=level, replicates=replicates)
        warnings += more
    return LatencyReport(
        pipeline=pipeline,
        n_traces=len(sample),
        n_effective=sample.n_effective,
        weights=sample.weights,
        completeness=completeness(current, sample),
        level=level,
        statistics=tuple(statistics),
        comparison=comparison,
        stages=stage_latencies(current, sample.position),
        warnings=tuple(warnings),
        n_baseline=None if other is None else len(other),
        baseline_stages=None if baseline is None or other is None else stage_latencies(baseline, other.position),
    )


def _components(current: LatencyInput, baseline: LatencyInput | None) -> tuple[str, ...]:
    """All components of both windows, the one with most time first, ties by name."""
    total: dict[str, int] = {}
    for side in (current,) if baseline is None else (current, baseline):
        length = side.partition.end_ns - side.partition.start_ns
        sums = np.bincount(side.partition.component, weights=length, minlength=len(side.partition.components))
        for name, time in zip(side.partition.components, sums.tolist(), strict=True):
            total[name] = total.get(name, 0) + int(time)
    return tuple(sorted(total, key=lambda name: (-total[name], name)))


def _mean(sample: Sample, shrink: F64, level: float) -> LatencyStatistic:
    share = sample.weight / np.sum(sample.weight)
    spent = share @ sample.times_ns
    value = float(np.sum(spent))
    both = np.column_stack([sample.latency_ns, sample.times_ns])
    low, high = normal_interval(np.concatenate([[value], spent]), _cluster_error(both, share, sample.cluster), level)
    method = "weighted mean; influence functions by cluster"
    return _statistic(("mean", method, level), spent, (low, high), (sample, share, shrink))


def _cluster_error(values: F64, share: F64, cluster: I64) -> F64:
    """(k,) standard error of the weighted means of `values` (m, k); NaN with fewer than two clusters."""
    influence = share[:, None] * (values - share @ values)
    _, place = np.unique(cluster, return_inverse=True)
    n = int(place.max()) + 1
    if n < 2:
        return np.full(values.shape[1], np.nan)
    sums = np.stack([np.bincount(place, weights=column, minlength=n) for column in influence.T])
    error: F64 = np.sqrt(np.sum(sums * sums, axis=1) * n / (n - 1))
    return error


def _bootstrap(sample: Sample, rng: np.random.Generator, replicates: int) -> list[F64]:
    """For each of `QUANTILES` (B, 1 + c): the quantile and its parts in every replicate, drawn in chunks to bound the memory."""
    step = max(1, _DRAW_CELLS // len(sample))
    both = np.column_stack([sample.latency_ns, sample.times_ns])
    chunks: list[list[F64]] = []
    for at in range(0, replicates, step):
        draws = bootstrap_weights(rng, sample.cluster, min(step, replicates - at))
        near = [replicate_weights(p, sample.weight, draws) for _, p in QUANTILES]
        chunks.append([h @ both[rows] for rows, h in near])
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def _quantile(sample: Sample, which: tuple[str, float], parts: tuple[F64, F64], *, level: float) -> LatencyStatistic:
    name, p = which
    shrink, replicates = parts
    h = quantile_weights(p, sample.weight)
    spent = h @ sample.times_ns
    value = float(np.sum(spent))
    low, high = percentile_interval(replicates, level)
    beyond = sample.n_effective * min(p, 1 - p)
    centre = np.concatenate([[value], spent])
    low, high = np.minimum(low, centre), np.maximum(high, centre)
    if beyond < 1:
        low, high = np.full(low.shape, np.nan), np.full(high.shape, np.nan)
    elif beyond < FEW:
        low, high = _widened(sample, p, level, (centre, low, high))
    return _statistic((name, "Harrell–Davis; Poisson bootstrap by cluster", level), spent, (low, high), (sample, h, shrink))


def _widened(sample: Sample, p: float, level: float, known: tuple[F64, F64, F64]) -> tuple[F64, F64]:
    """Bounds of the value stretched to the order statistics that hold it with at least `level`; bounds of the parts stretched in proportion."""
    centre, low, high = known
    ranks = order_statistic_bounds(p, sample.n_effective, level)
    share = np.cumsum(sample.weight) / np.sum(sample.weight)
    outer = sample.latency_ns[np.minimum(np.searchsorted(share, np.array(ranks) - 1e-12), len(sample) - 1)]
    reach = np.array([max(centre[0] - outer[0], centre[0] - low[0]), max(outer[1] - centre[0], high[0] - centre[0])])
    stretch = [reach[side] / width if width > 0 else 1.0 for side, width in enumerate((centre[0] - low[0], high[0] - centre[0]))]
    wide_low, wide_high = centre - (centre - low) * stretch[0], centre + (high - centre) * stretch[1]
    wide_low[0], wide_high[0] = centre[0] - reach[0], centre[0] + reach[1]
    return wide_low, wide_high


def _statistic(how: tuple[str, str, float], spent: F64, bounds: tuple[F64, F64], where: tuple[Sample, F64, F64]) -> LatencyStatistic:
    name, method, level = how
    low, high = bounds
    sample, h, shrink = where
    value = float(np.sum(spent))
    share = sample.weight / np.sum(sample.weight)
    known = ~np.isnan(shrink)
    certain = h @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        pulled = np.where(certain >= DRAG_KNOWN_MIN, (h @ np.where(known, shrink, 0.0)) / certain, np.nan)
    return LatencyStatistic(
        statistic=name,
        value_ns=value,
        low_ns=float(low[0]),
        high_ns=float(high[0]),
        spent=Attribution(
            components=sample.components,
            share=spent,
            low=low[1:].copy(),
            high=high[1:].copy(),
            unexplained=0.0,
            total=value,
            unit="ns",
            method=method,
            level=level,
            n_traces=len(sample),
            verdict="identified",
        ),
        on_path_share=np.minimum(share @ (sample.times_ns > 0), 1.0),  # a sum of shares may pass 1 by rounding
        drag_ns=np.minimum(pulled, spent),
    )


def stage_latencies(given: LatencyInput, traces: I64) -> tuple[StageLatency, ...]:
    """Every stage over all its calls in those traces, on the path or not, in order of their median start within the trace."""
    table = given.traces
    spans, trace = table.spans, table.trace_of_row()
    kept = np.zeros(len(table), np.bool_)
    kept[traces] = True
    begun = spans.start_ns - spans.start_ns[table.offset[:-1]][trace] if len(table) else spans.start_ns
    cpu, rows = spans.number(CPU_TIME_NS.name), []
    for code, stage in enumerate(spans.stage.values):
        calls = np.flatnonzero((spans.stage.codes == code) & kept[trace])
        if not calls.size:
            continue
        p50, p95, p99 = np.quantile(spans.end_ns[calls] - spans.start_ns[calls], [0.5, 0.95, 0.99]).tolist()
        timed = cpu[calls][~np.isnan(cpu[calls])]
        row = StageLatency(
            stage=stage,
            calls=int(calls.size),
            p50_ns=p50,
            p95_ns=p95,
            p99_ns=p99,
            error_rate=float(np.mean(spans.status[calls] == STATUS_ERROR)),
            cpu_ns=float(np.mean(timed)) if timed.size else float("nan"),
        )
        rows.append((float(np.median(begun[calls])), stage, row))
    return tuple(row for _, _, row in sorted(rows, key=lambda item: item[:2]))


def _few_text(name: str, beyond: float) -> str:
    cure = "its interval is left out" if beyond < 1 else "its interval is widened to what order statistics alone say"
    return f"{name} rests on {beyond:.1f} effective traces beyond it, fewer than {FEW}: {cure}. Take a longer window."


def _few_in_baseline(other: Sample) -> list[ReportWarning]:
    found = []
    for name, p in QUANTILES:
        beyond = other.n_effective * min(p, 1 - p)
        if len(other) and beyond < FEW:
            text = f"In the baseline {name} rests on {beyond:.1f} effective traces beyond it, fewer than {FEW}: its change is uncertain."
            found.append(ReportWarning(code="few_traces_at_quantile", text=text))
    return found


def _drag_warning() -> ReportWarning:
    return ReportWarning(
        code="drag_unknown",
        text="How far a component can shrink is not known where stages stream into each other, a trace has several tasks, or nobody owns the time.",
    )


def _warnings(current: LatencyInput, sample: Sample) -> list[ReportWarning]:
    found = []
    if sample.weights == "unknown":
        found.append(
            ReportWarning(
                code="weights_unknown",
                text="No sampling weight is recorded, so every trace counts once; quantiles of traces sampled by latency are not those of traffic.",
            )
        )
    if sample.mixed:
        found.append(ReportWarning(code="weights_mixed", text=f"{sample.mixed} traces hold spans of different weights; the largest is used."))
    if current.partition.ambiguous_share > AMBIGUOUS_MAX:
        found.append(ReportWarning(code="ambiguous_edges", text=_ambiguous_text(current)))
    return found


def _ambiguous_text(current: LatencyInput) -> str:
    """Both attributions where it rests on timing alone whether a parent waited for a child."""
    here, there = _totals(current.partition), _totals(partition(current.traces, other_reading=True))
    names = sorted({*here, *there}, key=lambda name: -abs(here.get(name, 0.0) - there.get(name, 0.0)))[:3]
    told = ", ".join(f"{name} {here.get(name, 0.0):.0%} or {there.get(name, 0.0):.0%}" for name in names)
    share = current.partition.ambiguous_share
    return f"{share:.0%} of the time depends on whether a child blocked its parent, which is inferred from timing: {told}. Record headwater.blocking."


def _totals(cut: Partition) -> dict[str, float]:
    """Share of all horizon time by component."""
    times = np.bincount(cut.component, weights=cut.end_ns - cut.start_ns, minlength=len(cut.components))
    whole = max(float(times.sum()), 1.0)
    return {name: time / whole for name, time in zip(cut.components, times.tolist(), strict=True)}
