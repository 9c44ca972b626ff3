# ruff: noqa: INP001  not a package: a directory that `headwater run` puts on PYTHONPATH, so that Python runs this file at its start
"""Put headwater.toml in force before the program starts, after the `sitecustomize` this file stands in front of, if there is one."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _run_the_other() -> None:
    spec = PathFinder.find_spec("sitecustomize", [path for path in sys.path if Path(path).resolve() != _HERE])
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start() -> None:
    try:
        from headwater.instrument.boot import start
    except ModuleNotFoundError as error:
        sys.stderr.write(f"headwater: not traced: {error.name} is not installed for {sys.executable}\n")
        return
    start()


_run_the_other()
_start()
