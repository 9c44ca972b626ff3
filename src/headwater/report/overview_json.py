"""`headwater.overview/1`: everything the overview page draws; and `headwater.alerts/1`."""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from headwater.model.alert import Alert
from headwater.model.answers import Flow, OverviewAnswer, Query
from headwater.model.ports import Window
from headwater.model.spans import F64
from headwater.report.errors_json import errors_document
from headwater.report.latency_json import latency_document
from headwater.report.numbers import Document, interval, plain
from headwater.report.sentence import sentence
from headwater.report.simple_json import graph_document, pipelines_document

BINS_PER_DECADE: Final = 12
_MOST_BINS: Final = 120


def overview_document(answer: OverviewAnswer) -> Document:
    """Sentence, both reports, graph, plot data, alerts and exemplars of one window of one pipeline.

    plots.component_latency: edges_ns (b + 1) shared by all stages, logarithmic; per stage `current` and `baseline` counts (b) with their p50
    and p95. plots.error_latency: a point per stage; fault_rate = runs with an own fault over labelled runs. plots.data_flow: calls and errors
    per stage and time bin.
    """
    latency = latency_document(answer.latency)
    errors = None if answer.errors is None else errors_document(answer.errors)
    return {
        "schema": "headwater.overview/1",
        "sentence": sentence(errors, latency),
        "pipeline": answer.query.pipeline,
        "pipelines": pipelines_document(answer.pipelines)["pipelines"],
        **query_keys(answer.query),
        "graph": graph_document(answer.graph),
        "latency": latency,
        "errors": errors,
        "errors_missing": answer.errors_missing,
        "plots": {
            "component_latency": _component_latency(answer),
            "error_latency": _error_latency(latency, errors),
            "data_flow": _data_flow(answer.flow),
        },
        "alerts": alerts_document(answer.alerts, pipeline=answer.query.pipeline)["incidents"],
        "exemplars": {"failed": list(answer.failed_traces), "slowest": list(answer.slowest_traces)},
    }


def query_keys(query: Query) -> Document:
    """What was asked, as every page repeats it."""
    return {
        "window": _window(query.window),
        "baseline_window": None if query.baseline is None else _window(query.baseline),
        "outcome": query.outcome,
        "cluster": query.cluster,
    }


def _window(window: Window) -> Document:
    return {"start_at_ns": window.start_ns, "end_at_ns": window.end_ns, "where": [list(pair) for pair in window.where]}


def _component_latency(answer: OverviewAnswer) -> Document:
    before = answer.baseline_durations_ns
    samples = [*answer.durations_ns.values(), *(() if before is None else before.values())]
    edges = log_edges(samples)
    order = [stage for stage in answer.graph.stages if stage in answer.durations_ns]
    order += [stage for stage in answer.durations_ns if stage not in order]
    return {
        "edges_ns": [float(edge) for edge in edges],
        "stages": [
            {
                "stage": stage,
                "current": _histogram(answer.durations_ns[stage], edges),
                "baseline": None if before is None or stage not in before else _histogram(before[stage], edges),
            }
            for stage in order
        ],
    }


def log_edges(samples: Sequence[F64]) -> F64:
    """Shared logarithmic bin edges over all samples, BINS_PER_DECADE to a decade; durations below 1 ns count as 1 ns. Empty if no samples."""
    known = [np.maximum(sample[np.isfinite(sample)], 1.0) for sample in samples]
    known = [sample for sample in known if sample.size]
    if not known:
        return np.empty(0, np.float64)
    low = np.floor(np.log10(min(float(sample.min()) for sample in known)) * BINS_PER_DECADE)
    high = np.floor(np.log10(max(float(sample.max()) for sample in known)) * BINS_PER_DECADE) + 1
    steps = int(min(high - low, _MOST_BINS))
    return np.asarray(np.logspace(low / BINS_PER_DECADE, high / BINS_PER_DECADE, steps + 1), dtype=np.float64)


def _histogram(sample: F64, edges: F64) -> Document:
    known = np.maximum(sample[np.isfinite(sample)], 1.0)
    if not known.size or not edges.size:
        return {"n": 0, "counts": [0] * max(0, edges.size - 1), "p50_ns": None, "p95_ns": None}
    place = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, edges.size - 2)
    counts = np.bincount(place, minlength=edges.size - 1)
    p50, p95 = np.quantile(known, [0.5, 0.95])
    return {"n": int(known.size), "counts": [int(number) for number in counts], "p50_ns": float(p50), "p95_ns": float(p95)}


def _error_latency(latency: Document, errors: Document | None) -> list[Document]:
    blamed = {} if errors is None else {row["stage"]: row for row in errors["stages"]}
    labelled = 0 if errors is None else errors["n_labelled"]
    points = []
    for row in latency["stages"]:
        blame = blamed.get(row["stage"])
        points.append(
            {
                "stage": row["stage"],
                "calls": row["calls"],
                "p50_ns": row["p50_ns"],
                "p95_ns": row["p95_ns"],
                "error_rate": row["error_rate"],
                "fault_rate": None if blame is None or not labelled else blame["n_faults"] / labelled,
                "blame_share": None if blame is None else blame["blame_share"],
                "blame_interval": None if blame is None else blame["blame_interval"],
                "verdict": None if blame is None else blame["verdict"],
            }
        )
    return points


def _data_flow(flow: Flow) -> Document:
    return {
        "edges_at_ns": [int(edge) for edge in flow.edges_ns],
        "stages": [
            {"stage": stage, "calls": [int(n) for n in flow.calls[:, place]], "errors": [int(n) for n in flow.errors[:, place]]}
            for place, stage in enumerate(flow.stages)
        ],
    }


def alerts_document(alerts: Sequence[Alert], *, pipeline: str) -> Document:
    """`headwater.alerts/1` in the order given. What the window comparison cannot know (rate, before, change interval) is null."""
    return {"schema": "headwater.alerts/1", "incidents": [_incident(alert, pipeline) for alert in alerts]}


def _incident(alert: Alert, pipeline: str) -> Document:
    key = f"{pipeline}\0{alert.stage}\0{alert.kind}\0{alert.unit}"
    return {
        "incident_id": hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        "state": alert.state,
        "kind": alert.kind,
        "rate": None,
        "severity": alert.severity,
        "origin": [alert.stage],
        "path": [alert.stage],
        "signals": [],
        "change_at_ns": int(alert.at_ns),
        "change_interval_ns": None,
        "detected_at_ns": int(alert.at_ns),
        "resolved_at_ns": None,
        "notified_at_ns": None,
        "effect": {"before": None, "after": None, "interval": interval(alert.low, alert.high), "unit": alert.unit},
        "final_loss_cost": plain(alert.cost) if alert.unit == "loss" else None,
        "latency_cost_ns": plain(alert.cost) if alert.unit == "ns" else None,
        "explained": [],
        "exemplars": list(alert.exemplars),
        "versions": {},
        "text": alert.text,
    }
