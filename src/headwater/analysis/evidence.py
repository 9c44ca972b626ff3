"""What counts as odd: the reference, versions that deviate from it, and robust two-sided scores of own evidence.

Reference rows are the baseline where one is given, else the window's successes. A score is the residual of the attribute given the input's
difficulty, over the spread of the reference on that side of its median (double median absolute deviation): skewed evidence is not odd on its long
side by nature, and "odd" points both ways, because evidence may be inverted.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.panel import Column, Panel
from headwater.model.spans import F64, I64, Bool

ODD_Z: Final = 3.5
KNOWN_SHARE: Final = 0.05
_MAD_TO_SD: Final = 1.4826
_SKEW: Final = 2.0
_BETTER_Z: Final = 2.5
_LEVEL_ROWS: Final = 5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Score:
    """A column and its scores z (m,) f64 against the reference, 0 where missing; `threshold` is where a score becomes odd."""

    column: Column
    z: F64
    threshold: float

    @property
    def odd(self) -> Bool:
        return np.asarray(np.abs(self.z) > self.threshold)


def reference_rows(panel: Panel) -> Bool:
    """(m,) bool: the baseline's traces, else the labelled successes (loss ≤ 0, or the lower half where fewer than a fifth lose nothing)."""
    if not panel.current.all():
        return ~panel.current
    known = panel.labelled
    if not known.any():
        return np.ones(len(panel), dtype=np.bool_)
    success = known & (np.nan_to_num(panel.loss, nan=1.0) <= 0)
    if success.sum() >= 0.2 * known.sum():
        return success
    return known & (np.nan_to_num(panel.loss, nan=np.inf) <= np.median(panel.loss[known]))


def version_deviates(panel: Panel, reference: Bool) -> Bool:
    """(m, s) bool: the stage's version is none of the reference's.

    With a baseline every level that made up at least 5 % of it is known. Without, the one reference level is the most frequent among the successes,
    unless another has a clearly lower loss (2.5 standard errors): what most runs used may be the fault. A skipped stage does not deviate. A version
    that is new on nearly every run (more levels than a fifth of the runs, and more than 20) says nothing and never deviates.
    """
    out = np.zeros(panel.version.shape, dtype=np.bool_)
    for stage in range(len(panel.stages)):
        codes = panel.version[:, stage]
        if restless(codes):
            continue
        known = _known_levels(panel, codes, reference)
        out[:, stage] = (codes >= 0) & ~np.isin(codes, known) if known.size else False
    return out


def restless(codes: I64) -> bool:
    """More than 20 levels and more than one for every five runs: an id, not a version."""
    levels = np.unique(codes[codes >= 0]).size
    return bool(levels > 20 and levels > 0.2 * np.sum(codes >= 0))


def _known_levels(panel: Panel, codes: I64, reference: Bool) -> I64:
    usable = reference & (codes >= 0)
    if not usable.any():
        return np.empty(0, np.int64)
    levels, counts = np.unique(codes[usable], return_counts=True)
    if not panel.current.all():
        return np.asarray(levels[counts >= KNOWN_SHARE * counts.sum()], np.int64)
    best = int(levels[np.argmax(counts)])
    return np.array([_clearly_better(panel, codes, best)], np.int64)


def _clearly_better(panel: Panel, codes: I64, majority: int) -> int:
    """The level of lowest loss among those at least 2.5 standard errors below `majority`; `majority` if there is none."""
    chosen, lowest = majority, np.inf
    mine = panel.loss[panel.labelled & (codes == majority)]
    for level in np.unique(codes[codes >= 0]):
        other = panel.loss[panel.labelled & (codes == level)]
        if level == majority or min(other.size, mine.size) < 2 * _LEVEL_ROWS:
            continue
        spread = _mean_variance(mine) + _mean_variance(other)
        if (mine.mean() - other.mean()) > _BETTER_Z * np.sqrt(spread) and other.mean() < lowest:
            chosen, lowest = int(level), float(other.mean())
    return chosen


