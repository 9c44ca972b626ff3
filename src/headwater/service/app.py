"""The composition root: a running service, and the same answers over a store's files without one."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp

from headwater.ingest.receive.grpc import GrpcReceiver
from headwater.ingest.receive.http import http_receiver
from headwater.model.answers import OutcomeRow
from headwater.service.answers import LocalAnswers
from headwater.service.bind import listen
from headwater.service.clock import now_ns
from headwater.service.http import http_app
from headwater.service.ingestor import Ingestor, IngestSettings, ingest_files, open_reader
from headwater.service.settings import Settings

_DRAIN_S = 8.0


class Service:
    """OTLP receivers, store, dashboard and REST in one process. `ports` is known once the block is entered; leaving it drains.

    Raises StoreLockedError if another process writes the store, UsageError for an open bind or a port in use.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._host = settings.checked_bind()
        self._draining = False
        self._servers: list[_Web] = []
        self.ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        settings = self._settings
        sockets = {name: listen(self._host, port, name) for name, port in (("http", settings.http_port), ("otlp_http", settings.otlp_http_port))}
        policy = IngestSettings(flush_interval_s=settings.flush_interval_s, sync=settings.fsync)
        self._ingestor = Ingestor(settings.store, clock=now_ns, settings=policy)
        answers = answers_over(self._ingestor, settings)
        pages = http_app(
            answers,
            jaeger_url=settings.jaeger_url,
            allowed_hosts=[name.strip() for name in settings.allowed_hosts.split(",") if name.strip()],
            ready=lambda: not self._draining,
        )
        apps: dict[str, ASGIApp] = {"http": pages, "otlp_http": http_receiver(self._ingestor.accept)}
        self._servers = [_Web(app, sockets[name], name) for name, app in apps.items()]
        self._grpc = GrpcReceiver(self._ingestor.accept, host=self._host, port=settings.otlp_grpc_port)
        self.ports = {name: int(held.getsockname()[1]) for name, held in sockets.items()} | {"otlp_grpc": self._grpc.port}
        for server in self._servers:
            server.start()
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Readiness goes first, then the receivers, then what is in memory becomes a segment."""
        self._draining = True
        self._grpc.stop(_DRAIN_S / 2)
        for server in reversed(self._servers):
            server.stop(_DRAIN_S / 2)
        self._ingestor.close()


class _Web:
    """One uvicorn server on a listening socket, in a thread of its own."""

    def __init__(self, app: ASGIApp, held: Any, name: str) -> None:
        drain_s = int(_DRAIN_S / 2)
        drain_s = int(_DRAIN_S / 2)
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=drain_s, server_header=False)
        self._socket = held
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [held]}, name=f"headwater-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            self._thread.join(0.01)

    def stop(self, timeout_s: float) -> None:
        self._server.should_exit = True
        self._thread.join(timeout_s)
        self._socket.close()


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
        yield LocalAnswers(reader, now_ns=now_ns, jaeger_url=settings.jaeger_url)


def add_outcomes(rows: Sequence[OutcomeRow], settings: Settings) -> Mapping[str, int]:
    """Outcomes straight into a store that no service writes at the moment (StoreLockedError if one does)."""
    with Ingestor(settings.store, clock=now_ns) as ingestor:
        receipt = ingestor.add_outcomes(rows)
    return {"received": len(rows), "accepted": receipt.accepted}


def ingest_paths(paths: Sequence[str], settings: Settings, *, progress: Callable[[str, int], None] | None = None) -> dict[str, Any]:
    """Counts of what was read from the files: received, accepted, duplicate, rejected by reason."""
    return dict(ingest_files(paths, settings.store, progress=progress))
