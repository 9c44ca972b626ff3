"""The list of segments that make up a store: one JSON file, replaced whole, so a reader sees the old list or the new one."""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from headwater.model.errors import StoreLockedError, UsageError

FORMAT: Final = "headwater.store/1"
_NAME: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One pair of Parquet files, named by `number`: spans and their trace index. Start times in ns UTC."""

    number: int
    n_spans: int
    n_outcomes: int
    first_start_ns: int
    last_start_ns: int

    def spans(self, directory: Path) -> Path:
        return directory / f"{self.number:08d}-spans.parquet"

    def index(self, directory: Path) -> Path:
        return directory / f"{self.number:08d}-traces.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Segments by age. obsolete: numbers of segments merged into others; their files are removed one merge later, so that readers can finish."""

    next_number: int = 1
    segments: tuple[Segment, ...] = ()
    obsolete: tuple[int, ...] = ()

    def added(self, segment: Segment) -> "Manifest":
        return replace(self, next_number=segment.number + 1, segments=(*self.segments, segment))

    def merged(self, gone: Iterable[Segment], segment: Segment) -> "Manifest":
        """`segment` in the place of the oldest of `gone`."""
        numbers = {old.number for old in gone}
        at = next(i for i, old in enumerate(self.segments) if old.number in numbers)
        kept = [old for old in self.segments if old.number not in numbers]
        kept.insert(at, segment)
        return Manifest(next_number=segment.number + 1, segments=tuple(kept), obsolete=tuple(sorted(numbers)))


def load(directory: Path) -> Manifest:
    """The manifest; an empty one if there is none yet. UsageError if a newer headwater wrote it or it is no manifest at all."""
    try:
        text = (directory / _NAME).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Manifest()
    try:
        held = json.loads(text)
        found = held["format"]
        if found == FORMAT:
            segments = tuple(Segment(**segment) for segment in held["segments"])
            return Manifest(next_number=held["next_number"], segments=segments, obsolete=tuple(held["obsolete"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{directory / _NAME} is not a manifest of a headwater store ({error}); move it away or restore it") from error
    raise UsageError(f"the store {directory} has the format {found!r}; this headwater reads {FORMAT!r}. Install the version that wrote it.")


def save(directory: Path, manifest: Manifest) -> None:
    """Atomic and durable: written beside, synced, renamed, and the directory synced, in this order."""
    partial = directory / f"{_NAME}.tmp"
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(manifest)}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(directory / _NAME)
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Make renames within the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WriterLock:
    """Held by the one process that may write. StoreLockedError if another holds it; the kernel frees it when its holder dies."""

    def __init__(self, directory: Path) -> None:
        path = directory / "lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreLockedError(
                f"the store {directory} is written by another process (pid {holder}); reading is possible, writing is not",
                next_command="send it to that process (OTLP, or --url where a verb has it), or stop it",
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._descriptor)
