"""How far each number may be believed: a verdict per stage and for the report, and a sentence with the cure for everything that stands in the way."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.change import SIGNIFICANT, Change
from headwater.analysis.evidence import auc, restless
from headwater.analysis.panel import Panel
from headwater.analysis.population import Attributable, Shares
from headwater.analysis.roles import Roles, collinear, share_missing
from headwater.model.attribution import ReportWarning, Verdict
from headwater.model.spans import F64, I64

FEW: Final = 20
MISSING: Final = 0.2
RESIDUAL: Final = 0.5
_CARRIES: Final = 0.05
_WEIGHS: Final = 0.15
_IN_TIME: Final = 0.98
_FEW_AFTER: Final = 5
_WORST_FIRST: Final[tuple[Verdict, ...]] = ("not identifiable", "bounded", "identified")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Findings:
    """What the verdicts look at: signal (m, s) is each stage's block of the linear predictor, n_faults and q (s,) over the current window."""

    panel: Panel
    roles: Roles
    signal: F64
    shares: Shares
    fractions: tuple[Attributable, ...]
    q: F64
    n_faults: I64
    n_failures: int
    change: Change | None


def stage_verdicts(found: Findings) -> tuple[list[Verdict], list[ReportWarning]]:
    """One verdict a stage, and the warnings that explain them, in stage order."""
    verdicts: list[Verdict] = []
    warnings: list[ReportWarning] = []
    together = collinear(found.signal[found.panel.labelled])
    for stage, name in enumerate(found.panel.stages):
        limits = [*_unseen(found, stage, name), *_thin(found, stage, name), *_entangled(found, stage, together)]
        verdicts.append(_worst([verdict for verdict, _ in limits]))
        warnings.extend(warning for _, warning in limits if warning is not None)
    return verdicts, list(dict.fromkeys(warnings))


Limit = tuple[Verdict, ReportWarning | None]


def _worst(verdicts: list[Verdict]) -> Verdict:
    return next((one for one in _WORST_FIRST if one in verdicts), "identified")


def _unseen(found: Findings, stage: int, name: str) -> list[Limit]:
    """What the stage does not log."""
    panel, roles = found.panel, found.roles
    evidence, version = roles.has_evidence(stage), roles.has_version(stage)
    new_each_time = bool(panel.version_names[stage]) and restless(panel.version[:, stage])
    if not evidence and new_each_time:
        return [("not identifiable", _version_per_run(name))]
    if not evidence and not version:
        text = f"{name} logs neither own evidence nor a version, so nothing can accuse or clear it: record {name}'s version, or a quality figure of "
        text += "its own work, e.g. the share of its input outside its vocabulary (quality={...: hw.own(f)} on its @stage)"
        return [("not identifiable", ReportWarning(code="no_own_evidence", text=text))]
    missing = share_missing(panel, roles.scores, stage)
    if missing > MISSING and not version:
        text = f"{name} leaves its own evidence out in {missing:.0%} of its runs (at most {MISSING:.0%} allowed): record it on every call"
        return [("not identifiable", ReportWarning(code="evidence_missing", text=text))]
    limits: list[Limit] = []
    if new_each_time:
        limits.append(("bounded", _version_per_run(name)))
    if not evidence and not found.roles.deviates[:, stage].any():
        text = f"{name} ran under one version and logs no own evidence: faults it always had stay unattributed; record own evidence "
        text += "(quality={...: hw.own(f)}) or replay it"
        limits.append(("bounded", ReportWarning(code="version_never_changed", text=text)))
    return limits


def _version_per_run(name: str) -> ReportWarning:
    text = f"{name} has a new version on nearly every run, so its version says nothing: leave run ids and timestamps out of the configuration"
    return ReportWarning(code="version_per_run", text=text)


def _thin(found: Findings, stage: int, name: str) -> list[Limit]:
    """Too few failures or own faults: not identifiable, but bounded if the stage's effect is significant all the same or no other stage switched."""
    faults, failures = int(found.n_faults[stage]), found.n_failures
    if not faults:
        return [("bounded", None)] if failures < FEW else []
    if failures >= FEW and (faults >= FEW or found.shares.high[stage] < _CARRIES):
        return []
    sure = found.q[stage] < SIGNIFICANT or _only_switched(found, stage) or (found.change is not None and found.change.answer.stages[stage].flagged)
    text = f"{name}: {faults} own faults among {failures} failures, and {FEW} of each are wanted: widen the window (--since)"
    return [("bounded" if sure else "not identifiable", ReportWarning(code="few_faults", text=text))]


def _entangled(found: Findings, stage: int, together: tuple[tuple[int, int], ...]) -> list[Limit]:
    """What cannot be told apart from something else."""
    limits: list[Limit] = []
    names = found.panel.stages
    for a, b in together:
        if stage in {a, b}:
            text = f"{names[a]} and {names[b]} go wrong in the same runs: their blame is one sum; change one at a time, or replay"
            limits.append(("not identifiable", ReportWarning(code="stages_move_together", text=text)))
    refused = found.fractions[stage].refused
    if refused is not None:
        text = f"no attributable fraction for {names[stage]}: {refused}; roll changes out gradually or replay, or log evidence of its own work alone"
        limits.append(("bounded", ReportWarning(code="fraction_refused", text=text)))
    if found.change is not None and stage in found.change.switched:
        limits.append(("bounded", None))
    elif _switched_at_once(found, stage):
        text = f"{names[stage]} changed once and for all within the window, so its part is before against after and bounds what it caused: roll out "
        limits.append(("bounded", ReportWarning(code="switched_at_once", text=text + "gradually, or replay, to tell it from what else changed then")))
    return limits


