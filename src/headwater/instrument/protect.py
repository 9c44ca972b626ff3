"""What may stand between a stage and its function: a breaker, a fallback, a fault put in on purpose; in this order, outermost first."""

import inspect
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from headwater.conventions.attributes import BREAKER_STATE, BREAKER_TRIPS
from headwater.faults.kinds import Corrupt, Degrade, Drop, Fail, Fault, Slow
from headwater.faults.planning import IN_FORCE, choose
from headwater.guard.breaker import Event, Limits, Mode, State, step
from headwater.instrument import isolate
from headwater.instrument.record import Inert
from headwater.instrument.redact import HOOKS, redacted
from headwater.instrument.spec import Spec
from headwater.instrument.text import exception_event

_CALLS: Final = itertools.count()


class BreakerOpenError(RuntimeError):
    """The breaker of a stage turned a call away; the stage did not run."""


class Breaker:
    """The breaker of one stage in this process: a `State` behind a lock. Pickled, it starts anew: each process watches its own calls."""

    __slots__ = ("_lock", "_mode", "limits", "state")

    def __init__(self, limits: Limits, mode: Mode) -> None:
        self.limits = limits
        self.state = State(mode=mode)
        self._mode = mode
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Breaker, (self.limits, self._mode)

    def step(self, event: Event) -> State:
        with self._lock:
            self.state = step(self.state, event, time.monotonic_ns(), self.limits)
            return self.state


def breaker(mode: str = "metrics_only", **limits: Any) -> Breaker:
    """A breaker for ``breaker=`` of a stage. By default it refuses nothing and counts how often it would have tripped; ``mode="closed"`` lets it
    act, ``"forced_open"`` refuses every call, ``"disabled"`` looks at nothing. Keywords: the fields of `headwater.guard.breaker.Limits`.

    Raises ValueError for a mode or a limit that cannot be, TypeError for an unknown keyword.
    """
    allowed = (Mode.METRICS_ONLY, Mode.CLOSED, Mode.FORCED_OPEN, Mode.DISABLED)
    if mode not in allowed:
        message = f"breaker mode {mode!r}; allowed: {', '.join(allowed)}"
        raise ValueError(message)
    return Breaker(Limits(**limits), Mode(mode))


def is_guarded(told: object) -> bool:
    """Has the stage a fallback or a breaker?"""
    return isinstance(told, Spec) and (told.fallback is not None or told.breaker is not None)


def protected(function: Callable[..., Any], told: object, handle: Inert | None) -> Callable[..., Any]:
    """`function` with what `told` (a stage's spec) and the plan in force put around it for this one call; of the same kind."""
    if not isinstance(told, Spec) or told.figures is None:
        return function
    known = handle if handle is not None else Inert()
    fault = _fault(told, known)
    call = function if fault is None else _faulty(function, told, fault)
    if told.fallback is None and told.breaker is None:
        return call
    return (_guarded_coroutine if inspect.iscoroutinefunction(call) else _guarded)(call, told, known)


# -- faults -------------------------------------------------------------------------------------------------------------------------------------


def _fault(spec: Spec, handle: Inert) -> Fault | None:
    if not IN_FORCE:
        return None
    fault = choose(IN_FORCE[-1], spec.span_name, handle.run_id or str(next(_CALLS)))
    if fault is not None:
        handle.fault(fault.name)
    return fault


def _faulty(function: Callable[..., Any], spec: Spec, fault: Fault) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return _faulty_stream(function, spec, fault)
    if inspect.iscoroutinefunction(function):

        async def later(*args: Any, **kwargs: Any) -> Any:
            await _sleep(fault)
            _raise(fault)
            return fault.value if isinstance(fault, Drop) else _changed(await function(*_worse(args, spec, fault), **kwargs), fault)

        return later

    def call(*args: Any, **kwargs: Any) -> Any:
        _wait(fault)
        _raise(fault)
        return fault.value if isinstance(fault, Drop) else _changed(function(*_worse(args, spec, fault), **kwargs), fault)

    return call


