"""Our own Parquet export: columns a person or another tool can read, beside the bytes each span came in, from which it is read back.

Columns: trace_id, span_id, parent_id (hex, parent null for a root) · start_ns, end_ns · name, stage, service, pipeline, kind, status · confidence ·
every headwater attribute under its wire name · otlp_span, otlp_resource, otlp_scope (OTLP protobuf). Reading needs only the last three.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.ingest.columns import ColumnBuilder
from headwater.ingest.limits import FROM_FILE, Limits, RejectedSpanError, check_size
from headwater.ingest.salvage import take
from headwater.model.errors import UndecodableError
from headwater.model.spans import SpanBatch, SpanTable, TextColumn, WireRows
from headwater.model.traces import format_span_id, format_trace_id

MAGIC: Final = b"PAR1"
_WIRE: Final = ("otlp_span", "otlp_resource", "otlp_scope")
_ROWS: Final = 16_384


def decode(body: bytes, *, limits: Limits = FROM_FILE) -> SpanBatch:
    """The spans of a whole file at once. UndecodableError if it is no Parquet or not our export."""
    check_size(len(body), limits)
    builder = ColumnBuilder()
    for rows in _row_batches(io.BytesIO(body)):
        _take_rows(builder, rows, limits)
    return builder.build()


def decode_parts(file: BinaryIO, *, limits: Limits = FROM_FILE) -> Iterator[SpanBatch]:
    """The same in batches of some thousand spans, for files larger than memory."""
    for rows in _row_batches(file):
        builder = ColumnBuilder()
        _take_rows(builder, rows, limits)
        yield builder.build()


def encode(batches: Iterable[SpanBatch]) -> bytes:
    """A Parquet file of all batches; their attribute columns are united. Without any span: a file with no rows."""
    tables = [_table(batch) for batch in batches] or [_table(SpanBatch(spans=SpanTable.empty(), wire=WireRows.concatenate([]), rejected={}))]
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(tables, promote_options="default"), sink, compression="zstd", row_group_size=65_536)
    return sink.getvalue()


def _row_batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    try:
        held = pq.ParquetFile(file)
        missing = [name for name in _WIRE if name not in held.schema_arrow.names]
    except (OSError, ValueError) as error:
        raise UndecodableError(f"the file is no readable Parquet ({error}); nothing of it was taken") from error
    if missing:
        raise UndecodableError(f"the Parquet file has no column {', '.join(missing)}: not an export of headwater; nothing of it was taken")
    yield from held.iter_batches(batch_size=_ROWS, columns=list(_WIRE))


def _take_rows(builder: ColumnBuilder, rows: pa.RecordBatch, limits: Limits) -> None:
    for raw, resource, scope in zip(*(rows.column(name).to_pylist() for name in _WIRE), strict=True):
        try:
            origin = builder.origin(resource or b"", scope or b"")
        except RejectedSpanError as error:
            builder.reject(error.reason)
            continue
        take(builder, raw or b"", origin, limits)


def _table(batch: SpanBatch) -> pa.Table:
    spans, wire = batch.spans, batch.wire
    columns: dict[str, Any] = {
        "trace_id": pa.array([format_trace_id(high, low) for high, low in spans.trace_id.tolist()], pa.string()),
        "span_id": pa.array([format_span_id(value) for value in spans.span_id.tolist()], pa.string()),
        "parent_id": pa.array([format_span_id(value) if value else None for value in spans.parent_id.tolist()], pa.string()),
        "start_ns": pa.array(spans.start_ns),
        "end_ns": pa.array(spans.end_ns),
        **{name: _texts(getattr(spans, name)) for name in ("name", "stage", "service", "pipeline")},
        "kind": pa.array(spans.kind),
        "status": pa.array(spans.status),
        "confidence": pa.array(spans.confidence, mask=np.isnan(spans.confidence)),
    }
    columns |= {name: pa.array(values, mask=np.isnan(values)) for name, values in spans.numbers.items()}
    columns |= {name: _texts(column) for name, column in spans.texts.items() if name not in columns}
    columns["otlp_span"] = pa.array(wire.span, pa.binary())
    columns["otlp_resource"] = pa.array([wire.resource_values[code] for code in wire.resource_codes], pa.binary())
    columns["otlp_scope"] = pa.array([wire.scope_values[code] for code in wire.scope_codes], pa.binary())
    return pa.table(columns)


def _texts(column: TextColumn) -> pa.Array:
    values = pa.array([*column.values, None], pa.string())
    return values.take(pa.array(np.where(column.codes < 0, len(column.values), column.codes)))
