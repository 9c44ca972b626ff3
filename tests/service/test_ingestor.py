import contextlib
import errno
import io
import itertools
import json
import os
import threading
from pathlib import Path

import pytest
from tests.support.otlp_samples import MS, T0, assert_same_table, body, keys, make_span, outcome_span, request, speech_trace

from headwater.ingest import otlp, otlp_json, parquet
from headwater.ingest.limits import Limits, OverLimitError
from headwater.ingest.receipt import BusyError, UnavailableError
from headwater.ingest.spool import Files, segments
from headwater.model.answers import OutcomeRow
from headwater.model.errors import StoreLockedError, UndecodableError, UsageError
from headwater.model.ports import Window
from headwater.service.ingestor import Ingestor, IngestSettings, ingest_files, open_reader
from headwater.store.manifest import load

ALL = Window()
NEVER = 3_600.0


def ingestor(directory: Path, **settings) -> Ingestor:
    return Ingestor(directory, clock=itertools.count(T0).__next__, settings=IngestSettings(**{"flush_interval_s": NEVER, **settings}))


def abandon(one: Ingestor) -> None:
    """As if killed: the lock goes, nothing is flushed."""
    one._closed = True
    one._wake.set()
    one._flusher.join()
    one.store.release()


def test_accepted_spans_are_read_at_once_by_writer_and_by_another_reader(tmp_path: Path) -> None:
    with ingestor(tmp_path) as one:
        receipt = one.accept(body(*speech_trace(1)), "protobuf")
        assert (receipt.accepted, dict(receipt.rejected), receipt.message) == (3, {}, "")
        reader = open_reader(tmp_path)
        assert_same_table(reader.window("speech", ALL), one.store.window("speech", ALL))
        assert len(reader.window("speech", ALL)) == 3
        one.flush()
        assert len(reader.window("speech", ALL)) == 3
        assert len(open_reader(tmp_path).window("speech", ALL)) == 3
        assert segments(tmp_path / "log") == []


def test_json_bodies_take_the_same_way(tmp_path: Path) -> None:
    batch = otlp.decode(body(*speech_trace(1)))
    with ingestor(tmp_path) as one:
        assert one.accept(otlp_json.encode(batch.wire), "json").accepted == 3
        abandon(one)
    assert_same_table(open_reader(tmp_path).window("speech", ALL), batch.spans)


def test_a_killed_writer_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    one = ingestor(tmp_path)
    one.accept(body(*speech_trace(1)), "protobuf")
    one.flush()
    one.accept(body(*speech_trace(1), *speech_trace(2)), "protobuf")  # the first three again
    one.add_outcomes([OutcomeRow(trace_id=None, run_id="run-2", loss=1.0)])
    abandon(one)
    assert len(open_reader(tmp_path).window("speech", ALL)) == 7
    with ingestor(tmp_path) as two:
        assert two.health().queue == 0  # recovered and flushed
        assert segments(tmp_path / "log") == []
        assert len(two.store.window("speech", ALL)) == 7
        assert two.store.pipelines()[0].n_outcomes == 1
    assert len(open_reader(tmp_path).window("speech", ALL)) == 7


def test_a_kill_between_manifest_and_log_doubles_nothing(tmp_path: Path) -> None:
    one = ingestor(tmp_path)
    one.accept(body(*speech_trace(1)), "protobuf")
    one.store.flush()  # in a segment now, and still in the log
    abandon(one)
    assert len(segments(tmp_path / "log")) == 1
    reader = open_reader(tmp_path)
    assert reader.pipelines()[0].n_spans == 3
    with ingestor(tmp_path) as two:
        assert two.store.pipelines()[0].n_spans == 3
        assert two.health().duplicates == 3


