"""What a stage does with what it receives, in two windows: fitted once, exchanged at will.

A stage's work in a trace is t = f(x) + residual, x the size it received. Between a baseline A and a current window B its mean time on the path
changes by three parts (Kitagawa 1955, Oaxaca 1973), within each route and summed with B's route shares:

    own        E_B[ρ · (f_B(x) − f_A(x))]        the stage does the same work more slowly
    inherited  ρ̄_B · (E_B f_A(x) − E_A f_A(x))   it was given more to do
    mix        what is left of the change        other routes, or another part of its work on the path

ρ = path time / work of the trace, 1 for a stage that nothing runs beside. f is piecewise linear by least squares with an intercept, so in-sample
means are kept and the three parts close exactly. Components that are no stage (queues, edges, gaps) have no size: their whole change on a route is
own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.features import Received, usable
from headwater.analysis.sample import Sample
from headwater.model.spans import F64, I64, Bool, lock

ROUTE_MIN: Final = 30
"""A route with fewer traces in either window is judged together with the other such routes."""
KNOT_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Side:
    """One window by trace (m,), in the order of its sample. spent, work, exposure (m, c); size (m, c), NaN = the component has none;
    group (m,) i64 route group.
    """

    weight: F64
    cluster: I64
    spent: F64
    work: F64
    exposure: F64
    size: F64
    group: I64

    def __post_init__(self) -> None:
        lock(self.weight, self.cluster, self.spent, self.work, self.exposure, self.size, self.group)

    def take(self, rows: I64) -> "Side":
        return Side(
            weight=self.weight[rows],
            cluster=self.cluster[rows],
            spent=self.spent[rows],
            work=self.work[rows],
            exposure=self.exposure[rows],
            size=self.size[rows],
            group=self.group[rows],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scale:
    """How one component's size becomes columns of f: (x − centre) / spread, and a hinge at `knot` (NaN = none). spread 0: no size, f is constant."""

    centre: float
    spread: float
    knot: float

    def columns(self, size: F64) -> F64:
        """(m, d): 1, x, and the part of x beyond the knot; missing sizes count as the centre."""
        if self.spread == 0:
            return np.ones((size.size, 1))
        x = (np.where(np.isnan(size), self.centre, size) - self.centre) / self.spread
        parts = [np.ones(size.size), x]
        if not np.isnan(self.knot):
            parts.append(np.maximum(x - self.knot, 0.0))
        return np.stack(parts, axis=1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mechanisms:
    """Both windows over the same components. sized (c,) bool: f depends on a size; known (c,) bool: own and inherited can be told apart (a stage
    whose sizes are not recorded is not known); source: component → name of its size.
    """

    components: tuple[str, ...]
    baseline: Side
    current: Side
    scale: tuple[Scale, ...]
    sized: Bool
    known: Bool
    source: Mapping[str, str]


def mechanisms(samples: tuple[Sample, Sample], parts: tuple[Received, Received]) -> Mechanisms:
    """Join (baseline, current) samples with what their stages received."""
    components = samples[0].components
    stage = np.array([name.startswith("self:") for name in components], np.bool_)
    sized = np.array([_sized(name, samples, parts) for name in components], np.bool_)
    group = _groups(samples, parts)
    sides = [_side(sample, part, sized, codes) for sample, part, codes in zip(samples, parts, group, strict=True)]
    scale = tuple(_scale(sides[0].size[:, index], sides[1].size[:, index]) for index in range(len(components)))
    source = {name: parts[1].source.get(name, parts[0].source.get(name, "input.size")) for name in components if name.startswith("self:")}
    return Mechanisms(components=components, baseline=sides[0], current=sides[1], scale=scale, sized=sized, known=sized | ~stage, source=source)


def _sized(name: str, samples: tuple[Sample, Sample], parts: tuple[Received, Received]) -> bool:
    return all(
        name in part.size and usable(part.size[name][sample.position], part.work_ns[name][sample.position])
        for sample, part in zip(samples, parts, strict=True)
    )


def _side(sample: Sample, part: Received, sized: Bool, group: I64) -> Side:
    work, size = sample.times_ns.copy(), np.full(sample.times_ns.shape, np.nan)
    for index, name in enumerate(sample.components):
        if name in part.work_ns:
            # Never less than the time on the path, so that exposure stays in 0..1 (path ≤ self holds span by span).
            work[:, index] = np.maximum(part.work_ns[name][sample.position], work[:, index])
        if sized[index]:
            size[:, index] = part.size[name][sample.position]
    exposure = np.divide(sample.times_ns, work, out=np.zeros_like(work), where=work > 0)
    return Side(weight=sample.weight, cluster=sample.cluster, spent=sample.times_ns, work=work, exposure=exposure, size=size, group=group)


def _groups(samples: tuple[Sample, Sample], parts: tuple[Received, Received]) -> tuple[I64, I64]:
    """Route codes of both windows; routes that are rare in either share one code."""
    routes = [[part.route[at] for at in sample.position.tolist()] for sample, part in zip(samples, parts, strict=True)]
    values, codes = np.unique(np.array(routes[0] + routes[1], dtype=np.str_), return_inverse=True)
    first, second = codes[: len(routes[0])], codes[len(routes[0]) :]
    count = np.minimum(np.bincount(first, minlength=values.size), np.bincount(second, minlength=values.size))
    merged = np.where(count >= ROUTE_MIN, np.arange(values.size), values.size)
    return merged[first].astype(np.int64), merged[second].astype(np.int64)


def _scale(baseline: F64, current: F64) -> Scale:
    known = np.concatenate([baseline, current])
    known = known[~np.isnan(known)]
    spread = float(np.std(known)) if known.size else 0.0
    centre = float(np.mean(known)) if known.size else 0.0
    if spread <= 1e-12 * abs(centre):
        return Scale(centre=centre, spread=0.0, knot=np.nan)
    middle = float(np.median(known))
    # A bend is only fitted where both windows have traces on either side of it: a slope outside the data would be a guess.
    beyond = [float(np.mean(part[~np.isnan(part)] > middle)) for part in (baseline, current)]
    supported = min(baseline.size, current.size) >= 200 and all(KNOT_SHARE <= share <= 1 - KNOT_SHARE for share in beyond)
    return Scale(centre=centre, spread=spread, knot=(middle - centre) / spread if supported else np.nan)


def mean_causes(known: Mechanisms, draws: tuple[F64, F64]) -> tuple[F64, F64]:
    """(own, inherited), each (B, c): both parts of the change of the mean under bootstrap draws (B, m) of baseline and current.

    A draw of ones gives the estimate. Everything is a function of weighted moments, so all draws cost one matrix product a component and route.
    """
    a, b = known.baseline, known.current
    mass = [draw * side.weight for draw, side in zip(draws, (a, b), strict=True)]
    total = np.maximum(mass[1].sum(axis=1), 1e-300)
    own, inherited = np.zeros((total.size, len(known.components))), np.zeros((total.size, len(known.components)))
    for group in np.unique(np.concatenate([a.group, b.group])):
        rows = [np.flatnonzero(side.group == group) for side in (a, b)]
        if not (rows[0].size and rows[1].size):
            continue  # a route of one window only: its whole effect is mix
        here = [part[:, row] for part, row in zip(mass, rows, strict=True)]
        for index, scale in enumerate(known.scale):
            beta_a, mean_a, _, _ = _moments(here[0], (a, rows[0], index), scale)
            beta_b, mean_b, exposed, exposure = _moments(here[1], (b, rows[1], index), scale)
            own[:, index] += np.sum(exposed * (beta_b - beta_a), axis=1) / total
            inherited[:, index] += exposure * np.sum((mean_b - mean_a) * beta_a, axis=1) / total
    return own, inherited


def _moments(mass: F64, where: tuple[Side, I64, int], scale: Scale) -> tuple[F64, F64, F64, F64]:
    """Per draw: coefficients of f (B, d), mean columns (B, d), Σ w ρ columns (B, d), Σ w ρ (B,)."""
    side, rows, index = where
    columns = scale.columns(side.size[rows, index])
    d = columns.shape[1]
    gram = (mass @ (columns[:, :, None] * columns[:, None, :]).reshape(rows.size, d * d)).reshape(-1, d, d)
    right = mass @ (columns * side.work[rows, index][:, None])
    beta = (np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ right[:, :, None])[:, :, 0]
    weight = np.maximum(mass.sum(axis=1), 1e-300)
    exposure = side.exposure[rows, index]
    return beta, gram[:, 0, :] / weight[:, None], mass @ (columns * exposure[:, None]), mass @ exposure
