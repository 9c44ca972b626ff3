"""Which patterns of a file match nothing, and why: ``python -m headwater.instrument.check FILE``.

Run in a process of its own, because it imports every module the patterns want, as the program would. Prints one JSON document; what the imported
modules print goes to standard error.

    {"patterns": [{"table": "[[instrument]] 1", "pattern": "shop.rank:scoer", "matched": [], "why": "module shop.rank has no scoer; near: score"}],
     "callables": [{"table": "[[instrument]] 1", "name": "shop.read:conf", "error": null}],
     "dark": [{"table": "[[instrument]] 1", "name": "shop.app:handle", "held_by": ["fastapi.routing.APIRoute"]}]}

"dark" are functions that are also held where they cannot be replaced: a route, a task, a closure. Calls from there are not traced.
"""

import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import sys
import types
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TextIO

from headwater.instrument import isolate, patching
from headwater.instrument.config import Lazy, load
from headwater.instrument.patterns import Pattern, literal_package

_NEAR: Final = 3


def report(path: Path) -> dict[str, Any]:
    """The document. Raises `ConfigError` for a file that cannot be read."""
    config = load(path)
    rules = [(table, table.apply()) for table in config.tables]
    errors: dict[str, str] = {}
    for _, rule in rules:
        for pattern in rule.patterns:
            _import_wanted(pattern, errors)
    patterns = [
        {"table": table.where, "pattern": pattern.text, "matched": rule.hits[pattern.text], "why": _why(pattern, rule.hits[pattern.text], errors)}
        for table, rule in rules
        for pattern in rule.patterns
    ]
    callables = [{"table": table.where, "name": lazy.name, "error": _wrong(lazy)} for table, _ in rules for lazy in table.lazy]
    dark = [
        {"table": table.where, "name": f"{home}:{old.__qualname__}", "held_by": held}
        for table, rule in rules
        for old, new, home in rule.replaced
        if (held := _holders(old, new))
    ]
    return {"patterns": patterns, "callables": callables, "dark": dark}


def _holders(old: Any, new: Any) -> list[str]:
    """Classes of what still holds `old`, apart from the wrapper that took its place and our own books."""
    ours: set[int] = set()
    layer = new
    while layer is not None and layer is not old:
        ours |= {id(cell) for cell in getattr(layer, "__closure__", None) or ()} | {id(getattr(layer, "__dict__", None))}
        layer = getattr(layer, "__wrapped__", None)
    found: set[str] = set()
    for holder in gc.get_referrers(old):  # no comprehension: it would hold `old` in a cell of its own
        if id(holder) not in ours and not _is_book(holder, old, new):
            found.add(_kind(holder))
    return sorted(found)


def _is_book(holder: Any, old: Any, new: Any) -> bool:
    if type(holder) is tuple:
        return len(holder) == 3 and holder[0] is old and holder[1] is new
    return isinstance(holder, (types.FrameType, patching.Patch))


def _kind(holder: Any) -> str:
    if isinstance(holder, types.CellType):
        return "a closure"
    if type(holder) is dict:
        owners = [one for one in gc.get_referrers(holder) if getattr(one, "__dict__", None) is holder]
        holder = owners[0] if owners else holder
    kind = type(holder)
    return f"a {kind.__name__}" if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _import_wanted(pattern: Pattern, errors: dict[str, str]) -> None:
    for name in candidates(pattern):
        if name in sys.modules or name in errors:
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:  # noqa: BLE001  foreign modules may raise anything; a script without a guard may exit
            errors[name] = isolate.describe(error)


def candidates(pattern: Pattern) -> Iterator[str]:
    """Names of the modules a pattern wants: itself, or what is found below its package by listing directories; packages on the way are imported."""
    if not pattern.wild_module:
        if pattern.module != "__main__":
            yield pattern.module
        return
    package = literal_package(pattern.module)
    if package and pattern.wants(package):
        yield package
    yield from (name for name in _below(package) if pattern.wants(name) and not name.endswith("__main__"))


def _below(package: str) -> Iterator[str]:
    if package:
        try:
            spec = importlib.util.find_spec(package)
        except Exception:  # noqa: BLE001  the package on the way is foreign code; that it fails is said for the modules themselves
            return
        where = spec.submodule_search_locations if spec is not None else None
        if where is None:
            return
        paths: list[str] | None = list(where)
    else:
        paths = [os.getcwd()]  # noqa: PTH109  a path for pkgutil
    for info in pkgutil.iter_modules(paths):
        name = f"{package}.{info.name}" if package else info.name
        yield name
        if info.ispkg:
            yield from _below(name)


def _why(pattern: Pattern, matched: list[str], errors: dict[str, str]) -> str | None:
    if matched:
        return None
    if pattern.module == "__main__":
        return "the script itself runs before it can be patched; move the function to a module the script imports"
    wanted = [name for name in sys.modules if pattern.wants(name)]
    failed = [f"{name} cannot be imported: {text}" for name, text in errors.items() if pattern.wants(name)]
    if not wanted:
        return failed[0] if failed else f"no module here is called {pattern.module}"
    known = sorted({qualname for name in wanted for qualname, _, _ in patching.walk(sys.modules[name])})
    near = get_close_matches(pattern.qualname, known, n=_NEAR) or known[:_NEAR]
    refused = [
        reason for reason in isolate.counts() if reason.startswith("cannot be instrumented") and any(f": {name}:" in reason for name in wanted)
    ]
    which = f"module {wanted[0]} has" if len(wanted) == 1 else f"{len(wanted)} modules have"
    return refused[0] if refused else f"{which} no {pattern.qualname}; there: {', '.join(near) or 'no functions'}"


def _wrong(lazy: Lazy) -> str | None:
    try:
        lazy.resolve()
    except (Exception, SystemExit) as error:  # noqa: BLE001  see _import_wanted
        return isolate.describe(error)
    return None


def main(out: TextIO) -> None:
    os.environ["OTEL_SDK_DISABLED"] = "true"  # what the imported modules do at import is nobody's trace
    json.dump(report(Path(sys.argv[1])), out)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as kept:
        os.dup2(2, 1)
        main(kept)
