"""Shares over many traces: blame share of failures, and attributable fraction; each with an interval by clusters.

Blame share: mean over failures, weighted by loss, of the share each stage has in them; with the input's share and the unexplained it sums to 1.
Attributable fraction: AF_s = 1 − E[Y had no own fault happened at s] / E[Y], by augmented inverse probability weighting over the input and the
stages upstream of s only. Conditioning on a later stage would take away the very effect that is measured. AFs do not sum to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.blame import Increments
from headwater.analysis.expected_loss import Design, cross_fit, expit, fit, link_of
from headwater.analysis.intervals import bootstrap_weights, normal_interval, two_sided_p
from headwater.analysis.panel import Panel
from headwater.analysis.roles import upstream_flagged
from headwater.model.spans import F64, I64, Bool

REPLICATES: Final = 400
REFITS: Final = 40
REFIT_ROWS: Final = 2_000
RATE_GAP: Final = 0.2
_COMPARABLE: Final = 10
_OVERLAP: Final = 0.1
_SMALLEST_CHANCE: Final = 0.02


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Shares:
    """share, low, high (s,) f64; input and unexplained close the sum to 1 (NaN shares become 0 and unexplained 1 where nothing failed)."""

    share: F64
    low: F64
    high: F64
    input: float
    unexplained: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributable:
    """fraction with its interval, NaN = refused or unknown; effect = E[Y] − E[Y without own faults of the stage], p of effect = 0; why refused."""

    fraction: float
    low: float
    high: float
    effect: float
    p_value: float
    refused: str | None


def blame_shares(
    panel: Panel,
    found: Increments,
    refit: Callable[[F64], Increments],
    *,
    rng: np.random.Generator,
    level: float,
) -> Shares:
    """Estimate from `found`; the interval's width from resampled clusters, and for windows up to 2,000 traces from 40 refits of the model too."""
    s = found.share.shape[1]
    failed = panel.current & panel.labelled & (np.nan_to_num(panel.loss) > 0)
    if not failed.any():
        unknown = np.full(s, np.nan)
        return Shares(share=np.zeros(s), low=unknown, high=unknown.copy(), input=0.0, unexplained=1.0)
    weight = np.where(failed, panel.weight * np.nan_to_num(panel.loss), 0.0)
    parts = _mean_parts(found, weight[None, :])[0]
    plain = bootstrap_weights(rng, panel.cluster, REPLICATES)
    spread = _deviation(_mean_parts(found, plain * weight))
    if len(panel) <= REFIT_ROWS:
        again = bootstrap_weights(rng, panel.cluster, REFITS)
        spread = np.maximum(spread, _deviation(np.concatenate([_mean_parts(refit(one), (one * weight)[None, :]) for one in again])))
    if np.unique(panel.cluster[panel.labelled]).size < 2:
        spread = np.full(s + 1, np.nan)  # one cluster resampled is itself: no interval, not one of width 0
    low, high = normal_interval(parts[:s], spread[:s], level)
    share = parts[:s]
    return Shares(
        share=share,
        low=np.clip(low, 0.0, share),
        high=np.clip(high, share, 1.0),
        input=float(parts[s]),
        unexplained=float(1.0 - share.sum() - parts[s]),
    )


def _mean_parts(found: Increments, weight: F64) -> F64:
    """(b, s + 1): weighted means of the stages' shares and the input's; a replicate that drew no failure is NaN."""
    total = weight.sum(axis=1, keepdims=True)
    table = np.concatenate([found.share, found.input_share[:, None]], axis=1)
    return np.asarray((weight @ table) / np.where(total > 0, total, np.nan))


def _deviation(samples: F64) -> F64:
    known = samples[~np.isnan(samples).any(axis=1)]
    return known.std(axis=0, ddof=1) if known.shape[0] > 1 else np.full(samples.shape[1], np.nan)


def attributable(panel: Panel, matrix: Design, flagged: Bool, *, stage: int, fold: I64, level: float) -> Attributable:
    """AF of one stage over the current window.

    Runs without own fault come from the window itself, where at least a tenth (and 10) of its labelled runs are such; else from the baseline too,
    which takes for granted that nothing after the stage changed in between (the verdict says `bounded`).
    """
    known = panel.current & panel.labelled
    calm = known & ~flagged[:, stage]
    within = calm.sum() >= max(_COMPARABLE, _OVERLAP * known.sum())
    scope = np.flatnonzero(known if within else panel.labelled)
    return _attributable(panel.take(scope), matrix.take(scope), flagged[scope], stage=stage, fold=fold[scope], level=level)


