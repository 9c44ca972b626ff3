"""One trace in the terminal: a waterfall in characters with the blame beside it."""

from typing import Final

from rich.text import Text

from headwater.conventions.attributes import CONFIDENCE
from headwater.report.clean import clean
from headwater.report.numbers import Document
from headwater.report.tables import Page, cell, grid, heading, warning_lines
from headwater.report.tree import Row, tree_rows
from headwater.report.units import UNKNOWN, duration, number, percent

_ROWS_SHOWN: Final = 200
_BAR_SHARE: Final = 0.34


def trace(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """Header, banner for a partial or defective trace, waterfall (█ on the critical path, ░ own time off it, ─ waiting for others), blame."""
    page = Page(width, colour=colour)
    page.add(
        heading(
            f"Trace {document['trace_id']}",
            f"{clean(document['pipeline'] or UNKNOWN)} · {duration(document['duration_ns'])}"
            + (f" · {duration(document['after_response_ns'])} after the response" if document["after_response_ns"] else ""),
        )
    )
    page.add(*warning_lines([{"code": "banner", "text": text} for text in banners(document)]))
    rows = tree_rows(document)
    table = grid(None, ("span", "waterfall", "self", "path", "conf", "blame"))
    table.columns[1].justify = "left"
    bar = max(12, int(width * _BAR_SHARE))
    for row in rows[:_ROWS_SHOWN]:
        span = row.span
        name = Text(
            "  " * min(row.depth, 12) + clean(span["stage"] or span["name"] or "unnamed", limit=40), "red" if span["status"] == "error" else ""
        )
        confidence = span["attributes"].get(CONFIDENCE.name)
        share = percent(row.share, 0) if row.share is not None else ""
        table.add_row(
            name,
            _bar(row, document, bar),
            duration(span["self_ns"]),
            duration(span["path_ns"]),
            "" if confidence is None else number(confidence),
            share,
        )
    page.add(table)
    if len(rows) > _ROWS_SHOWN:
        page.add(Text(f"… {len(rows) - _ROWS_SHOWN:,} more spans; the whole trace: --json", "dim"))
    _blame(page, document)
    if document["jaeger_url"]:
        page.add(Text(f"Jaeger: {clean(document['jaeger_url'])}", "dim"))
    return page.text()


def banners(document: Document) -> list[str]:
    """Sentences a reader must see before the figures: the trace may still grow, or its data was mended."""
    said = []
    if document["partial"]:
        said.append("This trace may still grow: spans were arriving shortly before it was read.")
    wrong = {name: number for name, number in document["defects"].items() if number}
    if wrong:
        said.append("Mended in this trace: " + ", ".join(f"{number} {name}" for name, number in wrong.items()) + ".")
    return said


def _bar(row: Row, document: Document, cells: int) -> Text:
    start, length = document["start_ns"], max(1, document["duration_ns"])
    first = _place(row.span["start_ns"] - start, length, cells)
    last = max(first + 1, _place(row.span["end_ns"] - start, length, cells, up=True))
    line = [" "] * first + ["─"] * (min(last, cells) - first)
    for low, high in row.path:
        left = _place(low - start, length, cells)
        for spot in range(left, min(len(line), max(left + 1, _place(high - start, length, cells, up=True)))):
            line[spot] = "█"
    if not row.path:
        line = [" " if character == " " else "░" for character in line]
    return Text("".join(line), "red" if row.span["status"] == "error" else "blue", no_wrap=True)


def _place(offset: int, length: int, cells: int, *, up: bool = False) -> int:
    exact = offset * cells
    return min(cells - 1 + up, max(0, -(-exact // length) if up else exact // length))


def _blame(page: Page, document: Document) -> None:
    blame = document["blame"]
    if blame is None:
        page.add(Text(f"No blame: {clean(document['blame_missing'] or 'this run has no outcome yet', limit=400)}", "dim"))
        return
    first = blame["introduced_by"]
    by = f"introduced by {clean(first)}" if first else "no stage shows a fault of its own"
    missed = f", missed by {', '.join(clean(stage) for stage in blame['missed_by'])}" if blame["missed_by"] else ""
    page.add(Text(""))
    page.add(Text(f"Loss {number(blame['loss'])} ({clean(blame['outcome'])}) against {number(blame['baseline'])} expected: {by}{missed}.", "bold"))
    table = grid(None, ("stage", "own", "inherited", "share", ""))
    for row in blame["stages"]:
        mark = Text("◀ introduced it", "bold red") if row["stage"] == first else ""
        table.add_row(cell(row["stage"]), number(row["own"]), number(row["inherited"]), percent(row["share"], 0), mark)
    table.add_row(Text("input", "italic"), number(blame["input"]), "", "", "")
    table.add_row(Text("residual", "italic"), number(blame["residual"]), "", "", "")
    table.add_row(Text("unattributed", "italic"), "", "", percent(blame["unattributed"], 0), blame["verdict"])
    page.add(table)
