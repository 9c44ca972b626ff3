import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.otlp_samples import T0, assert_same_table, body, keys, make_span, speech_trace

from headwater.ingest import otlp
from headwater.ingest.values import wire_attributes
from headwater.model.errors import StoreLockedError, UsageError
from headwater.model.ports import Window
from headwater.model.spans import SpanBatch, SpanTable, TextColumn
from headwater.store import manifest, segment, span_store
from headwater.store.catalog import Catalog
from headwater.store.index import trace_index
from headwater.store.span_store import SpanStore

ALL = Window()


def batch(*spans, **kwargs) -> SpanBatch:
    return otlp.decode(body(*spans, **kwargs))


def opened(directory: Path) -> SpanStore:
    return SpanStore(directory, writer=True, attributes=wire_attributes)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "segments").iterdir())


def test_a_segment_holds_every_column_and_byte(tmp_path: Path) -> None:
    odd = make_span(7, 1, headwater__quality__x=1e300, headwater__mine="ünï", headwater__confidence=0.0)
    odd.trace_state = "ot=th:8"
    held = batch(*speech_trace(1), odd, make_span(2, 1, length=-1))
    segment.write(held, tmp_path / "s.parquet", tmp_path / "i.parquet")
    back = segment.read(tmp_path / "s.parquet")
    order = np.lexsort((held.spans.span_id, held.spans.trace_id[:, 1], [held.spans.pipeline.at(i) or "svc" for i in range(5)])).astype(np.int64)
    assert_same_table(back.spans, held.spans.take(order))
    assert back.wire.span == tuple(held.wire.span[i] for i in order)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.parquet", "s.parquet"]


def test_rows_are_sorted_by_pipeline_trace_and_start(tmp_path: Path) -> None:
    held = batch(*speech_trace(9, pipeline="b"), *speech_trace(3, pipeline="b", start=T0 - 5), *speech_trace(5, pipeline="a"), make_span(4, 1))
    segment.write(held, tmp_path / "s.parquet", tmp_path / "i.parquet")
    spans = segment.read(tmp_path / "s.parquet").spans
    assert spans.trace_id[:, 1].tolist() == [5, 5, 5, 3, 3, 3, 9, 9, 9, 4]
    assert all(np.diff(spans.start_ns[3:6]) > 0)


def test_the_index_has_one_row_a_trace() -> None:
    held = batch(*speech_trace(2, start=T0 + 3), make_span(1, 9, start=T0 + 9), make_span(1, 8, start=T0 + 1))
    rows = trace_index(held.spans).to_pylist()
    assert next((row["hi"], row["lo"], row["first_start"] - T0, row["last_start"] - T0, row["n_spans"]) for row in rows) == (0, 1, 1, 9, 2)
    assert rows[1]["runs"] == ["run-2"]
    assert [stage["stage"] for stage in rows[1]["stages"]] == ["vad", "asr"]
    assert (rows[0]["pipeline"], rows[1]["pipeline"], rows[0]["service"]) == (None, "speech", "svc")
    assert len(trace_index(SpanTable.empty())) == 0


def test_a_second_writer_is_refused_also_from_another_process(tmp_path: Path) -> None:
    with opened(tmp_path):
        with pytest.raises(StoreLockedError, match=f"pid {os.getpid()}"):
            opened(tmp_path)
        code = (
            "import sys, pathlib\nfrom headwater.store.span_store import SpanStore\nfrom headwater.model.errors import StoreLockedError\n"
            "try:\n    SpanStore(pathlib.Path(sys.argv[1]), writer=True)\nexcept StoreLockedError as e:\n    print(e.text)\n"
        )
        said = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
        assert f"pid {os.getpid()}" in said
    opened(tmp_path).close()


def test_a_reader_never_writes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([batch(*speech_trace(1))])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    reader = SpanStore(tmp_path, writer=False)
    for call in (lambda: reader.append([batch(make_span(1, 1))]), reader.flush):
        with pytest.raises(UsageError, match="opened for reading"):
            call()
    assert len(reader.window("speech", ALL)) == 3
    reader.close()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_store_of_an_unknown_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "headwater.store/9"}))
    with pytest.raises(UsageError, match=r"'headwater\.store/9'; this headwater reads 'headwater\.store/1'"):
        SpanStore(tmp_path, writer=False)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="not a manifest"):
        SpanStore(tmp_path, writer=False)


