"""Row arithmetic on span columns: which rows are the same span, which belong to a set of traces. Exact on the full 128 bits of a trace id."""

from dataclasses import replace

import numpy as np

from headwater.model.spans import I64, U64, Bool, SpanTable


def group_ids(*columns: U64) -> I64:
    """(n,) i64: equal numbers for rows equal in every column."""
    n = columns[0].size
    if not n:
        return np.empty(0, np.int64)
    order = np.lexsort(columns)
    change = np.zeros(n, np.bool_)
    for column in columns:
        ordered = column[order]
        change[1:] |= ordered[1:] != ordered[:-1]
    ids = np.empty(n, np.int64)
    ids[order] = np.cumsum(change)
    return ids


def in_traces(trace_id: U64, among: U64) -> Bool:
    """(n,) bool: is the trace id (n, 2) one of `among` (m, 2)?"""
    both = np.concatenate([trace_id, among])
    ids = group_ids(both[:, 1], both[:, 0])
    wanted = np.zeros(ids.max(initial=0) + 1, np.bool_)
    wanted[ids[len(trace_id) :]] = True
    return wanted[ids[: len(trace_id)]]


def first_copies(spans: SpanTable) -> I64:
    """Rows, ascending, of the first copy of each (trace id, span id)."""
    ids = group_ids(spans.span_id, spans.trace_id[:, 1], spans.trace_id[:, 0])
    return np.sort(np.unique(ids, return_index=True)[1]).astype(np.int64)


def rows_without(spans: SpanTable, trace_id: U64, span_id: U64) -> I64:
    """Rows, ascending, whose (trace id, span id) is none of the given (k, 2), (k,)."""
    trace = np.concatenate([spans.trace_id, trace_id])
    ids = group_ids(np.concatenate([spans.span_id, span_id]), trace[:, 1], trace[:, 0])
    known = np.zeros(ids.max(initial=0) + 1, np.bool_)
    known[ids[len(spans) :]] = True
    return np.flatnonzero(~known[ids[: len(spans)]])


def without_empty_columns(spans: SpanTable) -> SpanTable:
    """The same spans without attribute columns that none of them has: a window must not show the attributes of its neighbours."""
    numbers = {name: column for name, column in spans.numbers.items() if not np.isnan(column).all()}
    texts = {name: column for name, column in spans.texts.items() if (column.codes >= 0).any()}
    if len(numbers) == len(spans.numbers) and len(texts) == len(spans.texts):
        return spans
    return replace(spans, numbers=numbers, texts=texts)
