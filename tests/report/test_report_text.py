"""Terminal tables: what must be read off them, at the width asked for, and never an escape from a trace."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.dashboard import factories as make

from headwater.model.traces import Defects
from headwater.report import json as documents
from headwater.report import text
from headwater.report.clean import clean

ERRORS = documents.errors_document(make.errors())
LATENCY = documents.latency_document(make.latency())
TRACE = documents.trace_document(make.trace_answer())
PAGES = {
    "latency": lambda **style: text.latency(LATENCY, **style),
    "latency level": lambda **style: text.latency(documents.latency_document(make.latency(compared=False)), **style),
    "errors": lambda **style: text.errors(ERRORS, **style),
    "no outcomes": lambda **style: text.errors(documents.errors_document(make.no_outcomes()), **style),
    "comparison": lambda **style: text.comparison(ERRORS, LATENCY, **style),
    "trace": lambda **style: text.trace(TRACE, **style),
    "pipelines": lambda **style: text.pipelines(documents.pipelines_document([make.summary()]), **style),
    "traces": lambda **style: text.traces(documents.traces_document("speech", make.FixedAnswers().recent(make.query(), 9)), **style),
    "graph": lambda **style: text.graph(documents.graph_document(make.graph()), **style),
    "doctor": lambda **style: text.doctor(documents.doctor_document(make.health().checks), **style),
}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_plain_pages_fit_their_width_and_hold_no_escape(name: str, width: int) -> None:
    page = PAGES[name](width=width, colour=False)
    assert "\x1b" not in page
    assert max(len(line) for line in page.splitlines()) <= width
    assert page.endswith("\n")
    assert not page.endswith("\n\n")
    assert not any(line.endswith(" ") for line in page.splitlines())


@pytest.mark.parametrize("name", PAGES)
def test_colour_adds_escapes_and_changes_no_word(name: str) -> None:
    coloured = PAGES[name](width=140, colour=True)
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    plain = PAGES[name](width=140, colour=False)
    assert [line.rstrip() for line in bare.rstrip().splitlines()] == plain.rstrip().splitlines()


def test_colour_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = PAGES["errors"](width=100, colour=True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setenv("TERM", "dumb")
    assert PAGES["errors"](width=100, colour=True) == before


def rows_of(page: str, first: str) -> list[list[str]]:
    return [re.split(r"\s{2,}", line.strip()) for line in page.splitlines() if line.strip().startswith(first)]


def test_errors_page_says_share_interval_and_verdict_of_the_worst_stage_first() -> None:
    page = PAGES["errors"](width=120, colour=False)
    assert ERRORS["sentence"] in page.replace("\n", " ")
    assert rows_of(page, "asr")[0][:3] == ["asr", "61.0 %", "[54.0, 69.0]"]
    assert page.index("\nasr") < page.index("\nvad") < page.index("\ncapture")
    assert rows_of(page, "unexplained")[0] == ["unexplained", "14.0 %"]
    assert "nlu has neither own evidence" in page
    assert "◀ origin" in page


def test_latency_page_marks_the_origin_once_a_statistic() -> None:
    page = PAGES["latency"](width=140, colour=False)
    marked = [line for line in page.splitlines() if "◀ origin" in line]
    assert len(marked) == 3
    assert all(line.lstrip().startswith("self:asr") for line in marked)
    assert "12 rootless" in page


def test_an_improvement_is_not_called_an_origin() -> None:
    report = make.latency()
    assert report.comparison is not None
    parts = tuple(
        replace(
            row,
            own_ns=-(row.own_ns or 0),
            spent_delta_ns=-row.spent_delta_ns,
            low_ns=-row.high_ns,
            high_ns=-row.low_ns,
            own_low_ns=None,
            own_high_ns=None,
        )
        for row in report.comparison[0].components
    )
    change = replace(report.comparison[0], components=parts, delta_ns=-report.comparison[0].delta_ns)
    page = text.latency(documents.latency_document(replace(report, comparison=(change,))), width=140)
    assert "◀ origin" not in page
    assert "improved" in page


def test_comparison_without_a_baseline_tells_the_option() -> None:
    page = text.comparison(
        documents.errors_document(make.errors(compared=False)), documents.latency_document(make.latency(compared=False)), width=100
    )
    assert "--baseline previous" in page


def test_waterfall_bars_lie_where_the_spans_are() -> None:
    page = text.trace(TRACE, width=100)
    lines = {line.split()[0]: line for line in page.splitlines() if "█" in line}
    assert set(lines) == {"handle", "capture", "vad", "asr", "nlu"}
    spans = {name: (line.index("█"), line.rindex("█")) for name, line in lines.items()}
    assert spans["handle"][0] <= spans["capture"][0] < spans["vad"][0] < spans["asr"][0] < spans["nlu"][0]
    assert spans["asr"][1] - spans["asr"][0] > 4 * (spans["capture"][1] - spans["capture"][0])
    assert rows_of(page, "asr")[0][-1] == "70 %"
    assert "introduced by asr" in page


def test_a_partial_or_mended_trace_says_so_first() -> None:
    defects = replace(Defects.none(1), orphans=np.array([2], np.int32))
    page = text.trace(documents.trace_document(make.trace_answer(partial=True, defects=defects)), width=100)
    head = page.splitlines()[1:3]
    assert "may still grow" in head[0]
    assert "2 orphans" in head[1]


def test_a_trace_without_blame_says_why() -> None:
    page = text.trace(documents.trace_document(make.trace_answer(blamed=False)), width=100)
    assert "No blame: this run has no outcome yet" in page


def test_empty_store_and_errors_tell_the_next_command() -> None:
    assert "headwater serve" in text.pipelines(documents.pipelines_document([]), width=80)
    page = text.error({"schema": "headwater.error/1", "code": "usage", "text": "no such thing", "next": "headwater pipelines"}, width=80)
    assert page == "headwater: no such thing Next: headwater pipelines\n"


HOSTILE = [
    "\x1b]0;owned\x07asr",
    "\x1b[2Jasr",
    "a\x9b31msr",
    "asr\r\n\x08",
    "\u202easr",
    "\x1b]8;;http://evil\x1b\\asr\x1b]8;;\x1b\\",
    "[red]asr[/red]",
    ":bomb:",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_from_a_trace_reaches_the_terminal_as_an_escape(name: str) -> None:
    stages = ("capture", "vad", name, "nlu")
    pages = [
        text.trace(documents.trace_document(make.trace_answer(stages)), width=120),
        text.graph(documents.graph_document(make.graph(stages)), width=120),
        text.pipelines(documents.pipelines_document([make.summary(name, stages)]), width=120),
    ]
    for page in pages:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page)
    if name == "[red]asr[/red]":
        assert name in pages[1], "markup was read as markup"


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]never ended", ""),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x1b(Bx", "x"),
        ("a\tb\nc", "a b c"),
        ("\x9b1mx", "x"),
        ("\ud800x", " x"),
        ("e\u0301 日本 ✓", "e\u0301 日本 ✓"),
    ],
)
def test_clean(found: str, shown: str) -> None:
    assert clean(found) == shown


def test_clean_cuts_long_text() -> None:
    assert clean("x" * 500, limit=10) == "xxxxxxxxx…"
    assert len(clean("y" * 10**6)) == 400
