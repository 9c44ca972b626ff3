"""The embedded store: a memory table over immutable Parquet segments, one writer, any number of readers.

``directory/lock`` · ``manifest.json`` · ``segments/NNNNNNNN-spans.parquet`` and ``-traces.parquet``. What is appended is readable at once and durable
after `flush`; until then the log of the owner holds it. Nothing is rewritten but small segments, which are merged; nothing is deleted but their
sources, one merge later.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from headwater.model.errors import UsageError
from headwater.model.ports import PipelineSummary, Window
from headwater.model.spans import SpanBatch, SpanTable
from headwater.store import manifest as manifests
from headwater.store import segment as segments
from headwater.store.catalog import Catalog
from headwater.store.index import is_outcome, trace_index
from headwater.store.manifest import Manifest, Segment
from headwater.store.reader import Reader, View
from headwater.store.rows import first_copies, rows_without
from headwater.store.where import AttributeReader, no_attributes

_SMALL_SPANS: Final = 32_768
_MERGE_AT: Final = 8
_RETRIES: Final = 3
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFigures:
    """in_memory: spans appended, not yet in a segment. duplicates: spans dropped at flush since opening. disk_bytes: of the listed segments."""

    in_memory: int
    in_segments: int
    duplicates: int
    disk_bytes: int


class SpanStore:
    """`SpanReader` and, with writer=True, `SpanWriter`. Thread-safe.

    writer=True creates the directory and raises StoreLockedError if another process writes it. writer=False never writes, a missing directory is an
    empty store; `recent` are batches its owner read from the log, oldest first. UsageError for a store written in an unknown format.
    """

    def __init__(self, directory: Path, *, writer: bool, attributes: AttributeReader = no_attributes, recent: Sequence[SpanBatch] = ()) -> None:
        self._directory = directory
        self._segments = directory / "segments"
        self._state = threading.Lock()
        self._flushing = threading.Lock()
        self._memory: list[SpanBatch] = list(recent)
        self._in_memory = sum(len(batch.spans) for batch in recent)
        self._duplicates = 0
        self._version = 0  # counts changes of memory or manifest
        self._view: tuple[int, View] | None = None
        self._lock: manifests.WriterLock | None = None
        if writer:
            self._segments.mkdir(parents=True, exist_ok=True)
            self._lock = manifests.WriterLock(directory)
        self._manifest = manifests.load(directory)
        self._catalog = Catalog(self._segments)
        self._reader = Reader(self._catalog, self._segments, attributes)
        if writer:
            self._remove_unlisted()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ---------------------------------------------------------------------------------------------------------------------------------

    def append(self, batches: Sequence[SpanBatch]) -> None:
        """Readable when this returns; durable after `flush`. Duplicates are dropped when read and when flushed."""
        self._require_writer()
        with self._state:
            self._version += 1
            self._memory.extend(batch for batch in batches if len(batch.spans))
            self._in_memory += sum(len(batch.spans) for batch in batches)

    def flush(self) -> None:
        """Everything appended before the call is in a durable segment when this returns. OSError leaves it in memory, still readable."""
        self._require_writer()
        with self._flushing:
            with self._state:
                taken, manifest = list(self._memory), self._manifest
            if not taken:
                return
            merged = segments.concatenate(taken)
            fresh = self._fresh(merged, manifest)
            if len(fresh.spans):
                manifest = self._written(fresh, manifest)
                manifests.save(self._directory, manifest)
            with self._state:
                self._version += 1
                self._manifest = manifest
                del self._memory[: len(taken)]
                self._in_memory -= len(merged.spans)
                self._duplicates += len(merged.spans) - len(fresh.spans)
            self._merge_small()

    def close(self) -> None:
        """Flushes if it writes, then lets go of the directory. Harmless twice."""
        if self._lock is not None:
            self.flush()
        self.release()

    def release(self) -> None:
        """Lets go of the directory without flushing; what is in memory is lost to the store. Harmless twice."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._catalog.close()

    @property
    def in_memory(self) -> int:
        """Spans appended and not yet in a segment, copies included."""
        with self._state:
            return self._in_memory

    @property
    def version(self) -> int:
        """Changes whenever what can be read does."""
        return self._version

    def figures(self) -> StoreFigures:
        """Cheap: no query."""
        with self._state:
            manifest, in_memory, duplicates = self._manifest, self._in_memory, self._duplicates
        paths = [path for part in manifest.segments for path in (part.spans(self._segments), part.index(self._segments))]
        size = sum(path.stat().st_size for path in paths if path.exists())
        return StoreFigures(in_memory=in_memory, in_segments=sum(s.n_spans for s in manifest.segments), duplicates=duplicates, disk_bytes=size)

    def _require_writer(self) -> None:
        if self._lock is None:
            raise UsageError(f"the store {self._directory} was opened for reading, or is closed")

    def _written(self, batch: SpanBatch, manifest: Manifest) -> Manifest:
        listed = self._write_segment(batch, manifest.next_number)
        return manifest.added(listed)

    def _write_segment(self, batch: SpanBatch, number: int) -> Segment:
        spans = batch.spans
        listed = Segment(
            number=number,
            n_spans=len(spans),
            n_outcomes=int(is_outcome(spans).sum()),
            first_start_ns=int(spans.start_ns.min()),
            last_start_ns=int(spans.start_ns.max()),
        )
        segments.write(batch, listed.spans(self._segments), listed.index(self._segments))
        manifests.sync_directory(self._segments)
        return listed

    def _fresh(self, batch: SpanBatch, manifest: Manifest) -> SpanBatch:
        """First copies of spans that are in no segment yet."""
        rows = first_copies(batch.spans)
        spans = batch.spans.take(rows)
        known = self._reader.known_spans(manifest, spans)
        if known is not None:
            kept = rows_without(spans, *known)
            rows, spans = rows[kept], spans.take(kept)
        return SpanBatch(spans=spans, wire=batch.wire.take(rows), rejected={})

    def _merge_small(self) -> None:
        """Eight small segments become one. Their files go at the next merge, so a reader that holds the old list can still finish."""
        manifest = self._manifest
        small = [listed for listed in manifest.segments if listed.n_spans < _SMALL_SPANS]
        if len(small) < _MERGE_AT:
            return
        batch = segments.concatenate([segments.read(listed.spans(self._segments)) for listed in small])
        merged = manifest.merged(small, self._write_segment(batch, manifest.next_number))
        manifests.save(self._directory, merged)
        with self._state:
            self._version += 1
            self._manifest = merged
        self._remove(manifest.obsolete)

    def _remove(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            gone = Segment(number=number, n_spans=0, n_outcomes=0, first_start_ns=0, last_start_ns=0)
            gone.spans(self._segments).unlink(missing_ok=True)
            gone.index(self._segments).unlink(missing_ok=True)

    def _remove_unlisted(self) -> None:
        """Files of a flush or merge that ended before its manifest: their spans are in the log, or in the segments they were to replace."""
        listed = {listed.number for listed in self._manifest.segments} | set(self._manifest.obsolete)
        for path in self._segments.iterdir():
            number = path.name.partition("-")[0]
            if path.suffix == ".tmp" or (number.isdecimal() and int(number) not in listed):
                path.unlink(missing_ok=True)

    # -- reading ---------------------------------------------------------------------------------------------------------------------------------

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        return self._retried(self._reader.pipelines)

    def window(self, pipeline: str, window: Window) -> SpanTable:
        return self._retried(lambda view: self._reader.window(view, pipeline, window))

    def trace(self, trace_id: tuple[int, int]) -> SpanTable:
        return self._retried(lambda view: self._reader.trace(view, trace_id))

    def batches(self, pipeline: str | None, window: Window) -> Iterator[SpanBatch]:
        yield from self._reader.batches(self._current(), pipeline, window)

    def root_attribute(self, pipeline: str, window: Window, key: str) -> dict[str, str]:
        """Trace id (32 hex) → any attribute of the trace's root span or its resource, as text; traces without it are left out."""
        return self._retried(lambda view: self._reader.root_attribute(view, pipeline, window, key))

    def _retried(self, ask: Callable[[View], _T]) -> _T:
        """A reader beside a running writer may find a segment merged away under it: then its spans are in the newer list."""
        for attempt in range(_RETRIES):
            try:
                return ask(self._current())
            except FileNotFoundError:
                if self._lock is not None or attempt == _RETRIES - 1:
                    raise
                with self._state:
                    self._version += 1
                    self._manifest = manifests.load(self._directory)
        raise AssertionError("unreachable")

    def _current(self) -> View:
        """Memory rows that no segment holds, with their index; computed once per change of either."""
        with self._state:
            manifest, batches = self._manifest, list(self._memory)
            version = self._version
            if self._view is not None and self._view[0] == version:
                return self._view[1]
        memory = self._fresh(segments.concatenate(batches), manifest)
        view = View(manifest=manifest, memory=memory, memory_index=trace_index(memory.spans))
        with self._state:
            self._view = (version, view)
        return view
