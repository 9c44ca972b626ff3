"""Which stage the final errors came from: blame of every trace, shares over many, the change between windows, and how far to believe them.

    expected loss of a failed trace, stage by stage, each with what it showed itself:

    baseline ─┬─ input ─┬─ vad ─────────────┬─ asr ─┬─ nlu ─┬─ residual ── loss = 1
       .10    │  + .02  │  + .61            │  .00  │ −.01  │  + .28
              └ harder  └ version, own evidence odd          └ what nothing logged explains

Order of work: panel (one row a trace) → roles (which attributes may accuse; flags) → expected loss (one additive model, cross-fitted by cluster)
→ increments per trace → shares, attributable fractions, change, propagation → verdicts. Chance enters by `rng` only: folds and resampling.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.blame import Increments, increments, introduced_by, trace_blame
from headwater.analysis.change import change
from headwater.analysis.expected_loss import Design, cross_fit, design, folds, link_of
from headwater.analysis.intervals import DEFAULT_LEVEL, benjamini_hochberg, normal_interval
from headwater.analysis.panel import Panel, panel_of
from headwater.analysis.population import Attributable, attributable, blame_shares, cluster_error
from headwater.analysis.propagation import edges
from headwater.analysis.roles import Roles, find_roles
from headwater.analysis.verdicts import Findings, change_warnings, report_verdict, report_warnings, stage_verdicts
from headwater.model.attribution import Verdict
from headwater.model.blame import ErrorReport, StageBlame, TraceBlame
from headwater.model.errors import NoOutcomesError, TooLittleDataError
from headwater.model.pipeline import PipelineGraph
from headwater.model.spans import F64, I64
from headwater.model.traces import TraceTable

FEWEST_LABELLED: Final = 10


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ErrorAnalysis:
    """The report over the window, and the blame of each of its traces in the order of the trace table."""

    report: ErrorReport
    blame: TraceBlame


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Fitted:
    """The panel with everything learned from it."""

    panel: Panel
    roles: Roles
    matrix: Design
    fold: I64
    found: Increments
    signal: F64
    refit: Callable[[F64], Increments]


def analyse(
    traces: TraceTable,
    graph: PipelineGraph,
    *,
    pipeline: str,
    baseline: TraceTable | None,
    clusters: I64 | None,
    baseline_clusters: I64 | None = None,
    rng: np.random.Generator,
    level: float = DEFAULT_LEVEL,
) -> ErrorAnalysis:
    """Blame and report of `traces`, judged against `baseline` where there is one (else against the window's own successes).

    clusters (m,) i64: traces that share one fail together (session, sentence); equal integers mean the same cluster in both windows; None = each
    trace its own. Raises NoOutcomesError without any outcome, TooLittleDataError below 10 labelled traces. No failures: a report with mean loss 0 and
    a warning.
    """
    _require_outcomes(traces, pipeline)
    panel = panel_of(traces, graph, baseline=baseline, clusters=clusters, baseline_clusters=baseline_clusters)
    _require_labelled(panel, pipeline)
    fitted = _fit(panel, rng)
    shares = blame_shares(panel, fitted.found, fitted.refit, rng=rng, level=level)
    fractions = tuple(
        attributable(panel, fitted.matrix, fitted.roles.flagged, stage=stage, fold=fitted.fold, level=level) for stage in range(len(panel.stages))
    )
    moved = None if baseline is None else change(panel, fitted.roles, fitted.matrix, fitted.fold, level=level)
    mine = panel.current & panel.labelled
    findings = Findings(
        panel=panel,
        roles=fitted.roles,
        signal=fitted.signal,
        shares=shares,
        fractions=fractions,
        q=benjamini_hochberg(np.array([one.p_value for one in fractions], np.float64)),
        n_faults=fitted.roles.flagged[panel.current].sum(axis=0),
        n_failures=int((mine & (np.nan_to_num(panel.loss) > 0)).sum()),
        change=moved,
    )
    report = _report(findings, graph, fitted, names=(pipeline, traces.outcome), level=level, compared=baseline is not None)
    introduced = introduced_by(fitted.found.share, fitted.roles.flagged, panel.level)
    blame = trace_blame(panel, fitted.found, fitted.roles.flagged, introduced=introduced, verdict=report.verdict)
    return ErrorAnalysis(report=report, blame=blame)


def _require_outcomes(traces: TraceTable, pipeline: str) -> None:
    if not len(traces):
        raise TooLittleDataError(f"pipeline {pipeline!r} has no runs in this window", next_command="headwater pipelines")
    if np.all(np.isnan(traces.outcome_loss)):
        raise NoOutcomesError(
            f"none of the {len(traces)} runs of {pipeline!r} has an outcome {traces.outcome!r}, so there are no errors to explain; "
            "report them with hw.outcome(...) or from a file",
            next_command="headwater outcome import FILE",
        )


def _require_labelled(panel: Panel, pipeline: str) -> None:
    labelled = int((panel.current & panel.labelled).sum())
    if labelled < FEWEST_LABELLED:
        raise TooLittleDataError(
            f"{labelled} of {int(panel.current.sum())} runs of {pipeline!r} have an outcome; at least {FEWEST_LABELLED} are needed",
            next_command="headwater outcome import FILE",
        )


def _fit(panel: Panel, rng: np.random.Generator) -> _Fitted:
    roles = find_roles(panel)
    matrix = design(panel, roles)
    fold = folds(panel.cluster, rng)
    link = link_of(panel.loss)
    seed = int(rng.integers(2**32))

    def again(weight: F64) -> Increments:
        given = panel.weight * weight
        parts = cross_fit(panel, matrix, fold, link=link, weight=given)
        return increments(parts, panel.level, _baseline_loss(panel, roles, given), np.random.default_rng(seed))

    parts = cross_fit(panel, matrix, fold, link=link)
    return _Fitted(panel=panel, roles=roles, matrix=matrix, fold=fold, found=again(np.ones(len(panel))), signal=parts.effect.copy(), refit=again)


def _baseline_loss(panel: Panel, roles: Roles, weight: F64) -> float:
    """E_ref[Y]: mean loss of traffic that nobody flags, both windows; of all traffic where everything is flagged. Not the mixed mean."""
    calm = panel.labelled & ~roles.flagged.any(axis=1) & (weight > 0)
    rows = calm if calm.any() else panel.labelled & (weight > 0)
    return float(weight[rows] @ panel.loss[rows] / weight[rows].sum()) if rows.any() else 0.0


def _report(found: Findings, graph: PipelineGraph, fitted: _Fitted, *, names: tuple[str, str], level: float, compared: bool) -> ErrorReport:
    panel = found.panel
    mine = panel.current & panel.labelled
    verdicts, warnings = stage_verdicts(found)
    verdict, residual = report_verdict(found, verdicts)
    mean, low, high = _mean_loss(panel, level)
    single = np.unique(panel.cluster[panel.labelled]).size < 2
    return ErrorReport(
        pipeline=names[0],
        outcome=names[1],
        n_traces=int(panel.current.sum()),
        n_labelled=int(mine.sum()),
        n_failures=found.n_failures,
        mean_loss=mean,
        low=low,
        high=high,
        level=level,
        stages=tuple(_stage(found, stage, verdicts[stage]) for stage in range(len(panel.stages))),
        input_share=found.shares.input,
        unexplained_share=found.shares.unexplained,
        edges=edges(panel, fitted.roles, fitted.matrix, graph),
        comparison=None if found.change is None else found.change.answer,
        verdict=verdict,
        warnings=(
            *report_warnings(panel, n_failures=found.n_failures, single_cluster=single),
            *found.roles.warnings,
            *warnings,
            *change_warnings(panel, found.change, compared=compared),
            *residual,
        ),
    )


def _stage(found: Findings, stage: int, verdict: Verdict) -> StageBlame:
    fraction: Attributable = found.fractions[stage]
    unseen = not found.roles.has_evidence(stage) and not found.roles.has_version(stage)
    return StageBlame(
        stage=found.panel.stages[stage],
        blame_share=float(found.shares.share[stage]),
        blame_low=float("nan") if unseen else float(found.shares.low[stage]),
        blame_high=float("nan") if unseen else float(found.shares.high[stage]),
        attributable_fraction=float("nan") if unseen else fraction.fraction,
        attributable_low=fraction.low,
        attributable_high=fraction.high,
        fixable_loss=None,
        q_value=float(found.q[stage]),
        n_faults=int(found.n_faults[stage]),
        verdict=verdict,
        evidence=found.roles.evidence[stage],
    )


def _mean_loss(panel: Panel, level: float) -> tuple[float, float, float]:
    """(mean, low, high) of the current window's loss, by clusters; a loss in 0..1 keeps its interval there."""
    mine = panel.current & panel.labelled
    weight = np.where(mine, panel.weight, 0.0) / float(panel.weight[mine].sum())
    mean = float(weight @ np.nan_to_num(panel.loss))
    error = cluster_error((weight * (np.nan_to_num(panel.loss) - mean))[mine], panel.cluster[mine])
    low, high = (float(one[0]) for one in normal_interval(np.array([mean]), np.array([error]), level))
    return (mean, max(low, 0.0), min(high, 1.0)) if link_of(panel.loss) == "logit" else (mean, low, high)
