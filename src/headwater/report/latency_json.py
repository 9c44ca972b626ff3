"""`headwater.report.latency/1`: quantiles whose parts add up, and their change between two windows."""

import numpy as np

from headwater.model.attribution import require_closes
from headwater.model.latency import ComponentChange, LatencyChange, LatencyReport, LatencyStatistic, StageLatency
from headwater.report.numbers import Document, interval, plain, plain_map, warnings_list


def latency_document(report: LatencyReport) -> Document:
    """The document of json-contract.md. Raises InvariantError where the parts of a statistic or of a change miss their total."""
    return {
        "schema": "headwater.report.latency/1",
        "pipeline": report.pipeline,
        "n_traces": int(report.n_traces),
        "n_effective": plain(report.n_effective),
        "n_baseline": report.n_baseline,
        "weights": report.weights,
        "completeness": {key: int(count) for key, count in report.completeness.items()},
        "level": float(report.level),
        "statistics": [_statistic(statistic) for statistic in report.statistics],
        "comparison": None if report.comparison is None else {"statistics": [_change(change) for change in report.comparison]},
        "stages": [_stage(stage) for stage in report.stages],
        "baseline_stages": None if report.baseline_stages is None else [_stage(stage) for stage in report.baseline_stages],
        "warnings": warnings_list(report.warnings),
    }


def _statistic(statistic: LatencyStatistic) -> Document:
    spent = statistic.spent
    require_closes(spent.share, spent.unexplained, float(statistic.value_ns))
    rows = zip(spent.components, spent.share, spent.low, spent.high, statistic.on_path_share, statistic.drag_ns, strict=True)
    return {
        "statistic": statistic.statistic,
        "value_ns": plain(statistic.value_ns),
        "interval_ns": interval(statistic.low_ns, statistic.high_ns),
        "components": [
            {
                "component": name,
                "spent_ns": plain(share),
                "interval_ns": interval(low, high),
                "on_path_share": plain(on_path),
                "drag_ns": plain(drag),
            }
            for name, share, low, high, on_path, drag in rows
        ],
    }


def _change(change: LatencyChange) -> Document:
    require_closes(np.array([row.spent_delta_ns for row in change.components], dtype=np.float64), 0.0, float(change.delta_ns))
    return {
        "statistic": change.statistic,
        "baseline_ns": plain(change.baseline_ns),
        "current_ns": plain(change.current_ns),
        "delta_ns": plain(change.delta_ns),
        "interval_ns": interval(change.low_ns, change.high_ns),
        "components": [_component_change(row) for row in change.components],
    }


def _component_change(row: ComponentChange) -> Document:
    return {
        "component": row.component,
        "spent_delta_ns": plain(row.spent_delta_ns),
        "own_ns": plain(row.own_ns),
        "inherited_ns": plain_map(row.inherited_ns),
        "mix_ns": plain(row.mix_ns),
        "interval_ns": interval(row.low_ns, row.high_ns),
        "own_interval_ns": interval(row.own_low_ns, row.own_high_ns),
        "flagged": bool(row.flagged),
    }


def _stage(stage: StageLatency) -> Document:
    return {
        "stage": stage.stage,
        "calls": int(stage.calls),
        "p50_ns": plain(stage.p50_ns),
        "p95_ns": plain(stage.p95_ns),
        "p99_ns": plain(stage.p99_ns),
        "error_rate": plain(stage.error_rate),
        "cpu_ns": plain(stage.cpu_ns),
    }
