"""Component latency: a histogram a stage over one logarithmic axis, p50 and p95 as ticks, the baseline as an outline."""

from typing import Final

from markupsafe import Markup

from headwater.dashboard import svg
from headwater.dashboard.links import Links
from headwater.dashboard.plots.scale import LogScale
from headwater.report.numbers import Document
from headwater.report.units import count, digits, duration, scale_of

WIDTH: Final = 640.0
_LEFT: Final = 104.0
_RIGHT: Final = WIDTH - 132.0
_ROW: Final = 66.0
_BAR: Final = 38.0
_TOP: Final = 4.0
_ROWS: Final = 14


def component_latency(document: Document, links: Links) -> Markup | None:
    """The plot of `plots.component_latency` of an overview document; None where there is nothing to draw."""
    plot = document["plots"]["component_latency"]
    rows = [row for row in plot["stages"] if row["current"]["n"]]
    hidden, rows = len(rows) - _ROWS, rows[:_ROWS]
    edges = plot["edges_ns"]
    if not rows or len(edges) < 2:
        return None
    axis = LogScale(low=edges[0], high=edges[-1], left=_LEFT, right=_RIGHT)
    floor = _TOP + _ROW * len(rows)
    children = [_grid(axis, floor)]
    slowest = document["exemplars"]["slowest"]
    href = links.trace(slowest[0]) if slowest else None
    for place, row in enumerate(rows):
        children.append(svg.link(href, _row(row, edges, axis, base=_TOP + _ROW * (place + 1) - 8), label=f"{row['stage']}: open the slowest trace"))
    if hidden > 0:
        children.append(svg.text(WIDTH, floor + 16, f"{hidden} more in the table", class_="tick", text_anchor="end"))
    said = "; ".join(f"{row['stage']}: p50 {duration(row['current']['p50_ns'])}, p95 {duration(row['current']['p95_ns'])}" for row in rows)
    words = ("Component latency", f"Histogram of the duration of every stage on a logarithmic axis. {said}.")
    return svg.figure("component-latency", size=(WIDTH, floor + 24), words=words, children=children)


def _grid(axis: LogScale, floor: float) -> Markup:
    marks = []
    for x, words in axis.ticks():
        marks.append(svg.line(x, _TOP, x, floor, class_="gridline"))
        marks.append(svg.text(x, floor + 16, words, class_="tick", text_anchor="middle"))
    return svg.el("g", *marks)


def _row(row: Document, edges: list[float], axis: LogScale, *, base: float) -> Markup:
    current, baseline = row["current"], row["baseline"]
    shares = [number / current["n"] for number in current["counts"]]
    before = [number / baseline["n"] for number in baseline["counts"]] if baseline and baseline["n"] else None
    tallest = max(*shares, *(before or [0.0]))
    parts = [
        svg.text(_LEFT - 12, base - 14, svg.fit(row["stage"], _LEFT - 14, size=13), class_="label", text_anchor="end"),
        svg.text(_LEFT - 12, base + 1, f"{count(current['n'])} calls", class_="tick", text_anchor="end"),
        svg.line(_LEFT, base, _RIGHT, base, class_="axis"),
        svg.el("path", d=_steps(shares, edges, axis, base=base, tallest=tallest) + "Z", class_="series-fill"),
    ]
    if before is not None:
        parts.append(svg.el("path", d=_steps(before, edges, axis, base=base, tallest=tallest), class_="baseline-line"))
    for name in ("p50_ns", "p95_ns"):
        x = axis.at(current[name])
        parts.append(svg.line(x, base - _BAR, x, base + 4, class_="quantile"))
        parts.append(svg.text(x, base - _BAR - 3, name[:3], class_="tick quantile-name", text_anchor="middle"))
    was = baseline if before is not None else None
    parts.extend(_figures(current, was, base))
    title = f"{row['stage']}: p50 {duration(current['p50_ns'])}, p95 {duration(current['p95_ns'])}, {count(current['n'])} calls"
    if was is not None:
        title += f"; before: p50 {duration(was['p50_ns'])}, p95 {duration(was['p95_ns'])}, {count(was['n'])} calls"
    return svg.el("g", svg.el("title", title), svg.rect(0, base - _ROW + 8, WIDTH, _ROW, class_="hit"), *parts)


def _figures(current: Document, was: Document | None, base: float) -> list[Markup]:
    """p50 and p95 in words at the right, with what they were."""
    words = []
    for place, name in enumerate(("p50_ns", "p95_ns")):
        said = duration(current[name]) if was is None else _moved(was[name], current[name])
        words.append(svg.text(_RIGHT + 12, base - 19 + 17 * place, f"{name[:3]} {said}", class_="figure"))
    return words


def _moved(before: float, after: float) -> str:
    """As "257 → 437 ms"; one figure where both print the same."""
    factor, unit = scale_of(min(before, after))
    ends = digits(before / factor), digits(after / factor)
    return f"{ends[1]} {unit}" if ends[0] == ends[1] else f"{ends[0]} → {ends[1]} {unit}"


def _steps(shares: list[float], edges: list[float], axis: LogScale, *, base: float, tallest: float) -> str:
    """The outline of the bins that hold anything, from the base up, over and down again."""
    full = [place for place, share in enumerate(shares) if share]
    first, last = full[0], full[-1]
    points = [f"M{svg.number(axis.at(edges[first]))} {svg.number(base)}"]
    for place in range(first, last + 1):
        y = svg.number(base - (_BAR - 2) * shares[place] / tallest)
        points.append(f"V{y}H{svg.number(axis.at(edges[place + 1]))}")
    return "".join(points) + f"V{svg.number(base)}"
