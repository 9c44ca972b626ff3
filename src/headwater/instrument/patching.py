"""Putting a decorated callable in the place of another, wherever that one is known, and taking it out again.

A function that was imported by name is known in several places: the module that defines it, ``from x import f`` copies, and the tables
(``STEPS = [load, score]``) of modules that know it. All of them are swept, because a copy left behind would stay dark and could no longer be
pickled ("it's not the same object as x.f"). What is held elsewhere (closures, default arguments, objects) is not reached.
"""

import functools
import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, Final

from headwater.instrument import wrap

Decorator = Callable[[Any], Any]
MISSING: Final = object()
_MAX_TABLE: Final = 4096  # items; longer tables are data, not steps
_KERNEL: Final = wrap.__file__
_LOCK: Final = threading.RLock()  # looking whether it is a stage and making it one is one step; held while nothing of the host's is imported


class Patch:
    """One replaced attribute. `original` is what stood in the owner's own dictionary, MISSING if it was inherited."""

    __slots__ = ("name", "original", "owner", "replacement", "value")

    def __init__(self, owner: Any, name: str, original: Any, value: Any) -> None:
        self.owner = owner
        self.name = name
        self.original = original
        self.value = value
        self.replacement: Any = None

    def undo(self) -> None:
        """Put the original back, unless somebody else has put something in our place since."""
        if own_value(self.owner, self.name) is not self.replacement:
            return
        if self.original is MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, self.original)


def own_value(owner: Any, name: str) -> Any:
    """What stands in the owner's own dictionary, descriptors as such; MISSING if nothing does."""
    return namespace(owner).get(name, MISSING)


def namespace(owner: Any) -> Any:
    """The owner's dictionary, read past `__getattribute__`: a lazy module would load itself at the sight of us."""
    if issubclass(type(owner), type):  # isinstance() would ask for __class__
        return type.__dict__["__dict__"].__get__(owner)
    try:
        return object.__getattribute__(owner, "__dict__")
    except AttributeError:
        return {}


def replace(owner: Any, name: str, decorate: Decorator) -> Patch | None:
    """Decorate ``owner.name`` in place; None if it is a stage already.

    `owner` is a module, a class or an object. Raises AttributeError if there is no such attribute, TypeError if it cannot be a stage or the owner
    does not let itself be changed (a class of a C extension).
    """
    find = inspect.getattr_static if isinstance(owner, type) else getattr
    found = find(owner, name)
    with _LOCK:
        original = own_value(owner, name)
        value = found if original is MISSING else original
        if is_traced(value):
            return None
        patch = Patch(owner, name, original, value)
        patch.replacement = _for_class(value, decorate) if isinstance(owner, type) else decorate(value)
        setattr(owner, name, patch.replacement)
        return patch


def is_traced(value: Any) -> bool:
    """Is `value` a wrapper of ours, or does it wrap one (a cache above a stage)?"""
    for _ in range(16):
        if getattr(value, "_self_headwater", False) is True:
            return True
        value = getattr(value, "__func__", value)
        code = getattr(value, "__code__", None)
        if code is not None and code.co_filename == _KERNEL:
            return True
        value = getattr(value, "__wrapped__", None)
        if value is None:
            return False
    return False


def _for_class(value: Any, decorate: Decorator) -> Any:
    binds = hasattr(type(value), "__get__")
    if isinstance(value, (classmethod, staticmethod, property)) or (binds and callable(value)):
        return decorate(value)  # a property is refused there, with a reason
    return _descriptor(value, decorate) if binds else staticmethod(decorate(value))  # a callable object on a class gets no self


def _descriptor(value: Any, decorate: Decorator) -> Any:
    """Descriptors that decide at each access what they are (scikit-learn's ``available_if``, ``partialmethod``): wrapt keeps them deciding."""
    import wrapt

    inner = getattr(value, "__wrapped__", None) or getattr(value, "func", None)

    def through(self: Any, *args: Any, **kwargs: Any) -> Any:
        return value.__get__(self, type(self))(*args, **kwargs)

    traced = decorate(functools.wraps(inner)(through) if inner is not None else through)

    def call(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if instance is not None:
            return traced(instance, *args, **kwargs)
        return traced(*args, **kwargs) if args else wrapped(**kwargs)  # called on the class: its first argument is self

    found: Any = wrapt.FunctionWrapper(value, call)
    found._self_headwater = True  # noqa: SLF001  wrapt's own way to keep an attribute on the proxy
    return found


def sweep(pairs: list[tuple[Any, Any, str]]) -> int:
    """Replace (old, new, name of the defining module) in the globals of every module, and in the tables of those that know old or its module.

    Returns the number of places changed.
    """
    news = {id(old): new for old, new, _ in pairs}
    homes = {id(sys.modules.get(home)) for _, _, home in pairs}
    changed = 0
    for module in list(sys.modules.values()):
        names = namespace(module)
        if not isinstance(names, dict):
            continue
        known = id(module) in homes
        for name, value in list(names.items()):
            if id(value) in news:
                names[name] = news[id(value)]
                changed += 1
                known = True
            elif id(value) in homes:
                known = True
        if known:
            changed += sum(_sweep_table(names, name, news) for name in list(names))
    return changed


def _sweep_table(names: dict[str, Any], name: str, news: dict[int, Any]) -> int:
    table = names[name]
    if type(table) not in {dict, list, tuple} or len(table) > _MAX_TABLE or name == "__builtins__":
        return 0
    if type(table) is tuple:
        fresh = tuple(news.get(id(item), item) for item in table)
        places = sum(id(item) in news for item in table)
        if places:
            names[name] = fresh
        return places
    found = [key for key, item in (list(table.items()) if type(table) is dict else enumerate(list(table))) if id(item) in news]
    for key in found:
        table[key] = news[id(table[key])]
    return len(found)


def walk(module: types.ModuleType) -> Iterator[tuple[str, Any, str]]:
    """(qualname, owner, name) of what a module itself defines: functions, and the methods of its classes, nested ones too."""
    yield from _walk(module, "", module.__name__, ())


def _walk(owner: Any, prefix: str, home: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any, str]]:
    for name, value in list(namespace(owner).items()):
        bare = getattr(value, "__func__", value)
        if isinstance(value, type):
            if value.__module__ == home and id(value) not in above and value.__name__ == name:
                yield from _walk(value, f"{prefix}{name}.", home, (*above, id(value)))
        elif _is_function(bare) and getattr(bare, "__module__", None) == home:
            yield f"{prefix}{name}", owner, name


def _is_function(value: Any) -> bool:
    """A function, builtin, or a wrapper round one (``lru_cache``, scikit-learn's descriptors); not any object that can be called."""
    return (inspect.isroutine(value) and callable(value)) or isinstance(getattr(value, "__wrapped__", None), types.FunctionType)


def resolve(module: types.ModuleType, qualname: str) -> tuple[Any, str] | None:
    """(owner, name) of a name written out in full, through re-exports and module-level objects; None if it is not there."""
    *path, name = qualname.split(".")
    owner: Any = module
    for step in path:
        owner = getattr(owner, step, MISSING)
        if owner is MISSING:
            return None
    there = inspect.getattr_static(owner, name, MISSING) if isinstance(owner, type) else getattr(owner, name, MISSING)
    return None if there is MISSING else (owner, name)
