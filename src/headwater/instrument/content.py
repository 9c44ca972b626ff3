"""A cheap digest of what a stage was given or gave: enough to prove that this output became that input, bounded however large the value is.

Of a value at most 64 parts are looked at, of a text or buffer its length, its first and its last 2 KiB. Two values that differ only in between
have the same digest; a copy of a value has the digest of the value.
"""

import dataclasses
import enum
import hashlib
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

_SIZE: Final = 8  # bytes: 16 hex digits
_EDGE: Final = 2048
_PARTS: Final = 64
_DEPTH: Final = 4
_NUMBERS: Final = (bool, int, float, complex, type(None))


def content_digest(value: object) -> str | None:
    """16 hex digits, equal for equal content, in any process; None for what has no content to look at (an object with no fields, a stream).

    Texts, bytes, numbers, enums, lists, tuples, mappings, dataclasses and whatever gives its buffer or ``tobytes`` (arrays). Sets have no order to
    go by, arrays of objects no bytes: neither has a digest.
    """
    digest = hashlib.blake2b(digest_size=_SIZE)
    return digest.hexdigest() if _feed(digest, value, _DEPTH) else None


def weighty(value: object) -> bool:
    """Does equality of content say anything? Not for None, numbers, empty containers and texts under 8 characters: ``"yes"`` is put out by many."""
    if isinstance(value, _NUMBERS):
        return False
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) >= 8
    if isinstance(value, (list, tuple, Mapping)):
        return len(value) > 0
    return True


def _feed(digest: Any, value: Any, depth: int) -> bool:
    if isinstance(value, enum.Enum):
        digest.update(f"e{type(value).__qualname__}.{value.name};".encode("utf-8", "surrogatepass"))
        return True
    if isinstance(value, _NUMBERS):
        digest.update(f"n{value!r};".encode())
        return True
    if isinstance(value, str):
        digest.update(f"s{len(value)};".encode())
        edges = value if len(value) <= 2 * _EDGE else value[:_EDGE] + value[-_EDGE:]
        digest.update(edges.encode("utf-8", "surrogatepass"))
        return True
    if depth and isinstance(value, (list, tuple)):
        return _feed_parts(digest, f"l{len(value)}", value if len(value) <= _PARTS else (*value[: _PARTS // 2], *value[-_PARTS // 2 :]), depth)
    if depth and isinstance(value, Mapping):
        return _feed_parts(digest, f"m{len(value)}", islice(value.items(), _PARTS), depth)
    if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)][:_PARTS]
        return _feed_parts(digest, f"d{type(value).__qualname__}", fields, depth)
    return _feed_buffer(digest, value)


def _feed_parts(digest: Any, mark: str, parts: Any, depth: int) -> bool:
    digest.update(f"{mark}(".encode("utf-8", "surrogatepass"))
    for part in parts:
        if not _feed(digest, part, depth - 1):
            return False
    digest.update(b")")
    return True


def _feed_buffer(digest: Any, value: Any) -> bool:
    """bytes, bytearray, memoryview, arrays; one that is not contiguous gives its first rows."""
    try:
        view = memoryview(value)
        if "O" in view.format:  # addresses, not content
            return False
        digest.update(f"b{view.format}{view.shape};".encode())
        if not view.nbytes:
            return True
        if view.c_contiguous:
            flat = view.cast("B")
            digest.update(flat[:_EDGE])
            digest.update(flat[-_EDGE:])
        else:
            rows = view.shape[0] if view.shape else 1
            digest.update(view[: max(1, _EDGE * rows // view.nbytes)].tobytes()[:_EDGE])
    except (TypeError, ValueError, BufferError):
        return False
    return True