def _attributable(panel: Panel, matrix: Design, flagged: Bool, *, stage: int, fold: I64, level: float) -> Attributable:
    """The estimate over a panel whose traces are all labelled."""
    fault, here = flagged[:, stage], panel.current
    total = float(panel.weight[here] @ panel.loss[here])
    if not fault[here].any() or total <= 0 or fault.all():
        return _no_contrast(fault, here)
    above = _upstream_design(panel, matrix, stage)
    parts = cross_fit(panel, above, fold, link=link_of(panel.loss), rows=~fault)
    expected = parts.mean(parts.base + parts.effect.sum(axis=1))
    chance = _chance(panel, above, (~fault).astype(np.float64), fold)
    target = np.ones(len(panel)) if here.all() else _chance(panel, above, here.astype(np.float64), fold)
    ratio = np.where(fault, 0.0, target / np.maximum(chance, _SMALLEST_CHANCE))
    mine = panel.weight * here
    pseudo = mine * expected + panel.weight * ratio * (panel.loss - expected)
    size = float(mine.sum())
    without, mean = float(pseudo.sum()) / size, total / size
    psi, delta = (pseudo - mine * without) / size, mine * (panel.loss - mean) / size
    fraction, effect = 1.0 - without / mean, mean - without
    error = cluster_error(-psi / mean + without * delta / mean**2, panel.cluster)
    effect_error = cluster_error(delta - psi, panel.cluster)
    p = float(two_sided_p(np.array([effect]), np.array([effect_error]))[0]) if effect > 0 else 1.0
    refused = _refusal(panel, flagged, stage)
    if refused is not None:
        return Attributable(fraction=np.nan, low=np.nan, high=np.nan, effect=effect, p_value=p, refused=refused)
    low, high = normal_interval(np.array([fraction]), np.array([error]), level)
    return Attributable(fraction=fraction, low=float(low[0]), high=float(high[0]), effect=effect, p_value=p, refused=None)


def _no_contrast(fault: Bool, here: Bool) -> Attributable:
    """No fault seen: nothing can be attributed, 0 without an interval. Only faults, or no loss: unknown."""
    unseen = not fault[here].any()
    value = 0.0 if unseen and here.any() else float("nan")
    nan = float("nan")
    return Attributable(fraction=value, low=nan, high=nan, effect=nan, p_value=nan, refused=None if unseen else "every run of the stage is flagged")


def _upstream_design(panel: Panel, matrix: Design, stage: int) -> Design:
    """The columns of h_{s−1}: difficulty and the stage's ancestors."""
    players = np.concatenate([[0], np.flatnonzero(panel.ancestors[:, stage]) + 1])
    keep = np.isin(matrix.player, players)
    return Design(x=matrix.x[:, keep], player=matrix.player[keep])


def _chance(panel: Panel, above: Design, event: F64, fold: I64) -> F64:
    """P(event | h_{s−1}) by a cross-fitted logit."""
    out = np.full(len(panel), float(np.mean(event)))
    for one in np.unique(fold):
        here, train = fold == one, fold != one
        if train.any():
            beta = fit(above.x[train], event[train], panel.weight[train], "logit")
            out[here] = expit(beta[0] + above.x[here] @ beta[1:])
    return out


def _refusal(panel: Panel, flagged: Bool, stage: int) -> str | None:
    """Flags that follow upstream flags are not own faults: refused where the rates differ by more than .2."""
    here = panel.current & panel.labelled
    upstream = upstream_flagged(panel, flagged)[:, stage]
    with_, without = flagged[here & upstream, stage], flagged[here & ~upstream, stage]
    if min(with_.size, without.size) < _COMPARABLE:
        return None
    if abs(with_.mean() - without.mean()) > RATE_GAP:
        return f"flagged in {with_.mean():.0%} of the runs with a fault upstream and in {without.mean():.0%} of the others"
    return None


def cluster_error(influence: F64, cluster: I64) -> float:
    """Standard error of a sum of influence values whose clusters are independent, with the factor G / (G − 1); NaN for one cluster."""
    _, place = np.unique(cluster, return_inverse=True)
    totals = np.bincount(place, weights=influence)
    if totals.size < 2:
        return float("nan")
    return float(np.sqrt(np.sum((totals - totals.mean()) ** 2) * totals.size / (totals.size - 1)))
