"""`headwater.report.errors/1`: which stage the final errors came from, how sure that is, and what changed."""

import numpy as np

from headwater.model.attribution import require_closes
from headwater.model.blame import Edge, ErrorChange, ErrorReport, Evidence, StageBlame, StageChange
from headwater.report.numbers import Document, interval, plain, warnings_list
from headwater.report.sentence import sentence


def errors_document(report: ErrorReport) -> Document:
    """The document of json-contract.md, its `sentence` included. Raises InvariantError where shares miss 1 or a change misses its delta."""
    if report.mean_loss > 0:
        shares = np.array([stage.blame_share for stage in report.stages], dtype=np.float64)
        require_closes(shares, float(report.input_share + report.unexplained_share), 1.0)
    document: Document = {
        "schema": "headwater.report.errors/1",
        "pipeline": report.pipeline,
        "outcome": report.outcome,
        "n_traces": int(report.n_traces),
        "n_labelled": int(report.n_labelled),
        "n_failures": int(report.n_failures),
        "mean_loss": plain(report.mean_loss),
        "interval": interval(report.low, report.high),
        "level": float(report.level),
        "stages": [_stage(stage) for stage in report.stages],
        "input_share": plain(report.input_share),
        "unexplained_share": plain(report.unexplained_share),
        "edges": [_edge(edge) for edge in report.edges],
        "comparison": None if report.comparison is None else _change(report.comparison),
        "verdict": report.verdict,
        "warnings": warnings_list(report.warnings),
    }
    document["sentence"] = sentence(document, None)
    return document


def _stage(stage: StageBlame) -> Document:
    return {
        "stage": stage.stage,
        "blame_share": plain(stage.blame_share),
        "blame_interval": interval(stage.blame_low, stage.blame_high),
        "attributable_fraction": plain(stage.attributable_fraction),
        "attributable_interval": interval(stage.attributable_low, stage.attributable_high),
        "fixable_loss": plain(stage.fixable_loss),
        "q_value": plain(stage.q_value),
        "n_faults": int(stage.n_faults),
        "verdict": stage.verdict,
        "evidence": [_evidence(evidence) for evidence in stage.evidence],
    }


def _evidence(evidence: Evidence) -> Document:
    return {
        "attribute": evidence.attribute,
        "role": evidence.role,
        "declared": bool(evidence.declared),
        "upstream_auc": plain(evidence.upstream_auc),
        "used": bool(evidence.used),
    }


def _edge(edge: Edge) -> Document:
    return {
        "from": edge.source,
        "to": edge.target,
        "rate_given_error": plain(edge.rate_given_error),
        "rate_baseline": plain(edge.rate_baseline),
        "risk_ratio": plain(edge.risk_ratio),
        "gain": plain(edge.gain),
        "effect": edge.effect,
    }


def _change(change: ErrorChange) -> Document:
    own = np.array([stage.own_delta for stage in change.stages], dtype=np.float64)
    require_closes(own, float(change.input_delta + change.unexplained_delta), float(change.delta))
    return {
        "baseline_loss": plain(change.baseline_loss),
        "current_loss": plain(change.current_loss),
        "delta": plain(change.delta),
        "input_delta": plain(change.input_delta),
        "unexplained_delta": plain(change.unexplained_delta),
        "n_baseline_labelled": change.n_baseline_labelled,
        "stages": [_stage_change(stage) for stage in change.stages],
    }


def _stage_change(stage: StageChange) -> Document:
    return {
        "stage": stage.stage,
        "own_delta": plain(stage.own_delta),
        "interval": interval(stage.low, stage.high),
        "q_value": plain(stage.q_value),
        "flagged": bool(stage.flagged),
        "inherited_delta": plain(stage.inherited_delta),
    }
