"""Faults, fallbacks and breakers on the wrapper."""

import asyncio
import pickle
import time

import cloudpickle
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace import StatusCode
from tests.instrument.recording import Recorder, no_provider, put_in_force, recorder

import headwater as hw
from headwater.conventions.attributes import BREAKER_STATE, BREAKER_TRIPS, FALLBACK_FROM, FAULT_INJECTED, OUTCOME

__all__ = ["no_provider", "recorder"]  # fixtures


@hw.stage("double")
def double(x):
    return 2 * x


@hw.stage("later")
async def later(x):
    return 2 * x


@hw.stage("stream")
def stream(x):
    yield x
    yield 2 * x


@hw.stage("astream")
async def astream(x):
    yield x
    yield 2 * x


async def gathered(produced):
    return [item async for item in produced]


def test_without_a_plan_nothing_is_stamped(recorder):
    assert double(3) == 6
    assert FAULT_INJECTED.name not in recorder.attributes("double")


@pytest.fixture(params=["recorded", "unsampled", "no provider"])
def anyhow(request):
    made = {"recorded": Recorder(ParentBased(ALWAYS_ON)), "unsampled": Recorder(ParentBased(ALWAYS_OFF)), "no provider": None}[request.param]
    put_in_force(None if made is None else made.provider)
    yield made if request.param == "recorded" else None
    put_in_force(None)


def test_each_fault_does_its_deed_sampled_or_not_and_is_stamped(anyhow):
    with hw.faults.plan({"*": hw.faults.Corrupt(change=lambda r: r + 1)}):
        assert [double(3), asyncio.run(later(3)), list(stream(3)), asyncio.run(gathered(astream(3)))] == [7, 7, [4, 7], [4, 7]]
    with hw.faults.plan({"*": hw.faults.Degrade(change=lambda x: x * 10)}):
        assert [double(3), asyncio.run(later(3)), list(stream(3)), asyncio.run(gathered(astream(3)))] == [60, 60, [30, 60], [30, 60]]
    with hw.faults.plan({"*": hw.faults.Drop(value=-1)}):
        assert [double(3), asyncio.run(later(3)), list(stream(3)), asyncio.run(gathered(astream(3)))] == [-1, -1, [], []]
    assert double(3) == 6
    if anyhow is not None:
        stamps = [span.attributes.get(FAULT_INJECTED.name) for span in anyhow.spans]
        assert stamps == ["corrupt"] * 4 + ["degrade"] * 4 + ["drop"] * 4 + [None]


def test_fail_and_slow(recorder):
    with hw.faults.plan({"*": hw.faults.Fail(error=lambda: OSError("gone"))}):
        for call in (lambda: double(1), lambda: asyncio.run(later(1)), lambda: list(stream(1)), lambda: asyncio.run(gathered(astream(1)))):
            with pytest.raises(OSError, match="gone"):
                call()
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.ERROR}
    recorder.exporter.clear()
    with hw.faults.plan({"*": hw.faults.Slow(seconds=0.01)}):
        assert [double(1), asyncio.run(later(1)), list(stream(1)), asyncio.run(gathered(astream(1)))] == [2, 2, [1, 2], [1, 2]]
    assert min(span.end_time - span.start_time for span in recorder.spans) >= 10_000_000


def test_runs_share_their_lot_and_only_named_stages_are_hit(recorder):
    other = hw.stage("other")(lambda x: x)

    def once(number):
        with hw.run("p", run_id=f"r{number}"):
            other(1)
            return double(1), double(1)

    with hw.faults.plan({"double": hw.faults.Drop()}, share=0.5, seed=3):
        first = [once(number) for number in range(40)]
    with hw.faults.plan({"double": hw.faults.Drop()}, share=0.5, seed=3):
        assert [once(number) for number in range(40)] == first
    assert set(first) == {(2, 2), (None, None)}
    assert {span.name for span in recorder.spans if FAULT_INJECTED.name in span.attributes} == {"double"}


def test_a_fallback_answers_and_says_so(anyhow):
    @hw.stage("asr", fallback=lambda x: f"plain {x}")
    def asr(x):
        raise ValueError(x)

    @hw.stage("nlu", fallback=later)
    async def nlu(x):
        raise ValueError(x)

    assert asr("a") == "plain a"
    assert asyncio.run(nlu(4)) == 8
    if anyhow is not None:
        span = anyhow.one("asr")
        assert (span.attributes[OUTCOME.name], span.attributes[FALLBACK_FROM.name]) == ("fallback", "asr")
        assert span.status.status_code is StatusCode.UNSET
        assert [event.attributes["exception.type"] for event in span.events] == ["ValueError"]
        assert anyhow.parent_of("later") == "nlu"


