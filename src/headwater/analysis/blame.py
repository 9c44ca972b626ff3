"""Blame of one trace: increments of the expected loss along the pipeline, exact sums, and shares of a failure.

φ_input = m_0(Z) − baseline, φ_s = m_s(h_s) − m_{s−1}(h_{s−1}), residual = Y − m_k(h_k); they sum to Y − baseline, asserted in `TraceBlame`.
Stages at the same depth of the graph stand side by side: their increments are averaged over the orders inside that depth (all orders up to 3,
else 32 drawn).

The share of a failed trace is ψ_s⁺ over m_0⁺ + Σψ⁺, equal to ψ_s⁺ / m_k where nothing absorbed and never above 1 in sum; ψ is the same increment
averaged over all orders of the stages (Shapley): of two faults that each suffice, forward order would credit the first alone, while reruns credit
both. The rest is unattributed, because it fails at that rate with every stage at its reference too.
"""

from dataclasses import dataclass
from itertools import permutations
from math import factorial
from typing import Final

import numpy as np

from headwater.analysis.expected_loss import Parts
from headwater.analysis.panel import Panel
from headwater.model.attribution import Verdict
from headwater.model.blame import TraceBlame
from headwater.model.spans import F64, I64, Bool

MISSED_AFTER: Final = 0.1
HARMFUL: Final = 0.05
HARMFUL_OF_LARGEST: Final = 0.3
_ALL_ORDERS: Final = 3
_DRAWN_ORDERS: Final = 32
_ALL_SUBSETS: Final = 6


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Increments:
    """own, inherited (m, s) f64; start, end (m,) f64: m_0 and m_k; input_share, share (m,), (m, s): what part of a failure each explains."""

    own: F64
    inherited: F64
    start: F64
    end: F64
    baseline: float
    input_share: F64
    share: F64


def increments(parts: Parts, level: I64, baseline: float, rng: np.random.Generator) -> Increments:
    """φ along the depths of the graph, from the parts of the linear predictor."""
    m, s = parts.effect.shape
    own, before = np.zeros((m, s)), np.zeros((m, s))
    linear = parts.base.copy()
    start = parts.mean(linear)
    for depth in np.unique(level):
        members = np.flatnonzero(level == depth)
        orders = _orders(members, rng)
        for order in orders:
            running, value = linear.copy(), parts.mean(linear)
            for stage in order:
                running = running + parts.effect[:, stage]
                after = parts.mean(running)
                own[:, stage] += (after - value) / len(orders)
                before[:, stage] += value / len(orders)
                value = after
        linear = linear + parts.effect[:, members].sum(axis=1)
    end = parts.mean(linear)
    shares, input_share = _shares(symmetric(parts, rng), start, baseline)
    return Increments(own=own, inherited=before - baseline, start=start, end=end, baseline=baseline, input_share=input_share, share=shares)


def symmetric(parts: Parts, rng: np.random.Generator) -> F64:
    """(m, s) f64: Shapley value of each stage's block in m_k − m_0: exact over all subsets up to 6 stages, else over 32 drawn orders."""
    m, s = parts.effect.shape
    out = np.zeros((m, s))
    if s > _ALL_SUBSETS:
        for _ in range(_DRAWN_ORDERS):
            running, value = parts.base.copy(), parts.mean(parts.base)
            for stage in rng.permutation(s):
                running = running + parts.effect[:, stage]
                after = parts.mean(running)
                out[:, stage] += (after - value) / _DRAWN_ORDERS
                value = after
        return out
    members = (np.arange(2**s)[:, None] >> np.arange(s)) & 1
    value = parts.mean(parts.base[:, None] + parts.effect @ members.T)
    for stage in range(s):
        without = np.flatnonzero(members[:, stage] == 0)
        size = members[without].sum(axis=1)
        weight = np.array([factorial(int(k)) * factorial(s - int(k) - 1) / factorial(s) for k in size])
        out[:, stage] = (value[:, without + 2**stage] - value[:, without]) @ weight
    return out


