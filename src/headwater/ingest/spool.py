"""The write-ahead log: what was acknowledged is in it, until it is in a Parquet segment.

A directory of numbered segments. A segment is a magic, a random salt, then records
``marker · crc32c · length · kind · received_at_ns · body``. The checksum covers the salt, everything after it in the record and the body, so a
torn or flipped record is never read, nor are bytes of a body that merely look like one: a sender does not know the salt. After damage the reader
looks for the next marker, so one bad record costs one record. A segment is only ever appended to by the process that made it; recovery starts a
new one.

Sync policies and their power-loss window (a killed process loses nothing under any of them, the kernel has the bytes):
``always``: none, `record` returns after fdatasync, many writers share one (group commit).
``interval``: since the last `sync()`, which the owner calls. ``off``: until the kernel writes back, typically 30 s.
"""

import errno
import os
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import google_crc32c

SyncPolicy = Literal["always", "interval", "off"]

_MAGIC: Final = b"HWLOG\x00\x00\x01"
_SALT_BYTES: Final = 8
_MARKER: Final = b"\xf5HWR"
_HEAD: Final = struct.Struct("<II Bq".replace(" ", ""))
_SUFFIX: Final = ".log"


class SpoolError(OSError):
    """The log could not take a record durably: it must not be acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One accepted body: `kind` as the owner numbered it, UTC ns of receipt, the bytes as they came (inflated)."""

    kind: int
    received_at_ns: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The three calls that can fail on a full or broken disk; tests make them fail."""

    write: Callable[[int, bytes], int] = os.write
    sync: Callable[[int], None] = os.fdatasync
    sync_directory: Callable[[Path], None] = field(default_factory=lambda: sync_directory)


def sync_directory(directory: Path) -> None:
    """Make names created in, or removed from, the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Segment:
    def __init__(self, path: Path, files: Files, policy: SyncPolicy) -> None:
        self.path = path
        self.salt = os.urandom(_SALT_BYTES)
        self.in_flight = 0
        self.failed = False
        self._files = files
        self._sync_lock = threading.Lock()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.written = self.synced = 0
        self.write(_MAGIC + self.salt)
        if policy != "off":
            self.sync_to(self.written)
            files.sync_directory(path.parent)

    def write(self, data: bytes) -> int:
        """End position of `data`; SpoolError, with the segment cut back to where it was, if it does not fit on the disk."""
        try:
            done = 0
            while done < len(data):
                done += self._files.write(self._descriptor, data[done:] if done else data)
        except OSError as error:
            self._cut_back()
            raise SpoolError(error.errno or errno.EIO, f"the log could not be written: {error.strerror}") from error
        self.written += len(data)
        return self.written

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._descriptor, self.written)
        except OSError:
            self.failed = True  # the torn record stays, the reader steps over it; nothing more goes into this segment

    def sync_to(self, position: int) -> None:
        """Returns once everything before `position` is on the disk. Whoever waits for the lock is served by the sync that follows."""
        with self._sync_lock:
            if self.synced >= position:
                return
            if self.failed:
                raise SpoolError(errno.EIO, "the log could not be synced")
            reached = self.written
            try:
                self._files.sync(self._descriptor)
            except OSError as error:
                # After a failed sync the kernel may have dropped the dirty pages: this segment's unsynced part can never be trusted again.
                self.failed = True
                raise SpoolError(error.errno or errno.EIO, f"the log could not be synced: {error.strerror}") from error
            self.synced = reached

    def close(self) -> None:
        os.close(self._descriptor)


