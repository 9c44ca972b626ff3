"""Quantile weights against scipy's own Harrell–Davis, and their sums."""

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats.mstats import hdquantiles

from headwater.analysis.quantiles import effective_size, order_statistic_bounds, quantile_weights, replicate_weights


@pytest.mark.parametrize("p", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("m", [1, 2, 37, 2000])
def test_equal_weights_are_the_published_estimator(p, m):
    values = np.sort(np.random.default_rng(m).lognormal(0, 1, m))
    h = quantile_weights(p, np.ones(m))
    assert h.sum() == pytest.approx(1, abs=1e-12)
    assert np.all(h >= 0)
    expected = float(hdquantiles(values, [p])[0]) if m > 1 else values[0]
    assert h @ values == pytest.approx(expected, rel=1e-9)


def test_a_weight_of_two_nearly_stands_for_two_traces():
    rng = np.random.default_rng(3)
    values, weight = np.sort(rng.lognormal(0, 1, 3000)), rng.integers(1, 3, 3000).astype(float)
    twice = np.repeat(values, weight.astype(int))
    assert quantile_weights(0.95, weight) @ values == pytest.approx(quantile_weights(0.95, np.ones(twice.size)) @ twice, rel=5e-3)
    assert effective_size(weight) == pytest.approx(weight.sum() ** 2 / np.sum(weight**2))


def test_scale_of_the_weights_does_not_matter():
    weight = np.random.default_rng(2).random(50) + 0.1
    assert quantile_weights(0.9, weight * 1e6) == pytest.approx(quantile_weights(0.9, weight))


@pytest.mark.parametrize("p", [0.5, 0.95, 0.99])
def test_replicates_near_the_quantile_are_those_of_all_traces(p):
    rng = np.random.default_rng(9)
    m = 4000
    values = np.sort(rng.lognormal(0, 0.7, m))
    draws = rng.poisson(1.0, (40, m)).astype(float)
    rows, h = replicate_weights(p, np.ones(m), draws)
    assert h.shape[1] < m  # most traces are left out …
    assert h.sum(axis=1) == pytest.approx(np.ones(40), abs=1e-9)  # … and nothing of the weight
    whole = [float(np.repeat(values, draw.astype(int)) @ quantile_weights(p, np.ones(int(draw.sum())))) for draw in draws]
    assert h @ values[rows] == pytest.approx(np.array(whole), rel=2e-3)


def test_a_replicate_that_drew_nothing_is_unknown():
    _, h = replicate_weights(0.5, np.ones(3), np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert np.isnan(h[0]).all()
    assert h[1].sum() == pytest.approx(1)


@pytest.mark.parametrize(("p", "n"), [(0.5, 40), (0.95, 200), (0.99, 60), (0.5, 3)])
def test_order_statistics_hold_the_quantile_with_the_level(p, n):
    low, high = order_statistic_bounds(p, n, 0.95)
    first, last = round(low * n), round(high * n)  # the quantile lies between these ranks
    covered = binom.cdf(last - 1, n, p) - binom.cdf(first - 1, n, p) if last < n else 1 - binom.cdf(first - 1, n, p)
    assert covered >= 0.95
    assert 0 <= low < p
    assert p < high <= 1
