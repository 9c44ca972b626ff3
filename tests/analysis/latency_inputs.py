"""Windows for latency tests."""

import numpy as np

from headwater.analysis.critical_path import partition
from headwater.model.latency import LatencyInput
from headwater.model.spans import SpanTable, TextColumn
from headwater.simulate.latency import speech_runs
from headwater.traces.assemble import assemble


def window(spans):
    traces = assemble(spans)
    return LatencyInput(traces=traces, partition=partition(traces))


def speech(seed, n=400, change=None, **columns):
    spans = speech_runs(np.random.default_rng(seed), n_runs=n, change=change, first_trace=1 + 1_000_000 * seed)
    return window(with_columns(spans, **columns))


def with_columns(spans, **columns):
    """The same spans with some columns replaced."""
    if not columns:
        return spans
    kept = ("trace_id", "span_id", "parent_id", "start_ns", "end_ns", "kind", "status", "name", "stage", "service", "pipeline", "weight")
    plain = {name: getattr(spans, name) for name in (*kept, "blocking", "numbers", "texts")}
    return SpanTable.build(**(plain | columns))


def trees(*traces):
    """One trace per argument: a list of (stage or None, parent index or None, start, end)."""
    rows = [(trace, index, *span) for trace, spans in enumerate(traces) for index, span in enumerate(spans)]
    n = len(rows)
    return SpanTable.build(
        trace_id=np.array([[0, row[0] + 1] for row in rows], np.uint64),
        span_id=np.array([row[1] + 1 for row in rows], np.uint64),
        parent_id=np.array([0 if row[3] is None else row[3] + 1 for row in rows], np.uint64),
        start_ns=[row[4] for row in rows],
        end_ns=[row[5] for row in rows],
        stage=TextColumn.of([row[2] for row in rows]),
        blocking=np.ones(n, np.int8),
    )
