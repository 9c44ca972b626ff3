"""Never harm the host, never hide from its tests.

Everything headwater does around a stage runs behind one of the two doors of this file. What goes wrong there is counted by reason, logged
once per reason, and swallowed. Under pytest it is raised again, so that a broken extractor fails a test instead of fading away;
``configure(reraise=False)``, `set_reraise` or ``HEADWATER_RERAISE=0`` turn that off (``=1`` turns it on outside pytest). The exceptions of the
user's own function never pass through here.
"""

import logging
import os
import threading
from collections import Counter
from types import TracebackType
from typing import Final

_LOG: Final = logging.getLogger("headwater")
_LOCK = threading.Lock()
_COUNTS: Final[Counter[str]] = Counter()
_FORCED: list[bool] = []  # empty: the environment decides


def _fresh_lock() -> None:
    """In a forked child: whoever held the lock is not there any more to let go of it."""
    global _LOCK  # noqa: PLW0603
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def counts() -> dict[str, int]:
    """What was swallowed or refused so far in this process, by reason: ``{"extractor raised: asr confidence": 3}``."""
    with _LOCK:
        return dict(_COUNTS)


def clear_counts() -> None:
    with _LOCK:
        _COUNTS.clear()


def set_reraise(reraise: bool | None) -> None:  # noqa: FBT001  a setter with one switch
    """True or False: raise again, or swallow, whatever the environment says. None: the environment decides again."""
    _FORCED[:] = [] if reraise is None else [reraise]


def reraising() -> bool:
    if _FORCED:
        return _FORCED[0]
    asked = os.environ.get("HEADWATER_RERAISE")
    if asked is not None:
        return asked.strip().lower() in {"1", "true", "yes"}
    return "PYTEST_CURRENT_TEST" in os.environ


def count(reason: str) -> bool:
    """Count one refusal. True the first time this reason is seen, so that the caller may log it once."""
    with _LOCK:
        _COUNTS[reason] += 1
        return _COUNTS[reason] == 1


def note(reason: str, message: str) -> None:
    """Count, and warn through the logger ``headwater`` the first time."""
    if count(reason):
        _LOG.warning("%s: %s", reason, message)


def warn(message: str) -> None:
    _LOG.warning("%s", message)


def swallow(reason: str, error: Exception) -> None:
    """Count `error` and hide it; raises it again where `reraising`."""
    bury(reason, error)
    if reraising():
        raise error


def bury(reason: str, error: Exception) -> None:
    """Count `error` and hide it always: for the paths where the user's own exception is on its way and must not be replaced."""
    if count(reason):
        _LOG.warning("%s: %s (further ones are counted, not logged)", reason, describe(error))


def describe(error: BaseException) -> str:
    """``ValueError: text``; an exception whose ``__str__`` raises is described by its class alone."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  __str__ of a foreign exception may do anything
        return f"{type(error).__name__}: <str() raised>"


class isolated:  # noqa: N801  reads as a statement: `with isolated("outcome"):`
    """Swallow and count any `Exception` of the block (see the module); KeyboardInterrupt, SystemExit and their like pass."""

    __slots__ = ("_reason",)

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, Exception):
            return False
        bury(self._reason, error)
        return not reraising()
