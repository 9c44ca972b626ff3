"""Hearing of modules as they are imported: one finder before the others, asked for every import, answering only for the wanted ones.

    import pkg.mod ──> finder: wanted? ──no──> the other finders
                                   └──yes─> their spec, its loader watched ──> module runs ──> listener(module)

Only the standard library, because it sits in the host's import system; the loader is put back before the module runs, so that nothing of ours
stays on it.
"""

import sys
import threading
from collections.abc import Callable, Collection, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

from headwater.instrument import isolate

Wanted = Callable[[str], bool]
Listener = Callable[[ModuleType], None]


class _Watcher:  # importlib.abc would cost every host 5 ms of import
    """The loader of one wanted module: loads through the real one, then tells the listener. Whatever else is asked, the real one answers."""

    def __init__(self, loader: Any, listener: Listener) -> None:
        self._loader = loader
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # not yet there: copied or unpickled half-way
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            spec.loader = self._loader
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._loader
        self._loader.exec_module(module)
        with isolate.isolated(f"after the import of {module.__name__}"):
            self._listener(sys.modules.get(module.__name__, module))  # a module may have put another object in its place


class _Finder:
    def __init__(self, wanted: Wanted, listener: Listener) -> None:
        self._wanted = wanted
        self._listener = listener
        self._busy = threading.local()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        busy: set[str] = self._busy.__dict__.setdefault("names", set())
        if fullname in busy or not self._wanted(fullname):
            return None
        busy.add(fullname)  # another tool's finder may ask all finders, us included
        try:
            spec = next(filter(None, (_ask(finder, fullname, path, target) for finder in sys.meta_path if finder is not self)), None)
        finally:
            busy.discard(fullname)
        if spec is not None and hasattr(spec.loader, "exec_module") and hasattr(spec.loader, "create_module"):
            watched: Any = _Watcher(spec.loader, self._listener)
            spec.loader = watched
        return spec


def _ask(finder: Any, fullname: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    find = getattr(finder, "find_spec", None)
    return None if find is None else find(fullname, path, target)


_FINDERS: Final[list[_Finder]] = []


def listen(wanted: Wanted, listener: Listener) -> None:
    """Call `listener` with each module for whose name `wanted` holds, right after it ran and before its importer goes on. Once per process."""
    if not _FINDERS:
        _FINDERS.append(_Finder(wanted, listener))
    if _FINDERS[0] not in sys.meta_path:
        sys.meta_path.insert(0, _FINDERS[0])


def deafen() -> None:
    """Take the finder out again."""
    while _FINDERS:
        finder = _FINDERS.pop()
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


def watch(names: Collection[str], listener: Listener) -> Callable[[], None]:
    """A finder of its own for a few modules known by name; what is returned takes it out again."""
    finder: Any = _Finder(names.__contains__, listener)
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None
