"""Causes of a changed quantile: exchange mechanisms between two windows one by one and average over all orders (Shapley 1953).

Players: each component's own mechanism, the size each stage received, and the population (routes, and which slow pieces meet in one trace). A world
is a choice of window for each player: the traces of the population's window, every size moved to the same rank among the sizes of its window, every
piece of work computed by the mechanism of its window with the residual at the same rank (common random numbers: worlds differ only by what was
exchanged). The world of all baseline is the baseline, that of all current the current one, and the effects sum to the change exactly. The
population's effect is what the other players leave; it is part of `mix`.
"""

from itertools import permutations
from math import factorial
from typing import Final

import numpy as np
from scipy.stats import rankdata

from headwater.analysis.intervals import bootstrap_weights
from headwater.analysis.mechanisms import Mechanisms, Scale, Side
from headwater.analysis.quantiles import quantile_weights
from headwater.model.spans import F64, I64

EXACT_PLAYERS: Final = 12
ORDERS: Final = 100
REPLICATE_ORDERS: Final = 4
TRACES_MAX: Final = 1500
"""Windows with more traces are thinned to this many, drawn by weight; the difference this makes to the quantiles is left to `mix`."""


def thin(side: Side, rng: np.random.Generator) -> Side:
    """An equally weighted sample of at most `TRACES_MAX` traces: systematic, in proportion to the weights."""
    m = side.weight.size
    equal = bool(np.all(side.weight == side.weight[0]))
    if m <= TRACES_MAX and equal:
        return side
    size = min(m, TRACES_MAX)
    points = (np.arange(size) + rng.random()) / size
    share = np.cumsum(side.weight) / np.sum(side.weight)
    return side.take(np.minimum(np.searchsorted(share, points), m - 1))


class _Worlds:
    """Latencies of any world over two populations, and their quantiles, each computed once."""

    def __init__(self, known: Mechanisms, sides: tuple[Side, Side], probabilities: tuple[float, ...]) -> None:
        self.c = len(known.components)
        self.sized = np.flatnonzero(known.sized)
        self.n_players = self.c + self.sized.size + 1
        self._times = tuple(_times(known, sides, population) for population in (0, 1))
        self._weights = tuple(np.stack([quantile_weights(p, np.ones(side.weight.size)) for p in probabilities]) for side in sides)
        self._seen: dict[int, F64] = {}

    def quantiles(self, world: int) -> F64:
        """(probabilities,) of the world whose bit j says that player j is at its current mechanism; the last player is the population."""
        found = self._seen.get(world)
        if found is None:
            bits = (world >> np.arange(self.n_players)) & 1
            size = np.zeros(self.c, np.int64)
            size[self.sized] = bits[self.c : -1]
            population = int(bits[-1])
            place = 4 * np.arange(self.c) + 2 * bits[: self.c] + size
            latency = np.sort(self._times[population][place].sum(axis=0))
            found = self._weights[population] @ latency
            self._seen[world] = found
        return found

    def effects(self, orders: "list[tuple[int, ...]]") -> F64:
        """(players, probabilities): mean marginal effect over the orders."""
        total = np.zeros((self.n_players, self._weights[0].shape[0]))
        for order in orders:
            world = 0
            before = self.quantiles(0)
            for player in order:
                world |= 1 << player
                after = self.quantiles(world)
                total[player] += after - before
                before = after
        return total / len(orders)

    def exact(self) -> F64:
        """(players, probabilities) over all orders, by subsets."""
        n = self.n_players
        total = np.zeros((n, self._weights[0].shape[0]))
        weight = [factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)]
        for world in range(1 << n):
            base, share = self.quantiles(world), weight[min(world.bit_count(), n - 1)]
            for player in range(n):
                if not world >> player & 1:
                    total[player] += share * (self.quantiles(world | 1 << player) - base)
        return total


def _times(known: Mechanisms, sides: tuple[Side, Side], population: int) -> F64:
    """(c · 4, m): time of each component in each trace of one population, by (own window, size window)."""
    here = sides[population]
    out = np.empty((len(known.components), 2, 2, here.weight.size))
    out[:] = here.spent.T[:, None, None, :]
    for group in np.unique(here.group):
        rows = (np.flatnonzero(sides[0].group == group), np.flatnonzero(sides[1].group == group))
        if not (rows[0].size and rows[1].size):
            continue  # a route of one window only has no mechanism to exchange with
        for index, scale in enumerate(known.scale):
            out[index][:, :, rows[population]] = _exchanged((sides, rows), population, index, scale)
    return out.reshape(len(known.components) * 4, -1)


