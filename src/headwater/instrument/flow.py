"""Which output became which input: links of kind input, found by the identity of the object, by its content, or by name.

An object that can be weakly referenced is remembered, when a stage returns it, with the span that did; nothing is kept alive, and the entry goes
with the object. When a stage of the same trace is given it, that is a link. Of a tuple, list or dict the parts are remembered, one level deep.

    left ──> Scores ─┐                      registry:  id(Scores) -> (weak reference, span of left)
                     ├─> join(scores, words)           id(Words)  -> (weak reference, span of right)
    right ─> Words ──┘                      two links of kind input

A stage is linked only if *every* argument is accounted for (each comes from a stage or is an argument of the pipeline; numbers, None, classes and
functions need no account): half of a stage's inputs would be a wrong pipeline, none leaves the order to be read off time. A text, a list or a dict
made outside a stage cannot be accounted for by identity: for those there are ``digest=True`` and ``upstream=``.
"""

import types
import weakref
from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

from opentelemetry.trace import SpanContext

from headwater.instrument import isolate
from headwater.instrument.content import content_digest, weighty

MAX_OBJECTS: Final = 4096  # remembered at a time, the oldest forgotten first
MAX_LINKS: Final = 128  # a span; what is beyond is counted
_MAX_PARTS: Final = 32  # of an output that is a tuple, list or dict
_MAX_GIVEN_PARTS: Final = 128  # of an argument that is one
_MAX_DIGESTS: Final = 1024  # a run
_MAX_NAMES: Final = 256  # a run

# Types no registry needs to be asked about: the check that every returned result passes.
SCALARS: Final = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray})
_CONTAINERS: Final = frozenset({tuple, list, dict})  # exactly these: a subclass may do anything when asked
_TEXTS: Final = frozenset({str, bytes, bytearray})
_CODE: Final = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, Enum)
_NEEDLESS: Final = (bool, int, float, complex, type(None), *_CODE)


class Produced(weakref.ref):  # type: ignore[type-arg]  # generic only in the stubs
    """A weak reference to an output that knows the span it came out of and its own key."""

    __slots__ = ("context", "key")
    context: SpanContext
    key: int


PRODUCED: Final[dict[int, Produced]] = {}
NAMED: Final[set[str]] = set()  # stages that some `upstream=` names: only those are remembered by name


class Flow:
    """What the stages of one run put out, for the ways of linking that identity does not serve."""

    __slots__ = ("_ended", "_taken", "digests", "external")

    def __init__(self) -> None:
        self.digests: dict[str, SpanContext] = {}
        self.external: frozenset[int] = frozenset()  # ids of the pipeline's own arguments, alive as long as its run
        self._ended: dict[str, tuple[int, deque[SpanContext]]] = {}
        self._taken: dict[tuple[str, str], int] = {}

    def end(self, stage: str, context: SpanContext) -> None:
        """A stage that others name as their upstream has ended."""
        total, recent = self._ended.get(stage) or (0, deque(maxlen=MAX_LINKS))
        if total or len(self._ended) < _MAX_NAMES:
            recent.append(context)
            self._ended[stage] = (total + 1, recent)

    def since(self, consumer: str, stage: str) -> list[SpanContext]:
        """Executions of `stage` that ended since `consumer` last asked; the latest one if there are no new ones (a retry of the consumer)."""
        total, recent = self._ended.get(stage, (0, ()))
        new = total - self._taken.get((consumer, stage), 0)
        self._taken[consumer, stage] = total
        return list(recent)[-max(new, 1) :]


def produced(result: Any, context: SpanContext) -> None:
    """Remember an output, or its parts."""
    try:
        if type(result) in _CONTAINERS:
            for part in _parts(result, _MAX_PARTS):
                if type(part) not in SCALARS:
                    _remember(part, context)
        else:
            _remember(result, context)
    except Exception as error:  # noqa: BLE001  another thread may change a dict under the loop; the stage has returned and must return
        isolate.swallow("remembering an output", error)


def origin(value: Any) -> SpanContext | None:
    """The span that put this very object out, of whatever trace; None if none is known."""
    found = PRODUCED.get(id(value))
    return found.context if found is not None and found() is value else None


def sources(arguments: tuple[Any, ...], trace_id: int, flow: Flow | None) -> list[SpanContext] | None:
    """Spans of this trace whose outputs the arguments are; None if an argument is not accounted for (see the module)."""
    found: list[SpanContext] = []
    for argument in arguments:
        context = origin(argument)
        if context is None and type(argument) in _TEXTS:
            return None
        if isinstance(argument, _NEEDLESS):
            continue
        if context is not None:
            if context.trace_id != trace_id:
                return None
            found.append(context)
        elif flow is not None and id(argument) in flow.external:
            continue
        elif not _account(argument, trace_id, found):
            return None
    return found


def remember_content(flow: Flow, value: Any, context: SpanContext) -> str | None:
    """Remember an output, and its parts, by content; gives the digest of the whole."""
    whole = content_digest(value)
    if whole is not None and weighty(value):
        _keep(flow, whole, context)
    for part in _parts(value, _MAX_PARTS):
        digest = content_digest(part) if weighty(part) else None
        if digest is not None:
            _keep(flow, digest, context)
    return whole


def sources_by_content(arguments: tuple[Any, ...], flow: Flow) -> list[SpanContext]:
    """Spans of the run that put out what equals an argument, or a part of it."""
    found: list[SpanContext] = []
    for argument in arguments:
        context = origin(argument) or _by_content(flow, argument)
        if context is not None:
            found.append(context)
        else:
            found += [known for part in _parts(argument, _MAX_PARTS) if (known := origin(part) or _by_content(flow, part)) is not None]
    return found


def _by_content(flow: Flow, value: Any) -> SpanContext | None:
    digest = content_digest(value) if weighty(value) else None
    return None if digest is None else flow.digests.get(digest)


def _keep(flow: Flow, digest: str, context: SpanContext) -> None:
    if digest in flow.digests or len(flow.digests) < _MAX_DIGESTS:
        flow.digests[digest] = context


def _account(argument: Any, trace_id: int, found: list[SpanContext]) -> bool:
    """A container is accounted for if a part of it comes from a stage and no part comes from nowhere."""
    known = len(found)
    for part in _parts(argument, _MAX_GIVEN_PARTS):
        if isinstance(part, _NEEDLESS):
            continue
        context = origin(part)
        if context is None or context.trace_id != trace_id:
            return False
        found.append(context)
    return len(found) > known


def _parts(value: Any, limit: int) -> Iterator[Any]:
    """Items of a list or tuple, values of a dict; nothing of a longer one or of anything else."""
    kind = type(value)
    if kind in _CONTAINERS and len(value) <= limit:
        yield from value.values() if kind is dict else value


def _remember(value: Any, context: SpanContext) -> None:
    kind = type(value)
    if kind.__weakrefoffset__ == 0 or issubclass(kind, _CODE):
        return
    entry = Produced(value, _forget)
    entry.context = context
    entry.key = id(value)
    PRODUCED[entry.key] = entry
    if len(PRODUCED) > MAX_OBJECTS:
        try:
            PRODUCED.pop(next(iter(PRODUCED)), None)
        except (RuntimeError, StopIteration):  # another thread was quicker: the next one forgets instead
            return


def _forget(entry: Produced) -> None:
    if PRODUCED.get(entry.key) is entry:
        PRODUCED.pop(entry.key, None)
