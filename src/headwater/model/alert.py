"""One line of the alert history."""

from dataclasses import dataclass
from typing import Literal

AlertKind = Literal["crash", "degradation", "bottleneck", "drift", "external", "calibration", "no_data", "cascade"]
Severity = Literal["info", "warning", "critical"]
State = Literal["pending", "firing", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something changed at `stage`, its origin. at_ns UTC ns; `cost` is the rise in mean final loss (unit "loss") or in mean latency (unit "ns")."""

    at_ns: int
    stage: str
    kind: AlertKind
    severity: Severity
    state: State
    cost: float
    low: float
    high: float
    unit: Literal["ns", "loss"]
    text: str
    exemplars: tuple[str, ...]
