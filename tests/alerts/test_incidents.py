"""Incidents: one row at the origin, none at heirs, none without a baseline, none for an improvement."""

import math
from dataclasses import replace

import pytest
from tests.dashboard import factories as make

from headwater.alerts.incidents import alerts_over, stage_of
from headwater.model.blame import ErrorReport
from headwater.model.latency import LatencyReport

AT = make.T0


def with_change(report: ErrorReport, **changed: object) -> ErrorReport:
    """asr's row of the comparison changed; the rest closes the sum."""
    assert report.comparison is not None
    change = report.comparison
    row = replace(change.stages[2], **changed)
    unexplained = change.unexplained_delta + change.stages[2].own_delta - row.own_delta
    return replace(report, comparison=replace(change, stages=(*change.stages[:2], row, change.stages[3]), unexplained_delta=unexplained))


def with_rates(before: float, after: float, *, calls: int = 900) -> LatencyReport:
    """No latency change; asr's rate of failed calls in both windows."""
    baseline = tuple(replace(row, calls=calls) for row in make.stage_latency(asr_errors=before))
    current = tuple(replace(row, calls=calls) for row in make.stage_latency(asr_errors=after))
    return replace(make.latency(), comparison=(), stages=current, baseline_stages=baseline)


def test_the_origin_gets_its_rows_and_its_heirs_none() -> None:
    rows = alerts_over(make.latency(), make.errors(), at_ns=AT, exemplars=(make.TRACE_HEX,))
    assert [(row.stage, row.kind) for row in rows] == [("asr", "degradation"), ("asr", "bottleneck")]
    degraded = next(row for row in rows if row.kind == "degradation")
    assert (degraded.cost, degraded.low, degraded.high, degraded.unit) == (0.026, pytest.approx(0.021), pytest.approx(0.031), "loss")
    assert (degraded.at_ns, degraded.state, degraded.severity, degraded.exemplars) == (AT, "firing", "warning", (make.TRACE_HEX,))


def test_a_bottleneck_is_told_at_p95_though_every_statistic_flags_it() -> None:
    rows = alerts_over(make.latency(), None, at_ns=AT)
    assert len(rows) == 1
    assert (rows[0].kind, rows[0].unit, rows[0].cost) == ("bottleneck", "ns", 231e6)
    assert "p95" in rows[0].text
    assert rows[0].severity == "warning"  # 231 of 781 ms
    report = make.latency()
    assert report.comparison is not None
    median = alerts_over(replace(report, comparison=report.comparison[:2]), None, at_ns=AT)
    assert "p50" in median[0].text
    assert median[0].severity == "critical"  # 231 of 300 ms


def test_nothing_without_a_baseline() -> None:
    assert alerts_over(make.latency(compared=False), make.errors(compared=False), at_ns=AT) == ()
    assert alerts_over(None, None, at_ns=AT) == ()


def test_an_improvement_or_an_unflagged_rise_is_no_incident() -> None:
    better = with_change(make.errors(), own_delta=-0.026, low=-0.031, high=-0.021)
    assert alerts_over(None, better, at_ns=AT) == ()
    unsure = with_change(make.errors(), flagged=False)
    assert alerts_over(None, unsure, at_ns=AT) == ()
    report = make.latency()
    assert report.comparison is not None
    faster = [
        replace(change, components=tuple(replace(row, own_ns=-abs(row.own_ns or 0)) for row in change.components)) for change in report.comparison
    ]
    assert alerts_over(replace(report, comparison=tuple(faster)), None, at_ns=AT) == ()


@pytest.mark.parametrize(("own", "severity"), [(0.05, "critical"), (0.049, "warning"), (0.01, "warning"), (0.009, "info")])
def test_severity_comes_from_the_cost(own: float, severity: str) -> None:
    rows = alerts_over(None, with_change(make.errors(), own_delta=own, low=own / 2, high=own * 2), at_ns=AT)
    assert [row.severity for row in rows] == [severity]


def test_worst_first() -> None:
    rows = alerts_over(make.latency(), with_change(make.errors(), own_delta=0.2, low=0.1, high=0.3), at_ns=AT)
    assert [row.severity for row in rows] == ["critical", "warning"]


def test_a_clear_rise_of_failed_calls_is_a_crash_and_stands_for_the_degradation() -> None:
    rows = alerts_over(with_rates(0.0, 0.08), make.errors(), at_ns=AT)
    assert [(row.stage, row.kind, row.severity) for row in rows] == [("asr", "crash", "critical")]
    assert rows[0].low <= rows[0].cost <= rows[0].high
    assert rows[0].low > 0
    assert "8.0 %" in rows[0].text


@pytest.mark.parametrize(("before", "after", "calls"), [(0.0, 0.009, 10**6), (0.05, 0.06, 900), (0.0, 0.5, 4), (0.08, 0.0, 900), (0.1, 0.1, 900)])
def test_a_small_unclear_or_falling_rate_is_no_crash(before: float, after: float, calls: int) -> None:
    assert alerts_over(with_rates(before, after, calls=calls), None, at_ns=AT) == ()


def test_unknown_rates_and_new_stages_are_no_crash() -> None:
    report = with_rates(0.0, 0.5)
    assert alerts_over(replace(report, baseline_stages=None), None, at_ns=AT) == ()
    assert alerts_over(replace(report, baseline_stages=()), None, at_ns=AT) == ()
    unknown = tuple(replace(row, error_rate=math.nan) for row in report.stages)
    assert alerts_over(replace(report, stages=unknown), None, at_ns=AT) == ()


@pytest.mark.parametrize(
    ("component", "stage"),
    [("self:asr", "asr"), ("edge:asr", "asr"), ("queue:vad->asr", "asr"), ("batch_wait:asr", "asr"), ("unaccounted", None), ("self:a:b", "a:b")],
)
def test_components_are_filed_under_the_stage_that_was_called(component: str, stage: str | None) -> None:
    assert stage_of(component) == stage


def test_a_missing_own_interval_is_no_number() -> None:
    report = make.latency()
    assert report.comparison is not None
    bare = [
        replace(change, components=tuple(replace(row, own_low_ns=None, own_high_ns=None) for row in change.components))
        for change in report.comparison
    ]
    rows = alerts_over(replace(report, comparison=tuple(bare)), None, at_ns=AT)
    assert math.isnan(rows[0].low)
    assert math.isnan(rows[0].high)
    assert "nan" not in rows[0].text
    assert "(no interval)" in rows[0].text
