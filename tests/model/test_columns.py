"""The column types keep their promises: invariants refuse what breaks them, and rows keep their links, parents and texts when taken."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.model.attribution import Attribution, require_closes
from headwater.model.blame import ErrorChange, StageChange
from headwater.model.errors import HeadwaterError, InvariantError, TooLittleDataError, error_of
from headwater.model.latency import Partition
from headwater.model.pipeline import PipelineGraph
from headwater.model.spans import SpanTable, TextColumn, WireRows
from headwater.model.traces import Defects, TraceTable, format_trace_id, parse_trace_id


def table(n, links=()):
    return SpanTable.build(
        trace_id=np.column_stack([np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64) // 3 + np.uint64(1)]),
        span_id=np.arange(1, n + 1, dtype=np.uint64),
        start_ns=np.arange(n),
        end_ns=np.arange(n) + 5,
        stage=TextColumn.of([None if i % 4 == 0 else f"s{i % 4}" for i in range(n)]),
        numbers={"headwater.own.x": np.arange(n, dtype=float)},
        link_row=np.array([row for row, _ in links], np.int64),
        link_trace_id=np.zeros((len(links), 2), np.uint64),
        link_span_id=np.array([target for _, target in links], np.uint64),
        link_kind=np.ones(len(links), np.int8),
    )


def traces(n, parent):
    spans = table(n)
    m = -(-n // 3)
    return TraceTable(
        spans=spans,
        offset=np.array([*range(0, n, 3), n]),
        trace_id=spans.trace_id[::3],
        parent=np.array(parent, np.int64),
        pipeline=TextColumn.of(["p"] * m),
        run_id=TextColumn.missing(m),
        outcome="loss",
        outcome_loss=np.full(m, np.nan),
        outcome_at_ns=np.zeros(m, np.int64),
        outcome_audit=np.zeros(m, np.bool_),
        partial=np.zeros(m, np.bool_),
        defects=Defects.none(m),
    )


@given(st.data())
def test_taken_rows_keep_their_links(data):
    links = data.draw(st.lists(st.tuples(st.integers(0, 8), st.integers(100, 120)), max_size=12))
    rows = np.array(data.draw(st.permutations(range(9)))[: data.draw(st.integers(0, 9))], np.int64)
    taken = table(9, links).take(rows)
    found = sorted((int(taken.span_id[row]), int(target)) for row, target in zip(taken.link_row, taken.link_span_id, strict=True))
    assert found == sorted((row + 1, target) for row, target in links if row in rows)
    assert np.all(np.diff(taken.link_row) >= 0)
    assert [taken.stage.at(i) for i in range(len(taken))] == [None if row % 4 == 0 else f"s{row % 4}" for row in rows]


def test_taken_traces_keep_their_parents():
    whole = traces(9, [-1, 0, 1, -1, 3, 3, 7, -1, 7])
    part = whole.take(np.array([0, 2]))
    assert part.parent.tolist() == [-1, 0, 1, 4, -1, 4]
    assert part.root_row().tolist() == [0, 4]
    assert len(whole.take(np.empty(0, np.int64))) == 0


@pytest.mark.parametrize(
    "parent",
    [
        [1, 0, -1, -1, 3, 3, -1, 6, 6],  # a loop of two
        [0, -1, -1, -1, 3, 3, -1, 6, 6],  # its own parent
        [-1, 3, -1, -1, 3, 3, -1, 6, 6],  # a parent in another trace
        [-1, 9, -1, -1, 3, 3, -1, 6, 6],  # a parent outside
    ],
)
def test_bad_parents_are_refused(parent):
    with pytest.raises(InvariantError):
        traces(9, parent)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("end_ns", np.array([0, 0, 9])),  # ends before it starts
        ("confidence", np.array([0.5, 1.5, np.nan])),
        ("kind", np.zeros(2, np.int8)),
        ("link_row", np.array([3])),
        ("numbers", {"headwater.own.x": np.zeros(4)}),
    ],
)
def test_a_table_that_breaks_its_contract_is_refused(column, value):
    given_columns = {"start_ns": [0, 1, 2], "end_ns": [5, 5, 5], column: value}
    if column == "link_row":
        given_columns |= {"link_trace_id": np.zeros((1, 2), np.uint64), "link_span_id": np.ones(1, np.uint64), "link_kind": np.zeros(1, np.int8)}
    with pytest.raises(InvariantError):
        SpanTable.build(trace_id=np.ones((3, 2), np.uint64), span_id=np.arange(1, 4, dtype=np.uint64), **given_columns)


def test_columns_are_locked():
    with pytest.raises(ValueError, match="read-only"):
        table(3).start_ns[0] = 7
    with pytest.raises(TypeError):
        table(3).numbers["x"] = np.zeros(3)


def test_concatenation_unites_dictionaries_and_fills_what_is_missing():
    first, second = table(3, [(2, 7)]), table(4, [(0, 8), (3, 9)])
    both = SpanTable.concatenate([first, SpanTable.empty(), second])
    assert both.link_row.tolist() == [2, 3, 6]
    assert [both.stage.at(i) for i in range(7)] == [None, "s1", "s2", None, "s1", "s2", "s3"]
    assert both.number("headwater.own.x").tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert np.isnan(both.number("headwater.own.y")).all()
    assert both.text("headwater.route").at(6) is None


@given(st.lists(st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=5), max_size=4))
def test_text_columns_give_back_what_went_in(parts):
    whole = TextColumn.concatenate([TextColumn.of(part) for part in parts])
    assert [whole.at(i) for i in range(len(whole))] == [text for part in parts for text in part]


def test_wire_rows_unite_their_dictionaries():
    def rows(names):
        codes = np.arange(len(names), dtype=np.int32)
        return WireRows(span=tuple(names), resource_codes=codes, resource_values=tuple(names), scope_codes=codes, scope_values=tuple(names))

    both = WireRows.concatenate([rows([b"a", b"b"]), rows([b"b", b"c"])])
    assert both.resource_values == (b"a", b"b", b"c")
    assert [both.resource_values[code] for code in both.take(np.array([3, 0])).resource_codes] == [b"c", b"a"]


def test_sums_must_close():
    require_closes(np.array([0.1, 0.2]), 0.7, 1.0)
    with pytest.raises(InvariantError, match="miss the total"):
        require_closes(np.array([0.1, 0.2]), 0.7, 1.0 + 1e-6)
    bounds = {"low": np.array([0.0]), "high": np.array([0.4])}
    plain = {"unit": "loss", "method": "m", "level": 0.95, "n_traces": 1, "verdict": "identified", "unexplained": 0.5, "total": 1.0}
    with pytest.raises(InvariantError, match="outside its own interval"):
        Attribution(components=("a",), share=np.array([0.5]), **bounds, **plain)


def test_a_change_whose_parts_miss_it_is_refused():
    stage = StageChange(stage="a", own_delta=0.2, low=0.1, high=0.3, q_value=0.01, flagged=True, inherited_delta=0.0)
    plain = {"baseline_loss": 0.1, "current_loss": 0.4, "delta": 0.3, "input_delta": 0.0, "stages": (stage,)}
    assert ErrorChange(unexplained_delta=0.1, **plain).delta == 0.3
    with pytest.raises(InvariantError, match="miss it"):
        ErrorChange(unexplained_delta=0.0, **plain)


def test_a_partition_whose_segments_miss_the_horizon_is_refused():
    plain = {"components": ("self:a",), "trace": np.zeros(1, np.int64), "component": np.zeros(1, np.int32), "row": np.zeros(1, np.int64)}
    plain |= {"flags": np.zeros(1, np.uint8), "after_response_ns": np.zeros(1, np.int64), "ambiguous_share": 0.0}
    plain |= {"horizon_start_ns": np.array([0]), "horizon_end_ns": np.array([10]), "start_ns": np.array([0])}
    whole = Partition(end_ns=np.array([10]), self_ns=np.array([10]), path_ns=np.array([10]), **plain)
    assert whole.matrix().tolist() == [[10]]
    with pytest.raises(InvariantError, match="do not sum"):
        Partition(end_ns=np.array([9]), self_ns=np.array([10]), path_ns=np.array([9]), **plain)
    with pytest.raises(InvariantError, match="longer on the path"):
        Partition(end_ns=np.array([10]), self_ns=np.array([9]), path_ns=np.array([10]), **plain)


def test_a_graph_says_whether_it_is_acyclic():
    def graph(edges):
        return PipelineGraph(
            pipeline="p",
            stages=("a", "b", "c"),
            edge=np.array(edges, np.int32).reshape(-1, 2),
            calls=np.ones(len(edges), np.int64),
            stage_calls=np.ones(3, np.int64),
            declared=False,
        )

    assert graph([(2, 0), (0, 1)]).order() == (2, 0, 1)
    assert graph([(0, 1), (1, 0)]).acyclic is False
    with pytest.raises(InvariantError):
        graph([(0, 3)])


def test_ids_round_trip():
    assert parse_trace_id(format_trace_id(2**63 + 5, 7)) == (2**63 + 5, 7)
    for text in ("", "xyz", "0" * 32, "1" * 33):
        with pytest.raises(ValueError):
            parse_trace_id(text)


def test_an_error_read_from_afar_is_the_same_error():
    error = TooLittleDataError("few")
    found = error_of(error.code, error.text, "next")
    assert (type(found), found.exit_code, found.next) == (TooLittleDataError, 3, "next")
    assert type(error_of("made up", "x", None)) is HeadwaterError
