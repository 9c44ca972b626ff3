"""One row a trace: what a query must know before it reads any span.

A trace's spans may lie in several segments and in memory; every part has its own rows here, and `catalog.py` merges them.
Columns: hi, lo u64 · first_start, last_start i64 UTC ns · pipeline, pipeline_start: of the earliest span that names one · service, service_start: of
the earliest span whose resource names one · n_spans i64 · outcomes i64: spans that are outcomes · only_outcomes bool · runs list<string> ·
targets list<struct<hi, lo>>: traces that the outcome spans link to · stages list<struct<stage, start>>: earliest start of each stage.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from headwater.conventions.attributes import OUTCOME_SPAN_NAME, RUN_ID
from headwater.model.spans import I64, Bool, SpanTable, TextColumn
from headwater.store.rows import group_ids

_TRACE: Final = pa.struct([("hi", pa.uint64()), ("lo", pa.uint64())])
_STAGE: Final = pa.struct([("stage", pa.string()), ("start", pa.int64())])
SCHEMA: Final = pa.schema(
    [
        ("hi", pa.uint64()),
        ("lo", pa.uint64()),
        ("first_start", pa.int64()),
        ("last_start", pa.int64()),
        ("pipeline", pa.string()),
        ("pipeline_start", pa.int64()),
        ("service", pa.string()),
        ("service_start", pa.int64()),
        ("n_spans", pa.int64()),
        ("outcomes", pa.int64()),
        ("only_outcomes", pa.bool_()),
        ("runs", pa.list_(pa.string())),
        ("targets", pa.list_(_TRACE)),
        ("stages", pa.list_(_STAGE)),
    ],
)


def is_outcome(spans: SpanTable) -> Bool:
    """(n,) bool: is the span a late outcome?"""
    code = spans.name.code_of(OUTCOME_SPAN_NAME)
    return spans.name.codes == code if code >= 0 else np.zeros(len(spans), np.bool_)


def trace_index(spans: SpanTable) -> pa.Table:
    """Index rows of the spans, sorted by trace id. The spans must hold each (trace id, span id) once."""
    if not len(spans):
        return SCHEMA.empty_table()
    order = np.lexsort((spans.span_id, spans.start_ns, spans.trace_id[:, 1], spans.trace_id[:, 0])).astype(np.int64)
    trace = spans.trace_id[order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (trace[1:] != trace[:-1]).any(axis=1)
    first = np.flatnonzero(new)
    owner = np.cumsum(new) - 1
    start = spans.start_ns[order]
    outcome = is_outcome(spans)[order]
    n_spans = np.diff([*first, order.size])
    outcomes = np.add.reduceat(outcome.astype(np.int64), first)
    pipeline, pipeline_start = _earliest(spans.pipeline.take(order), start, owner, first.size)
    service, service_start = _earliest(spans.service.take(order), start, owner, first.size)
    row_owner = np.empty(order.size, np.int64)
    row_owner[order] = owner
    columns: list[Any] = [
        pa.array(trace[first, 0]),
        pa.array(trace[first, 1]),
        pa.array(start[first]),
        pa.array(start[np.append(first[1:], order.size) - 1]),
        pipeline,
        pipeline_start,
        service,
        service_start,
        pa.array(n_spans),
        pa.array(outcomes),
        pa.array(outcomes == n_spans),
        _runs(spans.text(RUN_ID.name).take(order), owner, first.size),
        _targets(spans, row_owner, first.size),
        _stages(spans.stage.take(order), start, owner, first.size),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def texts_of(column: TextColumn) -> pa.DictionaryArray:
    """The column in Arrow's dictionary form; null where missing."""
    return pa.DictionaryArray.from_arrays(pa.array(column.codes, mask=column.codes < 0), pa.array(column.values, pa.string()))


def _earliest(column: TextColumn, start: I64, owner: I64, m: int) -> tuple[pa.Array, pa.Array]:
    """Per trace the text of its first row that has one, and that row's start. Rows are sorted by (trace, start)."""
    rows = np.flatnonzero(column.codes >= 0)
    traces, place = np.unique(owner[rows], return_index=True)
    codes, starts = np.full(m, -1, np.int32), np.zeros(m, np.int64)
    codes[traces] = column.codes[rows[place]]
    starts[traces] = start[rows[place]]
    return texts_of(TextColumn(codes=codes, values=column.values)).cast(pa.string()), pa.array(starts, mask=codes < 0)


def _lists(owner: I64, m: int, values: pa.Array) -> pa.ListArray:
    """Lists of `values`, which are sorted by owner."""
    return pa.ListArray.from_arrays(pa.array(np.searchsorted(owner, np.arange(m + 1)).astype(np.int32)), values)


def _distinct(column: TextColumn, owner: I64) -> I64:
    """First rows of each (trace, text), in order of trace and then of appearance."""
    rows = np.flatnonzero(column.codes >= 0)
    ids = group_ids(column.codes[rows].astype(np.uint64), owner[rows].astype(np.uint64))
    return rows[np.sort(np.unique(ids, return_index=True)[1])].astype(np.int64)


def _runs(column: TextColumn, owner: I64, m: int) -> pa.ListArray:
    rows = _distinct(column, owner)
    return _lists(owner[rows], m, texts_of(column.take(rows)).cast(pa.string()))


def _stages(column: TextColumn, start: I64, owner: I64, m: int) -> pa.ListArray:
    rows = _distinct(column, owner)
    values = pa.StructArray.from_arrays([texts_of(column.take(rows)).cast(pa.string()), pa.array(start[rows])], fields=list(_STAGE))
    return _lists(owner[rows], m, values)


def _targets(spans: SpanTable, row_owner: I64, m: int) -> pa.ListArray:
    links = np.flatnonzero(is_outcome(spans)[spans.link_row]) if spans.link_row.size else np.empty(0, np.int64)
    owners = row_owner[spans.link_row[links]]
    order = np.argsort(owners, kind="stable")
    targets = spans.link_trace_id[links[order]]
    values = pa.StructArray.from_arrays([pa.array(targets[:, 0].copy()), pa.array(targets[:, 1].copy())], fields=list(_TRACE))
    return _lists(owners[order], m, values)
