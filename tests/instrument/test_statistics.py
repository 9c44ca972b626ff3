"""Statistics of every call: what is counted, that sampling makes no difference, that memory is bounded and nothing is lost between threads."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from tests.instrument.recording import Recorder, no_provider, put_in_force, recorder, swallowing

import headwater as hw
from headwater.conventions.attributes import OUTCOME, PIPELINE_NAME, STAGE_NAME, STAGE_VERSION
from headwater.conventions.metrics import (
    ALL_METRICS,
    METRIC_NAME,
    OTHER,
    STAGE_CALLS,
    STAGE_CONFIDENCE,
    STAGE_DURATION,
    STAGE_ERRORS,
    STAGE_OWN,
    STAGE_QUALITY,
)
from headwater.instrument import isolate, statistics

__all__ = ["no_provider", "recorder", "swallowing"]  # fixtures


class Meters:
    """A MeterProvider in force for one test, read in memory."""

    def __init__(self):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self):
        """{metric name: its data points}"""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points) for part in data.resource_metrics for scope in part.scope_metrics for metric in scope.metrics
        }

    def calls(self):
        """{(stage, outcome): calls}"""
        return {(p.attributes[STAGE_NAME.name], p.attributes[OUTCOME.name]): p.value for p in self.points().get(STAGE_CALLS.name, ())}


@pytest.fixture
def meters():
    made = Meters()
    statistics.clear()
    metrics._internal._METER_PROVIDER = made.provider
    yield made
    metrics._internal._METER_PROVIDER = None
    made.provider.shutdown()
    statistics.clear()


@pytest.fixture(params=["recorded", "unsampled root", "under an unsampled parent", "no provider"])
def sampling(request):
    """Runs a stage under each way in which its span may, or may not, be there."""
    sampler = {"recorded": ALWAYS_ON, "no provider": None}.get(request.param, ParentBased(ALWAYS_OFF))
    made = None if sampler is None else Recorder(sampler=sampler)
    put_in_force(None if made is None else made.provider)
    if request.param == "under an unsampled parent":
        with made.provider.get_tracer("t").start_as_current_span("parent"):
            yield request.param
    else:
        yield request.param
    put_in_force(None)


def test_every_call_is_counted_sampled_or_not(meters, sampling):
    @hw.stage("asr", version="7", pipeline="speech", confidence=lambda r: r, quality={"snr": lambda r: 3.0, "oov": hw.own(lambda r: r / 2)})
    def asr(value):
        time.sleep(0.002)
        if value > 1:
            raise ValueError(value)
        return value

    for value in (0.12, 0.12, 0.97):
        asr(value)
    with pytest.raises(ValueError, match="2"):
        asr(2)
    points = meters.points()
    assert {p.attributes[OUTCOME.name]: p.value for p in points[STAGE_CALLS.name]} == {"ok": 3, "error": 1}
    (errors,) = points[STAGE_ERRORS.name]
    assert (errors.value, dict(errors.attributes)) == (1, {STAGE_NAME.name: "asr", STAGE_VERSION.name: "7", PIPELINE_NAME.name: "speech"})
    (duration,) = points[STAGE_DURATION.name]
    assert duration.count == 4
    assert 0.008 <= duration.sum <= 0.8
    (confidence,) = points[STAGE_CONFIDENCE.name]
    assert (confidence.count, confidence.sum) == (3, pytest.approx(1.21))
    filled = {bucket: count for bucket, count in enumerate(confidence.bucket_counts) if count}
    assert filled == {2: 2, 19: 1}  # (0.1, 0.15] and above 0.95
    (snr,), (oov,) = points[STAGE_QUALITY.name], points[STAGE_OWN.name]
    assert (snr.attributes[METRIC_NAME], snr.count, snr.sum) == ("snr", 3, 9.0)
    assert (oov.attributes[METRIC_NAME], oov.count, oov.sum) == ("oov", 3, pytest.approx(0.605))


def test_a_block_says_its_figures_by_hand(meters, sampling):
    with hw.stage.span("gate") as st:
        st.confidence(0.8)
        st.own("dropped", 0.5)
        st.outcome("degraded")
    points = meters.points()
    assert meters.calls() == {("gate", "degraded"): 1}
    assert points[STAGE_CONFIDENCE.name][0].sum == pytest.approx(0.8)
    assert points[STAGE_OWN.name][0].sum == pytest.approx(0.5)


def test_what_is_said_below_an_unsampled_call_is_not_taken_for_its_parents(meters):
    put_in_force(Recorder(sampler=ParentBased(ALWAYS_OFF)).provider)

    @hw.stage("child")
    def child():
        hw.stage.current().confidence(0.1)

    hw.stage("root", confidence=lambda _: 0.9)(child)()
    assert {p.attributes[STAGE_NAME.name]: p.sum for p in meters.points()[STAGE_CONFIDENCE.name]} == {"root": pytest.approx(0.9)}
    put_in_force(None)


def test_streams_coroutines_and_the_gentle_ends(meters, sampling):
    @hw.stage("stream")
    def stream():
        yield 1
        yield 2

    @hw.stage("wait")
    async def wait():
        await asyncio.sleep(60)

    async def cancel():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    list(stream())
    half = stream()
    next(half)
    half.close()
    asyncio.run(cancel())
    assert meters.calls() == {("stream", "ok"): 1, ("stream", "abandoned"): 1, ("wait", "cancelled"): 1}


def test_with_one_sample_in_twenty_the_statistics_see_all(meters):
    made = Recorder(sampler=ParentBased(TraceIdRatioBased(0.05)))
    put_in_force(made.provider)
    stage = hw.stage("asr", confidence=lambda r: r)(lambda r: r)
    for number in range(400):
        stage(number / 400)
    assert len(made.spans) < 100
    assert meters.calls() == {("asr", "ok"): 400}
    (confidence,) = meters.points()[STAGE_CONFIDENCE.name]
    assert (confidence.count, confidence.sum) == (400, pytest.approx(sum(number / 400 for number in range(400))))
    put_in_force(None)


def test_without_a_meter_provider_nothing_runs_and_nothing_is_kept(no_provider):
    asked = []
    statistics.clear()
    hw.stage("s", confidence=asked.append)(lambda: 1)()
    assert asked == []
    assert statistics._table.series == {}


def test_a_second_collection_hands_nothing_over_twice(meters, recorder):
    stage = hw.stage("s", confidence=lambda _: 0.1)(lambda: 1)
    stage()
    assert meters.points()[STAGE_CONFIDENCE.name][0].count == 1
    assert meters.points()[STAGE_CONFIDENCE.name][0].count == 1
    stage()
    assert meters.points()[STAGE_CONFIDENCE.name][0].count == 2
    assert meters.calls() == {("s", "ok"): 2}


def test_a_mean_that_rounds_over_its_bound_stays_in_its_bucket():
    buckets = statistics.Buckets(STAGE_DURATION)
    for _ in range(3):
        buckets.add(0.1)  # 0.1 + 0.1 + 0.1 > 0.3
    assert list(buckets.replay()) == [(0.1, 3)]
    assert list(buckets.replay()) == []


def test_the_number_of_series_and_of_figures_is_bounded(meters, recorder, swallowing):
    for number in range(statistics.MAX_SERIES + 20):
        with hw.stage.span(f"s{number}") as st:
            st.quality("q", 1.0)
    with hw.stage.span("s0") as st:
        for number in range(statistics.MAX_METRICS + 5):
            st.own(f"o{number}", 1.0)
    assert len(statistics._table.series) == statistics.MAX_SERIES + 1
    assert meters.calls()[OTHER, "ok"] == 20
    assert isolate.counts() == {
        f"statistics: more than {statistics.MAX_SERIES} stages": 20,
        f"statistics: more than {statistics.MAX_METRICS} figures of one stage": 6,
    }


def test_calls_of_many_threads_are_neither_lost_nor_doubled(meters, no_provider):
    stage = hw.stage("s", confidence=lambda _: 0.5)(lambda: 1)
    stop = threading.Event()
    seen = []

    def collect():
        while not stop.is_set():
            seen.append(meters.calls().get(("s", "ok"), 0))

    collector = threading.Thread(target=collect)
    collector.start()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(lambda: [stage() for _ in range(500)]) for _ in range(8)]:
            future.result()
    stop.set()
    collector.join()
    assert meters.calls() == {("s", "ok"): 4000}
    assert meters.points()[STAGE_CONFIDENCE.name][0].count == 4000
    assert seen == sorted(seen)


def test_a_call_that_ends_while_its_own_series_is_being_added_to_waits_and_is_counted(meters, no_provider):
    stage = hw.stage("s")(lambda: 1)
    stage()
    (series,) = statistics._table.series.values()
    with series.lock:  # as when the collector of garbage closes a stream in the midst of an addition
        stage()
    assert len(series.pending) == 1
    assert meters.calls() == {("s", "ok"): 2}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_counts_its_own_calls_even_if_a_lock_was_held(meters, no_provider):
    stage = hw.stage("s")(lambda: 1)
    stage()
    (series,) = statistics._table.series.values()
    reader, writer = os.pipe()
    with series.lock:
        child = os.fork()
        if child == 0:
            try:
                stage()
                stage()
                (own,) = statistics._table.series.values()
                os.write(writer, repr((own.outcomes, len(own.pending))).encode())
            finally:
                os._exit(0)
    os.close(writer)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    assert told == "({'ok': 2}, 0)"


def test_every_metric_says_its_unit_and_belongs_to_the_namespace():
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS) == 6
    assert all(metric.name.startswith("headwater.stage.") and metric.unit and metric.brief for metric in ALL_METRICS)
    assert all(list(metric.bounds) == sorted(set(metric.bounds)) for metric in ALL_METRICS)
    assert all(bool(metric.bounds) == (metric.kind == "histogram") for metric in ALL_METRICS)
