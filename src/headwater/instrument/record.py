"""One open stage or run: the handle the user sees, and how it is closed.

A handle is built by `headwater.instrument.opening`. It writes everything in one `set_attributes` at the end: six separate calls are a third of
a span's cost, and the SDK's limit of 128 attributes evicts the *earliest* ones, so ours come last.
"""

from time import perf_counter_ns
from typing import Any, Final

from opentelemetry.context import Context, create_key
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from headwater.conventions.attributes import (
    CONFIDENCE,
    CONFIDENCE_KIND,
    CPU_TIME_NS,
    DIFFICULTY,
    ERROR_TYPE,
    FALLBACK_FROM,
    FAULT_INJECTED,
    FINAL,
    FIRST_ITEM_NS,
    INPUT_SIZE,
    ITEMS,
    LINK_KIND,
    LINK_KINDS,
    MODEL_NAME,
    MODEL_VERSION,
    OUTCOME,
    OUTCOMES,
    OUTPUT_SIZE,
    OWN,
    QUALITY,
    STAGE_ATTEMPT,
)
from headwater.instrument import isolate, statistics
from headwater.instrument.batch import Ending
from headwater.instrument.cpu import thread_cpu_ns
from headwater.instrument.current import attach, detach, get_current
from headwater.instrument.extract import as_number, finite
from headwater.instrument.flow import NAMED, SCALARS, produced
from headwater.instrument.redact import HOOKS, redacted
from headwater.instrument.relations import Offers, Related, failed, returned
from headwater.instrument.runinfo import RunInfo, format_token
from headwater.instrument.spec import Spec
from headwater.instrument.statistics import METER_GLOBAL, METERS
from headwater.instrument.text import clean, exception_event, scalar, status_text, type_name
from headwater.instrument.values import Attributes, confidence_attributes, one_of, split_model

HANDLE_KEY: Final = create_key("headwater-stage")


class Inert:
    """A handle that records nothing: the stage is not sampled, not traced, or not there. Every call is accepted and forgotten."""

    __slots__ = ("_token", "context", "offers", "offset_ns", "run", "span")
    recording = False
    cpu = False

    def __init__(self, span: Span = INVALID_SPAN, run: RunInfo | None = None, *, offset_ns: int = 0) -> None:
        self.span = span
        self.run = run
        self.offset_ns = offset_ns
        self.context: Context | None = None  # None: nothing is made current
        self.offers: Offers | None = None  # to the stages right below
        self._token: Any = None

    @property
    def run_id(self) -> str:
        """The run's business key; empty outside a run."""
        return "" if self.run is None else self.run.run_id

    @property
    def token(self) -> str:
        """This very span and its run as a str for `hw.outcome` (`hw.token` gives the run's root instead)."""
        return format_token(self.span.get_span_context(), self.run_id)

    def confidence(self, value: object, *, kind: str | None = None) -> None:
        """Confidence in this stage's own output, 0 to 1; outside that range or NaN it is dropped and marked invalid."""

    def quality(self, metric: str, value: object) -> None:
        """A quality figure of undeclared role."""

    def own(self, metric: str, value: object) -> None:
        """Evidence about this stage's own work."""

    def difficulty(self, metric: str, value: object) -> None:
        """Difficulty of the input."""

    def outcome(self, outcome: str) -> None:
        """How this execution went: ok, degraded, rejected, fallback, skipped, breaker_open, cancelled or abandoned."""

    def fault(self, name: str) -> None:
        """Name of a fault injected on purpose into this execution."""

    def input_size(self, size: object) -> None:
        """Size of the input in the stage's own unit."""

    def output_size(self, size: object) -> None:
        """Size of the output in the stage's own unit."""

    def model(self, model: str) -> None:
        """The model that ran, ``name`` or ``name@version``."""

    def attempt(self, number: int) -> None:
        """1 for the first try, 2 for the first retry."""

    def fallback_from(self, name: str) -> None:
        """The stage or version this one stands in for; the outcome becomes ``fallback``."""

    def final(self) -> None:
        """This span gives the pipeline's answer."""

    def link(self, context: SpanContext, *, kind: str = "input") -> None:
        """Link to another span: input, batch_item, outcome or retry_of."""

    def set(self, key: str, value: object) -> None:
        """An attribute of the user's own; flattened to a scalar."""

    def enter(self, context: Context) -> None:
        """Make the span current."""
        self.context = context
        self._token = attach(context)

    def resume(self) -> None:
        """Make the span current again for one step of a stream."""
        if self.context is not None:
            self._token = attach(self.context)

    def stream(self) -> None:
        """Turn into the handle of a stream: from here on the context is attached step by step."""
        self.leave()

    def item(self) -> None:
        """One item came: give the consumer's context back, and count."""
        self.leave()

    def start_cpu(self) -> None:
        """Start the CPU clock, where asked for."""

    def stop_cpu(self) -> None:
        """Stop it."""

    def leave(self, *, foreign: bool = False) -> None:
        """Undo `enter`; once. `foreign`: closing may happen in another thread or task, whose context is not ours to restore."""
        token, self._token = self._token, None
        if token is None or (foreign and get_current().get(HANDLE_KEY) is not self):
            return
        detach(token)

    def close(self, result: Any = None) -> None:  # noqa: ARG002  the signature of the recording handle
        """The execution returned."""
        token, self._token = self._token, None
        if token is not None:
            detach(token)

    def fail(self, error: BaseException) -> None:
        """The execution raised."""
        self.leave(foreign=isinstance(error, GeneratorExit))


