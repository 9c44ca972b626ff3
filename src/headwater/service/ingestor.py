"""The way in: limits → decode → log (durable) → memory table → acknowledgement; and, behind it, memory table → Parquet → log retired.

A span is acknowledged only after its request is in the log. It leaves the log only after it is in a segment that the manifest lists. So whoever opens
the directory, after whatever end, finds every acknowledged span in the one or the other, and the store counts it once.
"""

import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, Self

from headwater.ingest import otlp, otlp_json
from headwater.ingest.files import read_file
from headwater.ingest.limits import FROM_FILE, RECEIVED, Limits
from headwater.ingest.outcomes import outcome_batch
from headwater.ingest.receipt import BusyError, Content, Receipt, UnavailableError, receipt_of
from headwater.ingest.spool import Files, Spool, SpoolError, SyncPolicy, read_all
from headwater.ingest.values import wire_attributes
from headwater.model.answers import Check, Health, OutcomeRow
from headwater.model.errors import UndecodableError, UsageError
from headwater.model.spans import SpanBatch
from headwater.store.span_store import SpanStore

_KIND: Final[Mapping[Content, int]] = {"protobuf": 1, "json": 2}
_DECODE: Final = {1: otlp.decode, 2: otlp_json.decode}
_LOG: Final = "log"
_FILE_FLUSH_SPANS: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """sync: the log's policy, see `ingest.spool`; sync_interval_s is the power-loss window of "interval". flush_*: when memory becomes a segment.

    queue_spans: above this many spans in memory senders are told to wait. disk_share: above this share of the disk in use, with less than
    disk_spare_bytes free, nothing is taken. retry_after_s: what senders are told.
    """

    sync: SyncPolicy = "always"
    sync_interval_s: float = 0.2
    flush_spans: int = 100_000
    flush_interval_s: float = 10.0
    queue_spans: int = 400_000
    disk_share: float = 0.9
    disk_spare_bytes: int = 2 << 30
    retry_after_s: float = 2.0
    limits: Limits = RECEIVED
    files: Files = field(default_factory=Files)


