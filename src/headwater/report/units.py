"""How a number is written for a person: one unit a line, as many digits as it carries."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

UNKNOWN: Final = "–"
MINUS: Final = "−"
_SCALES: Final = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))


def digits(value: float) -> str:
    """Three significant digits, thousands with a comma, no exponent: 0.0312, 4.1, 12.3, 412, 1,204. A true minus sign."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else UNKNOWN
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{abs(value):,.{min(places, 6)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{MINUS}{text}" if value < 0 and text != "0" else text


def signed(value: float) -> str:
    """`digits` with "+" in front of what is above zero."""
    return f"+{digits(value)}" if value > 0 and digits(value) != "0" else digits(value)


def scale_of(*values_ns: float | None) -> tuple[float, str]:
    """(divisor, unit) in which the largest of the durations is between 1 and 1000; ns for none."""
    largest = max((abs(value) for value in values_ns if value is not None), default=0.0)
    return next(((factor, unit) for factor, unit in _SCALES if largest >= factor), _SCALES[-1])


def duration(value_ns: float | None, *, sign: bool = False) -> str:
    """As "412 ms"; "–" if unknown; with `sign` also "+412 ms"."""
    if value_ns is None:
        return UNKNOWN
    factor, unit = scale_of(value_ns)
    return f"{(signed if sign else digits)(value_ns / factor)} {unit}"


def duration_interval(ends_ns: Sequence[float] | None) -> str:
    """As "[380, 455] ms"; empty if there is no interval."""
    if ends_ns is None:
        return ""
    factor, unit = scale_of(*ends_ns)
    return f"[{digits(ends_ns[0] / factor)}, {digits(ends_ns[1] / factor)}] {unit}"


def fixed(value: float, places: int = 1) -> str:
    """A fixed number of decimals with a true minus; never "−0.0"."""
    text = f"{abs(value):,.{places}f}"
    return f"{MINUS}{text}" if value < 0 and float(text.replace(",", "")) else text


def percent(share: float | None, places: int = 1) -> str:
    """As "7.9 %" of 0.079; "–" if unknown."""
    return UNKNOWN if share is None else f"{fixed(100 * share, places)} %"


def percent_interval(ends: Sequence[float] | None, places: int = 1) -> str:
    """As "[6.1, 9.9]" of shares, in per cent without the sign; empty if there is no interval."""
    return "" if ends is None else f"[{fixed(100 * ends[0], places)}, {fixed(100 * ends[1], places)}]"


def points(delta: float | None, places: int = 1) -> str:
    """As "+3.8" percentage points of 0.038."""
    if delta is None:
        return UNKNOWN
    text = fixed(100 * delta, places)
    return f"+{text}" if delta > 0 and float(text.replace(",", "")) else text


def count(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:,.0f}"


def number(value: float | None) -> str:
    return UNKNOWN if value is None else digits(value)


def instant(at_ns: float | None) -> str:
    """As "2026-03-01 14:20:05 UTC"; "–" if unknown or outside the calendar."""
    if at_ns is None:
        return UNKNOWN
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(at_ns) // 10**9)).strftime("%Y-%m-%d %H:%M:%S UTC")
    except OverflowError:
        return UNKNOWN


def age(seconds: float | None) -> str:
    """A lag a person reads: "0.4 s", "3 min", "5 h", "2 d"."""
    if seconds is None:
        return UNKNOWN
    for size, unit in ((172_800, "d"), (7_200, "h"), (120, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[unit]:.0f} {unit}"
    return f"{digits(seconds)} s"
