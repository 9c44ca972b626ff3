"""One immutable Parquet segment: spans as columns beside the bytes they came in, sorted by (pipeline, trace, start).

Columns: `group` (the trace's pipeline as far as this segment knows: sort and pruning key only) · hi, lo, span_id, parent_id u64 ·
start_ns, duration_ns i64 · kind, status, blocking, final · name, stage, service, pipeline · confidence, weight (null = NaN) ·
links list<struct<hi, lo, span, kind>> · ``n:<attribute>`` doubles, ``t:<attribute>`` texts · wire_span, wire_resource, wire_scope binary.
"""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.model.spans import F64, I64, SpanBatch, SpanTable, TextColumn, WireRows
from headwater.store.index import texts_of, trace_index

ROW_GROUP: Final = 65_536
NUMBER: Final = "n:"
TEXT: Final = "t:"
WIRE: Final = ("wire_span", "wire_resource", "wire_scope")
_LINK: Final = pa.struct([("hi", pa.uint64()), ("lo", pa.uint64()), ("span", pa.uint64()), ("kind", pa.int8())])
_TEXTS: Final = ("name", "stage", "service", "pipeline")
_FLAT: Final = ("span_id", "parent_id", "start_ns", "kind", "status", "blocking", "final")
# A text repeated this often on average is worth a dictionary; ids of runs and sessions are not.
_REPEATS: Final = 4


def sorted_batch(batch: SpanBatch, group: TextColumn) -> tuple[SpanBatch, TextColumn]:
    """The batch by (group, trace, start, span id), missing groups first; `group` (n,) is what the rows sort and prune by."""
    rank = np.argsort(np.argsort(np.array(group.values, dtype=object), kind="stable"), kind="stable") if group.values else np.empty(0, np.int64)
    place = np.where(group.codes < 0, -1, rank[group.codes] if rank.size else -1)
    spans = batch.spans
    order = np.lexsort((spans.span_id, spans.start_ns, spans.trace_id[:, 1], spans.trace_id[:, 0], place)).astype(np.int64)
    return SpanBatch(spans=spans.take(order), wire=batch.wire.take(order), rejected={}), group.take(order)


def to_arrow(batch: SpanBatch, group: TextColumn) -> pa.Table:
    """The batch as the columns of a segment, rows in the same order. Columns without any value are left out."""
    spans, wire = batch.spans, batch.wire
    columns: dict[str, Any] = {"group": texts_of(group), "hi": spans.trace_id[:, 0].copy(), "lo": spans.trace_id[:, 1].copy()}
    columns |= {name: getattr(spans, name) for name in _FLAT}
    columns["duration_ns"] = spans.end_ns - spans.start_ns
    columns |= {name: texts_of(getattr(spans, name)) for name in _TEXTS}
    columns |= {name: _nullable(getattr(spans, name)) for name in ("confidence", "weight")}
    columns["links"] = _links(spans)
    columns |= {NUMBER + name: _nullable(values) for name, values in spans.numbers.items() if not np.isnan(values).all()}
    columns |= {TEXT + name: texts_of(column) for name, column in spans.texts.items() if (column.codes >= 0).any()}
    columns["wire_span"] = pa.array(wire.span, pa.binary())
    for name in ("resource", "scope"):
        codes, values = getattr(wire, f"{name}_codes"), getattr(wire, f"{name}_values")
        columns[f"wire_{name}"] = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values, pa.binary()))
    return pa.table({name: pa.array(values) if isinstance(values, np.ndarray) else values for name, values in columns.items()})


def from_arrow(table: pa.Table) -> SpanTable:
    """Span columns of a segment's rows; wire columns are not needed."""
    table = table.combine_chunks()
    start, names = _numpy(table, "start_ns"), set(table.column_names)
    link_row, link_ids, link_kind = _read_links(table)
    return SpanTable(
        trace_id=np.column_stack([_numpy(table, "hi"), _numpy(table, "lo")]).reshape(len(table), 2),
        span_id=_numpy(table, "span_id"),
        parent_id=_numpy(table, "parent_id"),
        start_ns=start,
        end_ns=start + _numpy(table, "duration_ns"),
        kind=_numpy(table, "kind"),
        status=_numpy(table, "status"),
        blocking=_numpy(table, "blocking"),
        final=_numpy(table, "final"),
        confidence=_numpy(table, "confidence"),
        weight=_numpy(table, "weight"),
        numbers={name.removeprefix(NUMBER): _numpy(table, name) for name in sorted(names) if name.startswith(NUMBER)},
        texts={name.removeprefix(TEXT): _text(table, name) for name in sorted(names) if name.startswith(TEXT)},
        link_row=link_row,
        link_trace_id=link_ids[:, :2].copy(),
        link_span_id=link_ids[:, 2].copy(),
        link_kind=link_kind,
        **{name: _text(table, name) for name in _TEXTS},
    )