def test_rejected_spans_are_told_and_counted_by_reason(tmp_path: Path) -> None:
    bad = make_span(1, 5)
    bad.trace_id = b"short"
    with ingestor(tmp_path) as one:
        receipt = one.accept(body(make_span(1, 1), bad, bad), "protobuf")
        assert (receipt.accepted, receipt.n_rejected) == (1, 2)
        assert receipt.message == "2 spans rejected (2 invalid_trace_id); the others were accepted"
        with pytest.raises(UndecodableError):
            one.accept(b"hello", "protobuf")
        health = one.health()
        assert (health.received, health.accepted, dict(health.rejected)) == (3, 1, {"invalid_trace_id": 2, "undecodable": 1})


def test_limits_of_a_request_hold(tmp_path: Path) -> None:
    with ingestor(tmp_path, limits=Limits(spans=2)) as one:
        with pytest.raises(OverLimitError):
            one.accept(body(*speech_trace(1)), "protobuf")
        assert one.health().queue == 0


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path) -> None:
    order: list[str] = []

    def write(descriptor: int, data: bytes) -> int:
        order.append("write")
        return os.write(descriptor, data)

    def sync(descriptor: int) -> None:
        order.append("sync")
        os.fdatasync(descriptor)

    with ingestor(tmp_path, files=Files(write=write, sync=sync)) as one:
        one.accept(body(*speech_trace(1)), "protobuf")
        order.clear()
        one.accept(body(*speech_trace(2)), "protobuf")
        assert order == ["write", "sync"]


def test_the_log_is_not_retired_before_its_spans_are_in_memory(tmp_path: Path) -> None:
    with ingestor(tmp_path) as one:
        real, retired = one.store.append, threading.Event()

        def flush() -> None:
            one.flush()
            retired.set()

        flusher = threading.Thread(target=flush)

        def append(batches) -> None:
            flusher.start()
            assert not retired.wait(0.2)  # the record is in the log and not yet in memory: a flush must wait for it
            real(batches)

        one.store.append = append
        one.accept(body(*speech_trace(1)), "protobuf")
        flusher.join(5)
        assert retired.is_set()
        assert load(tmp_path).segments[0].n_spans == 3


@pytest.mark.parametrize("failing", ["write", "sync"])
def test_a_disk_that_fails_gives_no_acknowledgement_and_recovers_unaided(tmp_path: Path, failing: str) -> None:
    broken = threading.Event()

    def guard(name: str):
        real = {"write": os.write, "sync": os.fdatasync}[name]

        def call(*args):
            if broken.is_set() and name == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        return call

    with ingestor(tmp_path, files=Files(write=guard("write"), sync=guard("sync"))) as one:
        one.accept(body(*speech_trace(1)), "protobuf")
        broken.set()
        for _ in range(3):
            with pytest.raises(UnavailableError, match="No space left"):
                one.accept(body(*speech_trace(2)), "protobuf")
        assert {key[1] for key in keys(one.store.window("speech", ALL))} == {1}  # reading goes on
        broken.clear()
        one.accept(body(*speech_trace(3)), "protobuf")
        abandon(one)
    found = {key[1] for key in keys(open_reader(tmp_path).window("speech", ALL))}
    assert found >= {1, 3}


def test_each_write_and_sync_may_fail_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    """D6, for the first forty calls."""
    for victim in range(40):
        calls = itertools.count()

        def flaky(real, calls=calls, victim=victim):
            def call(*args):
                if next(calls) == victim:
                    raise OSError(errno.EIO, "Input/output error")
                return real(*args)

            return call

        directory = tmp_path / str(victim)
        one = ingestor(directory, files=Files(write=flaky(os.write), sync=flaky(os.fdatasync)))
        acknowledged = set()
        for number in range(1, 20):
            with contextlib.suppress(UnavailableError):
                acknowledged |= {number} if one.accept(body(*speech_trace(number)), "protobuf").accepted else set()
        abandon(one)
        table = open_reader(directory).window("speech", ALL)
        assert {key[1] for key in keys(table)} >= acknowledged
        assert len(table) == len(keys(table))
        assert len(acknowledged) >= 18


