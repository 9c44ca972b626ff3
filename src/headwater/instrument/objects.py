"""Stages of single objects: a method traced for this estimator and not for others of its class, and the steps of a composite under their names.

The object itself is not touched, so that it pickles, copies and compares as before: its *class* gets a dispatcher that looks the object up by
identity and calls the traced method for those it knows, the plain one for all others.

    Pipeline.predict_proba (stage "churn")
        ├─ read its steps: ("scale", StandardScaler), ("model", LogisticRegression)
        ├─ StandardScaler.transform           stage "churn.scale"
        └─ LogisticRegression.predict_proba   stage "churn.model"
"""

import functools
import inspect
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final

from headwater.instrument import isolate, patching
from headwater.instrument.spec import StageOptions
from headwater.instrument.stage import stage as stage_face

# What a composite is made of: (name, object, {method: keywords of hw.stage}).
StepReader = Callable[[Any], Iterable[tuple[str, Any, Mapping[str, StageOptions]]]]
Lookup = Callable[[Any], Callable[..., Any] | None]
_LOCK: Final = threading.RLock()
_BUSY: Final[ContextVar[Any]] = ContextVar(
    "headwater-object", default=None
)  # whose traced method runs: what it calls on itself is no stage of its own


class _Dispatcher:
    """The objects whose `method` is traced, by identity; an entry goes when its object does."""

    __slots__ = ("_by_id", "_function", "patch")

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[Any], Callable[..., Any]]] = {}
        self._function: Callable[..., Any] | None = None
        self.patch: patching.Patch | None = None

    def decorate(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A method of the same kind that looks its ``self`` up. Raises TypeError for an async generator: asend and athrow would be lost."""
        if inspect.isasyncgenfunction(function):
            message = (
                "found an async generator; allowed for one object: functions, coroutine functions, generators. Name its class: every object of it"
            )
            raise TypeError(message)
        self._function = function
        kind = _coroutine if inspect.iscoroutinefunction(function) else _generator if inspect.isgeneratorfunction(function) else _plain
        dispatch = kind(function, self.lookup)
        dispatch._self_headwater = True  # type: ignore[attr-defined]  # noqa: SLF001  see patching.is_traced
        return dispatch

    def lookup(self, subject: Any) -> Callable[..., Any] | None:
        """The object's traced method; None if it has none, or is at work already: what it calls on itself is no stage of its own."""
        entry = self._by_id.get(id(subject))
        return None if entry is None or entry[0]() is not subject or _BUSY.get() is subject else entry[1]

    def add(self, subject: Any, decorate: patching.Decorator) -> None:
        key = id(subject)
        self._by_id[key] = (weakref.ref(subject, lambda _: self._by_id.pop(key, None)), decorate(self._function))

    def knows(self, subject: Any) -> bool:
        entry = self._by_id.get(id(subject))
        return entry is not None and entry[0]() is subject

    def remove(self, key: int) -> bool:
        """True if none is left."""
        self._by_id.pop(key, None)
        return not self._by_id


def _plain(function: Callable[..., Any], lookup: Lookup) -> Callable[..., Any]:
    @functools.wraps(function)
    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        traced = lookup(self)
        if traced is None:
            return function(self, *args, **kwargs)
        mark = _BUSY.set(self)
        try:
            return traced(self, *args, **kwargs)
        finally:
            _BUSY.reset(mark)

    return dispatch


def _coroutine(function: Callable[..., Any], lookup: Lookup) -> Callable[..., Any]:
    @functools.wraps(function)
    async def dispatch(self: Any, *args: Any, **kwargs: Any) -> Any:
        traced = lookup(self)
        if traced is None:
            return await function(self, *args, **kwargs)
        mark = _BUSY.set(self)
        try:
            return await traced(self, *args, **kwargs)
        finally:
            _BUSY.reset(mark)

    return dispatch


def _generator(function: Callable[..., Any], lookup: Lookup) -> Callable[..., Any]:
    @functools.wraps(function)
    def dispatch(self: Any, *args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:  # between two steps the consumer works: no mark is left for it
        return (yield from (lookup(self) or function)(self, *args, **kwargs))

    return dispatch


_DISPATCHERS: Final[dict[tuple[type, str], _Dispatcher]] = {}


class Bound:
    """One object's traced method."""

    __slots__ = ("_id", "_place")

    def __init__(self, place: tuple[type, str], subject: Any) -> None:
        self._place = place
        self._id = id(subject)

    def undo(self) -> None:
        with _LOCK:
            found = _DISPATCHERS.get(self._place)
            if found is not None and found.remove(self._id):
                del _DISPATCHERS[self._place]
                if found.patch is not None:
                    found.patch.undo()


def bind(subject: Any, method: str, decorate: patching.Decorator) -> Bound | None:
    """Trace `method` for this object alone; None if it is traced already, by its class or by an earlier call.

    Raises AttributeError if there is no such method, TypeError if class or object do not take part (C extensions, no weak references).
    """
    place = (type(subject), method)
    with _LOCK:
        found = _DISPATCHERS.get(place)
        if found is None:
            weakref.ref(subject)
            found = _Dispatcher()
            found.patch = patching.replace(*place, found.decorate)
            if found.patch is None:
                return None
            _DISPATCHERS[place] = found
        if found.knows(subject):
            return None
        found.add(subject, decorate)
        return Bound(place, subject)


class Steps:
    """Makes stages of a composite's steps, at each call of the composite, so that steps put in later are seen too."""

    __slots__ = ("_bound", "_read")

    def __init__(self, read: StepReader) -> None:
        self._read = read
        self._bound: list[Bound] = []

    def prologue(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, the steps of its ``self`` named ``<name>.<step>`` before each call."""

        @functools.wraps(function)
        def with_steps(self_: Any, *args: Any, **kwargs: Any) -> Any:
            with isolate.isolated(f"steps of {name}"):
                self._name_steps(name, self_)
            return function(self_, *args, **kwargs)

        return with_steps

    def _name_steps(self, name: str, composite: Any) -> None:
        for step_name, step, methods in self._read(composite):
            for method, options in methods.items():
                place = _DISPATCHERS.get((type(step), method))
                if (place is None or not place.knows(step)) and inspect.getattr_static(type(step), method, None) is not None:
                    self._bind(f"{name}.{step_name}", (step, method), options)

    def _bind(self, name: str, place: tuple[Any, str], options: StageOptions) -> None:
        try:
            bound = bind(*place, stage_face(name, **options))
        except (TypeError, AttributeError) as error:
            isolate.note(f"cannot be instrumented: step {name}", isolate.describe(error))
            return
        if bound is not None:
            self._bound.append(bound)

    def undo(self) -> None:
        while self._bound:
            self._bound.pop().undo()
