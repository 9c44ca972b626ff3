"""Quantiles whose parts add up: Harrell–Davis weights over traces, applied to the latency and to its components alike.

A Harrell–Davis quantile is a weighted mean of all order statistics, q_p = Σ h_k L_(k) with Σ h = 1. Because L_k = Σ_s C_ks holds exactly in every
trace, c_s(p) = Σ h_k C_(k)s sums to q_p, and so do differences between two windows. Weights: Harrell and Davis 1982; unequal sampling weights enter
through the cumulative share F_k and the effective number n_e = (Σw)² / Σw² (Akinshin 2023).

>>> latency = np.array([1.0, 2.0, 4.0])
>>> float(round(quantile_weights(0.5, np.ones(3)) @ latency, 6))
2.259259
"""

import numpy as np
from scipy.special import bdtrik, betainc, betaincinv

from headwater.model.errors import require
from headwater.model.spans import F64

NEGLIGIBLE = 1e-12


def effective_size(weight: F64) -> float:
    """(Σw)² / Σw²: how many equally weighted traces would say as much; 0 for none."""
    total = float(np.sum(weight))
    return total * total / float(np.sum(weight * weight)) if total > 0 else 0.0


def shape_of(p: float, n_effective: float) -> tuple[float, float]:
    """The two parameters of the Beta distribution that gives the weights."""
    require(0 < p < 1, f"a quantile at {p}: it must lie between 0 and 1")
    return (n_effective + 1) * p, (n_effective + 1) * (1 - p)


def quantile_weights(p: float, weight: F64) -> F64:
    """(m,) h, summing to 1, for traces in ascending order of latency with sampling weights `weight` (m,), m ≥ 1."""
    a, b = shape_of(p, effective_size(weight))
    share = np.cumsum(weight) / np.sum(weight)
    share[-1] = 1.0
    return np.diff(betainc(a, b, share), prepend=0.0)


def replicate_weights(p: float, weight: F64, draws: F64) -> tuple[slice, F64]:
    """(which traces, (B, k) h) for bootstrap draws (B, m) of traces in ascending order of latency.

    Only traces near the quantile get a weight worth computing: the Beta distribution is cut where less than 1e-12 lies outside, and widened by the
    six standard errors by which a replicate's cumulative shares can move.
    """
    n_effective = effective_size(weight)
    a, b = shape_of(p, n_effective)
    slack = 6 * np.sqrt(p * (1 - p) / max(n_effective, 1.0)) + 2 / max(n_effective, 1.0)
    share = np.cumsum(weight) / np.sum(weight)
    low = int(np.searchsorted(share, float(betaincinv(a, b, NEGLIGIBLE)) - slack))
    high = min(int(np.searchsorted(share, float(betaincinv(a, b, 1 - NEGLIGIBLE)) + slack)) + 1, weight.size)
    mass = draws * weight
    total = mass.sum(axis=1, keepdims=True)
    total[total == 0] = np.nan  # a replicate that drew nothing says nothing
    below = mass[:, :low].sum(axis=1, keepdims=True)
    edges = np.concatenate([below, below + np.cumsum(mass[:, low:high], axis=1)], axis=1) / total
    return slice(low, high), np.diff(betainc(a, b, np.minimum(edges, 1.0)), axis=1)


def order_statistic_bounds(p: float, n_effective: float, level: float) -> tuple[float, float]:
    """Ranks (as shares of the sample, 0..1) between which the quantile lies with at least `level`, whatever the distribution (binomial).

    The upper share is 1 where the sample is too small to bound the quantile from above.
    """
    tail = (1 - level) / 2
    n = max(n_effective, 1.0)
    low = float(bdtrik(tail, n, p)) if p < 1 else 0.0
    high = float(bdtrik(1 - tail, n, p)) + 1
    return max(0.0, np.nan_to_num(low) - 1) / n, min(1.0, np.nan_to_num(high, nan=n) / n)
