"""Why the mean loss differs between two windows: own change of each stage, of the input, and what nothing logged explains; exact sum.

Along the pipeline, θ_j is the mean loss there would be if the input and the stages up to j were as in the new window and everything after as in
the old: θ_j = mean_NEW m_j^OLD(h_j) + mean_OLD w_j (Y − m_j^OLD), w_j the density ratio of the prefixes (doubly robust; w_j = 1 where the two
windows overlap too little to weigh). δ_j = θ_j − θ_{j−1} from θ_{−1} = E_old Y; the last step, E_new Y − θ_k, is how the loss changed at equal
evidence. Then the windows swap roles and the two are averaged, each sample's influence too (adding the variances of the two directions as if they
were independent covers 88 %, not 95 %).

A stage whose version (or own flag) switched on nearly every run has no overlap at all: no run of the old window tells what the new version does.
Its own column is left out and, if it is the only one, the last step is its own: before against after, `bounded`. If several switched together the
last step cannot be told apart and stays unexplained.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import stdtr, stdtrit

from headwater.analysis.evidence import standardise
from headwater.analysis.expected_loss import Design, expit, fit, link_of
from headwater.analysis.intervals import benjamini_hochberg
from headwater.analysis.panel import Panel
from headwater.analysis.population import cluster_error
from headwater.analysis.roles import Roles
from headwater.model.blame import ErrorChange, StageChange
from headwater.model.spans import F64, I64, Bool

SMALLEST_WINDOW: Final = 10
SMALLEST_EFFECT: Final = 0.005
SIGNIFICANT: Final = 0.05
_SWITCHED: Final = 0.9
_WEIGH_ROWS: Final = 100
_EFFECTIVE: Final = 0.1
_HEAVIEST: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Change:
    """The answer, and what must be said with it: stages that switched without overlap, and whether weights were refused."""

    answer: ErrorChange
    switched: tuple[int, ...]
    unweighted: bool


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Path:
    """steps (k + 2,): input, stages in order, the last step; influence (m, k + 2) of each; unweighted: some θ_j had w = 1 for want of overlap."""

    steps: F64
    influence: F64
    unweighted: bool


def change(panel: Panel, roles: Roles, matrix: Design, fold: I64, *, level: float) -> Change | None:
    """The change from baseline to current; None where either window has fewer than 10 labelled traces."""
    new, old = panel.current & panel.labelled, ~panel.current & panel.labelled
    if min(int(new.sum()), int(old.sum())) < SMALLEST_WINDOW:
        return None
    switched = _switched(roles.flagged, new, old)
    prefix = _prefixes(panel, roles, matrix, switched)
    ahead, back = _supported(roles.flagged, new, old, switched)
    paths: list[_Path] = []
    if ahead or not back:
        paths.append(_path(panel, prefix, fold, source=old, target=new))
    if back or not ahead:
        turned = _path(panel, prefix, fold, source=new, target=old)
        paths.append(_Path(steps=-turned.steps, influence=-turned.influence, unweighted=turned.unweighted))
    steps = np.mean([path.steps for path in paths], axis=0)
    influence = np.mean([path.influence for path in paths], axis=0)
    if len(switched) == 1:
        stage = switched[0] + 1
        steps[stage] += steps[-1]
        influence[:, stage] += influence[:, -1]
        steps[-1], influence[:, -1] = 0.0, 0.0
    answer = _answer(panel, steps, influence, level=level)
    return Change(answer=answer, switched=switched, unweighted=any(path.unweighted for path in paths))


def _switched(flagged: Bool, new: Bool, old: Bool) -> tuple[int, ...]:
    """Stages flagged in at least 90 % of the new window and at most 10 % of the old."""
    rate_new, rate_old = flagged[new].mean(axis=0), flagged[old].mean(axis=0)
    return tuple(int(stage) for stage in np.flatnonzero((rate_new >= _SWITCHED) & (rate_old <= 1 - _SWITCHED)))


def _supported(flagged: Bool, new: Bool, old: Bool, switched: tuple[int, ...]) -> tuple[bool, bool]:
    """May the old model be asked about new prefixes, and the new about old ones? Not where flags are common in one window and rare in the other."""
    rest = [stage for stage in range(flagged.shape[1]) if stage not in switched]
    rate_new, rate_old = flagged[new][:, rest].mean(axis=0), flagged[old][:, rest].mean(axis=0)
    ahead = not np.any((rate_new > 0.1) & (rate_old < 0.2 * rate_new))
    back = not np.any((rate_old > 0.1) & (rate_new < 0.2 * rate_old))
    return ahead, back


def _prefixes(panel: Panel, roles: Roles, matrix: Design, switched: tuple[int, ...]) -> Design:
    """Columns of the prefixes: the blame's own, less those of switched stages, and indicators of known versions whose mix may have moved."""
    keep = ~np.isin(matrix.player, [stage + 1 for stage in switched])
    columns, players = [matrix.x[:, keep]], [matrix.player[keep]]
    for stage in range(len(panel.stages)):
        codes = np.where(roles.deviates[:, stage], -1, panel.version[:, stage])
        levels, counts = np.unique(codes[codes >= 0], return_counts=True)
        if stage in switched or not 1 < levels.size <= 20:
            continue
        mixed = [(codes == level).astype(np.float64) for level, count in zip(levels, counts, strict=True) if count >= SMALLEST_WINDOW]
        columns.extend(column[:, None] for column in mixed)
        players.append(np.full(len(mixed), stage + 1, np.int64))
    return Design(x=np.concatenate(columns, axis=1), player=np.concatenate(players))