class Spool:
    """The writing side. Thread-safe. One process per directory: the store's lock sees to that."""

    def __init__(self, directory: Path, *, sync: SyncPolicy = "always", segment_bytes: int = 64 << 20, files: Files | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._policy: SyncPolicy = sync
        self._segment_bytes = segment_bytes
        self._files = files or Files()
        self._changed = threading.Condition()
        self._next = max((_number(path) for path in segments(directory)), default=0) + 1
        self._active: _Segment | None = None
        self._sealed: list[_Segment] = []
        self._closed = False

    @contextmanager
    def record(self, kind: int, received_at_ns: int, body: bytes) -> Iterator[None]:
        """Durable (by the policy) when the block is entered; the segment cannot be retired before it is left. SpoolError: do not acknowledge.

        The block puts the spans where readers see them, so that `retire` never forgets a record that is only in the log.
        """
        with self._changed:
            if self._closed:
                raise SpoolError(errno.ESHUTDOWN, "the log is closed")
            segment = self._segment()
            position = segment.write(pack(segment.salt, kind, received_at_ns, body))
            segment.in_flight += 1
        try:
            if self._policy == "always":
                segment.sync_to(position)
            yield
        finally:
            with self._changed:
                segment.in_flight -= 1
                self._changed.notify_all()

    def _segment(self) -> _Segment:
        active = self._active
        if active is not None and (active.failed or active.written >= self._segment_bytes):
            self._sealed.append(active)
            active = self._active = None
        if active is None:
            path = self._directory / f"{self._next:012d}{_SUFFIX}"
            self._next += 1
            active = self._active = self._open(path)
        return active

    def _open(self, path: Path) -> _Segment:
        try:
            return _Segment(path, self._files, self._policy)
        except OSError as error:
            with suppress(OSError):
                path.unlink()  # holds no record yet
            raise SpoolError(error.errno or errno.EIO, f"the log could not be opened: {error.strerror}") from error

    def sync(self) -> None:
        """Makes everything recorded so far durable; for the policy ``interval``."""
        with self._changed:
            active = self._active
        if active is not None and self._policy != "off":
            active.sync_to(active.written)

    def seal(self) -> tuple[Path, ...]:
        """Ends the active segment and waits for the records under way; gives the segments that `retire` may remove once their spans are stored.

        Everything in them has left its `record` block when this returns.
        """
        with self._changed:
            if self._active is not None:
                self._sealed.append(self._active)
                self._active = None
            sealed, self._sealed = self._sealed, []
            limit = self._next
            while any(segment.in_flight for segment in sealed):
                self._changed.wait()
        for segment in sealed:
            segment.close()
        return tuple(path for path in segments(self._directory) if _number(path) < limit)

    def retire(self, sealed: tuple[Path, ...]) -> None:
        """Removes segments whose spans are durable elsewhere."""
        for path in sealed:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Syncs and closes; records stay for the next `read_all`, new ones are refused."""
        with self._changed:
            self._closed = True
        self.sync()
        self.seal()


def segments(directory: Path) -> list[Path]:
    """Segment files, oldest first; none if there is no directory."""
    return sorted(directory.glob(f"*{_SUFFIX}"), key=_number) if directory.is_dir() else []


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdecimal() else 0


def pack(salt: bytes, kind: int, received_at_ns: int, body: bytes) -> bytes:
    """One record."""
    head = _HEAD.pack(0, len(body), kind, received_at_ns)
    crc = _checksum(salt, head[4:], body)
    return _MARKER + crc.to_bytes(4, "little") + head[4:] + body


def _checksum(salt: bytes, head: bytes, body: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.extend(google_crc32c.value(salt), head), body))


def read_all(directory: Path, *, on_damage: Callable[[Path, int], None] | None = None) -> Iterator[Record]:
    """Every whole record of every segment, in the order written; for recovery and for readers beside a running writer.

    Damaged stretches are stepped over, never guessed at; `on_damage(path, bytes)` hears of each. A segment retired meanwhile is skipped: its spans
    are in the manifest by then, so read the manifest after this.
    """
    for path in segments(directory):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        damaged = yield from _records(data)
        if damaged and on_damage is not None:
            on_damage(path, damaged)


def _records(data: bytes) -> Generator[Record, None, int]:
    """Records of one segment; returns (as the generator's value) how many bytes belonged to none."""
    start = len(_MAGIC) + _SALT_BYTES
    if data[: len(_MAGIC)] != _MAGIC or len(data) < start:
        return len(data)
    salt, at, damaged = data[len(_MAGIC) : start], start, 0
    while at < len(data):
        found = _record_at(data, at, salt)
        if found is not None:
            record, at = found
            yield record
            continue
        following = data.find(_MARKER, at + 1)
        following = len(data) if following < 0 else following
        damaged += following - at
        at = following
    return damaged


def _record_at(data: bytes, at: int, salt: bytes) -> tuple[Record, int] | None:
    body_at = at + len(_MARKER) + _HEAD.size
    if data[at : at + len(_MARKER)] != _MARKER or body_at > len(data):
        return None
    crc, length, kind, received_at_ns = _HEAD.unpack_from(data, at + len(_MARKER))
    end = body_at + length
    if end > len(data):
        return None
    body = data[body_at:end]
    if _checksum(salt, data[at + len(_MARKER) + 4 : body_at], body) != crc:
        return None
    return Record(kind=kind, received_at_ns=received_at_ns, body=body), end
