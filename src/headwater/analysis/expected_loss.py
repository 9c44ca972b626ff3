"""Expected loss given what the stages showed: m(h), cross-fitted by cluster.

One additive model of everything (difficulty, then one block of columns a stage), every block zero where its stage is at the reference. So the nested
m_s(h_s) = E_ref[Y | h_s] (stages after s as the reference has them) is the same model with the later blocks left out, and blame needs one fit, not
k. Losses in 0..1: logit by penalised IRLS; other losses: ridge. No pairwise products: below some 2,000 traces they cost more than they bring.
Each trace is predicted by a fit that saw no trace of its cluster, or the blame would leak its own label.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from headwater.analysis.evidence import Score, standardise
from headwater.analysis.panel import Panel
from headwater.analysis.roles import Roles
from headwater.model.spans import F64, I64, Bool

Link = Literal["logit", "identity"]
PENALTY: Final = 1.0
FOLDS: Final = 10
_LEVEL_ROWS: Final = 10
_ITERATIONS: Final = 25
_MANY_ROWS: Final = 400


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Design:
    """x (m, d) f64 and the player of each column: 0 = difficulty, s + 1 = stage s. Columns of stages are 0 at the reference."""

    x: F64
    player: I64

    def take(self, rows: I64) -> "Design":
        return Design(x=self.x[rows], player=self.player)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parts:
    """The linear predictor of each trace in parts: base (m,) with the difficulty, effect (m, s) of each stage's block."""

    link: Link
    base: F64
    effect: F64

    def mean(self, linear: F64) -> F64:
        """Expected loss for a linear predictor of any shape."""
        return expit(linear) if self.link == "logit" else linear


def expit(linear: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(linear, -30.0, 30.0))))


def link_of(loss: F64) -> Link:
    known = loss[~np.isnan(loss)]
    return "logit" if known.size and known.min() >= 0 and known.max() <= 1 else "identity"


def design(panel: Panel, roles: Roles) -> Design:
    """Difficulty (linear, and squares with 400 runs or more), then per stage: version deviates, own evidence odd, and by how much each way."""
    fit = panel.labelled
    hard = standardise(panel.difficulty, fit)
    if panel.labelled.sum() >= _MANY_ROWS and hard.shape[1]:
        hard = np.concatenate([hard, hard**2 - (hard[fit] ** 2).mean(axis=0)], axis=1)
    columns, players = [hard], [np.zeros(hard.shape[1], np.int64)]
    for stage in range(len(panel.stages)):
        block = _stage_block(panel, roles, stage)
        columns.append(block)
        players.append(np.full(block.shape[1], stage + 1, np.int64))
    return Design(x=np.concatenate(columns, axis=1), player=np.concatenate(players))


def _stage_block(panel: Panel, roles: Roles, stage: int) -> F64:
    block: list[F64] = []
    deviates = roles.deviates[:, stage]
    if deviates.any():
        block.append(deviates.astype(np.float64))
        codes = panel.version[:, stage]
        levels, counts = np.unique(codes[deviates], return_counts=True)
        if levels.size > 1:
            block.extend((codes == level).astype(np.float64) for level, count in zip(levels, counts, strict=True) if count >= _LEVEL_ROWS)
    if roles.odd[:, stage].any():
        block.append(roles.odd[:, stage].astype(np.float64))
    for one in roles.scores:
        if one.column.stage == stage:
            block.extend(hinges(one))
    return np.stack(block, axis=1) if block else np.empty((len(panel), 0))


def hinges(one: Score) -> list[F64]:
    """How far beyond half its threshold a score lies, up and down apart: its sign is learned. 0..1 at the threshold, at most 2; no constants."""
    half = one.threshold / 2
    sides = [np.clip((sign * one.z - half) / half, 0.0, 2.0) for sign in (1.0, -1.0)]
    return [side for side in sides if np.std(side) > 0]


def fit(x: F64, y: F64, weight: F64, link: Link) -> F64:
    """(d + 1,) f64: intercept (not penalised) and slopes. Ridge penalty 1 on columns of natural scale; `identity` scales y to deviation 1."""
    full = np.concatenate([np.ones((x.shape[0], 1)), x], axis=1)
    penalty = np.full(full.shape[1], PENALTY)
    penalty[0] = 1e-6
    if link == "identity":
        scale = float(np.std(y)) or 1.0
        slope = np.linalg.solve((full * weight[:, None]).T @ full + np.diag(penalty), (full * weight[:, None]).T @ (y / scale))
        return np.asarray(slope * scale)
    return _logit(full, y, weight, penalty)


def _logit(full: F64, y: F64, weight: F64, penalty: F64) -> F64:
    """Penalised IRLS with half steps while the objective rises; half an event of prior on either side keeps the intercept finite."""
    share = (float(weight @ y) + 0.5) / (float(weight.sum()) + 1.0)
    beta = np.zeros(full.shape[1])
    beta[0] = np.log(share / (1 - share))
    if y.size and (y.min() == y.max()):
        return beta
    value = _objective(full, y, weight, penalty=penalty, beta=beta)
    for _ in range(_ITERATIONS):
        p = expit(full @ beta)
        w = weight * np.maximum(p * (1 - p), 1e-6)
        step = np.linalg.solve((full * w[:, None]).T @ full + np.diag(penalty), full.T @ (weight * (y - p)) - penalty * beta)
        size = 1.0
        while (new := _objective(full, y, weight, penalty=penalty, beta=beta + size * step)) > value + 1e-12 and size > 1e-3:
            size /= 2
        beta = beta + size * step
        if abs(value - new) < 1e-9 * (1 + abs(value)):
            break
        value = new
    return beta


def _objective(full: F64, y: F64, weight: F64, *, penalty: F64, beta: F64) -> float:
    linear = full @ beta
    return float(weight @ (np.logaddexp(0.0, linear) - y * linear) + 0.5 * penalty @ beta**2)


def folds(cluster: I64, rng: np.random.Generator, count: int = FOLDS) -> I64:
    """(m,) i64 fold of each trace: clusters stay whole; drawn over sorted clusters, so the order of rows does not matter. One cluster = one fold."""
    known, place = np.unique(cluster, return_inverse=True)
    return np.asarray((rng.permutation(known.size) % min(count, max(1, known.size)))[place], np.int64)


def cross_fit(panel: Panel, matrix: Design, fold: I64, *, link: Link, rows: Bool | None = None, weight: F64 | None = None) -> Parts:
    """Parts of every trace's linear predictor, each by a fit on the labelled `rows` (default all) outside its fold.

    Where all clusters are one fold there is nothing outside: that fit is in-sample (the report warns).
    """
    use = panel.labelled if rows is None else panel.labelled & rows
    given = panel.weight if weight is None else weight
    m, s = len(panel), len(panel.stages)
    base, effect = np.zeros(m), np.zeros((m, s))
    single = np.unique(fold[use]).size < 2
    for one in np.unique(fold):
        here = fold == one
        train = use if single else use & ~here
        beta = fit(matrix.x[train], panel.loss[train], given[train], link)
        terms = matrix.x[here] * beta[1:]
        base[here] = beta[0] + terms[:, matrix.player == 0].sum(axis=1)
        for stage in range(s):
            effect[here, stage] = terms[:, matrix.player == stage + 1].sum(axis=1)
    return Parts(link=link, base=base, effect=effect)
