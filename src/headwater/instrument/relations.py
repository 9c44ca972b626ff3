"""What a stage has to do with other spans and other processes: links, batches, retries, the queue it came out of, and the memory it met.

Four hooks of the kernel, none of which is entered by a stage that declares nothing, is given nothing another stage put out, and returns a plain
scalar: `relate` before the call, `returned` and `failed` after it, `prepare` at decoration.
"""

import inspect
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Any, Final, Protocol

from opentelemetry.trace import Span, SpanContext

from headwater.conventions.attributes import (
    INPUT_DIGEST,
    LINK_KIND,
    LINKS_DROPPED,
    MEMORY_RSS_BYTES,
    OUTPUT_DIGEST,
    QUEUE_TIME_NS,
    STAGE_ATTEMPT,
)
from headwater.instrument import flow
from headwater.instrument.batch import Batch, Ending, OpenBatch, Readings, open_batch
from headwater.instrument.content import content_digest
from headwater.instrument.extract import Reader
from headwater.instrument.memory import rss_bytes
from headwater.instrument.runinfo import RunInfo
from headwater.instrument.tokens import Carried
from headwater.instrument.values import Attributes

MEMORY_EVERY: Final = 100
_INPUT: Final[Attributes] = {LINK_KIND.name: "input"}
_RETRY: Final[Attributes] = {LINK_KIND.name: "retry_of"}


class Relations:
    """What one stage declares of this; None on its spec if nothing."""

    __slots__ = ("batch", "calls", "digest", "memory_every", "retries", "upstream")

    def __init__(self) -> None:
        self.digest = False
        self.upstream: tuple[str, ...] = ()
        self.retries = False
        self.memory_every = 0  # 0: never
        self.calls = 0
        self.batch: Batch | None = None

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """Unpickled in another process, where nothing was decorated: the stages named upstream must be remembered there too."""
        for name, value in state[1].items():
            setattr(self, name, value)
        flow.NAMED.update(self.upstream)

    def sample_memory(self, attributes: Attributes) -> None:
        if self.memory_every:
            self.calls += 1
            if self.calls % self.memory_every == 1 or self.memory_every == 1:
                found = rss_bytes()
                if found is not None:
                    attributes[MEMORY_RSS_BYTES.name] = found


class Offers:
    """What an open run or stage holds ready for the stages right below it: the queue's wait, for the first of them, and the attempts that failed."""

    __slots__ = ("failed", "queued")

    def __init__(self, queued: Carried | None = None) -> None:
        self.queued = queued
        self.failed: dict[str, tuple[Any, int, SpanContext]] = {}  # stage -> (its input, attempt, span)


class Related:
    """What `relate` found for one call, until its span ends."""

    __slots__ = ("attempt", "attributes", "batch", "subject")

    def __init__(self) -> None:
        self.attributes: Attributes = {}
        self.batch: OpenBatch | None = None
        self.attempt = 1
        self.subject: Any = None


class Told(Protocol):
    """Of a stage's spec, what is asked here."""

    span_name: str
    method: bool
    relations: Relations | None

    def subject(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]: ...


class Open(Protocol):
    """Of an open handle, what is asked here."""

    span: Span
    run: RunInfo | None
    outer: Any
    offers: Offers | None
    related: Related | None


# -- before the call ------------------------------------------------------------------------------------------------------------------------


