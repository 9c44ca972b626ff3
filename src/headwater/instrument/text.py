"""Text that may go on the wire.

One lone surrogate in a span name or a status makes the OTLP encoder drop the whole batch, neighbours included; so every text that is not known
to be plain passes `clean` first.
"""

import traceback
from typing import Any, Final

MAX_TEXT: Final = 64 * 1024
MAX_STATUS: Final = 1024


def clean(text: str, *, limit: int = MAX_TEXT) -> str:
    """`text` cut to `limit` characters, lone surrogates replaced by ``?``."""
    if len(text) > limit:
        text = text[:limit]
    if text.isascii():
        return str(text)
    return text.encode("utf-8", "replace").decode("utf-8")


def safe_str(value: object) -> str:
    """``str(value)`` that cannot raise."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a foreign __str__ may do anything
        return f"<{type(value).__name__}: str() raised>"


def type_name(error: BaseException) -> str:
    """The class as ``error.type`` has it: qualified by its module, bare for builtins."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def exception_event(error: BaseException) -> dict[str, str]:
    """Attributes of the span event ``exception``. `Span.record_exception` is not used: it calls ``str(error)`` unguarded, and an exception
    whose ``__str__`` raises would then reach the caller in place of the user's own.
    """
    try:
        stack = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  see above
        stack = "<traceback not available>"
    return {"exception.type": type_name(error), "exception.message": clean(safe_str(error)), "exception.stacktrace": clean(stack)}


def status_text(error: BaseException) -> str:
    return clean(f"{type(error).__name__}: {safe_str(error)}", limit=MAX_STATUS)


def scalar(value: Any) -> str | bool | int | float:
    """A user attribute as a flat scalar: str, bool, int, float as they are (text cleaned), scalars with ``.item()`` unpacked, the rest as text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (bool, int, float)):
        return value
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", 0) == 0:
        unpacked = item()
        if isinstance(unpacked, (bool, int, float)):
            return unpacked
    return clean(safe_str(value))
