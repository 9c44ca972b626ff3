"""The bar of one waterfall row, and small bars with whiskers for tables."""

from typing import Final

from markupsafe import Markup

from headwater.dashboard import svg
from headwater.report.numbers import Document
from headwater.report.tree import Row
from headwater.report.units import duration

_WIDTH: Final = 1000.0
_HEIGHT: Final = 24.0
_PATHS_SHOWN: Final = 400


def span_bar(row: Row, document: Document) -> Markup:
    """The span as a thin bar (waiting for others), its critical path as thick stretches on it; stretched to the width of its column."""
    start: int = document["start_ns"]
    length: int = max(1, document["duration_ns"])

    def at(time_ns: int) -> float:
        return min(_WIDTH, max(0.0, _WIDTH * (time_ns - start) / length))

    left, right = at(row.span["start_ns"]), at(row.span["end_ns"])
    failed = " failed" if row.span["status"] == "error" else ""
    parts = [svg.rect(left, 8, max(2.0, right - left), 8, class_=f"span{failed}", rx=2)]
    for low, high in row.path[:_PATHS_SHOWN]:
        parts.append(svg.rect(at(low), 4, max(2.0, at(high) - at(low)), 16, class_=f"on-path{failed}", rx=2))
    words = f"from {duration(row.span['start_ns'] - start)} for {duration(row.span['end_ns'] - row.span['start_ns'])}"
    said = f"{words}, {duration(row.span['path_ns'])} of it on the critical path"
    return svg.el("svg", *parts, viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}", preserveAspectRatio="none", class_="bar", role="img", aria_label=said)


def share_bar(share: float | None, interval: list[float] | None, class_: str) -> Markup:
    """A share of 0..1 as a bar of that colour class, with its interval."""
    if share is None:
        return Markup("")
    width = 120.0
    parts = [
        svg.rect(0, 5, width, 8, class_="gauge", rx=4),
        svg.rect(0, 5, width * min(1.0, max(0.0, share)), 8, class_=class_, rx=4),
    ]
    if interval is not None:
        low, high = (width * min(1.0, max(0.0, end)) for end in interval)
        parts += [svg.line(low, 9, high, 9, class_="gauge-whisker"), svg.line(low, 4, low, 14, class_="gauge-whisker")]
        parts.append(svg.line(high, 4, high, 14, class_="gauge-whisker"))
    return svg.el("svg", *parts, viewBox=f"0 0 {width:.0f} 18", class_="share-bar", aria_hidden="true")


def delta_bar(delta: float | None, interval: list[float] | None, *, widest: float, flagged: bool) -> Markup:
    """A change around zero: worse to the right, better to the left; `widest` is the largest magnitude of the column."""
    if delta is None or widest <= 0:
        return Markup("")
    width = 120.0

    def at(value: float) -> float:
        return min(width, max(0.0, width / 2 * (1 + value / widest)))

    left, right = sorted((at(0.0), at(delta)))
    kind = "delta-origin" if flagged and delta > 0 else "delta-better" if flagged else "delta-calm"
    parts = [svg.line(width / 2, 2, width / 2, 16, class_="axis"), svg.rect(left, 5, right - left, 8, class_=kind, rx=2)]
    if interval is not None:
        low, high = (at(end) for end in interval)
        parts += [svg.line(low, 9, high, 9, class_="gauge-whisker"), svg.line(low, 4, low, 14, class_="gauge-whisker")]
        parts.append(svg.line(high, 4, high, 14, class_="gauge-whisker"))
    return svg.el("svg", *parts, viewBox=f"0 0 {width:.0f} 18", class_="share-bar", aria_hidden="true")