def _path(panel: Panel, prefix: Design, fold: I64, *, source: Bool, target: Bool) -> _Path:
    """From the source window's mean loss to the target's, prefix by prefix, by models of the source."""
    k = len(panel.stages)
    loss, weight = np.nan_to_num(panel.loss), panel.weight
    share_source, share_target = np.where(source, weight, 0.0), np.where(target, weight, 0.0)
    share_source, share_target = share_source / share_source.sum(), share_target / share_target.sum()
    theta, influence = [float(share_source @ loss)], [share_source * (loss - share_source @ loss)]
    unweighted = False
    for last in range(k + 1):
        columns = prefix.x[:, prefix.player <= last]
        expected = _expected(panel, columns, fold, source)
        ratio, weighed = _ratio(panel, columns, fold, source=source, target=target)
        unweighted |= not weighed
        rest = ratio * (loss - expected)
        theta.append(float(share_target @ expected + share_source @ rest))
        influence.append(share_target * (expected - share_target @ expected) + share_source * (rest - share_source @ rest))
    theta.append(float(share_target @ loss))
    influence.append(share_target * (loss - share_target @ loss))
    return _Path(steps=np.diff(theta), influence=np.diff(np.stack(influence, axis=1), axis=1), unweighted=unweighted)


def _expected(panel: Panel, columns: F64, fold: I64, source: Bool) -> F64:
    """m_j of the source window at every trace, cross-fitted: a cluster that stands in both windows is predicted by neither of its halves."""
    out, link = np.zeros(len(panel)), link_of(panel.loss)
    for one in np.unique(fold):
        train = source & (fold != one)
        train = train if train.any() else source
        here = fold == one
        beta = fit(columns[train], panel.loss[train], panel.weight[train], link)
        linear = beta[0] + columns[here] @ beta[1:]
        out[here] = expit(linear) if link == "logit" else linear
    return out


def _ratio(panel: Panel, columns: F64, fold: I64, *, source: Bool, target: Bool) -> tuple[F64, bool]:
    """(w (m,), could it be weighed): density ratio target over source by a cross-fitted logit, mean 1 on the source; 1 everywhere without overlap."""
    ones = np.ones(len(panel))
    if min(int(source.sum()), int(target.sum())) < _WEIGH_ROWS:
        return ones, False
    both = source | target
    scaled = standardise(columns, both)
    linear = np.zeros(len(panel))
    for one in np.unique(fold):
        train, here = both & (fold != one), fold == one
        if train.any():
            beta = fit(scaled[train], target[train].astype(np.float64), panel.weight[train], "logit")
            linear[here] = beta[0] + scaled[here] @ beta[1:]
    ratio = np.exp(np.clip(linear, -20, 20))
    mine = np.where(source, panel.weight * ratio, 0.0)
    ratio = ratio * float(panel.weight[source].sum()) / float(mine.sum())
    size = float(mine.sum()) ** 2 / float(mine @ mine)
    if size < _EFFECTIVE * float(source.sum()) or float(mine.max()) > _HEAVIEST * float(mine.sum()):
        return ones, False
    return ratio, True


def _answer(panel: Panel, steps: F64, influence: F64, *, level: float) -> ErrorChange:
    new, old = panel.current & panel.labelled, ~panel.current & panel.labelled
    use = new | old
    freedom = max(1, np.unique(panel.cluster[use]).size - 1)
    reach = float(stdtrit(freedom, (1 + level) / 2))
    error = np.array([cluster_error(column[use], panel.cluster[use]) for column in influence.T])
    p = np.array([_p_value(step, one, freedom) for step, one in zip(steps[1:-1], error[1:-1], strict=True)])
    q = benjamini_hochberg(p)
    stages = []
    for stage, name in enumerate(panel.stages):
        own = float(steps[stage + 1])
        above = float(steps[0] + steps[1:-1][panel.ancestors[:, stage]].sum())
        stages.append(
            StageChange(
                stage=name,
                own_delta=own,
                low=own - reach * float(error[stage + 1]),
                high=own + reach * float(error[stage + 1]),
                q_value=float(q[stage]),
                flagged=bool(q[stage] < SIGNIFICANT and abs(own) >= SMALLEST_EFFECT),
                inherited_delta=above,
            )
        )
    before = float(panel.weight[old] @ panel.loss[old] / panel.weight[old].sum())
    after = float(panel.weight[new] @ panel.loss[new] / panel.weight[new].sum())
    return ErrorChange(
        baseline_loss=before,
        current_loss=after,
        delta=after - before,
        input_delta=float(steps[0]),
        unexplained_delta=after - before - float(steps[:-1].sum()),
        stages=tuple(stages),
        n_baseline_labelled=int(old.sum()),
    )


def _p_value(step: float, error: float, freedom: int) -> float:
    """Two-sided by Student's t. NaN, no test at all, for a stage that logs nothing which could move; certain for any other step without spread."""
    if np.isnan(error):
        return float("nan")
    if error <= 1e-12:
        return float("nan") if abs(step) <= 1e-12 else 0.0
    return float(2 * stdtr(freedom, -abs(step) / error))
