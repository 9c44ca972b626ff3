"""Own, inherited and mix by hand, and the fairness rules of the exchange."""

import numpy as np
import pytest

from headwater.analysis.exchange import quantile_causes, thin
from headwater.analysis.mechanisms import Mechanisms, Scale, Side, mean_causes

rng = np.random.default_rng(0)


def side(size, work, exposure=None, weight=None, group=None):
    """One component in m traces."""
    m = size.size
    exposure = np.ones(m) if exposure is None else exposure
    return Side(
        weight=np.ones(m) if weight is None else weight,
        cluster=np.arange(m),
        spent=(work * exposure)[:, None],
        work=work[:, None],
        exposure=exposure[:, None],
        size=size[:, None],
        group=np.zeros(m, np.int64) if group is None else group,
    )


def known(before, after, spread=1.0):
    return Mechanisms(
        components=("self:a",),
        baseline=before,
        current=after,
        scale=(Scale(centre=0.0, spread=spread, knot=np.nan),),
        sized=np.array([spread > 0]),
        known=np.array([True]),
        source={"self:a": "a.input.size"},
    )


def causes(both, draws=None):
    draws = draws or (np.ones((1, both.baseline.weight.size)), np.ones((1, both.current.weight.size)))
    own, inherited = mean_causes(both, draws)
    return float(own[0, 0]), float(inherited[0, 0])


def test_slower_and_given_more_at_once():
    # Before: 2x + 1 with mean x 2. After: 3x + 1 with mean x 4. Own: the extra 1·x at the new sizes; inherited: the old 2·x for the growth.
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    assert causes(known(side(x, 2 * x + 1), side(y, 3 * y + 1))) == pytest.approx((4.0, 4.0))


def test_work_off_the_path_is_not_caused_on_it():
    # Twice the work, but only a quarter of it on the path, and that for the larger inputs: own is Σ ρ·x / m, not Σ x / m.
    x = np.array([1.0, 2.0, 3.0, 4.0])
    exposure = np.array([0.0, 0.0, 0.0, 1.0])
    assert causes(known(side(x, x, exposure), side(x, 2 * x, exposure))) == pytest.approx((1.0, 0.0))


def test_weights_and_draws_count_traces():
    x = np.array([1.0, 2.0, 3.0])
    y = np.array([1.0, 5.0, 5.0])
    twice = known(side(x, x), side(y, 2 * y, weight=np.array([2.0, 1.0, 1.0])))
    assert causes(twice) == pytest.approx((3.0, 1.0))
    drawn = known(side(x, x), side(y, 2 * y))
    assert causes(drawn, (np.ones((1, 3)), np.array([[2.0, 1.0, 1.0]]))) == pytest.approx((3.0, 1.0))


def test_a_route_of_one_window_has_neither_own_nor_inherited():
    x = np.array([1.0, 2.0, 3.0, 10.0, 11.0])
    group = np.array([0, 0, 0, 1, 1])
    before, after = side(x[:3], x[:3]), side(x, 5 * x * (group == 1) + x * (group == 0), group=group)
    assert causes(known(before, after)) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_a_component_without_a_size_is_its_own_change():
    none = np.full(3, np.nan)
    both = known(side(none, np.array([1.0, 2.0, 3.0])), side(none, np.array([4.0, 5.0, 9.0])), spread=0.0)
    assert causes(both) == pytest.approx((4.0, 0.0))


def test_exchanged_quantiles_find_the_scale_of_a_mechanism():
    x = rng.gamma(4, 1, 900)
    y = rng.permutation(x)  # the same sizes in other traces: nothing is inherited
    noise = rng.normal(0, 0.2, (2, 900))
    both = known(side(x, 10 + 2 * x + noise[0]), side(y, 10 + 3 * y + noise[1]))
    own, inherited, deviations = quantile_causes(both, (0.5, 0.95), np.random.default_rng(1), 20)
    assert own[0] == pytest.approx([np.quantile(y, 0.5), np.quantile(y, 0.95)], rel=0.05)
    assert np.all(np.abs(inherited) < 0.02 * own)
    assert deviations.shape == (20, 1, 2)
    assert np.all(np.std(deviations, axis=0) < 0.1 * own)


def test_thinning_keeps_small_windows_and_draws_large_ones_by_weight():
    small = side(np.arange(10.0), np.arange(10.0))
    assert thin(small, np.random.default_rng(1)) is small
    weight = np.where(np.arange(6000) < 3000, 1.0, 3.0)
    drawn = thin(side(np.arange(6000.0), np.arange(6000.0), weight=weight), np.random.default_rng(1))
    assert drawn.weight.size == 1500
    assert np.mean(drawn.size[:, 0] >= 3000) == pytest.approx(0.75, abs=0.01)
