import errno
import os
import threading
import time
from pathlib import Path

import pytest

from headwater.ingest import spool
from headwater.ingest.spool import Files, Record, Spool, SpoolError, pack, read_all, segments


def put(log: Spool, *bodies: bytes) -> None:
    for number, body in enumerate(bodies):
        with log.record(1, number, body):
            pass


def bodies(directory: Path) -> list[bytes]:
    return [record.body for record in read_all(directory)]


def test_records_come_back_in_order_and_whole(tmp_path: Path) -> None:
    log = Spool(tmp_path)
    with log.record(2, -7, b"first"):
        assert list(read_all(tmp_path)) == [Record(kind=2, received_at_ns=-7, body=b"first")]
    put(log, b"", b"x" * 100_000)
    log.close()
    assert bodies(tmp_path) == [b"first", b"", b"x" * 100_000]
    assert list(read_all(tmp_path / "nowhere")) == []


def test_a_successor_never_appends_to_a_segment_of_another(tmp_path: Path) -> None:
    for text in (b"a", b"b"):
        log = Spool(tmp_path)
        put(log, text)
        log.close()
    assert len(segments(tmp_path)) == 2
    assert bodies(tmp_path) == [b"a", b"b"]


def test_segments_roll_over_and_retire(tmp_path: Path) -> None:
    log = Spool(tmp_path, segment_bytes=50)
    put(log, *(bytes([n]) * 30 for n in range(5)))
    assert len(segments(tmp_path)) == 5
    sealed = log.seal()
    put(log, b"after")
    log.retire(sealed)
    assert bodies(tmp_path) == [b"after"]
    log.close()


def test_sealing_waits_for_records_under_way(tmp_path: Path) -> None:
    log = Spool(tmp_path)
    entered, leave, sealed = threading.Event(), threading.Event(), threading.Event()
    given: list[Path] = []

    def slow() -> None:
        with log.record(1, 0, b"slow"):
            entered.set()
            leave.wait(5)

    def seal() -> None:
        given.extend(log.seal())
        sealed.set()

    threads = [threading.Thread(target=slow), threading.Thread(target=seal)]
    threads[0].start()
    entered.wait(5)
    threads[1].start()
    assert not sealed.wait(0.1)
    with log.record(1, 1, b"meanwhile"):  # new records do not wait for the seal
        assert bodies(tmp_path) == [b"slow", b"meanwhile"]
    leave.set()
    for thread in threads:
        thread.join(5)
    assert sealed.is_set()
    assert given == segments(tmp_path)[:1]  # not the segment that was begun meanwhile: its spans may be nowhere else yet
    log.close()


def damaged(path: Path) -> list[tuple[Path, int]]:
    found: list[tuple[Path, int]] = []
    list(read_all(path, on_damage=lambda *x: found.append(x)))
    return found


@pytest.fixture
def tail(tmp_path: Path) -> tuple[Path, bytes, int, list[bytes]]:
    """A segment of five records, its bytes, where the last three begin, and the bodies."""
    log = Spool(tmp_path)
    texts = [b"record number %d" % n + bytes(range(n, n + 20)) for n in range(5)]
    put(log, *texts)
    log.close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    return path, data, data.index(texts[2]) - 21, texts


def test_truncation_at_every_byte_loses_only_what_was_cut(tail) -> None:
    path, data, start, texts = tail
    for size in range(start, len(data) + 1):
        path.write_bytes(data[:size])
        found = bodies(path.parent)
        assert found == texts[: len(found)]
        assert len(found) == sum(data.index(text) + len(text) <= size for text in texts)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flip_at_every_byte_loses_one_record_and_reads_no_wrong_one(tail, mask) -> None:
    path, data, start, texts = tail
    for position in range(start, len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :])
        found = bodies(path.parent)
        assert [text for text in texts if text in found] == found
        assert len(found) == 4
        assert damaged(path.parent)


def test_zeros_from_every_byte_on(tail) -> None:
    path, data, start, texts = tail
    for position in range(start, len(data)):
        path.write_bytes(data[:position].ljust(len(data), b"\0"))
        found = bodies(path.parent)
        assert found == texts[: len(found)]
        assert len(found) >= sum(data.index(text) + len(text) <= position for text in texts)