def test_a_fallback_is_not_asked_for_interrupts_nor_successes(recorder):
    asked = []

    @hw.stage("s", fallback=asked.append)
    def s(kind):
        if kind is not None:
            raise kind
        return "fine"

    assert s(None) == "fine"
    with pytest.raises(KeyboardInterrupt):
        s(KeyboardInterrupt)
    assert asked == []


def test_a_fault_inside_a_fallback_and_a_breaker(recorder):
    held = hw.breaker(window_calls=2, minimum_calls=2)
    stage = hw.stage("s", fallback=lambda x: "spare", breaker=held)(lambda x: x)
    with hw.faults.plan({"s": hw.faults.Fail()}):
        assert [stage(1), stage(1)] == ["spare", "spare"]
    assert held.state.trips == 1
    assert stage(1) == 1
    last = recorder.spans[-1].attributes
    assert (last[BREAKER_STATE.name], last[BREAKER_TRIPS.name]) == ("metrics_only", 1)


def failing(x):
    raise ValueError(x)


def test_an_acting_breaker_refuses_and_the_default_never_does(recorder):
    watched = hw.stage("watched", breaker=hw.breaker(window_calls=2, minimum_calls=2))(failing)
    acting = hw.stage("acting", breaker=hw.breaker("closed", window_calls=2, minimum_calls=2))(failing)
    for _ in range(5):
        with pytest.raises(ValueError, match="1"):
            watched(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="1"):
            acting(1)
    with pytest.raises(hw.BreakerOpenError, match="is open"):
        acting(1)
    assert [span.attributes[BREAKER_TRIPS.name] for span in recorder.spans if span.name == "watched"] == [0, 1, 1, 2, 2]
    refused = recorder.spans[-1].attributes
    assert (refused[OUTCOME.name], refused[BREAKER_STATE.name]) == ("breaker_open", "open")


def test_an_open_breaker_with_a_fallback_answers_from_it(anyhow):
    stage = hw.stage("s", fallback=lambda x: "spare", breaker=hw.breaker("forced_open"))(lambda x: x)
    assert stage(1) == "spare"


async def test_a_cancelled_call_is_no_failure_and_a_slow_one_is_slow(recorder):
    held = hw.breaker(window_calls=1, minimum_calls=1, slow_ns=5_000_000)

    @hw.stage("s", breaker=held)
    async def s(seconds):
        await asyncio.sleep(seconds)

    task = asyncio.create_task(s(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held.state.seen == 0
    await s(0.006)
    assert held.state.trips == 1


def test_a_breaker_comes_back_after_its_time(recorder):
    broken = [True]
    held = hw.breaker("closed", window_calls=1, minimum_calls=1, open_ns=1_000_000, probes=1)

    @hw.stage("s", breaker=held)
    def s():
        if broken[0]:
            raise ValueError

    with pytest.raises(ValueError):
        s()
    broken[0] = False
    time.sleep(0.002)
    s()
    assert held.state.mode == "closed"


def test_a_protected_stage_can_be_pickled_and_watches_anew():
    stage = hw.stage("s", fallback=lambda x: "spare", breaker=hw.breaker(window_calls=2, minimum_calls=2))(failing)
    assert pickle.loads(cloudpickle.dumps(stage))(1) == "spare"


def test_what_cannot_be_protected_is_refused_at_decoration():
    with pytest.raises(TypeError, match="a block or a stream has no call to replace"):
        hw.stage("s", fallback=print)(stream.__wrapped__)
    with pytest.raises(TypeError, match="a block or a stream has no call to replace"):
        hw.stage.span("s", breaker=hw.breaker())
    with pytest.raises(TypeError, match="allowed: a callable"):
        hw.stage("s", fallback="spare")(double)
    with pytest.raises(TypeError, match=r"allowed: what hw\.breaker"):
        hw.stage("s", breaker=True)(double)
    with pytest.raises(ValueError, match="breaker mode 'open'; allowed"):
        hw.breaker("open")
