"""How a fault of one stage raises trouble at the next: standardised rates and the gain of an edge, first form.

Trouble at the target is anything it shows that is odd, symptoms included: they are what a fault upstream moves. R = P(trouble at t | own fault at s),
B = the same without, both standardised over the input and what lies upstream of s (never over anything after s) by one logit; gain = slope of the
target's largest score on the source's own score, both in units of their spread in the reference.
"""

from typing import Final

import numpy as np

from headwater.analysis.evidence import score
from headwater.analysis.expected_loss import Design, expit, fit
from headwater.analysis.panel import Panel
from headwater.analysis.roles import Roles
from headwater.model.blame import Edge, Effect
from headwater.model.pipeline import PipelineGraph
from headwater.model.spans import F64, Bool

FEWEST: Final = 10
_LARGEST_SCORE: Final = 8.0
_AMPLIFIES: Final = 1.1
_ABSORBS: Final = 0.9


def edges(panel: Panel, roles: Roles, matrix: Design, graph: PipelineGraph) -> tuple[Edge, ...]:
    """One `Edge` per edge of the graph, over both windows; NaN where the source has under 10 own faults or the target shows nothing."""
    shown = {stage: _shown(panel, roles, stage) for stage in range(len(panel.stages))}
    place = {name: position for position, name in enumerate(panel.stages)}
    return tuple(_edge(panel, roles, matrix, (place[graph.stages[int(a)]], place[graph.stages[int(b)]], shown)) for a, b in graph.edge)


def _shown(panel: Panel, roles: Roles, stage: int) -> tuple[F64, Bool] | None:
    """(largest |score| of anything the stage shows (m,), is any of it odd (m,)); None where it shows nothing."""
    scores = [score(panel, column, roles.reference & ~roles.flagged[:, stage]) for column in panel.of_stage(stage)]
    if not scores:
        return None
    size = np.max([np.abs(one.z) for one in scores], axis=0)
    odd = np.any([one.odd for one in scores], axis=0) | roles.flagged[:, stage]
    return np.minimum(size, _LARGEST_SCORE), odd


def _edge(panel: Panel, roles: Roles, matrix: Design, ends: tuple[int, int, dict[int, tuple[F64, Bool] | None]]) -> Edge:
    source, target, shown = ends
    nan = float("nan")
    given, base, gain = nan, nan, nan
    there = shown[target]
    rows = panel.present[:, source] & panel.present[:, target]
    fault = roles.flagged[:, source]
    if there is not None and min(int(fault[rows].sum()), int((~fault[rows]).sum())) >= FEWEST:
        players = np.concatenate([[0], np.flatnonzero(panel.ancestors[:, source]) + 1])
        above = matrix.x[:, np.isin(matrix.player, players)][rows]
        given, base = _rates(above, fault[rows].astype(np.float64), there[1][rows].astype(np.float64), panel.weight[rows])
        own = _own_size(roles, source)
        gain = nan if own is None else _slope(above, own[rows], there[0][rows], panel.weight[rows])
    return Edge(
        source=panel.stages[source],
        target=panel.stages[target],
        rate_given_error=given,
        rate_baseline=base,
        risk_ratio=given / base if base > 0 else nan,
        gain=gain,
        effect=_effect(gain),
    )


def _rates(above: F64, fault: F64, trouble: F64, weight: F64) -> tuple[float, float]:
    """(R, B): predicted trouble with the fault set to 1 and to 0 in every run, averaged over the runs as they are."""
    beta = fit(np.concatenate([above, fault[:, None]], axis=1), trouble, weight, "logit")
    linear = beta[0] + above @ beta[1:-1]
    share = weight / weight.sum()
    return float(share @ expit(linear + beta[-1])), float(share @ expit(linear))


def _own_size(roles: Roles, stage: int) -> F64 | None:
    mine = [np.abs(one.z) for one in roles.scores if one.column.stage == stage]
    return np.minimum(np.max(mine, axis=0), _LARGEST_SCORE) if mine else None


def _slope(above: F64, own: F64, there: F64, weight: F64) -> float:
    """Slope on `own` in a ridge of the target's score on it and everything above; NaN where `own` does not vary."""
    if np.std(own) <= 0:
        return float("nan")
    return float(fit(np.concatenate([above, own[:, None]], axis=1), there, weight, "identity")[-1])


def _effect(gain: float) -> Effect:
    if np.isnan(gain):
        return "pass"
    return "amplify" if gain > _AMPLIFIES else "absorb" if gain < _ABSORBS else "pass"
