"""How a mean loss is written: per cent and points where it is a rate, a plain number otherwise."""

from headwater.report.clean import clean
from headwater.report.numbers import Document
from headwater.report.units import UNKNOWN, digits, fixed, percent_interval, points, signed

_SMALL = 0.0005
"""Half of what the last printed decimal of a percentage point can show."""


class LossFormat:
    """`rate`: every mean loss of the document lies in 0..1, so it reads as per cent. `name`: "Errors", or "Mean <outcome>"."""

    def __init__(self, errors: Document) -> None:
        change = errors["comparison"]
        known = [errors["mean_loss"], *((change["baseline_loss"], change["current_loss"]) if change else ())]
        self.rate = all(value is None or 0 <= value <= 1 for value in known)
        self.name = "Errors" if errors["outcome"] == "loss" and self.rate else f"Mean {clean(str(errors['outcome']), limit=60)}"
        self.unit = " %" if self.rate else ""
        self.delta_unit = " points" if self.rate else ""

    def level(self, value: float | None) -> str:
        if value is None:
            return UNKNOWN
        return fixed(100 * value) if self.rate else digits(value)

    def delta(self, value: float | None) -> str:
        return points(value) if self.rate or value is None else signed(value)

    def ends(self, ends: list[float] | None) -> str:
        if ends is None:
            return "(no interval)"
        return percent_interval(ends) if self.rate else f"[{digits(ends[0])}, {digits(ends[1])}]"

    def small(self, value: float | None) -> bool:
        """Would it print as zero, or is it unknown?"""
        return value is None or (abs(value) < _SMALL if self.rate else digits(value) == "0")
