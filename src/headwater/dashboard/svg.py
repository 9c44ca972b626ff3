"""SVG by hand: elements from Python values, every text through one escaper, colours from classes of the style sheet (no inline style)."""

import math
from typing import Final

from markupsafe import Markup, escape

from headwater.report.clean import clean

_CHARACTER_WIDTH: Final = 0.56
_LONGEST: Final = 200_000  # a path of many bins is one attribute


def number(value: float) -> str:
    """A coordinate with at most one decimal; a coordinate that is no number is a bug of the plot and raises."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate of {value}")
    text = f"{value:.1f}"
    return text.removesuffix(".0")


def el(tag: str, *children: object, **attributes: object) -> Markup:
    """`<tag …>children</tag>`: `class_` → class, `data_plot` → data-plot; attributes that are None are left out."""
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is not None:
            shown = number(float(value)) if isinstance(value, int | float) else clean(str(value), limit=_LONGEST)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    inside = "".join(
        str(child) if isinstance(child, Markup) else str(escape(clean(str(child), limit=2000))) for child in children if child is not None
    )
    parts.append(f">{inside}</{tag}>" if inside else "/>")
    return Markup("".join(parts))  # noqa: S704 - every part above went through escape()


def text(x: float, y: float, words: object, *, class_: str = "", **attributes: object) -> Markup:
    return el("text", words, x=x, y=y, class_=class_ or None, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, *, class_: str) -> Markup:
    return el("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, *, class_: str, **attributes: object) -> Markup:
    return el("rect", x=x, y=y, width=max(0.0, width), height=max(0.0, height), class_=class_, **attributes)


def link(href: str | None, *children: object, label: str | None = None) -> Markup:
    """An anchor; only its content where there is nowhere to go (a report that was mailed)."""
    if href is None:
        return el("g", *children)
    return el("a", *children, href=href, aria_label=label)


def figure(plot: str, *, size: tuple[float, float], words: tuple[str, str], children: list[Markup]) -> Markup:
    """The outer `<svg data-plot=…>` with its title and description for those who cannot see it."""
    width, height = size
    title, description = words
    return el(
        "svg",
        el("title", title, id=f"{plot}-title"),
        el("desc", description, id=f"{plot}-desc"),
        *children,
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{plot}-title {plot}-desc",
        data_plot=plot,
        class_="plot",
    )


def fit(words: str, width: float, *, size: float = 12) -> str:
    """`words` cut with "…" to about `width` pixels at font size `size`."""
    words = clean(words)
    most = max(1, int(width / (size * _CHARACTER_WIDTH)))
    return words if len(words) <= most else words[: max(1, most - 1)] + "…"
