"""Two windows compared: how the parts of each statistic moved, and which mechanism moved them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.exchange import quantile_causes
from headwater.analysis.features import received
from headwater.analysis.intervals import bootstrap_weights, holm, percentile_interval, two_sided_p
from headwater.analysis.mechanisms import Mechanisms, mean_causes, mechanisms
from headwater.analysis.quantiles import quantile_weights, replicate_weights
from headwater.analysis.sample import Sample
from headwater.model.attribution import ReportWarning, require_closes
from headwater.model.latency import ComponentChange, LatencyChange, LatencyInput
from headwater.model.spans import F64, Bool

PROBABILITIES: Final = (0.5, 0.95, 0.99)
NAMES: Final = ("mean", "p50", "p95", "p99")
CAUSE_MIN: Final = 30
"""Independent traces (clusters) each window needs before an own change may have an interval: a fit through few points looks too certain."""
SPENT_MIN: Final = 5
_CELLS: Final = 4_000_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Split:
    """Statistics (q) by component (c): values (q,) of both windows, spent deltas, own, inherited (q, c), and bootstrap replicates:
    delta (B, q, 1 + c) of the value and its parts, own (B, q, c) as deviations from the estimate.
    """

    baseline: F64
    current: F64
    spent: F64
    own: F64
    inherited: F64
    deltas: F64
    own_deviations: F64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Bounds:
    """Of one statistic: low, high (1 + c,) of the change and its spent parts; own_low, own_high, flagged (c,)."""

    low: F64
    high: F64
    own_low: F64
    own_high: F64
    flagged: Bool


def compare(
    inputs: tuple[LatencyInput, LatencyInput], samples: tuple[Sample, Sample], *, rng: np.random.Generator, level: float, replicates: int
) -> tuple[tuple[LatencyChange, ...] | None, list[ReportWarning]]:
    """Changes of mean, p50, p95 and p99 from (baseline, current), and what the reader must know. None where a comparison would mean nothing.

    Parts close: Σ spent_delta == delta, and own + inherited + mix == spent_delta for every component whose own change can be told, so they sum to
    delta where all can. mix is the rest: other routes, another share of the work on the path, and which slow pieces meet in one trace.
    With fewer than 30 independent traces in a window own changes have no interval, with fewer than 5 spent changes neither; a quantile needs one
    effective trace beyond it. `flagged`: the own interval excludes 0 and so does Holm's adjustment over all components and statistics of the
    comparison.
    """
    baseline, current = samples
    refused = _refusal(baseline, current)
    if refused is not None:
        return None, [refused]
    known = mechanisms(samples, (received(inputs[0]), received(inputs[1])))
    split = _split(samples, known, rng, replicates)
    support = min(min(sample.n_effective, np.unique(sample.cluster).size) for sample in samples)
    if support < CAUSE_MIN:
        split.own_deviations[:] = np.nan
    own_low, own_high = percentile_interval(split.own_deviations, level)
    error = _spread(split.own_deviations)
    p = np.where(known.known & (support >= CAUSE_MIN), two_sided_p(split.own, error, max(support - 3.0, 1.0)), np.nan)
    flagged = holm(p.ravel()).reshape(p.shape) < 1 - level
    low, high = percentile_interval(split.deltas, level)
    for index, p_index in enumerate((0.5, *PROBABILITIES)):
        if support < SPENT_MIN or (index and support * min(p_index, 1 - p_index) < 1):
            low[index], high[index] = np.nan, np.nan
    changes = []
    for index in range(len(NAMES)):
        own = split.own[index]
        bounds = _Bounds(low=low[index], high=high[index], own_low=own + own_low[index], own_high=own + own_high[index], flagged=flagged[index])
        changes.append(_change(index, split, known, bounds))
    return tuple(changes), _unknown(known) + _thin(support)


def _refusal(baseline: Sample, current: Sample) -> ReportWarning | None:
    if not len(baseline):
        return ReportWarning(
            code="no_baseline", text="The baseline window holds no trace, so there is nothing to compare with; widen --baseline-since."
        )
    if (baseline.weights == "unknown") != (current.weights == "unknown"):
        return ReportWarning(
            code="weights_differ",
            text="One window has sampling weights and the other has none: their quantiles are of different populations and are not compared.",
        )
    return None


def _spread(deviations: F64) -> F64:
    """Standard deviation over replicates; NaN where fewer than two are known."""
    count = np.sum(~np.isnan(deviations), axis=0)
    mean = np.nansum(deviations, axis=0) / np.maximum(count, 1)
    square = np.nansum((deviations - mean) ** 2, axis=0)
    return np.where(count > 1, np.sqrt(square / np.maximum(count - 1, 1)), np.nan)


def _thin(support: float) -> list[ReportWarning]:
    if support >= CAUSE_MIN:
        return []
    text = f"One window holds only {support:.0f} independent traces: causes are shown without intervals and none is flagged; {CAUSE_MIN} are needed."
    return [ReportWarning(code="few_traces_for_causes", text=text)]


def _unknown(known: Mechanisms) -> list[ReportWarning]:
    names = [name.removeprefix("self:") for name, told in zip(known.components, known.known, strict=True) if not told]
    if not names:
        return []
    text = f"Own and inherited latency of {', '.join(names)} cannot be told apart: record headwater.input.size there, or the output size before it."
    return [ReportWarning(code="sizes_not_recorded", text=text)]


def _split(samples: tuple[Sample, Sample], known: Mechanisms, rng: np.random.Generator, replicates: int) -> _Split:
    ones = tuple(np.ones((1, len(sample))) for sample in samples)
    own, inherited = mean_causes(known, (ones[0], ones[1]))
    deltas, deviations = [], []
    step = max(1, _CELLS // (len(samples[0]) + len(samples[1])))
    for at in range(0, replicates, step):
        draws = tuple(bootstrap_weights(rng, sample.cluster, min(step, replicates - at)) for sample in samples)
        deviations.append(mean_causes(known, (draws[0], draws[1]))[0] - own)
        moved = [_replicates(sample, draw) for sample, draw in zip(samples, draws, strict=True)]
        deltas.append(moved[1] - moved[0])
    q_own, q_inherited, q_deviations = quantile_causes(known, PROBABILITIES, rng, replicates)
    parts = [_parts(sample) for sample in samples]
    return _Split(
        baseline=parts[0].sum(axis=1),
        current=parts[1].sum(axis=1),
        spent=parts[1] - parts[0],
        own=np.concatenate([own, q_own.T]),
        inherited=np.concatenate([inherited, q_inherited.T]),
        deltas=np.concatenate(deltas),
        own_deviations=np.concatenate([np.concatenate(deviations)[:, None, :], q_deviations.transpose(0, 2, 1)], axis=1),
    )


def _parts(sample: Sample) -> F64:
    """(q, c): the parts of every statistic."""
    rows = [sample.weight / np.sum(sample.weight), *(quantile_weights(p, sample.weight) for p in PROBABILITIES)]
    return np.stack(rows) @ sample.times_ns


def _replicates(sample: Sample, draws: F64) -> F64:
    """(B, q, 1 + c): value and parts of every statistic in every replicate."""
    both = np.column_stack([sample.latency_ns, sample.times_ns])
    mass = draws * sample.weight
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [(mass @ both) / mass.sum(axis=1, keepdims=True)]
    for p in PROBABILITIES:
        rows, h = replicate_weights(p, sample.weight, draws)
        found.append(h @ both[rows])
    return np.stack(found, axis=1)


def _change(index: int, split: _Split, known: Mechanisms, bounds: _Bounds) -> LatencyChange:
    delta = float(split.current[index] - split.baseline[index])
    require_closes(split.spent[index], 0.0, delta)
    mix = split.spent[index] - split.own[index] - split.inherited[index]
    require_closes(np.concatenate([split.own[index], split.inherited[index], mix]), 0.0, delta)
    rows = np.stack([split.spent[index], split.own[index], split.inherited[index], mix], axis=1)
    return LatencyChange(
        statistic=NAMES[index],
        baseline_ns=float(split.baseline[index]),
        current_ns=float(split.current[index]),
        delta_ns=delta,
        low_ns=min(float(bounds.low[0]), delta),
        high_ns=max(float(bounds.high[0]), delta),
        components=tuple(_component(place, rows[place].tolist(), known, bounds) for place in range(len(known.components))),
    )


def _component(place: int, parts: list[float], known: Mechanisms, bounds: _Bounds) -> ComponentChange:
    spent, own, inherited, mix = parts
    name, told = known.components[place], bool(known.known[place])
    own_low, own_high = float(bounds.own_low[place]), float(bounds.own_high[place])
    return ComponentChange(
        component=name,
        spent_delta_ns=spent,
        low_ns=min(float(bounds.low[1 + place]), spent),
        high_ns=max(float(bounds.high[1 + place]), spent),
        own_ns=own if told else None,
        own_low_ns=min(own_low, own) if told and not np.isnan(own_low) else None,
        own_high_ns=max(own_high, own) if told and not np.isnan(own_high) else None,
        inherited_ns={known.source[name]: inherited} if told and known.sized[place] else {},
        mix_ns=mix if told else None,
        flagged=bool(told and bounds.flagged[place] and (own_low > 0 or own_high < 0)),
    )
