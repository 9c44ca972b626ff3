"""The template environment: autoescape on, every text cleaned of control characters, unknown names an error."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headwater.report import units
from headwater.report.clean import clean


def _finalize(value: Any) -> Any:
    """What `{{ … }}` prints: text without controls, then escaped by autoescape; markup made by svg.el as it is."""
    return clean(value, limit=8_000) if isinstance(value, str) and not isinstance(value, Markup) else value


def _anchor(stage: str) -> str:
    """The id that `Links.pipeline(stage=…)` points to: percent-decoded fragments match it as it is, blanks excepted."""
    return "".join("_" if character.isspace() else character for character in clean(stage))


def _no_plot(text: str) -> Markup:
    return Markup('<p class="no-plot">{}</p>').format(text)


def _age_ns(value_ns: float | None) -> str:
    return units.age(None if value_ns is None else value_ns / 1e9)


def _window_words(window: Mapping[str, Any]) -> str:
    """As "2026-03-01 14:00:00 to 15:30:00 UTC": the day once where both ends share it; an open end in words."""
    start, end = window["start_at_ns"], window["end_at_ns"]
    first = "the beginning" if start is None else units.instant(start)
    last = "now" if end is None else units.instant(end)
    if start is not None and end is not None and first[:10] == last[:10]:
        return f"{first.removesuffix(' UTC')} to {last[11:]}"
    return f"{first} to {last}"


@cache
def environment() -> Environment:
    """One environment a process; templates are compiled once."""
    found = Environment(
        loader=PackageLoader("headwater.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "duration": units.duration,
        "signed_duration": lambda value: units.duration(value, sign=True),
        "percent": units.percent,
        "ends": units.percent_interval,
        "points": units.points,
        "count": units.count,
        "number": units.number,
        "signed": lambda value: units.UNKNOWN if value is None else units.signed(value),
        "instant": units.instant,
        "age_ns": _age_ns,
        "anchor": _anchor,
    }
    found.globals |= {"no_plot": _no_plot, "window_words": _window_words}
    return found


@cache
def static_files() -> dict[str, tuple[bytes, str]]:
    """Name → (content, media type) of what /static serves; read once, nothing else is reachable."""
    folder = files("headwater.dashboard") / "static"
    types = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    return {
        item.name: (item.read_bytes(), types[item.name[item.name.rindex(".") :]]) for item in folder.iterdir() if item.name.endswith(tuple(types))
    }
