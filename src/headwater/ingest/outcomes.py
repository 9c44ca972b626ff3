"""Late outcomes from CSV, Parquet or the API become OTLP spans, so that there is one path for what a judge said.

An outcome is a span named `headwater.outcome` in its own trace. Its ids are a digest of the statement itself, so importing a file twice changes
nothing, while a corrected statement is a new one.
"""

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow.parquet as pq
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span

from headwater.conventions import attributes as names
from headwater.ingest.columns import ColumnBuilder
from headwater.model.answers import OutcomeRow
from headwater.model.errors import UsageError
from headwater.model.spans import SpanBatch
from headwater.model.traces import parse_trace_id

_SCOPE: Final = ScopeSpans(scope=InstrumentationScope(name="headwater.outcomes")).SerializeToString()
_COLUMNS: Final = ("trace_id", "run_id", "loss", "label", "judged_at", "source", "audit")
_TRUE: Final = frozenset({"1", "true", "yes", "t", "y"})


def outcome_batch(rows: Sequence[OutcomeRow], *, received_at_ns: int) -> SpanBatch:
    """One span a row; rows without judged_at_ns are judged at received_at_ns. UsageError for a trace id that is none.

    A row that names a trace links to it as a whole: the link's span id is the low half of the trace id (the high half if that is zero), as in
    Zipkin's and Jaeger's 64-bit traces the root's span id is its trace id. A zero id would not be a valid link to OpenTelemetry, and readers join
    by the link's trace id alone.
    """
    builder = ColumnBuilder()
    origin = builder.origin(b"", _SCOPE)
    for row in rows:
        span = _span(row, received_at_ns)
        builder.add(span, span.SerializeToString(deterministic=True), origin)
    return builder.build()


def _span(row: OutcomeRow, received_at_ns: int) -> Span:
    # judged_at is part of the statement only if stated: a file without it must give the same ids whenever it is imported.
    stated = (row.trace_id or "", row.run_id or "", row.name, repr(row.loss), row.label, row.judged_at_ns, row.source, row.audit)
    digest = hashlib.sha256(repr(stated).encode("utf-8", "backslashreplace")).digest()
    at = received_at_ns if row.judged_at_ns is None else row.judged_at_ns
    span = Span(
        trace_id=digest[:16],
        span_id=digest[16:24],
        name=names.OUTCOME_SPAN_NAME,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=at,
        end_time_unix_nano=at,
    )
    held: dict[names.Attribute, Any] = {
        names.RUN_ID: row.run_id,
        names.OUTCOME_NAME: row.name,
        names.OUTCOME_LOSS: row.loss,
        names.OUTCOME_LABEL: row.label,
        names.OUTCOME_SOURCE: row.source,
        names.OUTCOME_AUDIT: row.audit or None,
        names.ANNOTATION_NAME: row.name,
        names.ANNOTATION_SCORE: 1 - row.loss if 0 <= row.loss <= 1 else None,
        names.ANNOTATION_LABEL: row.label,
    }
    for attribute, value in held.items():
        if value is not None:
            _set(span.attributes.add(key=attribute.name).value, value)
    if row.trace_id is not None:
        _link(span, row.trace_id)
    return span


def _set(target: Any, value: str | float) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    else:
        target.double_value = value


def _link(span: Span, trace_id: str) -> None:
    try:
        high, low = parse_trace_id(trace_id.strip())
    except ValueError as error:
        raise UsageError(f"an outcome names the trace {trace_id!r}; a trace id has 32 hex digits") from error
    link = span.links.add(trace_id=high.to_bytes(8, "big") + low.to_bytes(8, "big"), span_id=(low or high).to_bytes(8, "big"))
    link.attributes.add(key=names.LINK_KIND.name).value.string_value = "outcome"


def read_rows(source: str, data: bytes, *, outcome: str = names.DEFAULT_OUTCOME) -> list[OutcomeRow]:
    """Rows of a CSV or Parquet file with `trace_id` or `run_id`, `loss`, optional label, judged_at, source, audit; others are ignored.

    judged_at: ISO 8601 (UTC unless it says otherwise) or ns since 1970. A row names a trace or a run; a trace wins where both stand.
    UsageError names the file, the row and what is wrong; then nothing was taken.
    """
    table = _parquet_rows(source, data) if data[:4] == b"PAR1" else _csv_rows(source, data)
    rows: list[OutcomeRow] = []
    for number, held in enumerate(table, 1):
        try:
            rows.append(_row({key: held.get(key) for key in _COLUMNS}, outcome))
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(f"{source}, row {number}: {error}; nothing was imported") from error
    return rows


def _csv_rows(source: str, data: bytes) -> list[Mapping[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        rows: list[Mapping[str, Any]] = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{source} is neither CSV nor Parquet ({error})") from error
    _check_columns(source, reader.fieldnames or ())
    return rows


def _parquet_rows(source: str, data: bytes) -> list[Mapping[str, Any]]:
    try:
        table = pq.read_table(io.BytesIO(data))
    except (OSError, ValueError) as error:
        raise UsageError(f"{source} is not a readable Parquet file ({error})") from error
    _check_columns(source, table.column_names)
    rows: list[Mapping[str, Any]] = table.select([name for name in _COLUMNS if name in table.column_names]).to_pylist()
    return rows


def _check_columns(source: str, found: Sequence[str]) -> None:
    if "loss" not in found or not {"trace_id", "run_id"} & set(found):
        listed = ", ".join(found) or "none"
        raise UsageError(f"{source} has the columns {listed}; needed: loss and trace_id or run_id, optional: label, judged_at, source, audit")


def _row(held: Mapping[str, Any], outcome: str) -> OutcomeRow:
    trace_id, run_id = _text(held["trace_id"]), _text(held["run_id"])
    if trace_id is None and run_id is None:
        raise ValueError("it names neither a trace_id nor a run_id")
    if trace_id is not None:
        parse_trace_id(trace_id)
    loss = float(held["loss"]) if held["loss"] not in {None, ""} else math.nan
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {held['loss']!r}, not a number")
    return OutcomeRow(
        trace_id=trace_id,
        run_id=None if trace_id is not None else run_id,
        loss=loss,
        name=outcome,
        label=_text(held["label"]),
        judged_at_ns=_instant(held["judged_at"]),
        source=_text(held["source"]),
        audit=str(held["audit"]).strip().lower() in _TRUE,
    )


def _text(value: object) -> str | None:
    """Stripped text; None for nothing."""
    text = "" if value is None else str(value).strip()
    return text or None


def _instant(value: object) -> int | None:
    """UTC ns of an ISO 8601 text, a datetime or ns as digits; None for nothing."""
    if isinstance(value, datetime):
        moment = value
    else:
        text = _text(value)
        if text is None:
            return None
        if text.isdecimal():
            return int(text)
        moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 10**9 + elapsed.microseconds * 1_000
