"""The small documents: pipelines, graph, doctor, health, error."""

from collections.abc import Sequence

from headwater.model.answers import Check, Health
from headwater.model.errors import HeadwaterError
from headwater.model.pipeline import PipelineGraph
from headwater.model.ports import PipelineSummary
from headwater.report.numbers import Document, warnings_list


def pipelines_document(pipelines: Sequence[PipelineSummary]) -> Document:
    """`headwater.pipelines/1`."""
    return {"schema": "headwater.pipelines/1", "pipelines": [_summary(summary) for summary in pipelines]}


def _summary(summary: PipelineSummary) -> Document:
    return {
        "pipeline": summary.pipeline,
        "stages": list(summary.stages),
        "n_traces": int(summary.n_traces),
        "n_spans": int(summary.n_spans),
        "n_outcomes": int(summary.n_outcomes),
        "first_start_at_ns": int(summary.first_start_ns),
        "last_start_at_ns": int(summary.last_start_ns),
    }


def graph_document(graph: PipelineGraph) -> Document:
    """`headwater.graph/1`: stages and edges with their calls; `declared` false = read off the order and parentage of the spans."""
    return {
        "schema": "headwater.graph/1",
        "pipeline": graph.pipeline,
        "declared": bool(graph.declared),
        "acyclic": bool(graph.acyclic),
        "stages": [{"stage": stage, "calls": int(calls)} for stage, calls in zip(graph.stages, graph.stage_calls, strict=True)],
        "edges": [
            {"from": graph.stages[int(source)], "to": graph.stages[int(target)], "calls": int(calls), "declared": bool(graph.declared)}
            for (source, target), calls in zip(graph.edge, graph.calls, strict=True)
        ],
    }


def doctor_document(checks: Sequence[Check]) -> Document:
    """`headwater.doctor/1`: every check, and whether all are right."""
    return {"schema": "headwater.doctor/1", "ok": all(check.ok for check in checks), "checks": [_check(check) for check in checks]}


def _check(check: Check) -> Document:
    return {"name": check.name, "ok": bool(check.ok), "text": check.text, "next": check.next}


def health_document(health: Health) -> Document:
    """`headwater.health/1`: ingest counts since start, lag, queue, disk, checks."""
    return {
        "schema": "headwater.health/1",
        "received": int(health.received),
        "accepted": int(health.accepted),
        "duplicates": int(health.duplicates),
        "rejected": {str(reason): int(number) for reason, number in health.rejected.items()},
        "lag_ns": None if health.lag_ns is None else int(health.lag_ns),
        "queue": int(health.queue),
        "disk_bytes": int(health.disk_bytes),
        "checks": [_check(check) for check in health.checks],
        "warnings": warnings_list(health.warnings),
    }


def error_document(error: HeadwaterError) -> Document:
    """`headwater.error/1`: what stderr says with --json, and REST with its status; exit_code is the command line's."""
    return {"schema": "headwater.error/1", "code": error.code, "text": error.text, "next": error.next, "exit_code": error.exit_code}
