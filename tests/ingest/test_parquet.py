import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.otlp_samples import assert_same_table, body, make_span, speech_trace

from headwater.ingest import otlp, parquet
from headwater.model.errors import UndecodableError
from headwater.model.spans import SpanTable


def test_the_export_is_readable_by_others() -> None:
    table = pq.read_table(io.BytesIO(parquet.encode([otlp.decode(body(*speech_trace(0xAB)))])))
    assert table["trace_id"].to_pylist() == [f"{0xAB:032x}"] * 3
    assert table["parent_id"].to_pylist()[0] is None
    assert table["stage"].to_pylist() == [None, "vad", "asr"]
    assert table["headwater.own.dropped_p"].to_pylist() == [None, 0.25, None]
    assert table["headwater.model.version"].to_pylist() == [None, None, "1.2"]


def test_batches_with_different_columns_are_united() -> None:
    parts = [otlp.decode(body(*speech_trace(1))), otlp.decode(body(make_span(2, 1, headwater__quality__x=1.0), service="b"))]
    assert_same_table(parquet.decode(parquet.encode(parts)).spans, SpanTable.concatenate([part.spans for part in parts]))


def test_large_files_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_ROWS", 4)
    batch = otlp.decode(body(*speech_trace(1), *speech_trace(2), *speech_trace(3)))
    parts = list(parquet.decode_parts(io.BytesIO(parquet.encode([batch]))))
    assert [len(part.spans) for part in parts] == [4, 4, 1]
    assert_same_table(SpanTable.concatenate([part.spans for part in parts]), batch.spans)


def test_bad_rows_are_rejected_alone() -> None:
    batch = otlp.decode(body(*speech_trace(1)))
    table = pq.read_table(io.BytesIO(parquet.encode([batch])))
    spans = [batch.wire.span[0], None, b"\xff\xff"]
    table = table.set_column(table.column_names.index("otlp_span"), "otlp_span", pa.array(spans, pa.binary()))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    again = parquet.decode(sink.getvalue())
    assert len(again.spans) == 1
    assert sum(again.rejected.values()) == 2


def test_other_files_are_refused() -> None:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    for data in (sink.getvalue(), b"PAR1 rubbish", b""):
        with pytest.raises(UndecodableError, match="nothing of it was taken"):
            parquet.decode(data)
