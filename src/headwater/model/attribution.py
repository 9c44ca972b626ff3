"""The general answer: one quantity split over components, with an interval each, and a sum that closes."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from headwater.model.errors import require
from headwater.model.spans import F64, lock

Verdict = Literal["identified", "bounded", "not identifiable"]
Unit = Literal["ns", "loss"]
SUM_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportWarning:
    """Something the reader must know: a stable `code` and one sentence with the cure."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Attribution:
    """`total` split over `components`: share, low, high (s,) f64 in `unit`.

    Checked: share.sum() + unexplained == total within 1e-9 of the largest magnitude, low ≤ share ≤ high (NaN bounds = no interval).
    """

    components: tuple[str, ...]
    share: F64
    low: F64
    high: F64
    unexplained: float
    total: float
    unit: Unit
    method: str
    level: float
    n_traces: int
    verdict: Verdict
    warnings: tuple[ReportWarning, ...] = ()

    def __post_init__(self) -> None:
        s = len(self.components)
        require(self.share.shape == self.low.shape == self.high.shape == (s,), "attribution columns differ in length")
        require_closes(self.share, self.unexplained, self.total)
        slack = SUM_TOLERANCE * max(1.0, float(np.abs(self.share).max(initial=0.0)))
        known = ~(np.isnan(self.low) | np.isnan(self.high))
        require(
            bool(np.all(self.low[known] <= self.share[known] + slack) and np.all(self.share[known] <= self.high[known] + slack)),
            "a share outside its own interval",
        )
        lock(self.share, self.low, self.high)


def require_closes(parts: F64, rest: float, total: float) -> None:
    """Raise unless parts + rest == total within 1e-9 of the largest magnitude in the sum. Called where a sum is made and where it is read."""
    scale = max(1.0, abs(total), abs(rest), float(np.abs(parts).max(initial=0.0)))
    gap = abs(float(np.sum(parts)) + rest - total)
    require(gap <= SUM_TOLERANCE * scale, f"parts miss the total by {gap!r} of {total!r}")
