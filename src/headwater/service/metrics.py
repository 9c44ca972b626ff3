"""The ingest figures as Prometheus or OpenMetrics text; `headwater_*`, counters since the service started."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from headwater.model.answers import Health


class HealthCollector(Collector):
    """One scrape's families, read off one `Health`."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        health = self._health
        yield CounterMetricFamily("headwater_received_spans", "Spans received since start.", value=health.received)
        yield CounterMetricFamily("headwater_accepted_spans", "Spans accepted since start.", value=health.accepted)
        yield CounterMetricFamily("headwater_deduplicated_spans", "Copies of spans that were dropped.", value=health.duplicates)
        rejected = CounterMetricFamily("headwater_rejected_spans", "Spans rejected, by reason.", labels=["reason"])
        for reason, number in sorted(health.rejected.items()):
            rejected.add_metric([reason], number)
        yield rejected
        if health.lag_ns is not None:
            yield GaugeMetricFamily("headwater_lag_seconds", "Newest receipt minus the end of its span.", value=health.lag_ns / 1e9)
        yield GaugeMetricFamily("headwater_queue_spans", "Spans in memory, not yet in a segment.", value=health.queue)
        yield GaugeMetricFamily("headwater_disk_bytes", "Bytes of segments and log.", value=health.disk_bytes)
        failed = sum(not check.ok for check in health.checks)
        yield GaugeMetricFamily("headwater_failed_checks", "Health checks that are not all right.", value=failed)


def exposition(health: Health, accept: str) -> tuple[bytes, str]:
    """(body, content type) in the format that the Accept header asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(HealthCollector(health))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
