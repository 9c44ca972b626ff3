"""Figures of every call of every stage, sampled or not, as OpenTelemetry metrics; on where the program has a MeterProvider.

A call costs one bisection and a few additions into buckets of our own: `Histogram.record` of the SDK would cost a third of a span. The buckets
are handed over when a metric reader collects, in its own thread: a bucket with n observations is recorded n times at its mean, so that counts,
buckets and sums are exact. Memory: at most `MAX_SERIES` series of at most `MAX_METRICS` figures each; what goes beyond is summed up under the
stage ``__other__``, or left out and counted.
"""

import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from math import inf, nextafter
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, NoOpMeter, Observation
from opentelemetry.metrics import Histogram as Instrument

from headwater.conventions.attributes import CONFIDENCE, OUTCOME, OWN, PIPELINE_NAME, QUALITY, STAGE_NAME, STAGE_VERSION
from headwater.conventions.metrics import (
    METRIC_NAME,
    OTHER,
    STAGE_CALLS,
    STAGE_CONFIDENCE,
    STAGE_DURATION,
    STAGE_ERRORS,
    STAGE_OWN,
    STAGE_QUALITY,
    Metric,
)
from headwater.instrument import isolate
from headwater.instrument.spec import Spec

MAX_SERIES: Final = 500
MAX_METRICS: Final = 32
FAMILIES: Final = (QUALITY.prefix, OWN.prefix)
OK: Final = "ok"
_SECONDS: Final = STAGE_DURATION.bounds
ERROR: Final = "error"
# As in `live`: the public door reads os.environ at each call. Without the global (a later API) the statistics stay off.
METER_GLOBAL: Final = "_METER_PROVIDER"
_API: Final[dict[str, Any]] = vars(getattr(metrics, "_internal", metrics))
METERS: Final[dict[str, Any]] = _API if METER_GLOBAL in _API else {METER_GLOBAL: None}

Observed = tuple[int, str, float | None, Mapping[str, Any] | None]  # elapsed ns, outcome, confidence, figures by wire name


class Buckets:
    """A histogram: counts and sums per bucket ``(bound, next bound]``."""

    __slots__ = ("counts", "metric", "sums")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.counts = [0] * (len(metric.bounds) + 1)
        self.sums = [0.0] * (len(metric.bounds) + 1)

    def add(self, value: float) -> None:
        bucket = bisect_left(self.metric.bounds, value)
        self.counts[bucket] += 1
        self.sums[bucket] += value

    def replay(self) -> Iterator[tuple[float, int]]:
        """(mean of the bucket, observations in it) of what came since the last time; a mean that rounding put outside is put back."""
        edges = (-inf, *self.metric.bounds, inf)
        for bucket, count in enumerate(self.counts):
            if count:
                yield min(max(self.sums[bucket] / count, nextafter(edges[bucket], inf)), edges[bucket + 1]), count
                self.counts[bucket] = 0
                self.sums[bucket] = 0.0


class Series:
    """The figures of one stage in one pipeline and version.

    The lock is only ever tried, never waited for, by a stage: what is observed while another thread holds it (or this one: a generator may be
    finalised in the midst of an addition) waits in `pending` for the next call or the next collection.
    """

    __slots__ = ("attributes", "confidence", "duration", "figures", "lock", "outcomes", "pending")

    def __init__(self, attributes: dict[str, str], *, figures: bool) -> None:
        self.attributes = attributes
        self.duration = Buckets(STAGE_DURATION)
        self.confidence = Buckets(STAGE_CONFIDENCE)
        self.figures: dict[str, Buckets] | None = {} if figures else None
        self.outcomes: dict[str, int] = {}
        self.pending: deque[Observed] = deque()
        self.lock = threading.Lock()

    def add(self, observed: Observed) -> None:
        if not self.lock.acquire(blocking=False):
            self.pending.append(observed)
            return
        try:
            self._fold(observed)
            if self.pending:
                self.drain()
        finally:
            self.lock.release()

    def drain(self) -> None:
        """Fold in what waits. The caller holds the lock."""
        while self.pending:
            self._fold(self.pending.popleft())

    def _fold(self, observed: Observed) -> None:
        elapsed_ns, outcome, confidence, figures = observed
        duration, seconds = self.duration, elapsed_ns * 1e-9
        bucket = bisect_left(_SECONDS, seconds)  # Buckets.add, spelled out: it is on every call's way
        duration.counts[bucket] += 1
        duration.sums[bucket] += seconds
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if confidence is not None:
            self.confidence.add(confidence)
        if figures and self.figures is not None:
            for name, value in figures.items():
                self._figure(self.figures, name, value)

    def _figure(self, known: dict[str, Buckets], name: str, value: Any) -> None:
        buckets = known.get(name)
        if buckets is None:
            metric = STAGE_OWN if name.startswith(OWN.prefix) else STAGE_QUALITY if name.startswith(QUALITY.prefix) else None
            if metric is None:
                return
            if len(known) >= MAX_METRICS:
                isolate.count(f"statistics: more than {MAX_METRICS} figures of one stage")
                return
            buckets = known[name] = Buckets(metric)
        buckets.add(value)


