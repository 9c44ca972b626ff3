"""How numbers are written."""

import math

import pytest

from headwater.report import units
from headwater.report.csv import safe


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.03124, "0.0312"),
        (4.1, "4.1"),
        (12.34, "12.3"),
        (412.4, "412"),
        (1204.0, "1,204"),
        (-2.5, "−2.5"),
        (1e-12, "0"),
        (-1e-12, "0"),
        (math.nan, "–"),
        (999.9, "1,000"),
        (100.0, "100"),
        (1e6, "1,000,000"),
    ],
)
def test_digits(value: float, shown: str) -> None:
    assert units.digits(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(412e6, "412 ms"), (None, "–"), (0, "0 ns"), (1.5e9, "1.5 s"), (999.0, "999 ns"), (1500.0, "1.5 µs"), (-3e6, "−3 ms")]
)
def test_duration(value: float | None, shown: str) -> None:
    assert units.duration(value) == shown


def test_signs() -> None:
    assert units.duration(3e6, sign=True) == "+3 ms"
    assert units.signed(0.0) == "0"
    assert units.points(0.038) == "+3.8"
    assert units.points(-0.0001) == "0.0"
    assert units.points(-0.012) == "−1.2"
    assert units.points(None) == "–"


def test_shares_and_intervals() -> None:
    assert units.percent(0.079) == "7.9 %"
    assert units.percent(None) == "–"
    assert units.percent_interval([-0.004, 0.099]) == "[−0.4, 9.9]"
    assert units.percent_interval(None) == ""
    assert units.duration_interval([3.8e8, 4.55e8]) == "[380, 455] ms"
    assert units.duration_interval(None) == ""


@pytest.mark.parametrize(
    ("at_ns", "shown"),
    [
        (1_772_375_000_000_000_000, "2026-03-01 14:23:20 UTC"),
        (0, "1970-01-01 00:00:00 UTC"),
        (None, "–"),
        (10**30, "–"),
        (-1, "1969-12-31 23:59:59 UTC"),
    ],
)
def test_instant(at_ns: int | None, shown: str) -> None:
    assert units.instant(at_ns) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.42, "0.42 s"), (90, "90 s"), (200, "3 min"), (10_000, "3 h"), (400_000, "5 d"), (None, "–"), (-0.2, "−0.2 s")]
)
def test_age(seconds: float | None, shown: str) -> None:
    assert units.age(seconds) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r=1", "|calc", "%0a"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert safe(text).startswith("'")


def test_other_cells_are_left_alone() -> None:
    assert safe("asr") == "asr"
    assert safe(-1.5) == -1.5
    assert safe(None) == ""
