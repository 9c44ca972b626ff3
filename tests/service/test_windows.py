import pytest

from headwater.model.errors import UsageError
from headwater.model.ports import PipelineSummary, Window
from headwater.service.windows import current_window, parse_instant, parse_where, previous_window

NOW = 1_800_000_000_000_000_000
DAY = 86_400_000_000_000


def summary(first, last):
    return PipelineSummary(pipeline="p", stages=("a",), n_traces=2, n_spans=4, first_start_ns=first, last_start_ns=last, n_outcomes=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", NOW - 3_600_000_000_000),
        ("1.5d", NOW - 129_600_000_000_000),
        ("90s", NOW - 90_000_000_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000_000_000),
        ("2026-03-01T12:00:00", 1_772_366_400_000_000_000),
        ("2026-03-01T13:00:00+01:00", 1_772_366_400_000_000_000),
        ("2026-03-01T12:00:00.123456Z", 1_772_366_400_123_456_000),
        ("1772366400000000001", 1_772_366_400_000_000_001),
    ],
)
def test_instants(text, expected):
    assert parse_instant(text, now_ns=NOW) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "1y", "2026-13-01", "-1h", "12"])
def test_what_is_no_instant_is_named_with_the_cure(text):
    with pytest.raises(UsageError, match="ISO 8601"):
        parse_instant(text, now_ns=NOW)


def test_where_pairs_keep_later_equals_signs():
    assert parse_where(("device=x=y", "a=")) == (("device", "x=y"), ("a", ""))
    with pytest.raises(UsageError, match="key=value"):
        parse_where(("device",))


def test_the_default_window_is_the_seven_days_before_the_newest_run():
    assert current_window(summary(NOW - 30 * DAY, NOW), since=None, until=None, where=()).start_ns == NOW - 7 * DAY
    assert current_window(summary(NOW - 2 * DAY, NOW), since=None, until=None, where=()).start_ns == NOW - 2 * DAY
    assert current_window(summary(NOW - 30 * DAY, NOW), since=None, until=NOW - 10 * DAY, where=()).start_ns == NOW - 17 * DAY


def test_a_window_cannot_end_before_it_starts():
    with pytest.raises(UsageError, match="before it starts"):
        current_window(summary(0, NOW), since=NOW, until=NOW - 1, where=())


def test_previous_ends_where_the_window_starts_and_is_as_long():
    window = Window(start_ns=NOW - DAY, end_ns=NOW, where=(("a", "b"),))
    assert previous_window(window, newest_ns=NOW) == Window(start_ns=NOW - 2 * DAY, end_ns=NOW - DAY, where=(("a", "b"),))
    opened = previous_window(Window(start_ns=NOW - DAY), newest_ns=NOW)
    assert (opened.start_ns, opened.end_ns) == (NOW - 2 * DAY - 1, NOW - DAY)
