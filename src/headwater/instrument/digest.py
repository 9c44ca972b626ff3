"""Digests of code and configuration: a version for every stage, without being asked.

The digest of a function is taken over its bytecode, constants, names and argument counts, its defaults, and the plain values of its closure; line
numbers, file names, docstrings, ids and addresses do not enter, sets are sorted, so two processes and two runs agree. It is a digest of
*compiled* code: another minor version of Python gives another one. What a function calls is not followed: name such things in ``config=``.
"""

import dataclasses
import enum
import hashlib
import types
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Final

_SIZE: Final = 6  # bytes: 12 hex digits; enough to tell versions apart, short enough to read
_DEPTH: Final = 12
_PLAIN: Final = (str, bytes, bool, int, float, complex, type(None), type(Ellipsis))


def code_digest(function: Callable[..., Any]) -> str:
    """12 hex digits; equal for equal code. Callables without bytecode (builtins, C extensions) are digested by name."""
    return _hash(_callable_parts(function, ()))


def config_digest(value: object, *, code: str = "") -> str:
    """12 hex digits over a configuration and the digest of the code it configures.

    Mappings and sets are taken in sorted order; dataclasses, enums, arrays (``dtype``, ``shape``, bytes), callables and plain objects
    (``vars``) by content; anything else by its class. Deeper than 12 levels is cut.
    """
    return _hash(_chain(code, _parts(value, ())))


def _hash(parts: Iterator[str]) -> str:
    digest = hashlib.blake2b(digest_size=_SIZE)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def _chain(head: str, tail: Iterator[str]) -> Iterator[str]:
    yield head
    yield from tail


def _callable_parts(function: Any, path: tuple[int, ...]) -> Iterator[str]:
    if isinstance(function, partial):
        yield "partial"
        yield from _parts((function.func, function.args, function.keywords), (*path, id(function)))
        return
    function = getattr(function, "__func__", function)  # bound methods
    inner = getattr(function, "__wrapped__", None)
    code = getattr(function, "__code__", None)
    if inner is not None and len(path) < _DEPTH:
        yield from _callable_parts(inner, (*path, id(function)))  # lru_cache and other wrappers: what is versioned is the code inside
    elif code is not None:
        yield from _code_parts(code, getattr(function, "__doc__", None))
        yield from _parts((getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)), (*path, id(function)))
        yield from _closure_parts(function)
    elif not isinstance(function, type) and hasattr(type(function).__call__, "__code__"):
        yield from _callable_parts(type(function).__call__, (*path, id(function)))
        yield from _parts(_state(function), (*path, id(function)))
    else:
        yield f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"


def _code_parts(code: types.CodeType, doc: str | None = None) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
    for position, constant in enumerate(code.co_consts):
        if position == 0 and isinstance(constant, str) and constant == doc:
            continue
        if isinstance(constant, types.CodeType):
            yield from _code_parts(constant)
        else:
            yield from _parts(constant, ())


def _closure_parts(function: Any) -> Iterator[str]:
    """Plain values and the code of functions held in the closure; what those hold in turn is not followed."""
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not filled yet: the function refers to itself or to something defined below
            continue
        if isinstance(content, types.FunctionType):
            yield from _code_parts(content.__code__, content.__doc__)
        elif isinstance(content, (*_PLAIN, tuple)):
            yield from _parts(content, ())


def _parts(value: Any, path: tuple[int, ...]) -> Iterator[str]:
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        yield f"{type(value).__name__}:{value!r}"
    elif len(path) >= _DEPTH or id(value) in path:
        yield f"cut:{type(value).__qualname__}"
    elif isinstance(value, Mapping):
        yield "mapping"
        for key, inner in sorted(((_flat(key, path), inner) for key, inner in value.items()), key=lambda pair: pair[0]):
            yield key
            yield from _parts(inner, (*path, id(value)))
    elif isinstance(value, AbstractSet):
        yield "set"
        yield from sorted(_flat(inner, path) for inner in value)
    elif isinstance(value, (list, tuple)):
        yield f"sequence:{len(value)}"
        for inner in value:
            yield from _parts(inner, (*path, id(value)))
    else:
        yield from _object_parts(value, path)


def _flat(value: Any, path: tuple[int, ...]) -> str:
    return "\0".join(_parts(value, (*path, id(value))))


def _object_parts(value: Any, path: tuple[int, ...]) -> Iterator[str]:
    yield f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, enum.Enum):
        yield value.name
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _parts({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, (*path, id(value)))
    elif hasattr(value, "tobytes") and hasattr(value, "dtype") and hasattr(value, "shape"):
        yield f"{value.dtype}{value.shape}"
        yield hashlib.blake2b(value.tobytes(), digest_size=16).hexdigest()
    elif hasattr(value, "__fspath__"):
        yield str(value)
    elif isinstance(value, type):
        yield value.__qualname__
    elif callable(value):
        yield from _callable_parts(value, (*path, id(value)))
    else:
        yield from _parts(_state(value), (*path, id(value)))


def _state(value: Any) -> dict[str, Any]:
    names = [name for kind in type(value).__mro__ for name in _slots(kind)]
    held = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return held | getattr(value, "__dict__", {})


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))