def _orders(members: I64, rng: np.random.Generator) -> list[tuple[int, ...]]:
    if members.size <= _ALL_ORDERS:
        return [tuple(int(stage) for stage in order) for order in permutations(members)]
    return [tuple(int(stage) for stage in rng.permutation(members)) for _ in range(_DRAWN_ORDERS)]


def _shares(psi: F64, start: F64, baseline: float) -> tuple[F64, F64]:
    """(stages (m, s), input (m,)): positive parts over their sum with the expected loss at the reference; rows sum to at most 1."""
    harm = np.maximum(psi, 0.0)
    ground = np.maximum(start, 0.0)
    whole = ground + harm.sum(axis=1)
    safe = np.where(whole > 0, whole, 1.0)
    return harm / safe[:, None], np.clip(start - max(baseline, 0.0), 0.0, ground) / safe


def earliest_flagged(share: F64, flagged: Bool, level: I64) -> I64:
    """(m,) i64: the earliest own-flagged stage, the larger share among those at the same depth; −1 = nobody is flagged. The floor to beat."""
    m, s = share.shape
    if not s:
        return np.full(m, -1, np.int64)
    depth = np.where(flagged, level[None, :].astype(np.float64), np.inf)
    candidates = flagged & (depth == depth.min(axis=1)[:, None])
    best = np.where(candidates, share, -1.0).argmax(axis=1)
    return np.where(flagged.any(axis=1), best, -1).astype(np.int64)


def introduced_by(share: F64, flagged: Bool, level: I64) -> I64:
    """(m,) i64: the earliest own-flagged stage that also did harm; −1 = nobody did.

    Harm: its share is at least 5 %, and at least .3 of the largest share among the flagged. So a version that changed without raising the loss does
    not accuse its stage, which the plain rule (`earliest_flagged`) cannot tell.
    """
    largest = np.where(flagged, share, 0.0).max(axis=1, initial=0.0)
    harmful = flagged & (share >= np.maximum(HARMFUL, HARMFUL_OF_LARGEST * largest)[:, None])
    return earliest_flagged(share, harmful, level)


def trace_blame(panel: Panel, found: Increments, flagged: Bool, *, introduced: I64, verdict: Verdict) -> TraceBlame:
    """The blame of the panel's current traces; NaN rows where the loss is unknown."""
    rows = np.flatnonzero(panel.current)
    loss = panel.loss[rows]
    known = ~np.isnan(loss)
    failed = known & (np.nan_to_num(loss) > 0)
    blank = np.where(known, 1.0, np.nan)
    own = found.own[rows] * blank[:, None]
    share = np.where(failed[:, None], found.share[rows], 0.0) * blank[:, None]
    start = found.start[rows]
    end = start + found.own[rows].sum(axis=1)
    return TraceBlame(
        stages=panel.stages,
        loss=loss.copy(),
        baseline=np.full(rows.size, found.baseline),
        input=(start - found.baseline) * blank,
        residual=loss - end,
        own=own,
        inherited=found.inherited[rows] * blank[:, None],
        share=share,
        unattributed=np.where(failed, 1.0 - share.sum(axis=1), 0.0) * blank,
        introduced_by=np.where(failed, introduced[rows], -1).astype(np.int64),
        missed_by=_missed(panel, found.own[rows], failed),
        flagged=flagged[rows].copy(),
        verdict=verdict,
    )


def _missed(panel: Panel, own: F64, failed: Bool) -> Bool:
    """A qc or judge stage missed a failure when a stage above it did harm (φ > .1) and it took nothing back (φ ≥ 0)."""
    harmful = (own > MISSED_AFTER).astype(np.float64) @ panel.ancestors.astype(np.float64) > 0
    return np.asarray(failed[:, None] & panel.judge[None, :] & harmful & (own >= 0))
