"""headwater.toml: what becomes a stage in a program that never imports headwater.

    [pipeline]
    name = "shop"
    version = "3"
    match = "shop.app:handle"            # each call of it is one run
    run_id = "order_id"                  # read off its input
    [[instrument]]
    match = "shop.rank*:Ranker.score*"   # a pattern or a list
    stage = "rank"                       # default: the qualname
    confidence = "conf"                  # every keyword of @hw.stage

Found as ``HEADWATER_CONFIG``, else ``headwater.toml`` of the working directory, else ``[tool.headwater]`` of ``pyproject.toml`` there. A text
``"mod:callable"`` is imported when it is first needed, so that reading the file imports nothing of the program.
"""

import importlib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from headwater.conventions.attributes import PIPELINE_NAME, PIPELINE_VERSION
from headwater.instrument.extract import as_callable, difficulty, own
from headwater.instrument.run import RunOptions, pipeline
from headwater.instrument.spec import StageOptions, stage_spec
from headwater.instrument.zero import Instrumented, add_rule, as_patterns, stage_rule

FILE: Final = "headwater.toml"
VARIABLE: Final = "HEADWATER_CONFIG"
_TEXTS: Final = frozenset({"type", "model", "version", "data_version", "confidence_kind", "pipeline", "attributes", "config", "batch", "upstream"})
_CALLABLE: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_ROLES: Final = {"own": own, "difficulty": difficulty}
_PIPELINE_KEYS: Final = ("name", "version", "match", "run_id", "route", "session_id")


class ConfigError(ValueError):
    """The file cannot be read, or a table of it is wrong; the text names the file, the table, what was found and what is allowed."""


class Lazy:
    """A callable known by name, ``"mod:callable"``, imported at its first call. Pickles as its name."""

    __slots__ = ("_call", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._call: Callable[..., Any] | None = None

    def resolve(self) -> Callable[..., Any]:
        """Raises ImportError or AttributeError if it is not there, TypeError if it cannot be called."""
        if self._call is None:
            module, _, path = self.name.partition(":")
            found: Any = importlib.import_module(module)
            for step in path.split("."):
                found = getattr(found, step)
            if not callable(found):
                message = f"{self.name} is {type(found).__name__}; allowed: a callable"
                raise TypeError(message)
            self._call = found
        return self._call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self._call or self.resolve())(*args, **kwargs)

    def __reduce__(self) -> tuple[type["Lazy"], tuple[str]]:
        return Lazy, (self.name,)


@dataclass(frozen=True, slots=True)
class Table:
    """One ``[[instrument]]``, or the runs of ``[pipeline]``: patterns, what they become, and the callables it names."""

    where: str
    match: tuple[str, ...]
    apply: Callable[[], Instrumented]
    lazy: tuple[Lazy, ...]


@dataclass(frozen=True, slots=True)
class Config:
    """A file, read and checked."""

    path: Path
    tables: tuple[Table, ...]


def find() -> Path | None:
    """The file in force, None if there is none. Raises ConfigError if ``HEADWATER_CONFIG`` names a file that is not there."""
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            message = f"{VARIABLE} names {named}, which is not a file"
            raise ConfigError(message)
        return Path(named)
    if Path(FILE).is_file():
        return Path(FILE)
    project = Path("pyproject.toml")
    if project.is_file() and _ours(_parse(project), project):
        return project
    return None


