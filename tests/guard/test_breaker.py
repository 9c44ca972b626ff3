"""The breaker's step, by hand: when it trips, how it comes back, and what never moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.guard.breaker import Event, Limits, Mode, State, step

LIMITS = Limits(window_calls=4, minimum_calls=4, failure_rate=0.5, slow_rate=0.75, open_ns=100, probes=2)


def after(state, *events, at=0, limits=LIMITS):
    for event in events:
        state = step(state, event, at, limits)
    return state


CLOSED = State(mode=Mode.CLOSED)


def test_it_opens_at_the_failure_rate_and_not_before_the_minimum():
    assert after(CLOSED, Event.FAILED, Event.FAILED, Event.FAILED).mode is Mode.CLOSED
    assert after(CLOSED, Event.OK, Event.OK, Event.OK, Event.FAILED).mode is Mode.CLOSED
    opened = after(CLOSED, Event.OK, Event.FAILED, Event.OK, Event.FAILED, at=7)
    assert (opened.mode, opened.trips, opened.since_ns, opened.refuses) == (Mode.OPEN, 1, 7, True)


def test_old_calls_leave_the_window():
    state = after(CLOSED, Event.FAILED, Event.OK, Event.OK, Event.OK, Event.OK)
    assert (state.mode, state.failed, state.seen) == (Mode.CLOSED, 0, 4)
    assert after(state, Event.FAILED).mode is Mode.CLOSED


def test_slow_calls_trip_at_a_rate_of_their_own():
    assert after(CLOSED, Event.SLOW, Event.SLOW, Event.OK, Event.OK).mode is Mode.CLOSED
    assert after(CLOSED, Event.SLOW, Event.SLOW, Event.OK, Event.SLOW).mode is Mode.OPEN


def opened(at=0):
    return after(CLOSED, *[Event.FAILED] * 4, at=at)


def test_it_waits_then_lets_probes_through_and_closes_if_they_do_well():
    assert step(opened(), Event.ASKED, 99, LIMITS).refuses
    first = step(opened(), Event.ASKED, 100, LIMITS)
    assert (first.mode, first.refuses, first.admitted) == (Mode.HALF_OPEN, False, 1)
    second = step(first, Event.ASKED, 100, LIMITS)
    assert not second.refuses
    assert step(second, Event.ASKED, 100, LIMITS).refuses
    closed = after(second, Event.OK, Event.OK, at=101)
    assert (closed.mode, closed.seen, closed.trips) == (Mode.CLOSED, 0, 1)


def test_bad_probes_open_it_again():
    probing = after(opened(), Event.ASKED, Event.ASKED, at=100)
    again = after(probing, Event.OK, Event.FAILED, at=150)
    assert (again.mode, again.trips, again.since_ns) == (Mode.OPEN, 2, 150)


def test_a_probe_without_a_verdict_gives_its_place_back():
    probing = after(opened(), Event.ASKED, Event.ASKED, Event.UNKNOWN, at=100)
    assert not step(probing, Event.ASKED, 100, LIMITS).refuses


def test_a_late_end_of_a_call_from_before_it_opened_changes_nothing():
    assert after(opened(), Event.OK, Event.FAILED) == opened()


def test_metrics_only_counts_what_would_have_tripped_and_refuses_nothing():
    state = State()
    for _ in range(3):
        state = after(state, Event.ASKED, *[Event.FAILED] * 4)
        assert (state.mode, state.refuses) == (Mode.METRICS_ONLY, False)
    assert state.trips == 3


@pytest.mark.parametrize("mode", [Mode.DISABLED, Mode.FORCED_OPEN])
def test_the_still_modes_do_not_move(mode):
    state = State(mode=mode)
    assert after(state, *Event, *[Event.FAILED] * 8) is state
    assert state.refuses == (mode is Mode.FORCED_OPEN)


@given(st.lists(st.tuples(st.sampled_from(list(Event)), st.integers(0, 60)), max_size=200), st.sampled_from([Mode.CLOSED, Mode.METRICS_ONLY]))
def test_the_state_stays_small_and_never_admits_more_probes_than_allowed(events, mode):
    state, now_ns = State(mode=mode), 0
    for event, passed_ns in events:
        now_ns += passed_ns
        before, state = state, step(state, event, now_ns, LIMITS)
        assert state.seen <= 4
        assert max(state.failed, state.slow) < 16
        assert state.admitted <= LIMITS.probes
        assert state.trips >= before.trips
        assert (mode is Mode.METRICS_ONLY) == (state.mode is Mode.METRICS_ONLY)


@pytest.mark.parametrize(
    "wrong", [{"minimum_calls": 0}, {"window_calls": 5}, {"failure_rate": 0.0}, {"slow_rate": 1.5}, {"probes": 0}, {"open_ns": -1}]
)
def test_limits_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="allowed: 1 <= minimum_calls"):
        Limits(**wrong)