def test_leftovers_of_a_broken_flush_are_removed_by_the_next_writer_only(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([batch(*speech_trace(1))])
    for name in ("00000099-spans.parquet", "00000099-traces.parquet", "00000098-spans.tmp"):
        (tmp_path / "segments" / name).write_bytes(b"half")
    (tmp_path / "segments" / "notes.txt").write_text("not ours")
    SpanStore(tmp_path, writer=False).close()
    assert len(names(tmp_path)) == 6
    opened(tmp_path).close()
    assert names(tmp_path) == ["00000001-spans.parquet", "00000001-traces.parquet", "notes.txt"]


def test_small_segments_merge_and_their_files_stay_for_one_more_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_store, "_MERGE_AT", 3)
    with opened(tmp_path) as store:
        reader = None
        for number in range(1, 9):
            store.append([batch(*speech_trace(number), *speech_trace(1))])
            store.flush()
            if number == 2:
                reader = SpanStore(tmp_path, writer=False, attributes=wire_attributes)
                assert len(reader.window("speech", ALL)) == 6
            if number == 3:
                assert reader is not None
                assert len(reader.window("speech", ALL)) == 6  # its list is old, the files are still there
        assert len(store.window("speech", ALL)) == 24
        listed = manifest.load(tmp_path)
        assert len(listed.segments) <= 3
        assert {int(name[:8]) for name in names(tmp_path)} == {s.number for s in listed.segments} | set(listed.obsolete)
        assert reader is not None
        assert len(reader.window("speech", ALL)) == 24  # its files are gone: it takes the new list
        assert sum(len(part.spans) for part in store.batches(None, ALL)) == 24
        assert store.figures().duplicates == 24
        reader.close()
    assert len(SpanStore(tmp_path, writer=False).window("speech", ALL)) == 24


def test_large_segments_stay_as_they_are_and_in_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_store, "_MERGE_AT", 2)
    monkeypatch.setattr(span_store, "_SMALL_SPANS", 4)
    with opened(tmp_path) as store:
        for traces in ((1, 2), (3,), (4, 5), (6,)):
            store.append([batch(*(span for trace in traces for span in speech_trace(trace)))])
            store.flush()
        assert [(listed.number, listed.n_spans) for listed in manifest.load(tmp_path).segments] == [(1, 6), (5, 6), (3, 6)]
        assert len(store.window("speech", ALL)) == 18


def test_a_flush_that_fails_keeps_the_spans_readable_and_the_next_one_stores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        store.append([batch(*speech_trace(1))])
        for target, name in ((segment.pq, "write_table"), (manifest, "save"), (manifest, "sync_directory")):

            def fail(*_args, **_kwargs):
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as patch:
                patch.setattr(target, name, fail)
                with pytest.raises(OSError, match="No space"):
                    store.flush()
            assert len(store.window("speech", ALL)) == 3
            assert store.in_memory == 3
        store.flush()
        assert store.in_memory == 0
        assert len(store.window("speech", ALL)) == 3
        assert not [name for name in names(tmp_path) if name.endswith(".tmp")]


def test_figures(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.append([batch(*speech_trace(1), *speech_trace(1))])
        assert (store.figures().in_memory, store.figures().in_segments) == (6, 0)
        store.flush()
        figures = store.figures()
        assert (figures.in_memory, figures.in_segments, figures.duplicates) == (0, 3, 3)
        assert figures.disk_bytes == sum(path.stat().st_size for path in (tmp_path / "segments").iterdir())


def test_sql_can_touch_nothing_but_the_segments(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "secret.csv").write_text("a\n1\n")
    catalog = Catalog(tmp_path / "segments")
    for sql in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ):
        with pytest.raises(Exception, match=r"(?i)permission|disabled|locked"):
            catalog.query(sql)
    catalog.close()


@pytest.mark.parametrize("name", ["it's", '"; DROP TABLE x; --', "a.b:c", "", "日本"])
def test_names_from_outside_are_values_never_sql(tmp_path: Path, name: str) -> None:
    spans = speech_trace(1, pipeline=name or "x", run=name)
    with opened(tmp_path) as store:
        store.append([batch(*spans, make_span(1, 7, **{f"headwater__quality__{name}": 1.0, f"headwater__z{name}": "text"}))])
        store.flush()
        table = store.window(name or "x", ALL)
        assert len(table) == 4
        assert np.nansum(table.number(f"headwater.quality.{name}")) == 1.0
        assert "text" in table.text(f"headwater.z{name}").values
        assert len(store.window(name or "x", Window(where=((f"headwater.quality.{name}", "1"),)))) == 4


def test_text_columns_keep_missing_and_empty_apart(tmp_path: Path) -> None:
    held = batch(make_span(1, 1, headwater__route=""), make_span(1, 2))
    segment.write(held, tmp_path / "s", tmp_path / "i")
    column: TextColumn = segment.read(tmp_path / "s").spans.text("headwater.route")
    assert [column.at(0), column.at(1)] == ["", None]


def test_keys_are_exact_beyond_64_bits(tmp_path: Path) -> None:
    wide = [make_span((high << 64) | low, 1) for high, low in ((1, 2), (2, 1), (3, 3), (0, 3))]
    for span in wide:
        span.span_id = b"same-id!"
    with opened(tmp_path) as store:
        store.append([batch(*wide[:2])])
        store.flush()
        store.append([batch(*wide)])
        store.flush()
        assert len(keys(store.window("svc", ALL))) == 4
        assert len(store.trace((2, 1))) == 1
        assert store.figures().duplicates == 2