class Handle(Inert):
    """The handle of a recording span. Writes after the end are ignored."""

    __slots__ = ("_cpu_from_ns", "_cpu_ns", "_explicit", "_first_item_ns", "_inputs", "_items", "_spec", "_start_ns", "_user", "outer", "related")
    recording = True

    def __init__(self, span: Span, run: RunInfo | None, *, spec: Spec, start_ns: int, offset_ns: int) -> None:
        super().__init__(span, run, offset_ns=offset_ns)
        self._spec = spec
        self._start_ns = start_ns
        self._explicit: Attributes | None = None  # set through the handle; None after the end would be wrong, see _write
        self._user: Attributes | None = None
        self.related: Related | None = None
        self.outer: Inert | None = None  # the stage or run around it; known where it matters
        self._inputs: Attributes | None = None
        self._cpu_ns = 0
        self._cpu_from_ns = -1
        self._items = -1
        self._first_item_ns = -1

    # -- what the user may say -----------------------------------------------------------------------------------------------------------

    def confidence(self, value: object, *, kind: str | None = None) -> None:
        with isolate.isolated("confidence"):
            said = confidence_attributes(as_number(value), kind, what=self._spec.span_name)
            if said:
                self._explicit = _without_confidence(self._explicit or {}) | said

    def quality(self, metric: str, value: object) -> None:
        self._number(QUALITY.of(metric), value)

    def own(self, metric: str, value: object) -> None:
        self._number(OWN.of(metric), value)

    def difficulty(self, metric: str, value: object) -> None:
        self._number(DIFFICULTY.of(metric), value)

    def outcome(self, outcome: str) -> None:
        with isolate.isolated("outcome"):
            self._write(OUTCOME.name, one_of(outcome, OUTCOMES, what="outcome"))

    def fault(self, name: str) -> None:
        self._text(FAULT_INJECTED.name, name)

    def input_size(self, size: object) -> None:
        self._number(INPUT_SIZE.name, size)

    def output_size(self, size: object) -> None:
        self._number(OUTPUT_SIZE.name, size)

    def model(self, model: str) -> None:
        with isolate.isolated("model"):
            name, version = split_model(model)
            self._text(MODEL_NAME.name, name)
            if version:
                self._text(MODEL_VERSION.name, version)

    def attempt(self, number: int) -> None:
        with isolate.isolated("attempt"):
            self._write(STAGE_ATTEMPT.name, int(number))

    def fallback_from(self, name: str) -> None:
        self._text(FALLBACK_FROM.name, name)
        self._write(OUTCOME.name, "fallback")

    def final(self) -> None:
        self._write(FINAL.name, True)

    def link(self, context: SpanContext, *, kind: str = "input") -> None:
        with isolate.isolated("link"):
            self.span.add_link(context, {LINK_KIND.name: one_of(kind, LINK_KINDS, what="link kind")})

    def set(self, key: str, value: object) -> None:
        with isolate.isolated("set"):
            if self._user is None:
                self._user = {}
            self._user[clean(key)] = scalar(value)

    def _number(self, name: str, value: object) -> None:
        with isolate.isolated(f"not a number: {name}"):
            number = finite(as_number(value), what=name)
            if number is not None:
                self._write(clean(name), number)

    def _text(self, name: str, value: object) -> None:
        with isolate.isolated(name):
            self._write(name, clean(str(value)))

    def _write(self, name: str, value: AttributeValue) -> None:
        if self._explicit is None:
            self._explicit = {}
        self._explicit[name] = value

    # -- the life of the span ------------------------------------------------------------------------------------------------------------

    def begin(self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read what must be read before the call, then make the span current."""
        spec = self._spec
        if spec.reads_before:
            self._inputs = spec.before(args, kwargs)
        self.context = context
        self._token = attach(context)
        if spec.cpu:
            self._cpu_from_ns = thread_cpu_ns()

    @property
    def cpu(self) -> bool:  # type: ignore[override]  # a class constant of the inert handle
        return self._spec.cpu

    def resume(self) -> None:
        super().resume()
        self.start_cpu()

    def stream(self) -> None:
        self.stop_cpu()
        self.leave()
        self._items = 0

    def item(self) -> None:
        self.stop_cpu()
        self.leave()
        if self._items == 0:
            self._first_item_ns = perf_counter_ns() - self._start_ns
        self._items += 1

    def start_cpu(self) -> None:
        if self._spec.cpu and self._cpu_from_ns < 0:
            self._cpu_from_ns = thread_cpu_ns()

    def stop_cpu(self) -> None:
        if self._cpu_from_ns >= 0:
            self._cpu_ns += thread_cpu_ns() - self._cpu_from_ns
            self._cpu_from_ns = -1

    def close(self, result: Any = None) -> None:
        """The stage returned `result`: read it, write the attributes, end the span."""
        end_ns = perf_counter_ns()
        if self._cpu_from_ns >= 0:
            self.stop_cpu()
        if self._token is not None:
            self.leave()
        attributes = self._gather()
        try:
            if self._spec.reads_after:
                self._spec.after(result, attributes)
            if self._spec.relations is not None or NAMED:
                with isolate.isolated("relating a stage"):
                    returned(self, self._spec, attributes, Ending(self._start_ns + self.offset_ns, end_ns + self.offset_ns, result))
            elif type(result) not in SCALARS:
                produced(result, self.span.get_span_context())
        finally:
            self._finish(attributes, end_ns)

    def fail(self, error: BaseException) -> None:
        """The stage raised `error`, which is on its way to the caller: nothing here may replace it.

        Cancelled, abandoned (GeneratorExit) and interrupted executions are not failures: an outcome, and the status left unset.
        """
        end_ns = perf_counter_ns()
        self.stop_cpu()
        self.leave(foreign=isinstance(error, GeneratorExit))
        attributes = self._gather()
        try:
            verdict = gentle_end(error)
            if verdict is None:
                attributes[ERROR_TYPE.name] = clean(type_name(error))
                event = exception_event(error)
                self.span.add_event("exception", redacted(event) if HOOKS else event)
                self.span.set_status(Status(StatusCode.ERROR, type_name(error) if HOOKS else status_text(error)))
            else:
                attributes.setdefault(OUTCOME.name, verdict)
            if self._spec.relations is not None:
                ending = Ending(self._start_ns + self.offset_ns, end_ns + self.offset_ns, error=error, verdict=verdict)
                failed(self, self._spec, attributes, ending)
        except Exception as ours:  # noqa: BLE001  the user's exception must reach the caller, whatever happens here
            isolate.bury("recording an exception", ours)
        self._finish(attributes, end_ns, quiet=True)

    def _gather(self) -> Attributes:
        """User's first, then ours; what was said by hand wins over what extractors read."""
        attributes: Attributes = dict(self._spec.static)
        if self.run is not None:
            attributes.update(self.run.attributes)
        if self._spec.last:
            attributes.update(self._spec.last)
        if self._inputs:
            attributes.update(self._inputs)
        if self.related is not None:
            attributes.update(self.related.attributes)
        if self._spec.cpu:
            attributes[CPU_TIME_NS.name] = self._cpu_ns
        if self._items >= 0:
            attributes[ITEMS.name] = self._items
            if self._first_item_ns >= 0:
                attributes[FIRST_ITEM_NS.name] = self._first_item_ns
        return attributes

    def _finish(self, attributes: Attributes, end_ns: int, *, quiet: bool = False) -> None:
        try:
            if self._explicit:
                if CONFIDENCE_KIND.name in self._explicit or CONFIDENCE.name in self._explicit:
                    attributes = _without_confidence(attributes)
                attributes.update(self._explicit)
            if self._user:
                attributes = {**{key: value for key, value in self._user.items() if key not in attributes}, **attributes}
            if METERS[METER_GLOBAL] is not None and statistics.on():
                outcome = statistics.ERROR if ERROR_TYPE.name in attributes else str(attributes.get(OUTCOME.name, statistics.OK))
                ended = (end_ns - self._start_ns, outcome, self._explicit is not None)
                statistics.count(self._spec, None if self.run is None else self.run.attributes, attributes, ended)
            self.span.set_attributes(redacted(attributes) if HOOKS else attributes)
            self.span.end(end_time=end_ns + self.offset_ns)
        except Exception as ours:  # noqa: BLE001  a span processor may raise
            (isolate.bury if quiet else isolate.swallow)("ending a span", ours)
        finally:
            self.offset_ns = 0  # what opens below an ended span (a task that outlives its run) lays its own clock


def _without_confidence(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if name not in {CONFIDENCE.name, CONFIDENCE_KIND.name}}


def gentle_end(error: BaseException) -> str | None:
    """The outcome of an execution that ended without failing, or None for a failure.

    asyncio is not imported for the question: its CancelledError, trio's and anyio's are known by name.
    """
    if isinstance(error, GeneratorExit):
        return "abandoned"
    if any(kind.__name__ in {"CancelledError", "Cancelled"} for kind in type(error).__mro__):
        return "cancelled"
    return None if isinstance(error, Exception) else "cancelled"
