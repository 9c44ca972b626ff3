"""`headwater.trace/1`: one trace cut into segments that sum to its duration, and its blame."""

from collections.abc import Sequence

import numpy as np

from headwater.conventions.attributes import CONFIDENCE, DIFFICULTY, MODEL_VERSION, OUTCOME, OWN, QUALITY, STAGE_VERSION
from headwater.model.answers import TraceAnswer, TraceRow
from headwater.model.attribution import require_closes
from headwater.model.blame import TraceBlame
from headwater.model.errors import require
from headwater.model.latency import FLAGS, Partition
from headwater.model.spans import STATUS_ERROR, SpanTable
from headwater.model.traces import DEFECTS, TraceTable, format_span_id, format_trace_id
from headwater.report.numbers import Document, plain

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")


def trace_document(answer: TraceAnswer) -> Document:
    """The document of json-contract.md for the one trace of `answer`, plus `spans` (every span with its attributes, as the waterfall needs).

    Raises InvariantError unless segments sum to duration_ns and the blame sums to loss − baseline.
    """
    traces, partition = answer.traces, answer.partition
    require(len(traces) == 1, f"a trace answer holds {len(traces)} traces")
    start, end = int(partition.horizon_start_ns[0]), int(partition.horizon_end_ns[0])
    segments = [_segment(traces.spans, partition, row) for row in range(int(partition.trace.size))]
    lengths = np.array([segment["end_ns"] - segment["start_ns"] for segment in segments], dtype=np.int64)
    require(int(lengths.sum()) == end - start, "segments do not sum to the duration")
    staged = [row for row in range(len(traces.spans)) if traces.spans.stage.at(row) is not None]
    return {
        "schema": "headwater.trace/1",
        "trace_id": format_trace_id(traces.trace_id[0, 0], traces.trace_id[0, 1]),
        "pipeline": traces.pipeline.at(0),
        "run_id": traces.run_id.at(0),
        "start_ns": start,
        "duration_ns": end - start,
        "partial": bool(traces.partial[0]),
        "defects": {name: int(getattr(traces.defects, name)[0]) for name in DEFECTS},
        "segments": segments,
        "components": _components(partition),
        "after_response_ns": int(partition.after_response_ns[0]),
        "stages": [_stage(traces.spans, partition, row) for row in staged],
        "spans": [_span(traces, partition, row) for row in range(len(traces.spans))],
        "blame": None if answer.blame is None else _blame(answer.blame, traces.outcome),
        "blame_missing": answer.blame_missing,
        "jaeger_url": answer.jaeger_url,
    }


def traces_document(pipeline: str, rows: Sequence[TraceRow]) -> Document:
    """`headwater.traces/1`: a list of traces, in the order given."""
    return {
        "schema": "headwater.traces/1",
        "pipeline": pipeline,
        "traces": [
            {
                "trace_id": row.trace_id,
                "start_ns": int(row.start_ns),
                "duration_ns": int(row.duration_ns),
                "n_spans": int(row.n_spans),
                "status": row.status,
                "loss": plain(row.loss),
                "partial": bool(row.partial),
            }
            for row in rows
        ],
    }


def _components(partition: Partition) -> list[Document]:
    times = partition.matrix()[0]
    return [{"component": name, "time_ns": int(time)} for name, time in zip(partition.components, times, strict=True) if time]


def _segment(spans: SpanTable, partition: Partition, place: int) -> Document:
    row = int(partition.row[place])
    bits = int(partition.flags[place])
    return {
        "component": partition.components[int(partition.component[place])],
        "stage": None if row < 0 else spans.stage.at(row),
        "span_id": None if row < 0 else format_span_id(spans.span_id[row]),
        "start_ns": int(partition.start_ns[place]),
        "end_ns": int(partition.end_ns[place]),
        "flags": [name for bit, name in enumerate(FLAGS) if bits >> bit & 1],
    }


def _family(spans: SpanTable, row: int, *prefixes: str) -> dict[str, float | None]:
    """Metric → value of the families with these prefixes that the span reports; the first prefix wins where two families use one metric."""
    found: dict[str, float | None] = {}
    for prefix in prefixes:
        for name, column in spans.numbers.items():
            if name.startswith(prefix) and not np.isnan(column[row]):
                found.setdefault(name.removeprefix(prefix), plain(column[row]))
    return found


def _status(spans: SpanTable, row: int) -> str:
    return "error" if int(spans.status[row]) == STATUS_ERROR else "ok"


def _stage(spans: SpanTable, partition: Partition, row: int) -> Document:
    return {
        "stage": spans.stage.at(row),
        "span_id": format_span_id(spans.span_id[row]),
        "self_ns": int(partition.self_ns[row]),
        "path_ns": int(partition.path_ns[row]),
        "confidence": plain(spans.confidence[row]),
        "quality": _family(spans, row, OWN.prefix, QUALITY.prefix),
        "difficulty": _family(spans, row, DIFFICULTY.prefix),
        "model_version": spans.text(MODEL_VERSION.name).at(row),
        "stage_version": spans.text(STAGE_VERSION.name).at(row),
        "status": _status(spans, row),
        "outcome": spans.text(OUTCOME.name).at(row),
    }


def _span(traces: TraceTable, partition: Partition, row: int) -> Document:
    spans = traces.spans
    parent = int(traces.parent[row])
    numbers = {name: plain(column[row]) for name, column in sorted(spans.numbers.items()) if not np.isnan(column[row])}
    texts = {name: text for name, column in sorted(spans.texts.items()) if (text := column.at(row)) is not None}
    confidence = {} if np.isnan(spans.confidence[row]) else {CONFIDENCE.name: float(spans.confidence[row])}
    return {
        "span_id": format_span_id(spans.span_id[row]),
        "parent_span_id": format_span_id(spans.span_id[parent]) if parent >= 0 else None,
        "name": spans.name.at(row),
        "stage": spans.stage.at(row),
        "service": spans.service.at(row),
        "kind": KINDS[int(spans.kind[row])] if 0 <= int(spans.kind[row]) < len(KINDS) else KINDS[0],
        "start_ns": int(spans.start_ns[row]),
        "end_ns": int(spans.end_ns[row]),
        "self_ns": int(partition.self_ns[row]),
        "path_ns": int(partition.path_ns[row]),
        "status": _status(spans, row),
        "attributes": {**confidence, **numbers, **texts},
    }


def _blame(blame: TraceBlame, outcome: str) -> Document:
    if not np.isnan(blame.loss[0]):
        require_closes(blame.own[0], float(blame.input[0] + blame.residual[0]), float(blame.loss[0] - blame.baseline[0]))
    first = int(blame.introduced_by[0])
    return {
        "outcome": outcome,
        "loss": plain(blame.loss[0]),
        "baseline": plain(blame.baseline[0]),
        "input": plain(blame.input[0]),
        "residual": plain(blame.residual[0]),
        "introduced_by": blame.stages[first] if first >= 0 else None,
        "missed_by": [stage for stage, missed in zip(blame.stages, blame.missed_by[0], strict=True) if missed],
        "verdict": blame.verdict,
        "unattributed": plain(blame.unattributed[0]),
        "stages": [
            {
                "stage": stage,
                "own": plain(blame.own[0, place]),
                "inherited": plain(blame.inherited[0, place]),
                "share": plain(blame.share[0, place]),
                "flagged": bool(blame.flagged[0, place]),
            }
            for place, stage in enumerate(blame.stages)
        ],
    }
