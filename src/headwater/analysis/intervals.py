"""Intervals and many tests at once: what every question of analysis shares."""

import math
from typing import Final

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from headwater.model.errors import require
from headwater.model.spans import F64, I64

DEFAULT_LEVEL: Final = 0.95


def bootstrap_weights(rng: np.random.Generator, clusters: I64, replicates: int) -> F64:
    """(replicates, m) f64: independent Poisson(1) counts, one a cluster and replicate, the same for every member of the cluster.

    clusters (m,) holds any integer a trace: equal = resampled together (session, file, sentence). With all different this is the plain Poisson
    bootstrap, which needs no fixed total and so merges over machines (Hanley and MacGibbon 2006). No rows give shape (replicates, 0).
    """
    require(replicates > 0, f"{replicates} replicates: at least one is needed")
    if not clusters.size:
        return np.zeros((replicates, 0))
    known, place = np.unique(clusters, return_inverse=True)
    return rng.poisson(1.0, size=(replicates, known.size)).astype(np.float64)[:, place]


def percentile_interval(samples: F64, level: float = DEFAULT_LEVEL) -> tuple[F64, F64]:
    """(low, high) over the first axis of `samples` (replicates, …), each of the remaining shape; NaN samples are left out, all NaN gives NaN."""
    require(0 < level < 1, f"level {level} is not between 0 and 1")
    tail = (1 - level) / 2
    flat = samples.reshape(samples.shape[0], -1)
    low, high = np.full(flat.shape[1], np.nan), np.full(flat.shape[1], np.nan)
    known = np.any(~np.isnan(flat), axis=0)
    if np.any(known):
        low[known], high[known] = np.nanquantile(flat[:, known], [tail, 1 - tail], axis=0)
    return low.reshape(samples.shape[1:]), high.reshape(samples.shape[1:])


def normal_interval(estimate: F64, error: F64, level: float = DEFAULT_LEVEL) -> tuple[F64, F64]:
    """(low, high) = estimate ± z · error, element by element; NaN where either is NaN."""
    require(0 < level < 1, f"level {level} is not between 0 and 1")
    reach = float(ndtri((1 + level) / 2)) * error
    return estimate - reach, estimate + reach


def two_sided_p(estimate: F64, error: F64, freedom: float = math.inf) -> F64:
    """P-value of estimate = 0 under a normal error, or Student's with `freedom` degrees where the error itself is an estimate from few.

    error 0: p is 1 where the estimate is 0 and 0 where it is not; NaN stays NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(error > 0, np.abs(estimate) / error, np.where(estimate == 0, 0.0, np.inf))
    unknown = np.isnan(estimate) | np.isnan(error)
    tail = ndtr(-z) if math.isinf(freedom) else stdtr(freedom, -z)
    return np.where(unknown, np.nan, 2 * tail)


def holm(p: F64) -> F64:
    """Adjusted p-values that control the family-wise error (Holm 1979). NaN stays NaN and does not count as a test.

    >>> [float(round(q, 3)) for q in holm(np.array([0.01, 0.04, 0.03]))]
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    factor = np.arange(tests.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factor)) if tests.size else []
    return adjusted


def benjamini_hochberg(p: F64) -> F64:
    """q-values that control the false discovery rate (Benjamini and Hochberg 1995). NaN stays NaN and does not count as a test.

    >>> [float(round(q, 3)) for q in benjamini_hochberg(np.array([0.01, 0.04, 0.03]))]
    [0.03, 0.04, 0.04]
    """
    adjusted = np.full(p.shape, np.nan)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    scaled = p[order] * tests.size / np.arange(1, tests.size + 1)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1]) if tests.size else []
    return adjusted