def _exchanged(where: tuple[tuple[Side, Side], tuple[I64, I64]], population: int, index: int, scale: Scale) -> F64:
    """(2, 2, k): one component in one route group, by (own window, size window)."""
    sides, rows = where
    size = [side.size[row, index] for side, row in zip(sides, rows, strict=True)]
    work = [side.work[row, index] for side, row in zip(sides, rows, strict=True)]
    columns = [scale.columns(x) for x in size]
    beta = [np.linalg.lstsq(x, t, rcond=None)[0] for x, t in zip(columns, work, strict=True)]
    residual = [t - x @ b for t, x, b in zip(work, columns, beta, strict=True)]
    here, there = population, 1 - population
    moved = columns[here] if scale.spread == 0 else scale.columns(_at_same_rank(size[here], size[there]))
    left = _in_order(residual[here], residual[there])
    exposure, spent = sides[here].exposure[rows[here], index], sides[here].spent[rows[here], index]
    result = np.empty((2, 2, spent.size))
    result[here, here] = spent
    result[here, there] = exposure * np.maximum(moved @ beta[here] + residual[here], 0.0)
    result[there, here] = exposure * np.maximum(columns[here] @ beta[there] + left, 0.0)
    result[there, there] = exposure * np.maximum(moved @ beta[there] + left, 0.0)
    return result


def _at_same_rank(values: F64, target: F64) -> F64:
    """Each value replaced by the one at its rank among `target`; equal values stay equal, NaN stays NaN."""
    known, other = ~np.isnan(values), np.sort(target[~np.isnan(target)])
    moved = values.copy()
    if other.size and np.any(known):
        rank = (rankdata(values[known]) - 0.5) / np.sum(known)
        moved[known] = np.interp(rank, (np.arange(other.size) + 0.5) / other.size, other)
    return moved


def _in_order(values: F64, target: F64) -> F64:
    """The residuals of `target`, thinned or stretched to as many as `values` and put in their order."""
    order = np.argsort(values, kind="stable")
    moved = np.empty(values.size)
    moved[order] = np.interp((np.arange(values.size) + 0.5) / values.size, (np.arange(target.size) + 0.5) / target.size, np.sort(target))
    return moved


def _orders(n: int, count: int, rng: np.random.Generator) -> "list[tuple[int, ...]]":
    """Random orders in pairs of opposites, or all of them if they are few."""
    if n <= 3:
        return list(permutations(range(n)))
    drawn = [tuple(rng.permutation(n).tolist()) for _ in range((count + 1) // 2)]
    return [order for one in drawn for order in (one, one[::-1])]


def quantile_causes(known: Mechanisms, probabilities: tuple[float, ...], rng: np.random.Generator, replicates: int) -> tuple[F64, F64, F64]:
    """(own (c, q), inherited (c, q), deviations of own (B, c, q)) at q probabilities.

    Exact over all orders up to 12 players, else over 100 drawn orders in antithetic pairs. A bootstrap replicate redraws clusters, refits and
    exchanges over four fixed orders; its deviation is taken from the estimate over those same orders. A replicate without two traces is NaN.
    """
    c = len(known.components)
    sides = (thin(known.baseline, rng), thin(known.current, rng))
    worlds = _Worlds(known, sides, probabilities)
    effects = worlds.exact() if worlds.n_players <= EXACT_PLAYERS else worlds.effects(_orders(worlds.n_players, ORDERS, rng))
    own, inherited = effects[:c], np.zeros((c, len(probabilities)))
    inherited[worlds.sized] = effects[c:-1]
    deviations = np.full((replicates, c, len(probabilities)), np.nan)
    orders = _orders(worlds.n_players, REPLICATE_ORDERS, rng)
    centre = worlds.effects(orders)[:c]
    draws = [bootstrap_weights(rng, side.cluster, replicates).astype(np.int64) for side in sides]
    for index in range(replicates):
        again = [side.take(np.repeat(np.arange(side.weight.size), draw[index])) for side, draw in zip(sides, draws, strict=True)]
        if min(side.weight.size for side in again) >= 2:
            deviations[index] = _Worlds(known, (again[0], again[1]), probabilities).effects(orders)[:c] - centre
    return own, inherited, deviations
