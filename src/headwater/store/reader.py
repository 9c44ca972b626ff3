"""Reads spans back: which traces (catalog), then their columns from each segment and from memory, first copies only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.conventions.attributes import OUTCOME_SPAN_NAME, RUN_ID
from headwater.model.ports import PipelineSummary, Window
from headwater.model.spans import I64, U64, Bool, SpanBatch, SpanTable
from headwater.model.traces import format_trace_id
from headwater.store import segment as segments
from headwater.store.catalog import Catalog, TraceIndex
from headwater.store.index import is_outcome
from headwater.store.manifest import Manifest
from headwater.store.rows import first_copies, in_traces, rows_without, without_empty_columns
from headwater.store.where import AttributeReader, column_equals, has_column, same_value, texts_at

_MIN: Final = -(2**63)
_MAX: Final = 2**63 - 1
_COLUMNS: Final = '* EXCLUDE ("group", wire_span, wire_resource, wire_scope)'


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class View:
    """The store as of one moment. memory: spans in no listed segment, each once; memory_index: their trace index."""

    manifest: Manifest
    memory: SpanBatch
    memory_index: pa.Table


class Reader:
    """Stateless but for its catalog. FileNotFoundError: a segment of the view was merged away, take a newer view."""

    def __init__(self, catalog: Catalog, directory: Path, attributes: AttributeReader) -> None:
        self._catalog = catalog
        self._directory = directory
        self._attributes = attributes

    def pipelines(self, view: View) -> tuple[PipelineSummary, ...]:
        return tuple(
            PipelineSummary(
                pipeline=row["pipeline"],
                stages=row["stages"],
                n_traces=row["n_traces"],
                n_spans=row["n_spans"],
                first_start_ns=row["first_start"],
                last_start_ns=row["last_start"],
                n_outcomes=row["n_outcomes"],
            )
            for row in self._index(view).summaries()
        )

    def window(self, view: View, pipeline: str, window: Window) -> SpanTable:
        chosen, spans = self._traces(view, pipeline, window)
        return without_empty_columns(_joined(spans, self._outcomes(view, chosen, spans, pipeline)))

    def trace(self, view: View, trace_id: tuple[int, int]) -> SpanTable:
        chosen = self._index(view).one(*trace_id)
        spans = self._spans(view, chosen)
        return without_empty_columns(_joined(spans, self._outcomes(view, chosen, spans, None)))

    def batches(self, view: View, pipeline: str | None, window: Window) -> Iterator[SpanBatch]:
        """Files are opened before the first batch: a segment merged away meanwhile stays readable."""
        files = [pq.ParquetFile(listed.spans(self._directory)) for listed in view.manifest.segments]
        try:
            if pipeline is None and window == Window():
                keep: Callable[[SpanTable], I64] = _all_rows
            else:
                chosen, spans = self._traces(view, pipeline, window)
                keep = _Members(_ids(chosen), self._outcomes(view, chosen, spans, pipeline))
            for batch in (*_file_batches(files), view.memory):
                rows = keep(batch.spans)
                if rows.size:
                    yield SpanBatch(spans=without_empty_columns(batch.spans.take(rows)), wire=batch.wire.take(rows), rejected={})
        finally:
            for file in files:
                file.close()

    def root_attribute(self, view: View, pipeline: str, window: Window, key: str) -> dict[str, str]:
        chosen, spans = self._traces(view, pipeline, window)
        rows = _roots(spans)
        names = [format_trace_id(*spans.trace_id[row]) for row in rows]
        texts: Iterable[str | None]
        if has_column(spans, key):
            texts = texts_at(spans, key, rows)
        else:
            found = self._wire_attribute(view, chosen, key)
            texts = [found.get((int(hi), int(lo), int(spans.span_id[row]))) for row in rows for hi, lo in [spans.trace_id[row]]]
        return {name: text for name, text in zip(names, texts, strict=True) if text is not None}

    def known_spans(self, manifest: Manifest, spans: SpanTable) -> tuple[U64, U64] | None:
        """(trace ids (k, 2), span ids (k,)) stored in segments for the traces of `spans`; None if those traces are all new."""
        if not manifest.segments or not len(spans):
            return None
        mine = _chosen_table(np.unique(spans.trace_id, axis=0))
        index = [listed.index(self._directory) for listed in manifest.segments]
        shared = self._catalog.query(
            "SELECT DISTINCT hi, lo FROM read_parquet($files) SEMI JOIN mine USING (hi, lo)", files=index, tables={"mine": mine}
        )
        if not len(shared):
            return None
        files = [listed.spans(self._directory) for listed in manifest.segments]
        sql = "SELECT hi, lo, span_id FROM read_parquet($files) SEMI JOIN shared USING (hi, lo)"
        known = self._catalog.query(sql, files=files, tables={"shared": shared})
        return _ids(known), known["span_id"].to_numpy()

    # -- steps -----------------------------------------------------------------------------------------------------------------------------------

    def _index(self, view: View) -> TraceIndex:
        return TraceIndex(self._catalog, [listed.index(self._directory) for listed in view.manifest.segments], view.memory_index)

    def _traces(self, view: View, pipeline: str | None, window: Window) -> tuple[pa.Table, SpanTable]:
        """The chosen traces and all their spans, `where` applied."""
        start = _MIN if window.start_ns is None else window.start_ns
        stop = _MAX if window.end_ns is None else window.end_ns
        chosen = self._index(view).chosen(pipeline, start, stop)
        spans = self._spans(view, chosen)
        for key, value in window.where:
            holders = self._holders(view, chosen, spans, (key, value))
            kept = in_traces(_ids(chosen), holders)
            chosen = chosen.filter(pa.array(kept))
            spans = spans.take(np.flatnonzero(in_traces(spans.trace_id, _ids(chosen))))
        return chosen, spans

    def _holders(self, view: View, chosen: pa.Table, spans: SpanTable, pair: tuple[str, str]) -> U64:
        """(k, 2) ids of the traces with a span whose attribute equals the value."""
        key, value = pair
        if has_column(spans, key):
            return spans.trace_id[column_equals(spans, key, value)]
        found = self._wire_attribute(view, chosen, key)
        return np.array([(hi, lo) for (hi, lo, _), text in found.items() if same_value(text, value)], np.uint64).reshape(-1, 2)

    def _spans(self, view: View, chosen: pa.Table) -> SpanTable:
        """All spans of the chosen traces, oldest segment first, memory last; each once."""
        sql = f"SELECT {_COLUMNS} FROM read_parquet($files) SEMI JOIN chosen USING (hi, lo) WHERE start_ns BETWEEN $first AND $last"  # noqa: S608
        parts = [segments.from_arrow(table) for table in self._each_segment(view, chosen, sql)]
        memory = view.memory.spans
        parts.append(memory.take(np.flatnonzero(in_traces(memory.trace_id, _ids(chosen)))))
        return _distinct(SpanTable.concatenate(parts))

    def _each_segment(self, view: View, chosen: pa.Table, sql: str) -> Iterator[pa.Table]:
        if not len(chosen):
            return
        first, last = int(chosen["first_start"].to_numpy().min()), int(chosen["last_start"].to_numpy().max())
        for listed in view.manifest.segments:
            if listed.last_start_ns >= first and listed.first_start_ns <= last:
                path = listed.spans(self._directory)
                yield self._catalog.query(sql, files=[path], tables={"chosen": chosen}, first=first, last=last)

    def _outcomes(self, view: View, chosen: pa.Table, spans: SpanTable, pipeline: str | None) -> SpanTable:
        """Outcome spans outside the chosen traces that point to one of them: by link, or by run id unless they name another pipeline."""
        holders = self._index(view).outcomes_of(chosen) if len(chosen) else _chosen_table(np.empty((0, 2), np.uint64))
        if not len(holders):
            return SpanTable.empty()
        name = OUTCOME_SPAN_NAME
        sql = f"SELECT {_COLUMNS} FROM read_parquet($files) SEMI JOIN holders USING (hi, lo) WHERE name = $name"  # noqa: S608
        files = [listed.spans(self._directory) for listed in view.manifest.segments if listed.n_outcomes]
        parts = [segments.from_arrow(self._catalog.query(sql, files=[path], tables={"holders": holders}, name=name)) for path in files]
        memory = view.memory.spans
        parts.append(memory.take(np.flatnonzero(in_traces(memory.trace_id, _ids(holders)) & is_outcome(memory))))
        found = _distinct(SpanTable.concatenate(parts))
        mine = _points_at(found, _ids(chosen), spans, pipeline) & ~in_traces(found.trace_id, _ids(chosen))
        return found.take(np.flatnonzero(mine))

    def _wire_attribute(self, view: View, chosen: pa.Table, key: str) -> dict[tuple[int, int, int], str]:
        """(trace high, low, span id) → the attribute as text, for the spans of the chosen traces that have it."""
        columns = "hi, lo, span_id, wire_span, wire_resource"
        sql = f"SELECT {columns} FROM read_parquet($files) SEMI JOIN chosen USING (hi, lo) WHERE start_ns BETWEEN $first AND $last"  # noqa: S608
        needle, found = key.encode(), dict[tuple[int, int, int], str]()
        for table in self._each_segment(view, chosen, sql):
            for hi, lo, span_id, span, resource in zip(*(column.to_pylist() for column in table.columns), strict=True):
                self._keep(found, (hi, lo, span_id), (span, resource), (key, needle))
        memory, wire = view.memory.spans, view.memory.wire
        for row in np.flatnonzero(in_traces(memory.trace_id, _ids(chosen))):
            hi, lo = memory.trace_id[row]
            resource = wire.resource_values[int(wire.resource_codes[row])]
            self._keep(found, (int(hi), int(lo), int(memory.span_id[row])), (wire.span[row], resource), (key, needle))
        return found

    def _keep(
        self,
        found: dict[tuple[int, int, int], str],
        place: tuple[int, int, int],
        wire: tuple[bytes, bytes],
        key: tuple[str, bytes],
    ) -> None:
        if key[1] in wire[0] or key[1] in wire[1]:  # far cheaper than parsing, and most spans do not have it
            text = self._attributes(*wire).get(key[0])
            if text is not None:
                found.setdefault(place, text)


class _Members:
    """Rows of the chosen traces, and of the outcome spans that belong to them."""

    def __init__(self, traces: U64, outcomes: SpanTable) -> None:
        self._traces = traces
        self._outcomes = outcomes

    def __call__(self, spans: SpanTable) -> I64:
        inside = in_traces(spans.trace_id, self._traces)
        others = np.ones(len(spans), np.bool_)
        others[rows_without(spans, self._outcomes.trace_id, self._outcomes.span_id)] = False
        return np.flatnonzero(inside | others)


def _all_rows(spans: SpanTable) -> I64:
    return np.arange(len(spans))


def _file_batches(files: list[pq.ParquetFile]) -> Iterator[SpanBatch]:
    for file in files:
        for rows in file.iter_batches(batch_size=segments.ROW_GROUP):
            yield segments.batch_from_arrow(pa.Table.from_batches([rows]))


def _distinct(spans: SpanTable) -> SpanTable:
    rows = first_copies(spans)
    return spans if rows.size == len(spans) else spans.take(rows)


def _joined(spans: SpanTable, outcomes: SpanTable) -> SpanTable:
    return SpanTable.concatenate([spans, outcomes]) if len(outcomes) else spans


def _ids(table: pa.Table) -> U64:
    """(k, 2) u64 of the columns hi and lo."""
    return np.column_stack([table["hi"].to_numpy(), table["lo"].to_numpy()]).astype(np.uint64).reshape(len(table), 2)


def _chosen_table(ids: U64) -> pa.Table:
    return pa.table({"hi": pa.array(ids[:, 0].copy(), pa.uint64()), "lo": pa.array(ids[:, 1].copy(), pa.uint64())})


def _points_at(outcomes: SpanTable, chosen: U64, spans: SpanTable, pipeline: str | None) -> Bool:
    linked = np.zeros(len(outcomes), np.bool_)
    if outcomes.link_row.size:
        linked[outcomes.link_row[in_traces(outcomes.link_trace_id, chosen)]] = True
    used = spans.text(RUN_ID.name)
    runs = {used.values[code] for code in np.unique(used.codes) if code >= 0}
    named = outcomes.text(RUN_ID.name)
    by_run = np.isin(named.codes, [code for code, run in enumerate(named.values) if run in runs])
    if pipeline is not None:
        # A run id is a business key and may live in several pipelines; an outcome that names its pipeline belongs to that one alone.
        by_run &= (outcomes.pipeline.codes < 0) | (outcomes.pipeline.codes == outcomes.pipeline.code_of(pipeline))
    return linked | by_run


def _roots(spans: SpanTable) -> I64:
    """One row a trace: the earliest span without a parent, else the earliest span."""
    order = np.lexsort((spans.start_ns, spans.parent_id != 0, spans.trace_id[:, 1], spans.trace_id[:, 0]))
    trace = spans.trace_id[order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (trace[1:] != trace[:-1]).any(axis=1)
    return order[new].astype(np.int64)
