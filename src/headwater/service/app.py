"""The composition root: a running service, and the same answers over a store's files without one."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from socket import socket
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from headwater.ingest.receive.grpc import grpc_receiver
from headwater.ingest.receive.http import http_receiver
from headwater.model.answers import OutcomeRow
from headwater.service.answers import LocalAnswers
from headwater.service.bind import listen
from headwater.service.clock import now_ns
from headwater.service.http import http_app
from headwater.service.ingestor import Ingestor, IngestSettings, ingest_files, open_reader
from headwater.service.settings import Settings

_STOP_S = 3  # pages, OTLP/HTTP, OTLP/gRPC and the last flush together stay under the ten seconds SIGTERM is given


class Service:
    """OTLP receivers, store, dashboard and REST in one process. `ports` is known once the block is entered; leaving it drains.

    Raises StoreLockedError if another process writes the store, UsageError for an open bind or a port in use; then nothing stays open.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = settings.checked_bind()
        self._draining = False
        self._stack = ExitStack()
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> None:
        settings = self._settings
        pages_socket = stack.enter_context(listen(self._host, settings.http_port, "--http-port"))
        otlp_socket = stack.enter_context(listen(self._host, settings.otlp_http_port, "--otlp-http-port"))
        policy = IngestSettings(flush_interval_s=settings.flush_interval_s, sync=settings.fsync)
        ingestor = stack.enter_context(Ingestor(settings.store, clock=now_ns, settings=policy))
        pages = http_app(
            answers_over(ingestor, settings),
            jaeger_url=settings.jaeger_url,
            allowed_hosts=[name.strip() for name in settings.allowed_hosts.split(",") if name.strip()],
            ready=lambda: not self._draining,
        )
        stack.enter_context(_served(pages, pages_socket))
        stack.enter_context(_served(http_receiver(ingestor.accept), otlp_socket))
        grpc, grpc_port = grpc_receiver(ingestor.accept, address=f"{_bracketed(self._host)}:{settings.otlp_grpc_port}")
        stack.callback(lambda: grpc.stop(_STOP_S).wait())
        self.ports = {"http": _port(pages_socket), "otlp_http": _port(otlp_socket), "otlp_grpc": grpc_port}

    def __exit__(self, *_: object) -> None:
        """Readiness goes first, then the receivers, then what is in memory becomes a segment."""
        self._draining = True
        self._stack.close()


@contextmanager
def _served(app: ASGIApp, held: socket) -> Iterator[None]:
    """One uvicorn server on a listening socket, in a thread of its own; leaving the block lets requests under way finish."""
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=_STOP_S, server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, name=f"headwater-{_port(held)}", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        thread.join(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(_STOP_S + 1)


def _port(held: socket) -> int:
    return int(held.getsockname()[1])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def answers_over(ingestor: Ingestor, settings: Settings) -> LocalAnswers:
    """Answers over the store of a running ingestor."""

    def add(rows: Sequence[OutcomeRow]) -> Mapping[str, int]:
        receipt = ingestor.add_outcomes(rows)
        return {"received": len(rows), "accepted": receipt.accepted}

    return LocalAnswers(
        ingestor.store,
        now_ns=now_ns,
        jaeger_url=settings.jaeger_url,
        generation=lambda: ingestor.store.version,
        health=ingestor.health,
        add_outcomes=add,
    )


@contextmanager
def open_answers(settings: Settings) -> Iterator[LocalAnswers]:
    """Answers over the files of a store, beside its writer if there is one. Reads what is only in the log too; never writes."""
    with open_reader(settings.store) as reader:
        yield LocalAnswers(reader, now_ns=now_ns, where=f"the store {settings.store}", jaeger_url=settings.jaeger_url)


def add_outcomes(rows: Sequence[OutcomeRow], settings: Settings) -> Mapping[str, int]:
    """Outcomes straight into a store that no service writes at the moment (StoreLockedError if one does)."""
    with Ingestor(settings.store, clock=now_ns) as ingestor:
        receipt = ingestor.add_outcomes(rows)
    return {"received": len(rows), "accepted": receipt.accepted}


def ingest_paths(paths: Sequence[str], settings: Settings, *, progress: Callable[[str, int], None] | None = None) -> dict[str, Any]:
    """Counts of what was read from the files: received, accepted, duplicate, rejected by reason."""
    return dict(ingest_files(paths, settings.store, progress=progress))
