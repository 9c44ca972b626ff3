"""Fixtures of the end-to-end tests: the real Collector and Jaeger from the very files docker-compose mounts, and the real service."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e_processes import Child, Collector, Headwater, Jaeger, find_binaries, free_ports, make_collector, make_headwater, make_jaeger
from e2e_spans import Sender, Sink


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    return find_binaries()


@pytest.fixture
def children(request: pytest.FixtureRequest) -> Iterator[list[Child]]:
    """Children to stop when the test ends; their logs are shown if it failed."""
    started: list[Child] = []
    yield started
    for child in reversed(started):
        child.stop()
        request.node.add_report_section("teardown", f"{child.name} log", child.tail(15))


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Stands in for headwater behind the Collector."""
    made = Sink(free_ports(1)[0])
    yield made
    made.close()


@pytest.fixture
def start_collector(binaries: dict[str, Path], tmp_path: Path, children: list[Child]) -> Callable[..., Collector]:
    def start(**arguments: object) -> Collector:
        collector = make_collector(binaries["HEADWATER_OTELCOL"], tmp_path, **arguments)  # type: ignore[arg-type]
        children.append(collector)
        collector.start()
        return collector

    return start


@pytest.fixture
def start_jaeger(binaries: dict[str, Path], tmp_path: Path, children: list[Child]) -> Callable[..., Jaeger]:
    def start(**arguments: object) -> Jaeger:
        jaeger = make_jaeger(binaries["HEADWATER_JAEGER"], tmp_path, **arguments)  # type: ignore[arg-type]
        children.append(jaeger)
        jaeger.start()
        return jaeger

    return start


@pytest.fixture
def start_headwater(tmp_path: Path, children: list[Child]) -> Callable[..., Headwater]:
    def start(settings: dict[str, str] | None = None) -> Headwater:
        headwater = make_headwater(tmp_path, settings)
        children.append(headwater)
        headwater.start()
        return headwater

    return start


@pytest.fixture
def sender_to() -> Iterator[Callable[[str], Sender]]:
    senders: list[Sender] = []

    def connect(address: str) -> Sender:
        senders.append(Sender(address))
        return senders[-1]

    yield connect
    for sender in senders:
        sender.close()