def _faulty_stream(function: Callable[..., Any], spec: Spec, fault: Fault) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):

        async def stream_later(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            await _sleep(fault)
            _raise(fault)
            if not isinstance(fault, Drop):
                async for item in function(*_worse(args, spec, fault), **kwargs):
                    yield _changed(item, fault)

        return stream_later

    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        _wait(fault)
        _raise(fault)
        if not isinstance(fault, Drop):
            for item in function(*_worse(args, spec, fault), **kwargs):
                yield _changed(item, fault)

    return stream


def _wait(fault: Fault) -> None:
    if isinstance(fault, Slow):
        time.sleep(fault.seconds)


async def _sleep(fault: Fault) -> None:
    if isinstance(fault, Slow):
        import asyncio

        await asyncio.sleep(fault.seconds)


def _raise(fault: Fault) -> None:
    if isinstance(fault, Fail):
        raise fault.error()


def _worse(args: tuple[Any, ...], spec: Spec, fault: Fault) -> tuple[Any, ...]:
    position = 1 if spec.method else 0
    if not isinstance(fault, Degrade) or len(args) <= position:
        return args
    return (*args[:position], fault.change(args[position]), *args[position + 1 :])


def _changed(result: Any, fault: Fault) -> Any:
    return fault.change(result) if isinstance(fault, Corrupt) else result


# -- breaker and fallback ----------------------------------------------------------------------------------------------------------------------


def _guarded(function: Callable[..., Any], spec: Spec, handle: Inert) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        begun_ns = time.monotonic_ns()
        try:
            _ask(spec, handle)
            result = function(*args, **kwargs)
        except Exception as error:
            _tell(spec, handle, error, begun_ns)
            if spec.fallback is None:
                raise
            _stood_in(spec, handle, error)
            return spec.fallback(*args, **kwargs)
        except BaseException as error:
            _tell(spec, handle, error, begun_ns)
            raise
        _tell(spec, handle, None, begun_ns)
        return result

    return call


def _guarded_coroutine(function: Callable[..., Any], spec: Spec, handle: Inert) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        begun_ns = time.monotonic_ns()
        try:
            _ask(spec, handle)
            result = await function(*args, **kwargs)
        except Exception as error:
            _tell(spec, handle, error, begun_ns)
            if spec.fallback is None:
                raise
            _stood_in(spec, handle, error)
            stand_in = spec.fallback(*args, **kwargs)
            return await stand_in if inspect.isawaitable(stand_in) else stand_in
        except BaseException as error:
            _tell(spec, handle, error, begun_ns)
            raise
        _tell(spec, handle, None, begun_ns)
        return result

    return call


def _ask(spec: Spec, handle: Inert) -> None:
    held = spec.breaker
    if held is None or not held.step(Event.ASKED).refuses:
        return
    handle.outcome("breaker_open")
    message = f"the breaker of stage {spec.span_name!r} is {held.state.mode}; the call was not made"
    raise BreakerOpenError(message)


def _tell(spec: Spec, handle: Inert, error: BaseException | None, begun_ns: int) -> None:
    """Let the breaker see how the call ended, and write its state on the span."""
    held = spec.breaker
    if held is None:
        return
    if error is None:
        slow = held.limits.slow_ns is not None and time.monotonic_ns() - begun_ns >= held.limits.slow_ns
        event = Event.SLOW if slow else Event.OK
    else:
        event = Event.FAILED if isinstance(error, Exception) and not isinstance(error, BreakerOpenError) else Event.UNKNOWN
    state = held.state if isinstance(error, BreakerOpenError) else held.step(event)
    handle.set(BREAKER_STATE.name, str(state.mode))
    handle.set(BREAKER_TRIPS.name, state.trips)


def _stood_in(spec: Spec, handle: Inert, error: Exception) -> None:
    """The fallback answers: say so, and keep what it answers for."""
    handle.fallback_from(spec.span_name)
    if handle.recording:
        with isolate.isolated("recording an exception"):
            event = exception_event(error)
            handle.span.add_event("exception", redacted(event) if HOOKS else event)
