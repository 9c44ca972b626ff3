"""What `headwater run` does. Standard library and the wrapper only, so that it works where the service parts are not installed."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headwater.instrument import boot
from headwater.instrument.config import FILE, VARIABLE, ConfigError, find, load

EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 127  # as a shell has it
_STARTUP: Final = Path(boot.__file__).parent / "startup"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="headwater run",
        usage="headwater run [options] [--] COMMAND [ARGUMENT ...]",
        description="Run a Python program with headwater.toml in force. It need not know of headwater; output, signals and exit status are its own.",
        epilog="Example: headwater run -- python app.py --port 8000",
    )
    found.add_argument("--config", metavar="FILE", help=f"default: {VARIABLE}, {FILE} here, [tool.headwater] of pyproject.toml here")
    found.add_argument("--service", metavar="NAME", help="service.name; default OTEL_SERVICE_NAME, then the script's name")
    found.add_argument("--endpoint", metavar="URL", help="collector, such as http://127.0.0.1:4318; default OTEL_EXPORTER_OTLP_ENDPOINT")
    found.add_argument("--own-provider", action="store_true", help="the program sets its own tracer provider up: make none")
    found.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the program and its arguments")
    return found


def main(arguments: Sequence[str]) -> int:
    """Become the command (POSIX), or run it and give its exit status. 2 for a wrong option or file, 127 for a command that is not there."""
    options = parser().parse_args(arguments)
    command: list[str] = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        return _say("which program? For example: headwater run -- python app.py", EXIT_USAGE)
    program = shutil.which(command[0])
    if program is None:
        return _say(f"{command[0]} is not a command here", EXIT_NOT_FOUND)
    if options.config is not None:
        os.environ[VARIABLE] = str(Path(options.config).resolve())
    try:
        path = find()
        if path is None:
            sys.stderr.write(f"headwater: no {FILE} here: only what the program itself decorates is traced\n")
        else:
            load(path)
            os.environ[VARIABLE] = str(path.resolve())  # children may run elsewhere
    except ConfigError as error:
        return _say(str(error), EXIT_USAGE)
    _prepare(options)
    if os.name == "posix":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(program, command)  # noqa: S606  running the given command is the whole job
    return subprocess.run([program, *command[1:]], check=False).returncode  # noqa: S603


def _prepare(options: argparse.Namespace) -> None:
    given = os.environ.get("PYTHONPATH")
    others = [path for path in given.split(os.pathsep) if Path(path) != _STARTUP] if given else []
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_STARTUP), *others])
    if options.service is not None:
        os.environ["OTEL_SERVICE_NAME"] = options.service
    if options.endpoint is not None:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = options.endpoint
    if options.own_provider:
        os.environ[boot.PROVIDER_VARIABLE] = "program"


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"headwater: {text}\n")
    return code
