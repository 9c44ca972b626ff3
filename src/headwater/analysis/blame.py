"""Blame of one trace: increments of the expected loss along the pipeline, exact sums, and shares of a failure.

φ_input = m_0(Z) − baseline, φ_s = m_s(h_s) − m_{s−1}(h_{s−1}), residual = Y − m_k(h_k); they sum to Y − baseline, asserted in `TraceBlame`.
Stages at the same depth of the graph stand side by side: their increments are averaged over the orders inside that depth (all orders up to 3,
else 32 drawn).

The share of a failed trace is φ_s⁺ over m_0⁺ + Σφ⁺: equal to φ_s⁺ / m_k where nothing absorbed, and never above 1 in sum; the rest is unattributed,
because it fails at that rate with every stage at its reference too.
"""

from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np

from headwater.analysis.expected_loss import Parts
from headwater.analysis.panel import Panel
from headwater.model.attribution import Verdict
from headwater.model.blame import TraceBlame
from headwater.model.spans import F64, I64, Bool

MISSED_AFTER: Final = 0.1
_ALL_ORDERS: Final = 3
_DRAWN_ORDERS: Final = 32


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
    shares, input_share = _shares(own, start, baseline)
    return Increments(own=own, inherited=before - baseline, start=start, end=end, baseline=baseline, input_share=input_share, share=shares)


def _orders(members: I64, rng: np.random.Generator) -> list[tuple[int, ...]]:
    if members.size <= _ALL_ORDERS:
        return [tuple(int(stage) for stage in order) for order in permutations(members)]
    return [tuple(int(stage) for stage in rng.permutation(members)) for _ in range(_DRAWN_ORDERS)]


def _shares(own: F64, start: F64, baseline: float) -> tuple[F64, F64]:
    """(stages (m, s), input (m,)): positive parts over their sum with the expected loss at the reference; rows sum to at most 1."""
    harm = np.maximum(own, 0.0)
    ground = np.maximum(start, 0.0)
    whole = ground + harm.sum(axis=1)
    safe = np.where(whole > 0, whole, 1.0)
    return harm / safe[:, None], np.clip(start - max(baseline, 0.0), 0.0, ground) / safe


def introduced_by(share: F64, flagged: Bool, level: I64) -> I64:
    """(m,) i64: the earliest own-flagged stage of each trace, the larger share among those at the same depth; −1 = nobody is flagged."""
    m, s = share.shape
    if not s:
        return np.full(m, -1, np.int64)
    depth = np.where(flagged, level[None, :].astype(np.float64), np.inf)
    first = depth.min(axis=1)
    candidates = flagged & (depth == first[:, None])
    best = np.where(candidates, share, -1.0).argmax(axis=1)
    return np.where(flagged.any(axis=1), best, -1).astype(np.int64)


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