def test_senders_wait_when_memory_is_full_and_go_on_after_a_flush(tmp_path: Path) -> None:
    with ingestor(tmp_path, queue_spans=6) as one:
        one._wake.set = lambda: None  # hold the flusher back
        one.accept(body(*speech_trace(1)), "protobuf")
        one.accept(body(*speech_trace(2)), "protobuf")
        with pytest.raises(BusyError) as refused:
            one.accept(body(*speech_trace(3)), "protobuf")
        assert refused.value.retry_after_s > 0
        one.flush()
        one.accept(body(*speech_trace(3)), "protobuf")
        del one._wake.set


def test_the_flusher_writes_by_count_and_by_age(tmp_path: Path) -> None:
    for name, settings in {"count": {"flush_spans": 3}, "age": {"flush_interval_s": 0.05}}.items():
        with ingestor(tmp_path / name, **settings) as one:
            one.accept(body(*speech_trace(1)), "protobuf")
            for _ in range(200):
                if load(tmp_path / name).segments:
                    break
                threading.Event().wait(0.02)
            assert [segment.n_spans for segment in load(tmp_path / name).segments] == [3], name


def test_a_nearly_full_disk_refuses_before_it_is_too_late(tmp_path: Path) -> None:
    with ingestor(tmp_path, disk_share=0.0, disk_spare_bytes=1 << 60) as one:
        with pytest.raises(UnavailableError, match="nearly full"):
            one.accept(body(*speech_trace(1)), "protobuf")
        assert not next(check for check in one.health().checks if check.name == "disk").ok


def test_a_second_writer_is_refused_with_a_clear_line_and_readers_are_not(tmp_path: Path) -> None:
    with ingestor(tmp_path) as one:
        one.accept(body(*speech_trace(1)), "protobuf")
        with pytest.raises(StoreLockedError, match=rf"pid {os.getpid()}\); reading is possible"):
            ingestor(tmp_path)
        assert len(open_reader(tmp_path).window("speech", ALL)) == 3


def test_after_close_nothing_is_taken(tmp_path: Path) -> None:
    one = ingestor(tmp_path)
    one.accept(body(*speech_trace(1)), "protobuf")
    one.close()
    one.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        one.accept(body(*speech_trace(2)), "protobuf")
    assert load(tmp_path).segments[0].n_spans == 3
    assert segments(tmp_path / "log") == []


