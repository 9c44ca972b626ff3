"""Incidents from a window comparison: a row per stage whose *own* change is clear of zero, none for a stage that only inherited.

First form: what the two windows' reports flag, with their multiplicity control (Holm for latency, q-values for errors); no memory between calls.
"""

import math
from collections.abc import Sequence
from typing import Final

from headwater.model.alert import Alert, Severity
from headwater.model.blame import ErrorReport, StageChange
from headwater.model.latency import ComponentChange, LatencyChange, LatencyReport, StageLatency

CRASH_RISE_MIN: Final = 0.01
"""A stage crashes when its rate of failed calls rose by at least this much and the interval of the rise is clear of zero."""
_CRASH_Z: Final = 3.29  # two-sided p = .001: a crash row is not in the multiplicity control of the reports, so it must clear a higher bar by itself
_LEVEL_Z: Final = 1.96
_STATISTICS: Final = ("p95", "p50", "mean", "p99")
_LOSS_SEVERITY: Final = (0.05, 0.01)
_LATENCY_SEVERITY: Final = (0.5, 0.1)
_RANK: Final[dict[Severity, int]] = {"critical": 0, "warning": 1, "info": 2}


def alerts_over(latency: LatencyReport | None, errors: ErrorReport | None, *, at_ns: int, exemplars: Sequence[str] = ()) -> tuple[Alert, ...]:
    """Rows for the origins of what got worse between the windows, worst first; empty without a baseline.

    crash: the stage's rate of failed calls rose clearly (it stands for a degradation of the same stage too). degradation: own rise of the mean
    final loss, flagged. bottleneck: own rise of the latency, flagged in p95, else p50, mean, p99. An improvement gives no row. at_ns: UTC ns at
    which the current window starts; exemplars: trace ids shown with every row.
    """
    crashes = [] if latency is None else _crashes(latency, at_ns, tuple(exemplars))
    crashed = {alert.stage for alert in crashes}
    degraded = [] if errors is None else _degradations(errors, at_ns, tuple(exemplars))
    slow = [] if latency is None else _bottlenecks(latency, at_ns, tuple(exemplars))
    rows = [*crashes, *(alert for alert in degraded if alert.stage not in crashed), *slow]
    return tuple(sorted(rows, key=lambda alert: (_RANK[alert.severity], alert.unit, -alert.cost)))


def _severity(cost: float, steps: tuple[float, float]) -> Severity:
    return "critical" if cost >= steps[0] else "warning" if cost >= steps[1] else "info"


def _ends(low: float, high: float) -> str:
    return "(no interval)" if math.isnan(low) or math.isnan(high) else f"[{low:,.1f}, {high:,.1f}]"


def _degradations(errors: ErrorReport, at_ns: int, exemplars: tuple[str, ...]) -> list[Alert]:
    change = errors.comparison
    if change is None:
        return []
    return [_degradation(stage, at_ns, exemplars) for stage in change.stages if stage.flagged and stage.own_delta > 0]


def _degradation(stage: StageChange, at_ns: int, exemplars: tuple[str, ...]) -> Alert:
    points = 100 * stage.own_delta
    return Alert(
        at_ns=at_ns,
        stage=stage.stage,
        kind="degradation",
        severity=_severity(stage.own_delta, _LOSS_SEVERITY),
        state="firing",
        cost=stage.own_delta,
        low=stage.low,
        high=stage.high,
        unit="loss",
        text=f"{stage.stage} by itself raised the mean final loss by {points:.1f} points {_ends(100 * stage.low, 100 * stage.high)}",
        exemplars=exemplars,
    )


def _bottlenecks(latency: LatencyReport, at_ns: int, exemplars: tuple[str, ...]) -> list[Alert]:
    """One row a component: the first statistic, in the order of _STATISTICS, that flags its own rise."""
    changes = {change.statistic: change for change in latency.comparison or ()}
    rows: dict[str, Alert] = {}
    for statistic in _STATISTICS:
        if statistic not in changes:
            continue
        for component in changes[statistic].components:
            stage = stage_of(component.component)
            if stage is not None and stage not in rows and component.flagged and (component.own_ns or 0.0) > 0:
                rows[stage] = _bottleneck(stage, component, changes[statistic], at_ns=at_ns, exemplars=exemplars)
    return list(rows.values())


def _bottleneck(stage: str, component: ComponentChange, change: LatencyChange, *, at_ns: int, exemplars: tuple[str, ...]) -> Alert:
    own = component.own_ns or 0.0
    low, high = (math.nan if end is None else end for end in (component.own_low_ns, component.own_high_ns))
    relative = own / change.baseline_ns if change.baseline_ns > 0 else math.inf
    return Alert(
        at_ns=at_ns,
        stage=stage,
        kind="bottleneck",
        severity=_severity(relative, _LATENCY_SEVERITY),
        state="firing",
        cost=own,
        low=low,
        high=high,
        unit="ns",
        text=f"{component.component} by itself raised {change.statistic} by {own / 1e6:,.1f} ms {_ends(low / 1e6, high / 1e6)}",
        exemplars=exemplars,
    )


def stage_of(component: str) -> str | None:
    """The stage an incident of a latency component is filed under: of an edge or a queue the one called; None for time of no stage."""
    kind, _, name = component.partition(":")
    if not name:
        return None
    return name.rpartition("->")[2] if kind == "queue" else name


def _crashes(latency: LatencyReport, at_ns: int, exemplars: tuple[str, ...]) -> list[Alert]:
    before = {stage.stage: stage for stage in latency.baseline_stages or ()}
    found = (_crash(before[stage.stage], stage, at_ns, exemplars=exemplars) for stage in latency.stages if stage.stage in before)
    return [alert for alert in found if alert is not None]


def _crash(before: StageLatency, after: StageLatency, at_ns: int, *, exemplars: tuple[str, ...]) -> Alert | None:
    """Two-proportion test with Agresti–Caffo's added two successes and failures, so that 0 of n has a width too."""
    if not (before.calls and after.calls) or math.isnan(before.error_rate) or math.isnan(after.error_rate):
        return None
    rates = [(stage.error_rate * stage.calls + 1) / (stage.calls + 2) for stage in (before, after)]
    spread = math.sqrt(sum(rate * (1 - rate) / (stage.calls + 2) for rate, stage in zip(rates, (before, after), strict=True)))
    rise, centre = after.error_rate - before.error_rate, rates[1] - rates[0]
    if rise < CRASH_RISE_MIN or centre <= _CRASH_Z * spread:
        return None
    low, high = min(rise, centre - _LEVEL_Z * spread), max(rise, centre + _LEVEL_Z * spread)
    return Alert(
        at_ns=at_ns,
        stage=after.stage,
        kind="crash",
        severity=_severity(rise, _LOSS_SEVERITY),
        state="firing",
        cost=rise,
        low=low,
        high=high,
        unit="loss",
        text=f"{after.stage} fails in {100 * after.error_rate:.1f} % of its calls, before {100 * before.error_rate:.1f} %",
        exemplars=exemplars,
    )