def _only_switched(found: Findings, stage: int) -> bool:
    """Before against after has an interval that means something, however wide, where this is the one stage that switched; from 5 failures on."""
    if found.n_failures < _FEW_AFTER:
        return False
    if found.change is not None:
        return found.change.switched == (stage,)
    return [other for other in range(len(found.panel.stages)) if _switched_at_once(found, other)] == [stage]


def _switched_at_once(found: Findings, stage: int) -> bool:
    """The runs of another version lie (all but 2 % of the pairs) on one side in time of those of the reference's."""
    panel = found.panel
    rows = panel.current & panel.present[:, stage]
    deviates = found.roles.deviates[rows, stage]
    order = auc(panel.start_ns[rows].astype(np.float64), deviates)
    return bool(max(order, 1 - order) > _IN_TIME) if min(deviates.sum(), (~deviates).sum()) >= 5 else False


def change_warnings(panel: Panel, change: Change | None, *, compared: bool) -> list[ReportWarning]:
    """What must be said with a comparison."""
    if change is None:
        text = "no comparison: fewer than 10 runs with an outcome in one of the windows; widen --baseline-since or --since"
        return [ReportWarning(code="baseline_too_small", text=text)] if compared else []
    names = [panel.stages[stage] for stage in change.switched]
    if len(names) == 1:
        text = f"{names[0]} changed on nearly every run between the windows, so its part is before against after and bounds what it caused: "
        return [ReportWarning(code="switched_without_overlap", text=text + "roll out gradually, or replay, to tell it from what else changed then")]
    if names:
        text = f"{' and '.join(names)} changed together between the windows: what they caused cannot be told apart and stands as unexplained; "
        return [ReportWarning(code="changed_together", text=text + "change one at a time, roll out gradually, or replay")]
    if change.unweighted and min(int(panel.current.sum()), int((~panel.current).sum())) >= 100:
        text = "the windows overlap too little to weigh one into the other: the split of the change leans on the model of expected loss alone"
        return [ReportWarning(code="little_overlap", text=text + "; compare windows closer in time")]
    return []


def report_warnings(panel: Panel, *, n_failures: int, single_cluster: bool) -> list[ReportWarning]:
    """What concerns the window as a whole."""
    warnings: list[ReportWarning] = []
    current = panel.current
    labelled = int((current & panel.labelled).sum())
    if labelled < int(current.sum()):
        text = f"{labelled} of {int(current.sum())} runs have an outcome: if they were not picked at random the shares lean towards what was judged; "
        warnings.append(ReportWarning(code="labels_partial", text=text + "import the missing ones (headwater outcome import FILE)"))
    if not n_failures:
        warnings.append(ReportWarning(code="no_failures", text="no run of this window lost anything: there is nothing to blame; widen --since"))
    if not panel.difficulty.shape[1]:
        text = "no difficulty of the input is logged: a harder input looks like a fault of the first stage that shows it; "
        warnings.append(ReportWarning(code="no_difficulty", text=text + "pass difficulty={...} to hw.run, e.g. length or noise level"))
    if not panel.acyclic:
        text = "the graph of stages has a cycle: stages are taken in order of first appearance; state the data flow with links (upstream=...)"
        warnings.append(ReportWarning(code="cyclic_graph", text=text))
    if single_cluster:
        text = "all runs belong to one cluster: nothing can be fitted on other clusters and there are no intervals; choose another --cluster"
        warnings.append(ReportWarning(code="single_cluster", text=text))
    return warnings


def report_verdict(found: Findings, verdicts: list[Verdict]) -> tuple[Verdict, list[ReportWarning]]:
    """The verdict of the stage that carries most, at most bounded where another that carries 15 % is not identified or one logs nothing.

    Not identifiable where over half of the failures are unexplained, unless a comparison explains most of the change: what fails at the baseline's
    rate is then no riddle of this window.
    """
    if not found.n_failures:
        return "not identifiable", []
    share = found.shares.share
    if found.shares.unexplained > RESIDUAL and not _change_explained(found):
        text = f"{found.shares.unexplained:.0%} of the failures are unexplained: what you log does not see the failure; record versions and own "
        text += "evidence of every stage, or run known-answer canaries"
        return "not identifiable", [ReportWarning(code="residual_large", text=text)]
    if not share.size or share.max() < _CARRIES:
        return ("identified" if "not identifiable" not in verdicts else "bounded"), []
    top = int(np.argmax(share))
    blind = any(not found.roles.has_evidence(stage) and not found.roles.has_version(stage) for stage in range(share.size))
    doubtful = blind or any(verdicts[int(stage)] != "identified" for stage in np.flatnonzero(share >= _WEIGHS))
    return _worst([verdicts[top], "bounded" if doubtful else "identified"]), []


def _change_explained(found: Findings) -> bool:
    """A flagged stage, or the one that switched, makes up at least half of the change."""
    if found.change is None:
        return False
    answer = found.change.answer
    moved = [abs(one.own_delta) for s, one in enumerate(answer.stages) if one.flagged or found.change.switched == (s,)]
    return bool(moved and max(moved) >= 0.5 * abs(answer.delta))
