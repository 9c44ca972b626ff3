"""Starting without the program's help: at the start of an interpreter, under ``opentelemetry-instrument`` or ``headwater run``."""

import os
import sys
import threading
from typing import Final

from headwater.instrument import isolate
from headwater.instrument.config import ConfigError, apply, find, load
from headwater.instrument.configure import MissingSdkError, configure
from headwater.instrument.zero import Instrumented

PROVIDER_VARIABLE: Final = "HEADWATER_RUN_PROVIDER"  # "program": it sets one up itself
_DONE: Final[list[Instrumented]] = []
_LOCK: Final = threading.Lock()


def start() -> tuple[Instrumented, ...]:
    """Set a provider up where there is none, and put the file in force. Idempotent; never raises: the program runs, traced or not, and the logger
    ``headwater`` says why not.
    """
    with _LOCK:
        if _DONE:
            return tuple(_DONE)
        try:
            path = find()
            if path is not None:  # a program may also decorate its stages itself
                _DONE.extend(apply(load(path)))
        except ConfigError as error:
            isolate.warn(f"headwater: nothing is instrumented: {error}")
        _provide()
        return tuple(_DONE)


def stop() -> None:
    """Undo what `start` put in force; the provider stays."""
    with _LOCK:
        while _DONE:
            _DONE.pop().uninstrument()


def _provide() -> None:
    if os.environ.get(PROVIDER_VARIABLE, "").strip().lower() == "program":
        return
    try:
        configure(_service())
    except (MissingSdkError, ValueError) as error:
        isolate.warn(f"headwater: spans are not sent: {error}")


def _service() -> str | None:
    """The module's name under ``python -m``, where the script has none yet; None leaves it to `configure`."""
    given = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if given or sys.argv[:1] != ["-m"] or "-m" not in sys.orig_argv[:-1]:
        return None
    return sys.orig_argv[sys.orig_argv.index("-m") + 1]
