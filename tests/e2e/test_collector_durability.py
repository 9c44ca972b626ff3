"""The Collector is killed, stopped and left without a destination: of what it acknowledged, nothing is lost."""

import threading
from collections.abc import Callable

import grpc
import pytest
from e2e_processes import Collector, free_ports
from e2e_spans import Sender, Sink, make_span

pytestmark = pytest.mark.e2e


def _send_until(stop: threading.Event, sender: Sender, batches: list[int]) -> None:
    """Requests of 37 spans without pause; an unanswered one counts as not acknowledged, whatever became of it."""
    while not stop.is_set():
        try:
            sender.send([make_span("asr", {"headwater.confidence": 0.75}) for _ in range(37)], timeout_s=3)
            batches.append(1)
        except grpc.RpcError:
            stop.wait(0.02)


def test_kill_9_of_the_collector_loses_nothing_it_acknowledged(
    start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink
) -> None:
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    stop = threading.Event()
    batches: list[int] = []
    sender = sender_to(collector.grpc)
    thread = threading.Thread(target=_send_until, args=(stop, sender, batches))
    thread.start()
    try:
        for round_number in range(5):
            before = len(batches)
            sink.available = round_number % 2 == 0  # killed with an empty queue and with a full one
            while len(batches) < before + 30:
                collector.assert_alive()
                stop.wait(0.01)
            collector.kill()
            collector.start()
    finally:
        stop.set()
        thread.join(timeout=15)
    sink.available = True
    assert not thread.is_alive()
    assert len(sender.acknowledged) >= 5 * 30 * 37
    sink.wait_for(sender.acknowledged, timeout_s=40)


def test_sigterm_with_headwater_away_keeps_the_queue(
    start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink
) -> None:
    """With retry_on_failure off, or an elapsed-time limit, the shutdown deletes the queue: that is what the file must not say."""
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    sink.available = False
    sender = sender_to(collector.grpc)
    for _ in range(20):
        sender.send([make_span("asr") for _ in range(100)])
    assert collector.stop() == 0
    assert sink.keys() == set()
    sink.available = True
    collector.start()
    sink.wait_for(sender.acknowledged)