def relate(handle: Open, spec: Told, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Link the stage to where its input came from, and take what the run or stage around it offers."""
    relations = spec.relations
    offers: Offers | None = None if handle.outer is None else handle.outer.offers
    given = (*(args[1:] if spec.method else args), *kwargs.values()) if kwargs or spec.method else args
    own = handle.span.get_span_context()
    if relations is None and offers is None:  # nothing but identity, and mostly not that
        sources = flow.sources(given, own.trace_id, None if handle.run is None else handle.run.flow)
        if not sources:
            return
    related = Related()
    found: list[SpanContext] = []
    if relations is None or not (relations.digest or relations.upstream or relations.batch):
        if flow.PRODUCED:
            found = flow.sources(given, own.trace_id, None if handle.run is None else handle.run.flow) or []
    else:
        found = _declared(handle, spec, relations, (given, args, kwargs, related))
    for context in _once(found, own, related.attributes):
        handle.span.add_link(context, _INPUT)
    if offers is not None and offers.queued is not None:
        queued, offers.queued = offers.queued, None
        waited = queued.waited_ns(time_ns())
        if waited is not None:
            related.attributes[QUEUE_TIME_NS.name] = waited
    if relations is not None and relations.retries:
        _attempt(handle, spec, related, (args, kwargs))
    if relations is not None or related.attributes:
        handle.related = related


def _declared(
    handle: Open, spec: Told, relations: Relations, call: tuple[tuple[Any, ...], tuple[Any, ...], dict[str, Any], Related]
) -> list[SpanContext]:
    given, args, kwargs, related = call
    if relations.batch is not None:
        related.batch = open_batch(relations.batch, handle.span, relations.batch.items(args, kwargs), related.attributes)
    run = handle.run
    found: list[SpanContext] = []
    if run is not None:
        for stage in relations.upstream:
            found += run.flowing().since(spec.span_name, stage)
    if relations.digest:
        known, subject = spec.subject(args, kwargs)
        digest = content_digest(subject) if known else None
        if digest is not None:
            related.attributes[INPUT_DIGEST.name] = digest
        if run is not None:
            found += flow.sources_by_content(given, run.flowing())
    trace_id = handle.span.get_span_context().trace_id
    return [context for context in found if context.trace_id == trace_id]


def _once(found: list[SpanContext], own: SpanContext, attributes: Attributes) -> list[SpanContext]:
    """Each span once, never itself, at most 128; what is beyond is counted on the span."""
    if not found:
        return found
    apart = list({context.span_id: context for context in found if context.span_id != own.span_id}.values())
    if len(apart) > flow.MAX_LINKS:
        attributes[LINKS_DROPPED.name] = len(apart) - flow.MAX_LINKS
    return apart[: flow.MAX_LINKS]


def _attempt(handle: Open, spec: Told, related: Related, call: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    """A call with the very input of one that failed, under the same run or stage, is its next attempt."""
    _, related.subject = spec.subject(*call)
    offers: Offers | None = None if handle.outer is None else handle.outer.offers
    before = None if offers is None else offers.failed.pop(spec.span_name, None)
    if before is not None and before[0] is related.subject:
        related.attempt = before[1] + 1
        handle.span.add_link(before[2], _RETRY)
    related.attributes[STAGE_ATTEMPT.name] = related.attempt


# -- after it -------------------------------------------------------------------------------------------------------------------------------


def returned(handle: Open, spec: Told, attributes: Attributes, ending: Ending) -> None:
    """Remember what the stage put out, and end what belongs to the call."""
    relations, run, result = spec.relations, handle.run, ending.result
    context = handle.span.get_span_context()
    if type(result) not in flow.SCALARS:
        flow.produced(result, context)
    if spec.span_name in flow.NAMED and run is not None:
        run.flowing().end(spec.span_name, context)
    if relations is None:
        return
    relations.sample_memory(attributes)
    if relations.digest:
        digest = content_digest(result) if run is None else flow.remember_content(run.flowing(), result, context)
        if digest is not None:
            attributes[OUTPUT_DIGEST.name] = digest
    if handle.related is not None and handle.related.batch is not None:
        handle.related.batch.close(handle.span, _without_run(attributes, run), ending)


def failed(handle: Open, spec: Told, attributes: Attributes, ending: Ending) -> None:
    """The stage raised: note the attempt for the next one, and end what belongs to the call."""
    relations, related = spec.relations, handle.related
    if relations is None or related is None:
        return
    relations.sample_memory(attributes)
    if relations.retries and handle.outer is not None and ending.verdict is None:
        if handle.outer.offers is None:
            handle.outer.offers = Offers()
        handle.outer.offers.failed[spec.span_name] = (related.subject, related.attempt, handle.span.get_span_context())
    if related.batch is not None:
        related.batch.close(handle.span, _without_run(attributes, handle.run), ending)


def _without_run(attributes: Attributes, run: RunInfo | None) -> Attributes:
    """An item belongs to its own run, not to the batcher's."""
    return attributes if run is None else {name: value for name, value in attributes.items() if name not in run.attributes}


# -- at decoration --------------------------------------------------------------------------------------------------------------------------


def prepare(options: Mapping[str, Any], function: Callable[..., Any] | None, *, name: str) -> Relations | None:
    """What `options` declare. Raises TypeError or ValueError for what cannot be."""
    made = Relations()
    made.digest = bool(options.get("digest", False))
    made.upstream = _names(options.get("upstream", ()), name)
    made.retries = bool(options.get("retries", False))
    memory = options.get("memory", False)
    made.memory_every = MEMORY_EVERY if memory is True else int(memory)
    if made.memory_every < 0:
        message = f"stage {name!r}: memory={memory!r}; allowed: True (every {MEMORY_EVERY}th call), or n for every nth call"
        raise ValueError(message)
    if options.get("batch") is not None:
        made.batch = _batch(options["batch"], options.get("item_token"), function, name)
    elif "item_token" in options:
        message = f"stage {name!r}: item_token= without batch=; name the parameter that holds the items: batch='items'"
        raise TypeError(message)
    if not (made.digest or made.upstream or made.retries or made.memory_every or made.batch):
        return None
    flow.NAMED.update(made.upstream)
    return made


def _names(given: Any, name: str) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(each, str) and each for each in names):
        message = f"stage {name!r}: upstream={given!r}; allowed: the name of a stage, or several"
        raise TypeError(message)
    return names


def _batch(parameter: Any, token: Reader | None, function: Callable[..., Any] | None, name: str) -> Batch:
    code = getattr(inspect.unwrap(function), "__code__", None) if function is not None else None
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
    if not isinstance(parameter, str) or function is None or (code is not None and parameter not in names):
        message = f"stage {name!r}: batch={parameter!r}; allowed: the name of the parameter that holds the items: {', '.join(names) or 'none here'}"
        raise TypeError(message)
    position = names.index(parameter) if code is not None and parameter in names[: code.co_argcount] else -1
    bound = inspect.ismethod(function)
    return Batch(parameter, position - bound if position >= 0 else -1, Readings(name), token)