class _Table:
    """All series of this process, and the provider they leave by."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.series: dict[tuple[str, Any, Any], Series] = {}
        self.provider: Any = None
        self.on = False


_table = _Table()


def on() -> bool:
    """Is there a MeterProvider to count for? Looks at the one in force, and makes the instruments the first time."""
    provider = METERS[METER_GLOBAL]
    if provider is _table.provider:
        return _table.on
    return _look(provider)


def count(spec: Spec, flows: Mapping[str, Any] | None, attributes: Mapping[str, Any], ended: tuple[int, str, bool]) -> None:
    """Count one ended call.

    `flows`: the attributes of its run, None outside one. `attributes`: what was read and said of the call. `ended`: (elapsed ns, outcome, was
    anything said by hand?). A spec that is no stage is left out.
    """
    names = spec.figures
    if names is None:
        return
    pipeline: Any = spec.last.get(PIPELINE_NAME.name)
    if pipeline is None and flows is not None:
        pipeline = flows.get(PIPELINE_NAME.name)
    key = (spec.span_name, spec.static.get(STAGE_VERSION.name), pipeline)
    series = _table.series.get(key)
    if series is None:
        series = _new_series(key)
    elapsed_ns, outcome, said = ended
    if said:
        names = tuple(name for name in attributes if name.startswith(FAMILIES))
        if outcome == OK:
            outcome = str(attributes.get(OUTCOME.name, OK))
    figures = {name: attributes[name] for name in names if name in attributes} if names else None
    series.add((elapsed_ns, outcome, attributes.get(CONFIDENCE.name), figures))


def clear() -> None:
    """Forget every figure and the provider; tests, and a forked child (whose parent reports its own calls)."""
    global _table  # noqa: PLW0603  one table per process
    _table = _Table()


def _after_fork() -> None:
    provider, was_on = _table.provider, _table.on
    clear()
    _table.provider, _table.on = provider, was_on


def _new_series(key: tuple[str, Any, Any]) -> Series:
    with _table.lock:
        found = _table.series.get(key)
        if found is not None:
            return found
        beyond = len(_table.series) >= MAX_SERIES
        if beyond:
            isolate.count(f"statistics: more than {MAX_SERIES} stages")
            key = (OTHER, None, None)
            if key in _table.series:
                return _table.series[key]
        names = (STAGE_NAME.name, STAGE_VERSION.name, PIPELINE_NAME.name)
        labels = {name: str(value) for name, value in zip(names, key, strict=True) if value is not None}
        made = _table.series[key] = Series(labels, figures=not beyond)
        return made


def _look(provider: Any) -> bool:
    table = _table
    with table.lock:
        if provider is not table.provider:
            meter = None if provider is None else metrics.get_meter("headwater", meter_provider=provider)
            table.on = meter is not None and not isinstance(meter, NoOpMeter)
            table.provider = provider
            if meter is not None and table.on:
                _make_instruments(meter)
    return table.on


def _make_instruments(meter: metrics.Meter) -> None:
    instruments = {
        metric.name: meter.create_histogram(metric.name, metric.unit, metric.brief, explicit_bucket_boundaries_advisory=metric.bounds)
        for metric in (STAGE_DURATION, STAGE_CONFIDENCE, STAGE_QUALITY, STAGE_OWN)
    }

    def calls(options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG001  the signature of a callback
        for series in list(_table.series.values()):
            hand_over(series, instruments)
            for outcome, count in series.outcomes.copy().items():
                yield Observation(count, {**series.attributes, OUTCOME.name: outcome})

    def errors(options: CallbackOptions) -> Iterable[Observation]:  # noqa: ARG001  see above
        for series in list(_table.series.values()):
            yield Observation(series.outcomes.get(ERROR, 0), series.attributes)

    meter.create_observable_counter(STAGE_CALLS.name, [calls], STAGE_CALLS.unit, STAGE_CALLS.brief)
    meter.create_observable_counter(STAGE_ERRORS.name, [errors], STAGE_ERRORS.unit, STAGE_ERRORS.brief)


def hand_over(series: Series, instruments: Mapping[str, Instrument]) -> None:
    """Record in the program's own histograms what came since the last time."""
    with series.lock:
        series.drain()
        ready = [(series.duration, series.attributes), (series.confidence, series.attributes)]
        ready += [
            (buckets, {**series.attributes, METRIC_NAME: name.removeprefix(OWN.prefix).removeprefix(QUALITY.prefix)})
            for name, buckets in (series.figures or {}).items()
        ]
        taken = [(buckets.metric.name, attributes, value, count) for buckets, attributes in ready for value, count in buckets.replay()]
    for name, attributes, value, count in taken:
        instrument = instruments[name]
        for _ in range(count):
            instrument.record(value, attributes)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