def test_a_body_that_looks_like_a_record_is_not_read_as_one(tmp_path: Path) -> None:
    """A sender who plants records in a body cannot know the salt; not even those of another segment are taken."""
    log = Spool(tmp_path)
    put(log, pack(b"\0" * 8, 1, 0, b"planted"), b"good")
    log.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF  # the first record is damaged, so the reader goes looking inside it
    path.write_bytes(data)
    assert bodies(tmp_path) == [b"good"]


@pytest.mark.parametrize("data", [b"", b"HWLOG", b"something else entirely, longer than a header", b"HWLOG\x00\x00\x01salty"])
def test_a_file_that_is_no_segment_is_damage_not_records(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "000000000001.log").write_bytes(data)
    assert bodies(tmp_path) == []
    assert damaged(tmp_path) == ([(tmp_path / "000000000001.log", len(data))] if data else [])
    log = Spool(tmp_path)
    put(log, b"x")
    log.close()
    assert bodies(tmp_path) == [b"x"]


def test_a_write_that_fails_leaves_the_segment_as_it_was(tmp_path: Path) -> None:
    left = [10**9]

    def limited(descriptor: int, data: bytes) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = os.write(descriptor, data[: left[0]])
        left[0] -= done
        return done

    log = Spool(tmp_path, files=Files(write=limited))
    put(log, b"before")
    left[0] = 9  # the next record is torn after nine bytes
    with pytest.raises(SpoolError, match="No space left"):
        put(log, b"torn")
    left[0] = 10**9
    put(log, b"after")
    log.close()
    assert bodies(tmp_path) == [b"before", b"after"]
    assert damaged(tmp_path) == []


def test_after_a_failed_sync_a_new_segment_begins(tmp_path: Path) -> None:
    broken = threading.Event()

    def sync(descriptor: int) -> None:
        if broken.is_set():
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(descriptor)

    log = Spool(tmp_path, files=Files(sync=sync))
    put(log, b"a")
    broken.set()
    with pytest.raises(SpoolError, match="synced"):
        put(log, b"b")
    with pytest.raises(SpoolError):
        put(log, b"c")
    broken.clear()
    put(log, b"d")
    assert set(bodies(tmp_path)) >= {b"a", b"d"}
    assert len(segments(tmp_path)) == 2
    log.close()


def test_writers_share_one_sync(tmp_path: Path) -> None:
    syncs: list[float] = []

    def slow(descriptor: int) -> None:
        os.fdatasync(descriptor)
        time.sleep(0.02)
        syncs.append(1)

    log = Spool(tmp_path, files=Files(sync=slow))
    put(log, b"warm")
    syncs.clear()
    threads = [threading.Thread(target=put, args=(log, b"x", b"y")) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(bodies(tmp_path)) == 33
    assert len(syncs) < 16
    log.close()


@pytest.mark.parametrize(("policy", "synced"), [("always", 3), ("interval", 1), ("off", 0)])
def test_policies_sync_as_they_say(tmp_path: Path, policy, synced) -> None:
    syncs: list[int] = []
    log = Spool(tmp_path, sync=policy, files=Files(sync=syncs.append))
    put(log, b"opens the segment")
    syncs.clear()
    put(log, b"a", b"b")
    log.sync()
    assert len(syncs) == {"always": 2, "interval": 1, "off": 0}[policy]
    assert synced >= len(syncs)
    log.close()


def test_a_closed_log_takes_nothing(tmp_path: Path) -> None:
    log = Spool(tmp_path)
    log.close()
    with pytest.raises(SpoolError, match="closed"):
        put(log, b"x")


def test_a_segment_retired_while_reading_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Spool(tmp_path, segment_bytes=1)
    put(log, b"a", b"b")
    log.close()
    first, second = segments(tmp_path)
    monkeypatch.setattr(spool, "segments", lambda _: [first, tmp_path / "000000000000.log", second])
    assert bodies(tmp_path) == [b"a", b"b"]
