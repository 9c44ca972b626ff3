"""`hw.configure`: a tracer provider from the standard ``OTEL_*`` variables, for programs that have none; `flush` and `shutdown`, bounded."""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace

from headwater.instrument import isolate, live

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

TIMEOUT_S: Final = 2.0
_NEED: Final = "pip install headwater[otlp]"
_EXPORTERS: Final = ("otlp", "console", "none")
_PROTOCOLS: Final = ("http/protobuf", "grpc")


class MissingSdkError(ImportError):
    """The OpenTelemetry SDK or an exporter is not installed."""


class _Worker:
    """One parked daemon thread for flushing and closing, so that the caller can wait with a bound.

    The stock shutdown waits 30 s for a collector that is down, and Python from 3.12 on starts no thread in an atexit function; so the thread that
    does the waiting is started early. A forked child gets its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._start()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._job: Callable[[], object] | None = None
        self._done = threading.Event()
        threading.Thread(target=self._loop, args=(self._wanted,), name="headwater-shutdown", daemon=True).start()

    def _loop(self, wanted: threading.Event) -> None:
        while True:
            wanted.wait()
            wanted.clear()
            job, done = self._job, self._done
            try:
                if job is not None:
                    job()
            except Exception as error:  # noqa: BLE001  an exporter may raise; nobody is there to hear it
                isolate.bury("flushing or shutting down", error)
            finally:
                done.set()

    def run(self, job: Callable[[], object], timeout_s: float) -> bool:
        """Run `job`; False if it has not ended after `timeout_s` seconds. One job at a time."""
        if not self._lock.acquire(timeout=timeout_s):
            return False
        try:
            self._done = threading.Event()
            self._job = job
            self._wanted.set()
            return self._done.wait(timeout_s)
        finally:
            self._lock.release()


class _State:
    """Of this process: the provider `configure` set up, whether it was closed, and the thread that closes it."""

    provider: Any = None
    again: Callable[[], bool] | None = None  # does the same in a child process
    closed = False
    worker: _Worker | None = None


_LOCK = threading.Lock()


def _fresh_lock() -> None:
    """In a forked child: whoever held the lock is not there any more to let go of it."""
    global _LOCK  # noqa: PLW0603
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


def _worker() -> _Worker:
    if _State.worker is None:
        _State.worker = _Worker()
    return _State.worker


def configure(service: str | None = None, endpoint: str | None = None, *, reraise: bool | None = None) -> bool:
    """Send spans: set up a tracer provider, a batch processor and an OTLP exporter, unless the program has a provider already.

    Args:
        service: ``service.name``; default ``OTEL_SERVICE_NAME``, then ``OTEL_RESOURCE_ATTRIBUTES``, then the name of the script.
        endpoint: base URL of the collector, e.g. ``http://127.0.0.1:4318``; default ``OTEL_EXPORTER_OTLP_ENDPOINT``, then the exporter's own.
        reraise: True or False force `isolate` to raise, or to swallow, what goes wrong in the wrapper; None leaves it as it is.

    Honours ``OTEL_SDK_DISABLED``, ``OTEL_TRACES_EXPORTER`` (otlp, console, none, a comma-separated list), ``OTEL_EXPORTER_OTLP_PROTOCOL`` and its
    ``_TRACES_`` form (http/protobuf, grpc), ``OTEL_TRACES_SAMPLER``, ``OTEL_BSP_*`` and the exporters' own. Idempotent. At exit what is left is
    sent, for at most 2 s. From here to `shutdown` thread pools and process pools carry the context (see `headwater.instrument.pools`).

    Returns True if this call set a provider up, False if there was one. Raises `MissingSdkError` without the SDK, ValueError for an exporter or
    a protocol that is not known.
    """
    if reraise is not None:
        isolate.set_reraise(reraise)
    with _LOCK:
        made = _set_up(service, endpoint, reraise=reraise)
    _carry_context()
    return made


def _set_up(service: str | None, endpoint: str | None, *, reraise: bool | None) -> bool:
    """A provider, unless there is one."""
    if live.has_provider():
        return False
    exporters = _exporter_names()
    try:
        from opentelemetry.sdk.trace import TracerProvider
    except ImportError as error:
        message = f"hw.configure() needs the OpenTelemetry SDK: {_NEED}"
        raise MissingSdkError(message) from error
    resource = _resource(service)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in exporters:
        provider.add_span_processor(_processor(name, endpoint))
    trace.set_tracer_provider(provider)
    _State.provider = provider
    _State.again = partial(configure, str(resource.attributes.get("service.name")), endpoint, reraise=reraise)
    _worker()
    atexit.register(shutdown)
    return True


def _carry_context() -> None:
    """From here on the pools carry the context, and their processes send as this one does."""
    from headwater.instrument import pools

    pools.carry(pools.Settings(_State.again, shutdown, os.getpid()))


def flush(timeout_s: float = TIMEOUT_S) -> bool:
    """Send what is buffered now, by whichever provider is in force. False if that took longer than `timeout_s` seconds."""
    provider = live.seen().provider
    flusher = getattr(provider, "force_flush", None)
    if flusher is None:
        return True
    with _LOCK:
        worker = _worker()
    return worker.run(flusher, timeout_s)


def shutdown(timeout_s: float = TIMEOUT_S) -> bool:
    """Send what is buffered and close the provider `configure` set up; a provider of the program's own is only flushed. Idempotent.

    False if that took longer than `timeout_s` seconds: what is then still unsent is lost, and the process is free to end.
    """
    pools = sys.modules.get("headwater.instrument.pools")
    if pools is not None:
        pools.uncarry()
    with _LOCK:
        ours, closed = _State.provider, _State.closed
        _State.closed = ours is not None
    if ours is None:
        return flush(timeout_s)
    if closed:
        return True
    atexit.unregister(shutdown)
    return _worker().run(ours.shutdown, timeout_s)


def _resource(service: str | None) -> "Resource":
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    if service is not None:
        return Resource.create({SERVICE_NAME: service})
    found = Resource.create()
    if not str(found.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return found
    script = Path(sys.argv[0] if sys.argv else "").stem
    return Resource.create({SERVICE_NAME: script if script not in {"", "-c", "__main__"} else "headwater"})


def _exporter_names() -> list[str]:
    names = [name.strip().lower() for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",") if name.strip()]
    for name in names:
        if name not in _EXPORTERS:
            message = (
                f"OTEL_TRACES_EXPORTER={name!r} is not known here; allowed: {', '.join(_EXPORTERS)}. For others set up a TracerProvider yourself"
            )
            raise ValueError(message)
    return [name for name in names if name != "none"]


def _processor(name: str, endpoint: str | None) -> "SpanProcessor":
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    if name == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    return BatchSpanProcessor(_otlp(endpoint))


def _otlp(endpoint: str | None) -> "SpanExporter":
    asked = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or _PROTOCOLS[0]
    protocol = asked.strip().lower()
    if protocol not in _PROTOCOLS:
        message = f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not known here; allowed: {', '.join(_PROTOCOLS)}"
        raise ValueError(message)
    try:
        if protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

            return GrpcExporter(endpoint=endpoint, insecure=None if endpoint is None else not endpoint.startswith("https://"))
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
    except ImportError as error:
        message = f"hw.configure() needs the OTLP exporter for {protocol}: {_NEED}"
        raise MissingSdkError(message) from error
    return HttpExporter(endpoint=None if endpoint is None else _traces_url(endpoint))


def _traces_url(endpoint: str) -> str:
    return endpoint if endpoint.rstrip("/").endswith("/v1/traces") else f"{endpoint.rstrip('/')}/v1/traces"
