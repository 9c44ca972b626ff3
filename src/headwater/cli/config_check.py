"""`headwater doctor --config`: the patterns and callables of a headwater.toml, tried in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from headwater.instrument.config import ConfigError, load
from headwater.model.answers import Check
from headwater.model.errors import UsageError

_TIMEOUT_S: Final = 120.0


def checks(path: Path) -> tuple[Check, ...]:
    """A check for each pattern and each callable of the file. Imports the modules they name, as the program would, in a child of this Python.

    Raises UsageError if the file is wrong, or the child does not come back.
    """
    try:
        config = load(path)
    except ConfigError as error:
        raise UsageError(str(error), next_command="headwater doctor --help") from error
    if not config.tables:
        return (Check(name="patterns", ok=False, text=f"{path} instruments nothing", next='[[instrument]]\nmatch = "module:function"'),)
    found = _child(path)
    return (*map(_pattern, found["patterns"]), *map(_dark, found["dark"]), *map(_callable, found["callables"]))


def _child(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "headwater.instrument.check", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL)  # noqa: S603  our own module
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"importing the modules of {path} took longer than {_TIMEOUT_S:.0f} s") from error
    except (subprocess.CalledProcessError, json.JSONDecodeError) as error:
        said = (error.stderr or "").strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        raise UsageError(f"the modules of {path} end the process that imports them: {said[-1] if said else error}") from error
    return answer


def _pattern(one: dict[str, Any]) -> Check:
    matched, name = one["matched"], f"{one['table'].partition(' (')[0]} {one['pattern']}"
    if matched:
        return Check(name=name, ok=True, text=f"{len(matched)}: {', '.join(matched)}")
    return Check(name=name, ok=False, text=f"matched nothing: {one['why']}", next="mend match = in the file; module:qualname, wildcards * ? []")


def _dark(one: dict[str, Any]) -> Check:
    return Check(
        name=f"{one['table'].partition(' (')[0]} {one['name']}",
        ok=False,
        text=f"is also held by {', '.join(one['held_by'])}: calls from there are not traced",
        next="instrument what it calls, or decorate it where it is defined: @hw.stage",
    )


def _callable(one: dict[str, Any]) -> Check:
    wrong = one["error"]
    table = one["table"].partition(" (")[0]
    return Check(
        name=f"{table} {one['name']}",
        ok=wrong is None,
        text="can be called" if wrong is None else wrong,
        next=None if wrong is None else "name a callable of a module that can be imported: module:callable",
    )
