import io
from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.otlp_samples import T0, assert_same_table

from headwater.ingest import otlp
from headwater.ingest.outcomes import outcome_batch, read_rows
from headwater.ingest.values import wire_attributes
from headwater.model.answers import OutcomeRow
from headwater.model.errors import UsageError

TRACE = "00000000000000aa00000000000000bb"


def test_an_outcome_is_a_span_that_links_to_its_trace() -> None:
    row = OutcomeRow(trace_id=TRACE, run_id=None, loss=0.25, name="wer", label="wrong", judged_at_ns=5, source="human", audit=True)
    batch = outcome_batch([row], received_at_ns=T0)
    table = batch.spans
    assert table.name.at(0) == "headwater.outcome"
    assert (table.start_ns.tolist(), table.end_ns.tolist()) == ([5], [5])
    assert table.number("headwater.outcome.loss")[0] == 0.25
    assert table.number("headwater.outcome.audit")[0] == 1.0
    assert [table.text(f"headwater.outcome.{key}").at(0) for key in ("name", "label", "source")] == ["wer", "wrong", "human"]
    assert table.link_trace_id.tolist() == [[0xAA, 0xBB]]
    assert table.link_span_id.tolist() == [0xBB]
    assert table.link_kind.tolist() == [3]
    copies = wire_attributes(batch.wire.span[0], b"")
    assert (copies["annotations.0.annotation.name"], copies["annotations.0.annotation.score"], copies["annotations.0.annotation.label"]) == (
        "wer",
        "0.75",
        "wrong",
    )
    assert_same_table(otlp.decode(otlp.encode(batch.wire)).spans, table)


def test_a_link_is_never_to_span_zero() -> None:
    batch = outcome_batch([OutcomeRow(trace_id="7" + "0" * 16, run_id=None, loss=1.0)], received_at_ns=T0)
    assert batch.spans.link_trace_id.tolist() == [[7, 0]]
    assert batch.spans.link_span_id.tolist() == [7]


def test_a_loss_outside_0_and_1_has_no_openinference_score() -> None:
    held = wire_attributes(outcome_batch([OutcomeRow(trace_id=None, run_id="r", loss=3.0)], received_at_ns=T0).wire.span[0], b"")
    assert "annotations.0.annotation.score" not in held
    assert held["headwater.run.id"] == "r"


def test_ids_depend_on_the_statement_alone() -> None:
    def ids(received: int = T0, **changed) -> tuple:
        row = OutcomeRow(**{"trace_id": None, "run_id": "r", "loss": 1.0, **changed})
        table = outcome_batch([row], received_at_ns=received).spans
        return (*table.trace_id[0].tolist(), int(table.span_id[0]))

    assert ids() == ids(received=T0 + 1)
    others = [ids(run_id="s"), ids(loss=0.5), ids(name="wer"), ids(label="x"), ids(judged_at_ns=1), ids(source="x"), ids(audit=True)]
    others.append(ids(trace_id=TRACE, run_id=None))
    assert len({ids(), *others}) == 9


@pytest.mark.parametrize("bad", ["xyz", "", "0" * 32, "a" * 33])
def test_a_trace_id_that_is_none_is_refused(bad) -> None:
    with pytest.raises(UsageError, match="32 hex digits"):
        outcome_batch([OutcomeRow(trace_id=bad, run_id=None, loss=1.0)], received_at_ns=T0)


def test_csv_rows() -> None:
    text = "run_id,trace_id,loss,label,judged_at,source,audit,more\n r1 ,,1,wrong,2026-01-02T03:04:05Z,qa,true,x\n,AA,0.5,,,,,\nr3,,0,,17,,no,\n"
    rows = read_rows("x.csv", b"\xef\xbb\xbf" + text.encode(), outcome="wer")
    at = int(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()) * 10**9
    assert rows == [
        OutcomeRow(trace_id=None, run_id="r1", loss=1.0, name="wer", label="wrong", judged_at_ns=at, source="qa", audit=True),
        OutcomeRow(trace_id="AA", run_id=None, loss=0.5, name="wer"),
        OutcomeRow(trace_id=None, run_id="r3", loss=0.0, name="wer", judged_at_ns=17),
    ]


def test_parquet_rows() -> None:
    moment = datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1)))
    table = pa.table({"run_id": [17, 18], "loss": [1, 0], "judged_at": [moment, None], "audit": [True, False]})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    first, second = read_rows("x", sink.getvalue())
    assert (first.run_id, first.loss, first.audit, first.judged_at_ns) == ("17", 1.0, True, int(moment.timestamp()) * 10**9)
    assert (second.run_id, second.audit, second.judged_at_ns) == ("18", False, None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a,b\n1,2\n", "x.csv has the columns a, b; needed: loss and trace_id or run_id"),
        (b"", "x.csv has the columns none"),
        (b"run_id,loss\nr,\n", "row 1: the loss is '', not a number"),
        (b"run_id,loss\nr,1\nr,nan\n", "row 2: the loss is 'nan'"),
        (b"run_id,loss\nr,high\n", "row 1: could not convert"),
        (b"run_id,loss\n,1\n", "row 1: it names neither"),
        (b"trace_id,loss\nxyz,1\n", "row 1: .*; nothing was imported"),
        (b"run_id,loss,judged_at\nr,1,soon\n", "row 1: .*soon"),
        (b"\xff\xfe\x00", "neither CSV nor Parquet"),
        (b"PAR1 or not", "not a readable Parquet"),
    ],
)
def test_a_bad_file_is_refused_with_the_row(data, said) -> None:
    with pytest.raises(UsageError, match=said):
        read_rows("x.csv", data)
