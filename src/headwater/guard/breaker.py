"""A circuit breaker as a frozen state and a pure step.

States as in resilience4j: CLOSED (calls pass, the last `window_calls` are watched), OPEN (calls are refused for `open_ns`), HALF_OPEN (at most
`probes` calls pass and decide), and the modes that do not move: DISABLED, FORCED_OPEN, and METRICS_ONLY, the default, where every call passes
and the step only counts how often it would have tripped.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    DISABLED = "disabled"
    FORCED_OPEN = "forced_open"
    METRICS_ONLY = "metrics_only"


class Event(StrEnum):
    """What happened: a call asks to pass, or one ended well, slowly, in an error, or without a verdict (cancelled, refused)."""

    ASKED = "asked"
    OK = "ok"
    SLOW = "slow"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When it trips: `failure_rate` or `slow_rate` reached over the last `window_calls` calls, of which there are `minimum_calls` at least."""

    window_calls: int = 100
    minimum_calls: int = 100
    failure_rate: float = 0.5
    slow_rate: float = 1.0
    slow_ns: int | None = None
    open_ns: int = 60_000_000_000
    probes: int = 10

    def __post_init__(self) -> None:
        counts_fit = 1 <= self.minimum_calls <= self.window_calls and self.probes >= 1 and self.open_ns >= 0
        if not counts_fit or not 0.0 < self.failure_rate <= 1.0 or not 0.0 < self.slow_rate <= 1.0:
            message = f"{self}; allowed: 1 <= minimum_calls <= window_calls, probes >= 1, open_ns >= 0, rates above 0 up to 1"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """`failed`, `slow`: one bit per watched call, the latest lowest. `trips`: how often it opened, or would have."""

    mode: Mode = Mode.METRICS_ONLY
    seen: int = 0
    failed: int = 0
    slow: int = 0
    trips: int = 0
    since_ns: int = 0
    admitted: int = 0  # probes let through since it is half open

    @property
    def refuses(self) -> bool:
        """After a step with `Event.ASKED`: must that call be turned away?"""
        return self.mode in {Mode.OPEN, Mode.FORCED_OPEN}


_STILL: Final = (Mode.DISABLED, Mode.FORCED_OPEN)


def step(state: State, event: Event, now_ns: int, limits: Limits) -> State:
    """The state after `event` at `now_ns` (any clock that does not step back)."""
    if state.mode in _STILL:
        return state
    if event is Event.ASKED:
        return _asked(state, now_ns, limits)
    if event is Event.UNKNOWN:
        return replace(state, admitted=max(0, state.admitted - 1)) if state.mode is Mode.HALF_OPEN else state
    if state.mode is Mode.OPEN:
        return state  # a call from before it opened
    return _ended(state, event, now_ns, limits)


def _asked(state: State, now_ns: int, limits: Limits) -> State:
    if state.mode is Mode.OPEN and now_ns - state.since_ns >= limits.open_ns:
        return State(mode=Mode.HALF_OPEN, trips=state.trips, since_ns=now_ns, admitted=1)
    if state.mode is Mode.HALF_OPEN:
        if state.admitted >= limits.probes:
            return replace(state, mode=Mode.OPEN, since_ns=now_ns)  # probes that never came back: try anew later
        return replace(state, admitted=state.admitted + 1)
    return state


def _ended(state: State, event: Event, now_ns: int, limits: Limits) -> State:
    probing = state.mode is Mode.HALF_OPEN
    needed, window = (limits.probes, limits.probes) if probing else (limits.minimum_calls, limits.window_calls)
    mask = (1 << window) - 1
    seen = min(state.seen + 1, window)
    failed = (state.failed << 1 | (event is Event.FAILED)) & mask
    slow = (state.slow << 1 | (event is Event.SLOW)) & mask
    moved = replace(state, seen=seen, failed=failed, slow=slow)
    if seen < needed:
        return moved
    if failed.bit_count() >= limits.failure_rate * seen or slow.bit_count() >= limits.slow_rate * seen:
        mode = Mode.METRICS_ONLY if state.mode is Mode.METRICS_ONLY else Mode.OPEN
        return State(mode=mode, trips=state.trips + 1, since_ns=now_ns)
    return State(mode=Mode.CLOSED, trips=state.trips, since_ns=now_ns) if probing else moved
