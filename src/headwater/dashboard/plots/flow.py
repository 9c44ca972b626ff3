"""Data flow: a strip a stage over one time axis; filled = calls, dark at the foot = failed, line = what the stage before it passed on."""

from typing import Final

from markupsafe import Markup

from headwater.dashboard import svg
from headwater.dashboard.links import Links
from headwater.report.numbers import Document
from headwater.report.units import count, instant, percent

WIDTH: Final = 640.0
_LEFT: Final = 104.0
_RIGHT: Final = WIDTH - 132.0
_ROW: Final = 56.0
_STRIP: Final = 40.0
_TOP: Final = 8.0
_ROWS: Final = 14


def data_flow(document: Document, links: Links) -> Markup | None:
    """The plot of `plots.data_flow` of an overview document; None where no time bin holds a call."""
    plot = document["plots"]["data_flow"]
    edges = plot["edges_at_ns"]
    rows = [row for row in plot["stages"] if any(row["calls"])]
    hidden, rows = len(rows) - _ROWS, rows[:_ROWS]
    if not rows or len(edges) < 2:
        return None
    before = {edge["to"]: edge["from"] for edge in document["graph"]["edges"]}
    calls = {row["stage"]: row["calls"] for row in rows}
    most = max(max(row["calls"]) for row in rows)
    floor = _TOP + _ROW * len(rows)
    failed = document["exemplars"]["failed"]
    href = links.trace(failed[0]) if failed else None
    children = [_times(edges, floor)]
    for place, row in enumerate(rows):
        above = calls.get(before.get(row["stage"], ""))
        strip = _strip(row, above, most=most, base=_TOP + _ROW * (place + 1) - 8)
        children.append(svg.link(href, strip, label=f"{row['stage']}: open a failed trace"))
    if hidden > 0:
        children.append(svg.text(WIDTH, floor + 16, f"{hidden} more in the table", class_="tick", text_anchor="end"))
    said = " ".join(f"{row['stage']}: {count(sum(row['calls']))} calls, {count(sum(row['errors']))} failed." for row in rows)
    words = ("Data flow over time", f"Calls per stage from {instant(edges[0])} to {instant(edges[-1])}. {said}")
    return svg.figure("data-flow", size=(WIDTH, floor + 24), words=words, children=children)


def _times(edges: list[int], floor: float) -> Markup:
    marks = []
    long = edges[-1] - edges[0] > 36 * 3600 * 10**9
    for step in range(5):
        x = _LEFT + step * (_RIGHT - _LEFT) / 4
        at = instant(edges[0] + step * (edges[-1] - edges[0]) // 4)
        marks.append(svg.line(x, _TOP, x, floor, class_="gridline"))
        marks.append(svg.text(x, floor + 16, at[5:10] if long else at[11:16], class_="tick", text_anchor="middle"))
    marks.append(svg.text(0, floor + 16, f"{instant(edges[0])[:10]} UTC", class_="tick"))
    return svg.el("g", *marks)


def _strip(row: Document, above: list[int] | None, *, most: int, base: float) -> Markup:
    total, failed = sum(row["calls"]), sum(row["errors"])
    parts = [
        svg.text(_LEFT - 12, base - 14, svg.fit(row["stage"], _LEFT - 14, size=13), class_="label", text_anchor="end"),
        svg.text(_LEFT - 12, base + 1, f"{count(total)} calls", class_="tick", text_anchor="end"),
        svg.line(_LEFT, base, _RIGHT, base, class_="axis"),
        svg.el("path", d=_area(row["calls"], most, base) + "Z", class_="series-soft"),
        svg.el("path", d=_area(row["errors"], most, base) + "Z", class_="error-fill") if failed else None,
        svg.el("path", d=_outline(above, most, base), class_="baseline-line") if above is not None else None,
        svg.text(_RIGHT + 12, base - 18, f"{percent(failed / total)} failed" if failed else "none failed", class_="figure"),
    ]
    title = f"{row['stage']}: {count(total)} calls, {count(failed)} failed"
    if above is not None:
        lost = sum(above) - total
        said = f"{count(lost)} of its input lost" if lost > 0 else f"{count(-lost)} more than came in" if lost else "all that came in"
        parts.append(svg.text(_RIGHT + 12, base - 4, said, class_="was"))
        title += f", {said}"
    return svg.el("g", svg.el("title", title), svg.rect(0, base - _ROW + 8, WIDTH, _ROW, class_="hit"), *parts)


def _outline(numbers: list[int], most: int, base: float) -> str:
    """A step a time bin, open at both ends."""
    step = (_RIGHT - _LEFT) / len(numbers)
    heights = [svg.number(base - _STRIP * value / most) for value in numbers]
    steps = "".join(f"V{y}H{svg.number(_LEFT + (place + 1) * step)}" for place, y in enumerate(heights))
    return f"M{svg.number(_LEFT)} {heights[0]}{steps}"


def _area(numbers: list[int], most: int, base: float) -> str:
    """The same, closed along the base."""
    return f"{_outline(numbers, most, base)}V{svg.number(base)}H{svg.number(_LEFT)}"
