"""Batches: one span for the batch, a link to each item's own span, and a span in the item's own trace for items that carry a token.

    trace of the item 1 ── request ── [asr, item 0] ─┐ link batch_item
    trace of the item 2 ── request ── [asr, item 1] ─┤
                                                     ▼
    trace of the batcher ─────────── [asr, batch of 2] ── links batch_item to both requests

In a batch stage the readers read one item, or one item's result (where the result is a list or tuple as long as the batch): what they read
stands on the item's own span, which lasts as long as the batch, for so long its item waited.
"""

from collections.abc import Mapping
from time import time_ns
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, Status, StatusCode, Tracer, set_span_in_context

from headwater.conventions.attributes import BATCH_SIZE, CPU_TIME_NS, ERROR_TYPE, ITEM_INDEX, LINK_KIND, LINKS_DROPPED, OUTCOME, QUEUE_TIME_NS
from headwater.instrument import isolate, live
from headwater.instrument.extract import Extractor, Reader, finite
from headwater.instrument.flow import MAX_LINKS, origin
from headwater.instrument.text import clean, status_text, type_name
from headwater.instrument.tokens import TOKEN_KEY, Carried, read_carried
from headwater.instrument.values import Attributes, confidence_attributes

_BATCH_ITEM: Final[Attributes] = {LINK_KIND.name: "batch_item"}
_OF_THE_BATCH: Final = frozenset({CPU_TIME_NS.name, LINKS_DROPPED.name})  # figures of the whole, not repeated on its items


class Readings:
    """The readers of a batch stage, for one item."""

    __slots__ = ("confidence", "inputs", "kind", "outputs", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.confidence: Extractor | None = None
        self.kind: str | None = None
        self.inputs: list[tuple[str, Extractor]] = []
        self.outputs: list[tuple[str, Extractor]] = []

    def of_item(self, item: Any) -> Attributes:
        return _read(self.inputs, item)

    def of_result(self, result: Any) -> Attributes:
        found = _read(self.outputs, result)
        if self.confidence is not None:
            found.update(confidence_attributes(self.confidence.number(result), self.kind, what=self.what))
        return found


class Batch:
    """Where the items are: parameter `name` at `position` of the call (counting ``self``), and how an item's token is read."""

    __slots__ = ("name", "position", "readings", "token")

    def __init__(self, name: str, position: int, readings: Readings, token: Reader | None) -> None:
        self.name = name
        self.position = position
        self.readings = readings
        self.token = None if token is None else Extractor(token, what=f"{readings.what} item_token")

    def items(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return args[self.position] if 0 <= self.position < len(args) else kwargs.get(self.name)

    def carried(self, item: Any) -> Carried | None:
        """What the item's token says; without ``item_token=`` it is looked for under ``headwater_token``, a key or an attribute of the item."""
        if self.token is not None:
            found = self.token.raw(item)
        else:
            found = item.get(TOKEN_KEY) if isinstance(item, Mapping) else getattr(item, TOKEN_KEY, None)
        return None if found is None else read_carried(found)


class Ending(NamedTuple):
    """How the batch ended: its times in ns since the epoch, what it returned or the error it raised, and the outcome of a gentle end."""

    start_ns: int
    end_ns: int
    result: Any = None
    error: BaseException | None = None
    verdict: str | None = None


class OpenBatch:
    """One batch under way: its size, and (index, item, what it carries, how long it waited) of the items that get a span of their own."""

    __slots__ = ("batch", "items", "size")

    def __init__(self, batch: Batch, size: int) -> None:
        self.batch = batch
        self.size = size
        self.items: list[tuple[int, Any, Carried, int | None]] = []

    def close(self, span: Span, shared: Attributes, ending: Ending) -> None:
        """Write the items' spans. `shared`: the attributes of the batch that hold for each of them."""
        tracer = live.seen().tracer
        if tracer is None or not self.items:
            return
        readings, results = self.batch.readings, ending.result
        apart = isinstance(results, (list, tuple)) and len(results) == self.size and ending.error is None
        common = {name: value for name, value in shared.items() if name not in _OF_THE_BATCH}
        for index, item, carried, waited_ns in self.items:
            attributes = {**common, **({} if carried.run is None else carried.run.attributes), ITEM_INDEX.name: index}
            if waited_ns is not None:
                attributes[QUEUE_TIME_NS.name] = waited_ns
            with isolate.isolated(f"reading an item: {readings.what}"):
                attributes.update(readings.of_item(item))
                if apart:
                    attributes.update(readings.of_result(results[index]))
            self._write(tracer, (span, carried), attributes, ending)

    def _write(self, tracer: Tracer, between: tuple[Span, Carried], attributes: Attributes, ending: Ending) -> None:
        batch, carried = between
        if carried.context is None:
            return
        parent = set_span_in_context(NonRecordingSpan(carried.context), Context())
        links = [Link(batch.get_span_context(), _BATCH_ITEM)]
        span = tracer.start_span(self.batch.readings.what, parent, links=links, start_time=ending.start_ns)
        if ending.verdict is not None:
            attributes[OUTCOME.name] = ending.verdict
        elif ending.error is not None:
            attributes[ERROR_TYPE.name] = clean(type_name(ending.error))
            span.set_status(Status(StatusCode.ERROR, status_text(ending.error)))
        span.set_attributes(attributes)
        span.end(end_time=ending.end_ns)


def open_batch(batch: Batch, span: Span, items: Any, attributes: Attributes) -> OpenBatch | None:
    """Count and link the items. None for what has no length, or is no batch: a stream is not consumed to be counted."""
    try:
        size = len(items)
    except TypeError:
        return None
    attributes[BATCH_SIZE.name] = size
    opened = OpenBatch(batch, size)
    own = span.get_span_context()
    linked = {(own.trace_id, own.span_id)}
    now_ns = time_ns()
    for index, item in enumerate(items):
        with isolate.isolated(f"item_token: {batch.readings.what}"):
            carried = batch.carried(item)
            context = origin(item) if carried is None else carried.context
            if context is None:
                continue
            if carried is not None and context.trace_id != own.trace_id and context.trace_flags & 1:
                opened.items.append((index, item, carried, carried.waited_ns(now_ns)))
            if (context.trace_id, context.span_id) not in linked:
                linked.add((context.trace_id, context.span_id))
                if len(linked) <= MAX_LINKS + 1:
                    span.add_link(context, _BATCH_ITEM)
    dropped = len(linked) - 1 - MAX_LINKS
    if dropped > 0:
        attributes[LINKS_DROPPED.name] = dropped
    return opened


def _read(extractors: list[tuple[str, Extractor]], subject: Any) -> Attributes:
    found: Attributes = {}
    for name, extractor in extractors:
        value = finite(extractor.number(subject), what=name)
        if value is not None:
            found[name] = value
    return found
