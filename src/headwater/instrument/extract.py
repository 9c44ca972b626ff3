"""Extractors: how a figure is read off a call, and what happens to the ones that misbehave."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from headwater.conventions.attributes import DIFFICULTY, OWN, QUALITY
from headwater.instrument import isolate

Reader = Callable[[Any], Any] | str | int
ReaderT = TypeVar("ReaderT", bound=Reader)
MAX_FAILURES: Final = 100


class Role(Generic[ReaderT]):
    """An extractor with a declared role; made by `own` and `difficulty`."""

    __slots__ = ("family", "reader")

    def __init__(self, family: str, reader: ReaderT) -> None:
        self.family = family
        self.reader = reader


def own(reader: ReaderT) -> Role[ReaderT]:
    """Mark an extractor of ``quality=`` as evidence about this stage's *own* work: ``headwater.own.<metric>``; only such figures accuse a stage.
    It is applied to the stage's result.
    """
    return Role(OWN.prefix, reader)


def difficulty(reader: ReaderT) -> Role[ReaderT]:
    """Mark an extractor of ``quality=`` as the difficulty of the *input*: ``headwater.difficulty.<metric>``; it never accuses a stage.
    It is applied to the input: the first argument, after ``self``.
    """
    return Role(DIFFICULTY.prefix, reader)


class Extractor:
    """One extractor: isolated, counted, and switched off after 100 failures in a row (one warning says so).

    `reader` is a callable, a key (where the subject is a mapping), a dotted attribute path, or an index.
    """

    __slots__ = ("_failures", "_read", "off", "what")

    def __init__(self, reader: Reader, *, what: str) -> None:
        self.what = what
        self.off = False
        self._failures = 0
        self._read = as_callable(reader, what=what)

    def text(self, subject: Any) -> str | None:
        """The figure as text; None if there is none, the extractor raised, or it is switched off."""
        value = self.raw(subject)
        return None if value is None else str(value)

    def raw(self, subject: Any) -> Any:
        """Whatever the reader gives; None also when it raised or is switched off."""
        if self.off:
            return None
        try:
            value = self._read(subject)
        except Exception as error:  # noqa: BLE001  the extractor is foreign code
            self.failed(error)
            return None
        self._failures = 0
        return value

    def number(self, subject: Any) -> float | None:
        """The figure as a float, NaN and infinities included: the caller decides what they mean. None: not reported."""
        if self.off:
            return None
        try:
            value = as_number(self._read(subject))
        except Exception as error:  # noqa: BLE001  the extractor is foreign code
            self.failed(error)
            return None
        self._failures = 0
        return value

    def failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self.off = True
            isolate.warn(f"extractor {self.what} raised {MAX_FAILURES} times in a row and is switched off; last: {isolate.describe(error)}")
        isolate.swallow(f"extractor raised: {self.what}", error)


def as_number(value: Any) -> float | None:
    """A float from a number, a bool, or a scalar of an array library (``.item()``: ``np.float32(0.5)`` would go out as the text "0.5").

    None stays None (not reported). Raises TypeError for text and other non-numbers, ValueError for arrays of more than one element.
    """
    if value is None:
        return None
    if isinstance(value, (float, int)):
        return float(value)
    item = getattr(value, "item", None)
    unpacked = item() if callable(item) else value
    if not isinstance(unpacked, (float, int)):
        message = f"an extractor gave {type(value).__name__}; allowed: a number, or None for nothing to report"
        raise TypeError(message)
    return float(unpacked)


def finite(value: float | None, *, what: str) -> float | None:
    """`value`, or None with a count where it is NaN or infinite."""
    if value is None or math.isfinite(value):
        return value
    isolate.count(f"not a finite number: {what}")
    return None


def as_callable(reader: object, *, what: str) -> Callable[[Any], Any]:
    """The reader as a function of its subject. Raises TypeError, at decoration, for what cannot be one."""
    if callable(reader):
        return reader
    if isinstance(reader, bool) or not isinstance(reader, (str, int)):
        message = f"{what}={reader!r} is no extractor; allowed: a callable, an attribute path or key (str), an index (int)"
        raise TypeError(message)
    return _Index(reader) if isinstance(reader, int) else _Path(reader)


class _Index:
    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __call__(self, subject: Any) -> Any:
        return subject[self.index]


class _Path:
    """``"a.b"``: at each step a key where the subject is a mapping, an attribute otherwise. A whole path that is itself a key wins."""

    __slots__ = ("path", "steps")

    def __init__(self, path: str) -> None:
        self.path = path
        self.steps = path.split(".")

    def __call__(self, subject: Any) -> Any:
        if isinstance(subject, Mapping) and self.path in subject:
            return subject[self.path]
        for step in self.steps:
            subject = subject[step] if isinstance(subject, Mapping) else getattr(subject, step)
        return subject


def quality_reader(metric: str, declared: Reader | Role[Any]) -> tuple[str, bool, Extractor]:
    """(wire name, read from the input?, extractor) of one entry of ``quality=``."""
    if isinstance(declared, Role):
        name = f"{declared.family}{metric}"
        return name, declared.family == DIFFICULTY.prefix, Extractor(declared.reader, what=name)
    name = QUALITY.of(metric)
    return name, False, Extractor(declared, what=name)
