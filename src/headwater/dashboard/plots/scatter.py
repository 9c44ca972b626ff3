"""Error against latency: a dot a stage, its size the flow, its colour the blame, a whisker from p50 to p95."""

import math
from typing import Final

from markupsafe import Markup

from headwater.dashboard import svg
from headwater.dashboard.links import Links
from headwater.dashboard.plots.scale import LinearScale, LogScale, blame_class
from headwater.report.numbers import Document
from headwater.report.units import count, duration, percent, percent_interval

WIDTH: Final = 640.0
_HEIGHT: Final = 300.0
_LEFT: Final = 58.0
_RIGHT: Final = WIDTH - 24.0
_TOP: Final = 16.0
_BOTTOM: Final = _HEIGHT - 46.0
_RADIUS: Final = (6.0, 17.0)


def fault_rate(point: Document) -> float | None:
    """What the vertical axis shows: the larger of own-fault rate and failed-call rate; None if neither is known."""
    known = [value for value in (point["fault_rate"], point["error_rate"]) if value is not None]
    return max(known, default=None)


def error_latency(document: Document, links: Links) -> Markup | None:
    """The plot of `plots.error_latency` of an overview document; None where no stage has a latency and an error rate."""
    points = [point for point in document["plots"]["error_latency"] if point["p50_ns"] and fault_rate(point) is not None]
    if not points:
        return None
    low = min(point["p50_ns"] for point in points)
    high = max(point["p95_ns"] or point["p50_ns"] for point in points)
    x = LogScale(low=max(1.0, low / 1.6), high=max(high * 2.2, low * 4), left=_LEFT, right=_RIGHT)
    y = LinearScale(
        high=max(0.01, min(1.0, 1.25 * max(fault_rate(point) or 0.0 for point in points))), bottom=_BOTTOM - _RADIUS[1] - 2, top=_TOP + _RADIUS[1]
    )
    children = [_axes(x, y)]
    most = max(point["calls"] for point in points)
    taken: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: -point["calls"]):
        href = links.pipeline(document["pipeline"], stage=point["stage"])
        children.append(svg.link(href, _dot(point, x, y, most=most, taken=taken), label=f"{point['stage']}: open the stage"))
    words = ("Error against latency", f"{_described(points)} Higher is more faults, further right is slower.")
    return svg.figure("error-latency", size=(WIDTH, _HEIGHT), words=words, children=children)


def _described(points: list[Document]) -> str:
    return " ".join(f"{point['stage']}: {percent(fault_rate(point))} faults at p50 {duration(point['p50_ns'])}." for point in points)


def _axes(x: LogScale, y: LinearScale) -> Markup:
    marks = []
    for value in y.ticks():
        marks.append(svg.line(_LEFT, y.at(value), _RIGHT, y.at(value), class_="gridline"))
        marks.append(svg.text(_LEFT - 8, y.at(value) + 4, percent(value, 1 if y.high < 0.1 else 0), class_="tick", text_anchor="end"))
    for place, words in x.ticks():
        marks.append(svg.text(place, _BOTTOM + 18, words, class_="tick", text_anchor="middle"))
    marks.append(svg.line(_LEFT, _BOTTOM, _RIGHT, _BOTTOM, class_="axis"))
    marks.append(svg.text(_RIGHT, _BOTTOM + 38, "latency of the stage, p50 to p95 →", class_="axis-name", text_anchor="end"))
    marks.append(svg.text(_LEFT, _TOP - 5, "↑ calls with a fault of the stage itself", class_="axis-name"))
    return svg.el("g", *marks)


def _dot(point: Document, x: LogScale, y: LinearScale, *, most: int, taken: list[tuple[float, float]]) -> Markup:
    rate = fault_rate(point)
    left, height = x.at(point["p50_ns"]), y.at(rate or 0.0)
    radius = _RADIUS[0] + (_RADIUS[1] - _RADIUS[0]) * math.sqrt(point["calls"] / most) if most else _RADIUS[0]
    right = x.at(point["p95_ns"] or point["p50_ns"])
    label_y = height - radius - 6
    while any(abs(label_y - other_y) < 14 and abs(left - other_x) < 74 for other_x, other_y in taken):
        label_y -= 14
    taken.append((left, label_y))
    share = point["blame_share"]
    blame = "blame unknown" if share is None else f"{percent(share, 0)} of the blame {percent_interval(point['blame_interval'], 0)}"
    figures = f"{percent(rate)} faults, p50 {duration(point['p50_ns'])}, p95 {duration(point['p95_ns'])}, {count(point['calls'])} calls"
    title = f"{point['stage']}: {figures}, {blame}"
    return svg.el(
        "g",
        svg.el("title", title),
        svg.line(left, height, right, height, class_="whisker"),
        svg.line(right, height - 4, right, height + 4, class_="whisker"),
        svg.el("circle", cx=left, cy=height, r=radius, class_=f"dot {blame_class(point['blame_share'], point['verdict'])}"),
        svg.text(left, label_y, svg.fit(point["stage"], 150, size=13), class_="label", text_anchor="middle"),
    )
