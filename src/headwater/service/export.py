"""Spans out of the store, as they came in."""

from collections.abc import Iterator
from typing import BinaryIO

from headwater.ingest import otlp_json, parquet
from headwater.model.ports import SpanReader, Window
from headwater.model.spans import SpanBatch
from headwater.service.clock import now_ns
from headwater.service.ingestor import open_reader
from headwater.service.settings import Settings
from headwater.service.windows import parse_instant


def export_spans(
    form: str, out: BinaryIO, settings: Settings, *, pipeline: str | None = None, since: str | None = None, until: str | None = None
) -> int:
    """Writes the spans of the window as "otlp-jsonl" (one request a line) or "parquet"; the number of spans. UsageError for a bad instant."""
    now = now_ns()
    start, end = (None if text is None else parse_instant(text, now_ns=now) for text in (since, until))
    with open_reader(settings.store) as reader:
        counted = _Counted(reader, pipeline, Window(start_ns=start, end_ns=end))
        if form == "parquet":
            out.write(parquet.encode(counted))
        else:
            out.writelines(otlp_json.encode(batch.wire) for batch in counted)
    return counted.n_spans


class _Counted:
    """The batches of a window, counted as they pass."""

    def __init__(self, reader: SpanReader, pipeline: str | None, window: Window) -> None:
        self._reader, self._pipeline, self._window = reader, pipeline, window
        self.n_spans = 0

    def __iter__(self) -> Iterator[SpanBatch]:
        for batch in self._reader.batches(self._pipeline, self._window):
            self.n_spans += len(batch.spans)
            yield batch