def load(path: Path) -> Config:
    """Read and check a file; imports nothing that it names. Raises `ConfigError`."""
    given = _ours(_parse(path), path)
    for key in given:
        if key.startswith(("instrument", "pipeline")) and key not in {"instrument", "pipeline"}:
            _refuse(path, f"[{key}]", "no such table; allowed: [pipeline], [[instrument]]")
    head = given.get("pipeline", {})
    if not isinstance(head, Mapping):
        _refuse(path, "pipeline", f"found {type(head).__name__}; allowed: a table, [pipeline]")
    tables = given.get("instrument", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        _refuse(path, "instrument", "allowed: tables in double brackets, [[instrument]]")
    found = [*_runs(path, head)]
    found.extend(_stages(path, number, table, head) for number, table in enumerate(tables, 1))
    return Config(path, tuple(found))


def apply(config: Config) -> tuple[Instrumented, ...]:
    """Put every table of the file in force."""
    return tuple(table.apply() for table in config.tables)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ConfigError(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not valid TOML: {error}"
        raise ConfigError(message) from error


def _ours(tables: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    if path.name != "pyproject.toml":
        return tables
    tool = tables.get("tool", {})
    found = tool.get("headwater", {}) if isinstance(tool, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def _refuse(path: Path, where: str, why: str) -> None:
    message = f"{path}: {where}: {why}"
    raise ConfigError(message)


def _runs(path: Path, head: Mapping[str, Any]) -> Iterator[Table]:
    unknown = sorted(set(head) - set(_PIPELINE_KEYS))
    if unknown:
        _refuse(path, "[pipeline]", f"unknown key {unknown[0]!r}; allowed: {', '.join(_PIPELINE_KEYS)}")
    for key in ("name", "version"):
        if key in head and not (isinstance(head[key], str) and head[key]):
            _refuse(path, "[pipeline]", f"{key} = {head[key]!r}; allowed: a text")
    readers = [key for key in ("run_id", "route", "session_id") if key in head]
    if "match" not in head:
        if readers:
            _refuse(path, "[pipeline]", f"{readers[0]} is read off the input of a run; say which function is one: match = 'module:qualname'")
        return
    lazy: list[Lazy] = []
    options: dict[str, Any] = {"version": head["version"]} if "version" in head else {}
    try:
        match = tuple(pattern.text for pattern in as_patterns(head["match"]))
        for key in readers:
            options[key] = as_callable(_value(head[key], lazy), what=key)
    except (TypeError, ValueError) as error:
        _refuse(path, "[pipeline]", str(error))
    given = head.get("name")
    yield Table(
        "[pipeline]", match, lambda: add_rule(match, lambda qualname: pipeline(given or qualname, **cast("RunOptions", options))), tuple(lazy)
    )


def _stages(path: Path, number: int, table: Mapping[str, Any], head: Mapping[str, Any]) -> Table:
    where = f"[[instrument]] {number}" + (f" (match {table['match']!r})" if "match" in table else "")
    if "match" not in table:
        _refuse(path, where, "match is missing: a pattern 'module:qualname', or a list of them")
    name = table.get("stage")
    if name is not None and not (isinstance(name, str) and name):
        _refuse(path, where, f"stage = {name!r}; allowed: a text")
    lazy: list[Lazy] = []
    try:
        match = tuple(pattern.text for pattern in as_patterns(table["match"]))
        steps = _steps(table, lazy)
        options = {key: _option(key, value, lazy) for key, value in table.items() if key not in {"match", "stage", "steps"}}
        options["attributes"] = _pipeline_attributes(head) | dict(options.get("attributes", {}))
        stage_spec(name or "stage", cast("StageOptions", options))
    except (TypeError, ValueError, AttributeError) as error:
        _refuse(path, where, str(error))
    return Table(where, match, lambda: stage_rule(match, name, cast("StageOptions", options), steps), tuple(lazy))


def _steps(table: Mapping[str, Any], lazy: list[Lazy]) -> Lazy | None:
    found = _value(table.get("steps"), lazy)
    if found is None or isinstance(found, Lazy):
        return found
    message = f"steps = {found!r}; allowed: 'mod:callable', such as 'headwater.instrument.adapters.sklearn:steps'"
    raise TypeError(message)


def _pipeline_attributes(head: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline as attributes of the stage: those of a run it is part of win over them."""
    return {attribute.name: head[key] for key, attribute in (("name", PIPELINE_NAME), ("version", PIPELINE_VERSION)) if key in head}


def _option(key: str, value: Any, lazy: list[Lazy]) -> Any:
    if key == "quality":
        if not isinstance(value, Mapping):
            message = f"quality = {value!r}; allowed: a table, such as quality.oov = 'oov' or quality.oov.own = 'oov'"
            raise TypeError(message)
        return {metric: _role(reader, lazy) for metric, reader in value.items()}
    return _value(value, lazy, texts=key in _TEXTS)


def _role(reader: Any, lazy: list[Lazy]) -> Any:
    if isinstance(reader, Mapping) and len(reader) == 1 and next(iter(reader)) in _ROLES:
        ((role, inner),) = reader.items()
        found = _value(inner, lazy)
        as_callable(found, what=f"quality.{role}")  # raises here what is no reader
        return _ROLES[role](found)
    return _value(reader, lazy)


def _value(value: Any, lazy: list[Lazy], *, texts: bool = False) -> Any:
    """`value`, each ``"mod:callable"`` and ``{call = "mod:callable"}`` in it made a `Lazy`; of `texts` only the latter ("llama3:8b" is a model)."""
    if isinstance(value, str):
        return _lazy(value, lazy) if not texts and _CALLABLE.fullmatch(value) else value
    if isinstance(value, Mapping):
        called = value.get("call")
        if set(value) == {"call"} and isinstance(called, str) and _CALLABLE.fullmatch(called):
            return _lazy(called, lazy)
        return {key: _value(inner, lazy, texts=texts) for key, inner in value.items()}
    return [_value(inner, lazy, texts=texts) for inner in value] if isinstance(value, list) else value


def _lazy(name: str, lazy: list[Lazy]) -> Lazy:
    lazy.append(Lazy(name))
    return lazy[-1]
