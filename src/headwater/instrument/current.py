"""The current context, one call closer.

The API's `attach`, `get_current` and `detach` each pass two Python functions on the way to a `ContextVar`; a stage needs all three. Where the
runtime context is the standard one, its variable is used directly; elsewhere (``OTEL_PYTHON_CONTEXT``) the API's own functions are.
"""

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as api
from opentelemetry.context import Context

_VARIABLE: Final = getattr(getattr(api, "_RUNTIME_CONTEXT", None), "_current_context", None)
_DIRECT: Final = isinstance(_VARIABLE, ContextVar)

get_current: Final[Callable[[], Context]] = _VARIABLE.get if _VARIABLE is not None and _DIRECT else api.get_current
attach: Final[Callable[[Context], Any]] = _VARIABLE.set if _VARIABLE is not None and _DIRECT else api.attach
_reset: Final[Callable[[Any], None]] = _VARIABLE.reset if _VARIABLE is not None and _DIRECT else api.detach


def detach(token: Token[Context]) -> None:
    """Undo `attach`. A token of another context is the API's to complain about: it logs, and raises nothing."""
    try:
        _reset(token)
    except (ValueError, RuntimeError):
        api.detach(token)
