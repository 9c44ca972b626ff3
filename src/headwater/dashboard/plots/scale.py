"""Axes: from values to pixels, and the ticks a person expects."""

import math
from dataclasses import dataclass

from headwater.report.units import duration


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScale:
    """Durations in ns, low < high, onto [left, right] pixels, logarithmic; values outside are clipped to the ends."""

    low: float
    high: float
    left: float
    right: float

    def at(self, value: float) -> float:
        share = (math.log10(max(value, self.low)) - math.log10(self.low)) / (math.log10(self.high) - math.log10(self.low))
        return self.left + min(1.0, share) * (self.right - self.left)

    def ticks(self) -> list[tuple[float, str]]:
        """(pixel, words): 1·10^k, and 2 and 5 between where fewer than three decades leave room."""
        decades = math.log10(self.high) - math.log10(self.low)
        steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3.2 else (1,)
        found = [step * 10.0**power for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1) for step in steps]
        return [(self.at(value), duration(value)) for value in found if self.low <= value <= self.high]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScale:
    """[0, high] onto [bottom, top] pixels (top < bottom on a screen)."""

    high: float
    bottom: float
    top: float

    def at(self, value: float) -> float:
        return self.bottom - min(1.0, max(0.0, value / self.high)) * (self.bottom - self.top)

    def ticks(self, wanted: int = 4) -> list[float]:
        """Values 0 … high at a step of 1, 2 or 5 times a power of ten."""
        raw = self.high / wanted
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
        return [place * step for place in range(int(self.high / step + 1e-9) + 1)]


def blame_class(share: float | None, verdict: str | None) -> str:
    """The colour class of a share of blame: blame-0 … blame-4, blame-na where nothing may be said."""
    if share is None or verdict == "not identifiable":
        return "blame-na"
    return f"blame-{sum(share >= step for step in (0.05, 0.15, 0.3, 0.5))}"
