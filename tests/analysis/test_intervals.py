"""Intervals against numbers worked by hand, and coverage against simulation."""

import numpy as np
import pytest

from headwater.analysis.intervals import benjamini_hochberg, bootstrap_weights, holm, normal_interval, percentile_interval, two_sided_p
from headwater.model.errors import InvariantError


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 × 4 3 2 1 = .04 .06 .06 .04, then the running maximum
    assert holm(np.array([0.04, 0.01, 0.03, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_benjamini_hochberg_by_hand():
    # sorted .01 .02 .03 .5 × 4/1 4/2 4/3 4/4 = .04 .04 .04 .5, then the running minimum from the right
    assert benjamini_hochberg(np.array([0.5, 0.01, 0.03, 0.02])) == pytest.approx([0.5, 0.04, 0.04, 0.04])


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_unknown_p_is_no_test_and_no_p_is_no_error(adjust):
    assert adjust(np.array([])).shape == (0,)
    with_unknown = adjust(np.array([np.nan, 0.01, 0.02]))
    assert np.isnan(with_unknown[0])
    assert with_unknown[1:] == pytest.approx(adjust(np.array([0.01, 0.02])))
    assert adjust(np.array([0.9, 0.9])).max() <= 1


def test_clusters_are_drawn_together_and_apart_from_each_other():
    weights = bootstrap_weights(np.random.default_rng(1), np.array([7, 7, 3, 9, 3]), 2000)
    assert weights.shape == (2000, 5)
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 2], weights[:, 4])
    assert not np.array_equal(weights[:, 0], weights[:, 2])
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert weights[:, 3].var() == pytest.approx(1, abs=0.1)


def test_weights_of_nothing_and_of_no_replicates():
    assert bootstrap_weights(np.random.default_rng(1), np.empty(0, np.int64), 3).shape == (3, 0)
    with pytest.raises(InvariantError, match="at least one"):
        bootstrap_weights(np.random.default_rng(1), np.arange(3), 0)


def test_percentiles_leave_unknown_replicates_out():
    samples = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    samples[50, 0] = np.nan
    low, high = percentile_interval(samples, 0.9)
    assert low[0] == pytest.approx(4.95)
    assert high[0] == pytest.approx(95.05)
    assert np.isnan(low[1])
    assert np.isnan(high[1])


def test_normal_interval_and_its_p_agree():
    low, high = normal_interval(np.array([1.96, 0.0]), np.array([1.0, 0.0]))
    assert low == pytest.approx([0.0, 0.0], abs=1e-4)
    assert high == pytest.approx([3.92, 0.0], abs=1e-4)
    assert two_sided_p(np.array([1.959964, 0.0, 2.0, np.nan]), np.array([1.0, 0.0, 0.0, 1.0])) == pytest.approx(
        [0.05, 1.0, 0.0, np.nan], abs=1e-6, nan_ok=True
    )


def test_few_degrees_of_freedom_make_p_larger():
    # Student's table: t = 2.228 leaves 5 % with 10 degrees of freedom.
    assert two_sided_p(np.array([2.228, np.nan]), np.array([1.0, 1.0]), 10) == pytest.approx([0.05, np.nan], abs=1e-4, nan_ok=True)


def test_bootstrap_interval_of_a_mean_covers():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        values = rng.exponential(1.0, 80)
        weights = bootstrap_weights(rng, np.arange(80), 200)
        low, high = percentile_interval(weights @ values / weights.sum(axis=1))
        hits += bool(low <= 1.0 <= high)
    assert 0.88 <= hits / 200 <= 0.99
