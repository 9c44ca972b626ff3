"""The redaction hook: what may leave the process, decided by the program, before anything is written on a span."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from headwater.instrument import isolate
from headwater.instrument.text import scalar

Hook = Callable[[str, Any], Any]
HOOKS: Final[list[Hook]] = []  # empty: nothing is looked at
MASK: Final = "***"


def redact(hook: Hook | None) -> None:
    """Let `hook(key, value)` decide over every attribute of every stage and run, and over the texts of exceptions: it returns the value to write,
    or None to leave the attribute out. One hook is in force; None takes it away.

    A hook that raises hides the value (``***``) and is counted: what could not be judged does not leave. With a hook in force the status of a
    failed span is the exception's class alone, for its text is the exception's message.
    """
    if hook is not None and not callable(hook):
        message = f"hw.redact({hook!r}); allowed: a callable of key and value, or None"
        raise TypeError(message)
    HOOKS[:] = [] if hook is None else [hook]


def redacted(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes as the hook leaves them."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        try:
            kept = value
            for hook in HOOKS:
                kept = hook(key, kept)
        except Exception as error:  # noqa: BLE001  the hook is foreign code, and a user's exception may be on its way
            isolate.bury("redaction hook raised", error)
            kept = MASK
        if kept is not None:
            found[key] = kept if kept is value else scalar(kept)
    return found
