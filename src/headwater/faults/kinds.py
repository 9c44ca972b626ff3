"""What a fault is. Values only: who injects them decides when, and does the waiting."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class InjectedFaultError(RuntimeError):
    """Raised by `Fail` where no other exception is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The stage takes `seconds` longer: the wait comes before its own work."""

    seconds: float
    name: str = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The stage raises `error` instead of running."""

    error: Callable[[], Exception] = InjectedFaultError
    name: str = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt:
    """`change` is applied to the result; of a stream, to each item."""

    change: Callable[[Any], Any]
    name: str = "corrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrade:
    """`change` is applied to the input, the first argument after ``self``, so that the stage works on worse material."""

    change: Callable[[Any], Any]
    name: str = "degrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The stage does not run; its result is `value`. A stream is empty."""

    value: Any = None
    name: str = "drop"


Fault = Slow | Fail | Corrupt | Degrade | Drop
