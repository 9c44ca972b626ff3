"""Which attributes may accuse their stage, and which stages they then flag.

A late attribute is often a symptom: computed from content that earlier stages have damaged. A model given everything lets the last stage soak up
the blame, so an attribute may accuse only if its oddness does not track flags upstream: area under the curve at most .70 where it was declared
own, .60 where nothing was declared. Stages are taken in topological order, because the flags that test a stage are those of its ancestors.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.evidence import Score, auc, reference_rows, restless, score, version_deviates
from headwater.analysis.panel import Column, Panel
from headwater.model.attribution import ReportWarning
from headwater.model.blame import Evidence
from headwater.model.spans import F64, Bool

AUC_DECLARED: Final = 0.70
AUC_UNDECLARED: Final = 0.60
_ROWS_DECLARED: Final = 10
_ROWS_UNDECLARED: Final = 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Roles:
    """s stages, m traces. reference (m,) bool; deviates (m, s): another version; odd (m, s): own evidence beyond its threshold.

    scores: those of attributes that may accuse; evidence (s,): every attribute of a stage and its test.
    """

    reference: Bool
    deviates: Bool
    odd: Bool
    scores: tuple[Score, ...]
    evidence: tuple[tuple[Evidence, ...], ...]
    warnings: tuple[ReportWarning, ...]

    @property
    def flagged(self) -> Bool:
        return self.deviates | self.odd

    def has_evidence(self, stage: int) -> bool:
        return any(one.column.stage == stage for one in self.scores)

    def has_version(self, stage: int) -> bool:
        return any(one.role == "version" and one.used for one in self.evidence[stage])


def find_roles(panel: Panel) -> Roles:
    """Test every attribute of every stage in topological order; flags of a stage use only what passed."""
    reference = reference_rows(panel)
    deviates = version_deviates(panel, reference)
    odd = np.zeros_like(deviates)
    scores: list[Score] = []
    evidence: list[tuple[Evidence, ...]] = []
    warnings: list[ReportWarning] = []
    for stage, name in enumerate(panel.stages):
        mine = _version_evidence(panel, stage)
        steady = ~deviates[:, stage]
        for column in panel.of_stage(stage):
            scored = score(panel, column, reference & steady)
            tracked, error = _upstream(panel, scored, steady, (deviates | odd, stage))
            used = _may_accuse(column, tracked, error)
            mine.append(
                Evidence(attribute=column.attribute, role="own" if used else "symptom", declared=column.declared, upstream_auc=tracked, used=used)
            )
            if used:
                scores.append(scored)
                odd[:, stage] |= scored.odd
            elif column.declared:
                warnings.append(_contradicts(name, column.attribute, tracked))
        evidence.append(tuple(mine))
    return Roles(reference=reference, deviates=deviates, odd=odd, scores=tuple(scores), evidence=tuple(evidence), warnings=tuple(warnings))


def _version_evidence(panel: Panel, stage: int) -> list[Evidence]:
    used = not restless(panel.version[:, stage])
    return [Evidence(attribute=wire, role="version", declared=True, upstream_auc=float("nan"), used=used) for wire in panel.version_names[stage]]


def _upstream(panel: Panel, scored: Score, steady: Bool, flags: tuple[Bool, int]) -> tuple[float, float]:
    """(largest AUC of the score's size for the flags of one ancestor, its standard error); NaN where no ancestor has enough flags to test against.

    Only runs where the stage's own version did not deviate: two stages that were deployed together must not look like cause and symptom.
    """
    flagged, stage = flags
    rows = steady & panel.present[:, stage] & ~np.isnan(scored.column.values)
    needed = _ROWS_DECLARED if scored.column.declared else _ROWS_UNDECLARED
    worst, error = float("nan"), float("nan")
    for above in np.flatnonzero(panel.ancestors[:, stage]):
        positive = flagged[rows, above]
        n = (int(positive.sum()), int((~positive).sum()))
        if min(n) < needed:
            continue
        value = auc(np.abs(scored.z[rows]), positive)
        if np.isnan(worst) or value > worst:
            worst, error = value, _auc_error(value, *n)
    return worst, error


def _auc_error(value: float, positives: int, negatives: int) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982)."""
    q1, q2, square = value / (2 - value), 2 * value**2 / (1 + value), value**2
    variance = (value * (1 - value) + (positives - 1) * (q1 - square) + (negatives - 1) * (q2 - square)) / (positives * negatives)
    return float(np.sqrt(max(variance, 0.0)))


def _may_accuse(column: Column, tracked: float, error: float) -> bool:
    """Declared: unless the data contradict it (above .70, and above .60 by a standard error). Undeclared: only if below .60 by a standard error.

    The margin is for small windows: among 30 runs with and 30 without a fault upstream, one symptom in four of a true AUC of .65 would pass without.
    """
    if column.declared:
        return bool(np.isnan(tracked) or tracked <= AUC_DECLARED or tracked - error <= AUC_UNDECLARED)
    return bool(not np.isnan(tracked) and tracked + error <= AUC_UNDECLARED)


def _contradicts(stage: str, attribute: str, tracked: float) -> ReportWarning:
    return ReportWarning(
        code="role_contradicted",
        text=f"{attribute} of {stage} was declared own but tracks faults upstream of it (AUC {tracked:.2f}, at most {AUC_DECLARED:.2f} allowed): "
        f"it does not accuse {stage}; record something {stage} alone decides, or send it as a plain quality attribute",
    )


def upstream_flagged(panel: Panel, flagged: Bool) -> Bool:
    """(m, s) bool: some ancestor of the stage is flagged in that trace."""
    return np.asarray((flagged.astype(np.float64) @ panel.ancestors.astype(np.float64)) > 0)


def share_missing(panel: Panel, scores: tuple[Score, ...], stage: int) -> float:
    """Of the runs that passed the stage, the share in which none of its accusing evidence has a value; NaN without such evidence."""
    mine = [one.column.values for one in scores if one.column.stage == stage]
    ran = panel.present[:, stage]
    if not mine or not ran.any():
        return float("nan")
    return float(np.mean(np.all(np.isnan(np.stack(mine)[:, ran]), axis=0)))


def collinear(signal: F64, limit: float = 0.95) -> tuple[tuple[int, int], ...]:
    """Pairs of stages whose own signal (m, s) correlates above `limit`: their blame cannot be told apart."""
    varies = np.flatnonzero(np.std(signal, axis=0) > 0)
    if varies.size < 2:
        return ()
    table = np.corrcoef(signal[:, varies], rowvar=False)
    pairs = np.argwhere(np.triu(np.abs(table) > limit, k=1))
    return tuple((int(varies[a]), int(varies[b])) for a, b in pairs)