def test_many_threads_at_once(tmp_path: Path) -> None:
    with ingestor(tmp_path, flush_spans=40) as one:

        def send(worker: int) -> None:
            for number in range(20):
                one.accept(body(*speech_trace(1 + worker * 20 + number)), "protobuf")

        threads = [threading.Thread(target=send, args=(worker,)) for worker in range(6)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert len(one.store.window("speech", ALL)) % 3 == 0
            reader = open_reader(tmp_path)
            assert len(keys(reader.window("speech", ALL))) == len(reader.window("speech", ALL))
        for thread in threads:
            thread.join()
        assert len(one.store.window("speech", ALL)) == 360
    assert len(open_reader(tmp_path).window("speech", ALL)) == 360


def test_a_reader_of_nothing_is_empty(tmp_path: Path) -> None:
    reader = open_reader(tmp_path / "nowhere")
    assert reader.pipelines() == ()
    assert not (tmp_path / "nowhere").exists()


def test_lag_is_receipt_minus_the_spans_end(tmp_path: Path) -> None:
    with ingestor(tmp_path) as one:
        one.accept(body(make_span(1, 1, start=T0, length=MS)), "protobuf", T0 + 5 * MS)
        assert one.health().lag_ns == 4 * MS


def write_kinds(directory: Path) -> dict[str, Path]:
    batch = otlp.decode(body(*speech_trace(1), *speech_trace(2)))
    lines = b"".join(otlp_json.encode(otlp.decode(body(*speech_trace(n))).wire) for n in (1, 2))
    jaeger = {"traceID": "1", "spanID": "ab", "operationName": "x", "startTime": 1, "duration": 1, "processID": "p"}
    texts = {
        "lines.txt": lines,
        "pretty.json": json.dumps(json.loads(otlp_json.encode(batch.wire)), indent=2).encode(),
        "body.bin": body(*speech_trace(1)) + body(*speech_trace(2)),
        "own.parquet": parquet.encode([batch]),
        "jaeger.json": json.dumps({"data": [{"traceID": "1", "spans": [jaeger], "processes": {"p": {"serviceName": "j"}}}]}).encode(),
    }
    for name, data in texts.items():
        (directory / name).write_bytes(data)
    return {name: directory / name for name in texts}


def test_files_of_every_kind_are_told_by_content(tmp_path: Path) -> None:
    files = write_kinds(tmp_path)
    sent = otlp.decode(body(*speech_trace(1), *speech_trace(2))).spans
    for name in ("lines.txt", "pretty.json", "body.bin", "own.parquet"):
        counts = ingest_files([str(files[name])], tmp_path / f"store-{name}")
        assert counts == {"received": 6, "accepted": 6, "duplicate": 0, "rejected": {}}, name
        assert_same_table(open_reader(tmp_path / f"store-{name}").window("speech", ALL), sent)
    assert ingest_files([str(files["jaeger.json"])], tmp_path / "j")["accepted"] == 1
    assert open_reader(tmp_path / "j").pipelines()[0].pipeline == "j"


def test_the_same_spans_from_all_files_are_taken_once(tmp_path: Path) -> None:
    files = write_kinds(tmp_path)
    said: list[tuple[str, int]] = []
    paths = [str(files[name]) for name in ("lines.txt", "body.bin", "own.parquet")]
    counts = ingest_files([*paths, "-"], tmp_path / "s", stdin=io.BytesIO(files["pretty.json"].read_bytes()), progress=lambda *x: said.append(x))
    assert counts == {"received": 24, "accepted": 6, "duplicate": 18, "rejected": {}}
    assert said[:2] == [(paths[0], 3), (paths[0], 6)]
    assert ingest_files(paths, tmp_path / "s")["duplicate"] == 18


def test_bad_lines_are_counted_and_the_others_kept(tmp_path: Path) -> None:
    line = otlp_json.encode(otlp.decode(body(*speech_trace(1))).wire)
    (tmp_path / "x.jsonl").write_bytes(b"\n" + line + b"{oops\n\n" + line.replace(b"0000000000000000000000000000001", b"x") + line[:-30])
    counts = ingest_files([str(tmp_path / "x.jsonl")], tmp_path / "s")
    assert counts == {"received": 8, "accepted": 3, "duplicate": 0, "rejected": {"malformed_line": 2, "invalid_trace_id": 3}}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text\nand more\n",
        b'{"hello": 1}',
        b"[1, 2]",
        b"{not json",
        b"   \n",
        b"PAR1 not really",
        b"\x00\x01\x02",
        body(*speech_trace(1))[:-2],
    ],
)
def test_a_file_of_no_known_kind_is_refused_and_nothing_of_it_taken(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "odd.dat").write_bytes(data)
    with pytest.raises(UsageError, match=r"odd\.dat could not be read: .* Allowed: OTLP/JSON lines, an OTLP protobuf file, Jaeger JSON, or Parquet"):
        ingest_files([str(tmp_path / "odd.dat")], tmp_path / "s")
    assert open_reader(tmp_path / "s").pipelines() == ()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone could not be opened: No such file"):
        ingest_files([str(tmp_path / "gone")], tmp_path / "s")


def test_a_large_protobuf_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = b"".join(request(*speech_trace(n), outcome_span(1_000 + n, target=n)).SerializeToString() for n in range(1, 30))
    (tmp_path / "x.pb").write_bytes(whole)
    real = otlp.split
    monkeypatch.setattr(otlp, "split", lambda data: real(data, chunk_bytes=4_000))
    said: list[int] = []
    assert ingest_files([str(tmp_path / "x.pb")], tmp_path / "s", progress=lambda _, n: said.append(n))["accepted"] == 116
    assert len(said) > 4