def _mean_variance(values: F64) -> float:
    """Variance of a mean, with two pseudo-observations at the ends so that "none failed" is not certainty."""
    n = values.size
    low, high = min(0.0, float(values.min())), max(1.0, float(values.max()))
    return float(np.var(np.concatenate([values, [low, high]]))) / n


def score(panel: Panel, column: Column, rows: Bool) -> Score:
    """Scores of a column against the reference `rows` (m,) bool; all 0 where fewer than 8 of them have a value."""
    values = column.values
    usable = rows & ~np.isnan(values)
    if usable.sum() < 8:
        return Score(column=column, z=np.zeros(values.size), threshold=ODD_Z)
    residual = values - _given_difficulty(panel.difficulty, values, usable)
    known = residual[usable]
    middle = float(np.median(known))
    z = (residual - middle) / _spread(residual - middle, known - middle, float(np.nanmax(np.abs(values[usable]))))
    z = np.nan_to_num(z, nan=0.0)
    return Score(column=column, z=z, threshold=_threshold(z[usable], clean=not panel.current.all()))


def _spread(residual: F64, known: F64, magnitude: float) -> F64:
    """(m,) f64 > 0: the reference's spread on the side where each residual lies, at most twice that of the other side.

    A window's successes hold faults that came off well: a quarter of them are half of one side, and would set its spread. Skewed evidence without
    faults is within the bound (an exponential one has 1.7, a lognormal one of unit sigma 1.96). Never below a tenth of the overall deviation.
    """
    floor = max(0.1 * float(np.std(known)), 1e-3 * magnitude, 1e-12)
    mads = [_MAD_TO_SD * float(np.median(np.abs(side))) if side.size else 0.0 for side in (known[known <= 0], known[known >= 0])]
    sides = [max(_capped(mine, other) or float(np.std(known)), floor) for mine, other in (mads, mads[::-1])]
    return np.where(residual < 0, sides[0], sides[1])


def _capped(mine: float, other: float) -> float:
    return min(mine, _SKEW * other) if other > 0 else mine


def _threshold(z: F64, *, clean: bool) -> float:
    """3.5, or where a heavy-tailed reference itself reaches: at most 1 in 50 of a clean baseline, 1 in 3 of a window's successes is odd."""
    return max(ODD_Z, float(np.quantile(np.abs(z), 0.98 if clean else 0.67)))


def _given_difficulty(difficulty: F64, values: F64, usable: Bool) -> F64:
    """What the input's difficulty lets one expect of the attribute: ridge on standardised columns, fitted on `usable`, penalty of 5 runs."""
    if not difficulty.shape[1]:
        return np.zeros(values.size)
    columns = standardise(difficulty, usable)
    centred = columns - columns[usable].mean(axis=0)
    x, y = centred[usable], values[usable] - values[usable].mean()
    slope = np.linalg.solve(x.T @ x + 5.0 * np.eye(x.shape[1]), x.T @ y)
    return np.asarray(centred @ slope)


def standardise(columns: F64, usable: Bool) -> F64:
    """Columns (m, p) centred and scaled by the mean and deviation over `usable` rows, clipped to ±3; missing = 0, a constant column = 0."""
    with np.errstate(invalid="ignore"):
        known = np.where(usable[:, None], columns, np.nan)
        count = np.maximum(1, np.sum(~np.isnan(known), axis=0))
        mean = np.nansum(known, axis=0) / count
        deviation = np.sqrt(np.nansum((known - mean) ** 2, axis=0) / count)
    scaled = (columns - mean) / np.where(deviation > 0, deviation, np.inf)
    return np.asarray(np.clip(np.nan_to_num(scaled, nan=0.0), -3.0, 3.0), np.float64)


def auc(values: F64, positive: Bool) -> float:
    """Chance that a value of a positive row exceeds one of the others, ties half (Mann–Whitney); NaN where either side is empty.

    >>> auc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
    1.0
    """
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return float("nan")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