def wire_from_arrow(table: pa.Table) -> WireRows:
    """Wire rows of a segment's rows."""
    table = table.combine_chunks()
    coded = {name: _encoded(table, f"wire_{name}") for name in ("resource", "scope")}
    return WireRows(
        span=tuple(table.column("wire_span").to_pylist()),
        resource_codes=coded["resource"][0],
        resource_values=coded["resource"][1],
        scope_codes=coded["scope"][0],
        scope_values=coded["scope"][1],
    )


def batch_from_arrow(table: pa.Table) -> SpanBatch:
    """Columns and wire rows together."""
    return SpanBatch(spans=from_arrow(table), wire=wire_from_arrow(table), rejected={})


def read(path: Path) -> SpanBatch:
    """A whole segment."""
    return batch_from_arrow(pq.ParquetFile(path).read())


def concatenate(batches: list[SpanBatch]) -> SpanBatch:
    """Batches one after the other; what they rejected is not carried."""
    spans = SpanTable.concatenate([batch.spans for batch in batches])
    return SpanBatch(spans=spans, wire=WireRows.concatenate([batch.wire for batch in batches]), rejected={})


def write(batch: SpanBatch, spans_path: Path, index_path: Path) -> None:
    """Writes both files of a segment durably; the batch holds each span once. OSError leaves no whole-looking file behind."""
    index = trace_index(batch.spans)
    ordered, group = sorted_batch(batch, _groups(batch.spans, index))
    table = to_arrow(ordered, group)
    _write(table, spans_path)
    _write(index, index_path)


def _groups(spans: SpanTable, index: pa.Table) -> TextColumn:
    """Per row the pipeline of its trace by this segment's index: the one named, else the service; missing for traces of outcomes only."""
    named = [
        None if only else pipeline or service
        for pipeline, service, only in zip(*(index[c].to_pylist() for c in ("pipeline", "service", "only_outcomes")), strict=True)
    ]
    of_trace = TextColumn.of(named)
    order = np.lexsort((spans.trace_id[:, 1], spans.trace_id[:, 0]))
    lengths = index["n_spans"].to_numpy()
    owner = np.empty(len(spans), np.int64)
    owner[order] = np.repeat(np.arange(len(named)), lengths)
    return of_trace.take(owner)


def _write(table: pa.Table, path: Path) -> None:
    partial = path.with_suffix(".tmp")
    dictionaries = [name for name in table.column_names if _worth_a_dictionary(table, name)]
    deltas = {name: "DELTA_BINARY_PACKED" for name in ("start_ns", "duration_ns", "first_start", "last_start") if name in table.column_names}
    try:
        with partial.open("wb") as file:
            pq.write_table(
                table,
                file,
                compression="zstd",
                row_group_size=ROW_GROUP,
                use_dictionary=dictionaries,
                column_encoding=deltas,
                store_schema=False,
            )
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _worth_a_dictionary(table: pa.Table, name: str) -> bool:
    column = table.column(name)
    if not pa.types.is_dictionary(column.type):
        return False
    values = column.chunk(0).dictionary if column.num_chunks else []
    return name.startswith("wire_") or len(values) * _REPEATS <= len(table)


def _nullable(values: F64) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _numpy(table: pa.Table, name: str) -> Any:
    """A column as an array of its own type; null doubles become NaN."""
    return np.array(table.column(name).to_numpy())


def _encoded(table: pa.Table, name: str) -> tuple[Any, tuple[Any, ...]]:
    """Codes (−1 = null) and values of a text or binary column."""
    column = table.column(name)
    if not len(table):
        return np.empty(0, np.int32), ()
    array = column.chunk(0) if pa.types.is_dictionary(column.type) else column.chunk(0).dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    return codes, tuple(array.dictionary.to_pylist())


def _text(table: pa.Table, name: str) -> TextColumn:
    codes, values = _encoded(table, name)
    return TextColumn(codes=codes, values=values)


def _links(spans: SpanTable) -> pa.ListArray:
    order = np.argsort(spans.link_row, kind="stable")
    arrays = [spans.link_trace_id[order, 0].copy(), spans.link_trace_id[order, 1].copy(), spans.link_span_id[order], spans.link_kind[order]]
    values = pa.StructArray.from_arrays([pa.array(array) for array in arrays], fields=list(_LINK))
    offsets = np.searchsorted(spans.link_row[order], np.arange(len(spans) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _read_links(table: pa.Table) -> tuple[I64, Any, Any]:
    """(row (l,), [trace high, trace low, span] (l, 3) u64, kind (l,) i8)."""
    if not len(table):
        return np.empty(0, np.int64), np.empty((0, 3), np.uint64), np.empty(0, np.int8)
    lists = table.column("links").chunk(0)
    rows = np.repeat(np.arange(len(lists)), np.asarray(lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)).astype(np.int64)
    values = lists.flatten()
    ids = np.column_stack([values.field(name).to_numpy(zero_copy_only=False).astype(np.uint64) for name in ("hi", "lo", "span")])
    return rows, ids.reshape(rows.size, 3), values.field("kind").to_numpy(zero_copy_only=False).astype(np.int8)
