"""`hw.resume` and `hw.headers`: a run goes on in another process, behind a queue or a request."""

from collections.abc import Mapping
from types import TracebackType

from opentelemetry.context import Context, get_current
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext

from headwater.instrument import isolate, live
from headwater.instrument.outcome import token
from headwater.instrument.record import HANDLE_KEY, Inert
from headwater.instrument.relations import Offers
from headwater.instrument.tokens import PROPAGATOR, TOKEN_HEADER, Carried, read_carried

Whence = str | Mapping[str, str] | SpanContext


class ResumeBlock:
    """``with hw.resume(token) as run:``, also ``async with``."""

    __slots__ = ("_handle", "_whence")

    def __init__(self, whence: Whence) -> None:
        self._whence = whence
        self._handle: Inert | None = None

    def __enter__(self) -> Inert:
        carried: Carried | None = None
        with isolate.isolated("resuming a run"):
            carried = read_carried(self._whence)
        self._handle = enter_carried(carried)
        return self._handle

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.leave()

    async def __aenter__(self) -> Inert:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.__exit__(kind, error, trace)


def resume(whence: Whence) -> ResumeBlock:
    """Go on with a run begun elsewhere: the stages of the block join its trace, under the span the token or the headers name.

    Args:
        whence: what ``hw.token(queued=True)`` or `hw.token` gave; the headers of a request (`hw.headers` made them, or any tool that writes W3C
            ``traceparent``); or a SpanContext.

    The block is no span of its own. Run id and, from a queued token or `hw.headers`, pipeline, version, route and canary mark flow to its stages;
    the first stage of the block gets ``headwater.queue.time_ns``. With nothing to go on (an empty token, headers without any) the block does
    nothing; a broken token is counted and logged (see `isolate`), and nothing is raised into the host.
    """
    return ResumeBlock(whence)


def headers(carrier: dict[str, str] | None = None) -> dict[str, str]:
    """`carrier` (default: a new dict) with what a request needs to carry the run along: W3C ``traceparent`` and ``tracestate`` of the current span,
    and ``headwater-token``. Empty outside a span and a run.
    """
    found: dict[str, str] = {} if carrier is None else carrier
    with isolate.isolated("headers"):
        PROPAGATOR.inject(found)
        said = token(queued=True)
        if said:
            found[TOKEN_HEADER] = said
    return found


def enter_carried(carried: Carried | None) -> Inert:
    """Make what was carried here current; the handle's `leave` undoes it. Nothing is made current where nothing was carried."""
    if carried is None or (carried.context is None and carried.run is None):
        return Inert()
    current = get_current()
    span = INVALID_SPAN if carried.context is None else NonRecordingSpan(carried.context)
    handle = Inert(span, carried.run)
    handle.offers = Offers(carried) if carried.queued_at_ns is not None else None
    handle.enter(Context({**current, HANDLE_KEY: handle} | ({} if carried.context is None else {live.SPAN_KEY: span})))
    return handle
