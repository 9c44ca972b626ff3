"""Opening a stage or a run: the hot path before the user's function."""

from time import perf_counter_ns, time_ns
from typing import Any, Final
from uuid import uuid4

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, Tracer

from headwater.conventions.attributes import RUN_ID
from headwater.instrument import isolate, live
from headwater.instrument.counted import Counted, open_counted
from headwater.instrument.current import get_current
from headwater.instrument.flow import PRODUCED
from headwater.instrument.record import HANDLE_KEY, Handle, Inert
from headwater.instrument.relations import relate
from headwater.instrument.runinfo import RunInfo
from headwater.instrument.spec import Spec
from headwater.instrument.statistics import METER_GLOBAL, METERS
from headwater.instrument.text import clean
from headwater.instrument.values import Attributes

_SPAN_KEY: Final = live.SPAN_KEY
_GLOBAL: Final = live.GLOBAL
_API: Final = live.API if _GLOBAL in live.API else {_GLOBAL: live.UNSEEN}


def open_stage(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inert | None:
    """Start the stage's span and make it current. None: nothing records here, call the function as it is.

    Times are `perf_counter_ns` laid on the wall clock once per trace and process: a clock that is set back in the middle moves no span of it.
    """
    seen = live.state
    if _API[_GLOBAL] is not seen.provider:  # live.seen(), spelled out: the call would be a quarter of the cost of no provider
        seen = live.seen()
    tracer = seen.tracer
    if tracer is None:
        return None if METERS[METER_GLOBAL] is None else open_counted(spec)
    current = get_current()
    if seen.parent_decides:
        parent: Any = current.get(_SPAN_KEY)
        if parent is not None:
            context = parent.get_span_context()
            if not context.trace_flags & 1 and context.is_valid:
                return None if METERS[METER_GLOBAL] is None else open_counted(spec)
    return _start(spec, args, kwargs, (tracer, current))


def _start(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any], seen: tuple[Tracer, Context]) -> Inert | None:
    tracer, current = seen
    span: Span | None = None
    try:
        outer: Any = current.get(HANDLE_KEY)
        start_ns = perf_counter_ns()
        offset_ns = time_ns() - start_ns if outer is None or not outer.offset_ns else outer.offset_ns
        run = None if outer is None else outer.run
        span = tracer.start_span(spec.span_name, start_time=start_ns + offset_ns)
        if not span.is_recording():
            counted = None if METERS[METER_GLOBAL] is None else open_counted(spec, span)
            inert = counted or Inert(span, run, offset_ns=offset_ns)
            inert.enter(Context({**current, _SPAN_KEY: span, HANDLE_KEY: inert}))
            return inert
        handle = Handle(span, run, spec=spec, start_ns=start_ns, offset_ns=offset_ns)
        if PRODUCED or spec.relations is not None or (outer is not None and outer.offers is not None):
            handle.outer = outer
            try:
                relate(handle, spec, args, kwargs)
            except Exception as error:  # noqa: BLE001  arguments are foreign objects: without their links the stage is still a stage
                isolate.swallow("relating a stage", error)
        handle.begin(Context({**current, _SPAN_KEY: span, HANDLE_KEY: handle}), args, kwargs)
    except Exception as error:  # noqa: BLE001  a sampler or a span processor may raise; the stage must run all the same
        if span is not None:
            span.end()
        isolate.swallow("opening a stage", error)
        return None
    return handle


def open_run(spec: Spec, run_id: str | None, flows: Attributes) -> Inert:
    """Start a run's root span. Without a provider the run is still known to `hw.token` and to what is below.

    `flows`: attributes that go to every span of the run. A run without an id takes its trace id (and the span id, if it is not the trace's root).
    """
    current = get_current()
    tracer = live.seen().tracer
    start_ns = perf_counter_ns()
    offset_ns = time_ns() - start_ns
    span: Span = INVALID_SPAN
    if tracer is not None:
        try:
            span = tracer.start_span(spec.span_name, start_time=start_ns + offset_ns)
        except Exception as error:  # noqa: BLE001  see open_stage
            isolate.swallow("opening a run", error)
    context = span.get_span_context()
    known = clean(str(run_id)) if run_id is not None else _run_id_from(span, current)
    run = RunInfo(known, {**flows, RUN_ID.name: known}, context if context.is_valid else None)
    if not span.is_recording():
        return _enter_inert(span, run, offset_ns=offset_ns, current=current)
    handle = Handle(span, run, spec=spec, start_ns=start_ns, offset_ns=offset_ns)
    handle.begin(Context({**current, live.SPAN_KEY: span, HANDLE_KEY: handle}), (), {})
    return handle


def current_handle() -> Inert:
    """The innermost open stage or run of this context; an inert one outside, so that callers need not ask."""
    handle = get_current().get(HANDLE_KEY)
    if isinstance(handle, Counted):
        return Inert(handle.span, handle.run)  # calls below it that are not sampled are not made current: what they say is not its own
    return handle if isinstance(handle, Inert) else Inert()


def _enter_inert(span: Span, run: RunInfo | None, *, offset_ns: int, current: Context) -> Inert:
    handle = Inert(span, run, offset_ns=offset_ns)
    # No provider, no span: then whatever span the caller has current stays so.
    handle.enter(Context({**current, HANDLE_KEY: handle} | ({live.SPAN_KEY: span} if span.get_span_context().is_valid else {})))
    return handle


def _run_id_from(span: Span, current: Context) -> str:
    context = span.get_span_context()
    if not context.is_valid:
        return uuid4().hex
    parent: Any = current.get(live.SPAN_KEY)
    root = parent is None or not parent.get_span_context().is_valid
    return f"{context.trace_id:032x}" if root else f"{context.trace_id:032x}-{context.span_id:016x}"