class Ingestor:
    """The one writer of a store directory. Thread-safe. StoreLockedError if another process writes it.

    Opening replays what a killed predecessor left in the log. `store` answers queries; `close` takes no more, flushes and lets go.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], int], settings: IngestSettings | None = None) -> None:
        self._settings = settings or IngestSettings()
        self._clock = clock
        self._directory = directory
        self.store = SpanStore(directory, writer=True, attributes=wire_attributes)
        self._count = threading.Lock()
        self._received = self._accepted = self._damaged_bytes = 0
        self._rejected: Counter[str] = Counter()
        self._lag_ns: int | None = None
        self._flush_error: str | None = None
        self._flushing = threading.Lock()
        self._wake = threading.Event()
        self._closed = False
        self._disk_checked: tuple[float, bool] = (-1.0, False)
        recovered = _replay(directory, self._damaged)
        self.store.append(recovered)
        self._spool = Spool(directory / _LOG, sync=self._settings.sync, files=self._settings.files)
        if recovered:
            self._guarded(self.flush)
        self._flusher = threading.Thread(target=self._run, name="headwater-flush", daemon=True)
        self._flusher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def accept(self, body: bytes, content: Content, received_at_ns: int | None = None) -> Receipt:
        """Takes one inflated request durably, salvaging span by span.

        Raises UndecodableError or OverLimitError (wrong, do not resend), BusyError or UnavailableError (nothing taken, resend later).
        """
        self._require_room()
        kind = _KIND[content]
        try:
            batch = _DECODE[kind](body, limits=self._settings.limits)
        except UndecodableError as error:
            with self._count:
                self._rejected[error.code] += 1
            raise
        return self._take(batch, kind, body, received_at_ns)

    def accept_batch(self, batch: SpanBatch, received_at_ns: int | None = None) -> Receipt:
        """The same for spans already decoded; they are logged as OTLP."""
        self._require_room()
        return self._take(batch, _KIND["protobuf"], otlp.encode(batch.wire), received_at_ns)

    def add_outcomes(self, rows: Sequence[OutcomeRow], received_at_ns: int | None = None) -> Receipt:
        """Judged outcomes, taken durably as outcome spans. UsageError for a trace id that is none."""
        at = self._clock() if received_at_ns is None else received_at_ns
        return self.accept_batch(outcome_batch(rows, received_at_ns=at), at)

    def _take(self, batch: SpanBatch, kind: int, body: bytes, received_at_ns: int | None) -> Receipt:
        accepted, at = len(batch.spans), self._clock() if received_at_ns is None else received_at_ns
        if accepted:
            try:
                with self._spool.record(kind, at, body):
                    self.store.append([batch])
            except SpoolError as error:
                raise UnavailableError(f"{error.strerror or error}; nothing was taken", retry_after_s=self._settings.retry_after_s) from error
        rejected = sum(batch.rejected.values())
        with self._count:
            self._received += accepted + rejected
            self._accepted += accepted
            self._rejected.update(batch.rejected)
            if accepted:
                self._lag_ns = at - int(batch.spans.end_ns.max())
        if self.store.in_memory >= self._settings.flush_spans:
            self._wake.set()
        return receipt_of(accepted, batch.rejected)

    def _require_room(self) -> None:
        wait = self._settings.retry_after_s
        if self._closed:
            raise UnavailableError("the service is shutting down; nothing was taken", retry_after_s=wait)
        if self.store.in_memory >= self._settings.queue_spans:
            self._wake.set()
            raise BusyError(f"{self._settings.queue_spans} spans wait to be stored; nothing was taken, send again later", retry_after_s=wait)
        if self._disk_full():
            raise UnavailableError("the disk is nearly full; nothing was taken, reading goes on", retry_after_s=10 * wait)

    def _disk_full(self) -> bool:
        """Looked at once a second at most."""
        now = time.monotonic()
        checked_at, full = self._disk_checked
        if checked_at < 0 or now - checked_at >= 1:
            usage = shutil.disk_usage(self._directory)
            full = usage.free < self._settings.disk_spare_bytes and usage.free < (1 - self._settings.disk_share) * usage.total
            self._disk_checked = (now, full)
        return full

    # -- behind the acknowledgement ----------------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Memory becomes a segment, the log of those spans is retired. OSError: nothing lost, they stay in memory and in the log."""
        with self._flushing:
            sealed = self._spool.seal()
            self.store.flush()
            self._spool.retire(sealed)

    def _damaged(self, _path: Path, n_bytes: int) -> None:
        self._damaged_bytes += n_bytes

    def _run(self) -> None:
        """Flushes by age and count; syncs the log under the policy "interval"."""
        settings = self._settings
        step = min(settings.flush_interval_s, settings.sync_interval_s) if settings.sync == "interval" else settings.flush_interval_s
        flushed_at = time.monotonic()
        while not self._closed:
            woken = self._wake.wait(step)
            self._wake.clear()
            if self._closed:
                return
            if settings.sync == "interval":
                self._guarded(self._spool.sync)
            if woken or time.monotonic() - flushed_at >= settings.flush_interval_s:
                self._guarded(self.flush)
                flushed_at = time.monotonic()

    def _guarded(self, step: Callable[[], None]) -> None:
        """A full disk must not end the flusher: the next round tries again, and health says what happened."""
        try:
            step()
        except OSError as error:
            self._flush_error = f"{error.strerror or error}"
        else:
            self._flush_error = None

    def close(self) -> None:
        """Takes no more, flushes what is there, frees the directory. Harmless twice. OSError of the flush is not raised: the log has those spans."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._flusher.join()
        self._guarded(self.flush)
        self._guarded(self._spool.close)
        self.store.release()

    def health(self) -> Health:
        """Figures since the start, and whether the log and the disk are well. Cheap."""
        figures = self.store.figures()
        with self._count:
            received, accepted, rejected, lag_ns = self._received, self._accepted, dict(self._rejected), self._lag_ns
        written = Check(name="flush", ok=self._flush_error is None, text=self._flush_error or "spans are written to segments")
        disk = Check(name="disk", ok=not self._disk_full(), text="nearly full, nothing is taken" if self._disk_full() else "room to write")
        lost = f"{self._damaged_bytes} bytes of the log could not be read after the last end" if self._damaged_bytes else "whole at the last start"
        return Health(
            received=received,
            accepted=accepted,
            duplicates=figures.duplicates,
            rejected=rejected,
            lag_ns=lag_ns,
            queue=figures.in_memory,
            disk_bytes=figures.disk_bytes,
            checks=(written, disk, Check(name="log", ok=not self._damaged_bytes, text=lost)),
        )


def open_reader(directory: Path) -> SpanStore:
    """Reads a store beside its writer, or after a killed one: what is only in the log is included. Never writes; no directory is an empty store.

    The log is read first and the manifest after it, so spans that move between the two are seen twice rather than not at all, and counted once.
    """
    recent = _replay(directory, None)
    return SpanStore(directory, writer=False, attributes=wire_attributes, recent=recent)


def _replay(directory: Path, on_damage: Callable[[Path, int], None] | None) -> list[SpanBatch]:
    """What the log holds, decoded as at receipt. The limits of a request were checked then; a record of an unknown kind counts as damage."""
    batches: list[SpanBatch] = []
    for record in read_all(directory / _LOG, on_damage=on_damage):
        decode = _DECODE.get(record.kind)
        if decode is not None:
            batches.append(decode(record.body, limits=FROM_FILE))
        elif on_damage is not None:
            on_damage(directory, len(record.body))
    return batches


def ingest_files(
    paths: Iterable[str],
    directory: Path,
    *,
    stdin: BinaryIO | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int | dict[str, int]]:
    """Reads files ("-" = standard input) into the store: {"received", "accepted", "duplicate", "rejected": {reason: count}}.

    Durable when it returns. UsageError for a file that cannot be opened or is of no known kind: nothing of it was taken, files before it were. Raises
    StoreLockedError while a service writes the store. `progress(path, spans of it so far)`.
    """
    received = 0
    rejected: Counter[str] = Counter()
    with ExitStack() as stack:
        store = stack.enter_context(SpanStore(directory, writer=True, attributes=wire_attributes))
        for path in paths:
            stream = (stdin or sys.stdin.buffer) if path == "-" else stack.enter_context(_opened(path))
            taken = 0
            for batch in read_file(path, stream):
                store.append([batch])
                taken += len(batch.spans)
                rejected.update(batch.rejected)
                if store.in_memory >= _FILE_FLUSH_SPANS:
                    store.flush()
                if progress is not None:
                    progress(path, taken)
            received += taken
        store.flush()
        duplicate = store.figures().duplicates
    return {"received": received + sum(rejected.values()), "accepted": received - duplicate, "duplicate": duplicate, "rejected": dict(rejected)}


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UsageError(f"{path} could not be opened: {error.strerror}", next_command="headwater ingest --help") from error
