"""What a wrapper owes the code it wraps, one named test per promise. No line of it knows how the wrapper is built."""

import asyncio
import concurrent.futures
import functools
import gc
import inspect
import os
import pickle
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import StatusCode
from tests.instrument.recording import Recorder, no_provider, put_in_force, recorder, swallowing

import headwater as hw
from headwater.conventions.attributes import CONFIDENCE, CONFIDENCE_KIND, ERROR_TYPE, FIRST_ITEM_NS, ITEMS, OUTCOME, QUALITY, STAGE_NAME
from headwater.instrument import isolate, live

__all__ = ["no_provider", "recorder", "swallowing"]  # fixtures


def current_span_id():
    return trace.get_current_span().get_span_context().span_id


def duration_ms(span):
    return (span.end_time - span.start_time) / 1e6


# -- generators -----------------------------------------------------------------------------------------------------------------------------


def test_a_generator_span_covers_the_iteration(recorder):
    @hw.stage("stream")
    def stream():
        for item in range(3):
            time.sleep(0.002)
            yield item

    produced = stream()
    assert recorder.names == []
    assert list(produced) == [0, 1, 2]
    span = recorder.one("stream")
    assert duration_ms(span) >= 6
    assert span.attributes[ITEMS.name] == 3
    assert 2e6 <= span.attributes[FIRST_ITEM_NS.name] <= 0.7 * (span.end_time - span.start_time)


def test_spans_inside_a_generator_are_its_children(recorder):
    @hw.stage("stream")
    def stream():
        with hw.stage.span("before"):
            pass
        yield 1
        with hw.stage.span("after"):
            pass

    list(stream())
    assert recorder.parent_of("before") == "stream"
    assert recorder.parent_of("after") == "stream"


def test_a_generator_leaks_no_context_into_its_consumer(recorder):
    @hw.stage("stream")
    def stream():
        yield current_span_id()
        yield current_span_id()

    outside = current_span_id()
    seen = []
    for inside in stream():
        assert current_span_id() == outside
        seen.append(inside)
        with hw.stage.span("consumer"):
            pass
    assert seen == [recorder.one("stream").context.span_id] * 2
    assert all(span.parent is None for span in recorder.spans if span.name == "consumer")


def test_send_throw_and_the_return_value_reach_a_generator(recorder):
    @hw.stage("stream", quality={"total": lambda result: result})
    def stream():
        got = yield "first"
        try:
            yield got
        except KeyError as error:
            yield f"caught {error.args[0]}"
        return 42

    produced = stream()
    assert next(produced) == "first"
    assert produced.send("sent") == "sent"
    assert produced.throw(KeyError("x")) == "caught x"
    with pytest.raises(StopIteration) as stop:
        next(produced)
    assert stop.value.value == 42
    assert recorder.attributes("stream")[QUALITY.of("total")] == 42.0


def test_an_abandoned_generator_is_abandoned_not_failed(recorder):
    closed = []

    @hw.stage("stream")
    def stream():
        try:
            yield 1
            yield 2
        finally:
            closed.append(current_span_id())

    produced = stream()
    next(produced)
    produced.close()
    span = recorder.one("stream")
    assert closed == [span.context.span_id]
    assert span.attributes[OUTCOME.name] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


def test_a_generator_dropped_by_the_collector_is_abandoned_too(recorder):
    @hw.stage("stream")
    def stream():
        yield 1
        yield 2

    next(stream())
    gc.collect()
    assert recorder.attributes("stream")[OUTCOME.name] == "abandoned"


def test_a_generator_that_raises_after_an_item_fails(recorder):
    @hw.stage("stream")
    def stream():
        yield 1
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        list(stream())
    assert recorder.one("stream").status.status_code is StatusCode.ERROR
    assert recorder.attributes("stream")[ITEMS.name] == 1


def test_yield_from_a_stage_keeps_its_children_in_order(recorder):
    @hw.stage("inner")
    def inner():
        yield 1
        return "result"

    @hw.stage("outer")
    def outer():
        return (yield from inner())

    produced = outer()
    assert list(produced) == [1]
    assert recorder.parent_of("inner") == "outer"


def test_a_generator_closed_in_another_thread(recorder, caplog):
    @hw.stage("stream")
    def stream():
        yield 1
        yield 2

    produced = stream()
    next(produced)
    before = current_span_id()
    thread = threading.Thread(target=produced.close)
    thread.start()
    thread.join()
    assert current_span_id() == before
    assert recorder.attributes("stream")[OUTCOME.name] == "abandoned"
    assert caplog.records == []


# -- async generators -----------------------------------------------------------------------------------------------------------------------


async def test_an_async_generator_span_covers_the_iteration(recorder):
    @hw.stage("stream")
    async def stream():
        for item in range(3):
            await asyncio.sleep(0.002)
            yield item

    assert [item async for item in stream()] == [0, 1, 2]
    assert duration_ms(recorder.one("stream")) >= 6
    assert recorder.attributes("stream")[ITEMS.name] == 3


async def test_an_async_generator_keeps_its_context_to_itself(recorder):
    @hw.stage("stream")
    async def stream():
        with hw.stage.span("child"):
            await asyncio.sleep(0)
        yield current_span_id()

    outside = current_span_id()
    async for inside in stream():
        assert current_span_id() == outside
        assert inside != outside
    assert recorder.parent_of("child") == "stream"
    assert current_span_id() == outside


async def test_asend_and_athrow_reach_an_async_generator(recorder):
    @hw.stage("stream")
    async def stream():
        got = yield "first"
        try:
            yield got
        except KeyError as error:
            yield f"caught {error.args[0]}"

    produced = stream()
    assert await anext(produced) == "first"
    assert await produced.asend("sent") == "sent"
    assert await produced.athrow(KeyError("x")) == "caught x"
    with pytest.raises(StopAsyncIteration):
        await anext(produced)
    assert recorder.one("stream").status.status_code is StatusCode.UNSET


async def test_an_abandoned_async_generator_is_abandoned_not_failed(recorder):
    closed = []

    @hw.stage("stream")
    async def stream():
        try:
            yield 1
            yield 2
        finally:
            closed.append(current_span_id())

    produced = stream()
    await anext(produced)
    await asyncio.create_task(produced.aclose())  # in another task
    span = recorder.one("stream")
    assert closed == [span.context.span_id]
    assert span.attributes[OUTCOME.name] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET


async def test_an_async_generator_under_no_provider_forwards_everything(no_provider):
    @hw.stage("stream")
    async def stream():
        got = yield 1
        yield got

    produced = stream()
    assert await anext(produced) == 1
    assert await produced.asend("sent") == "sent"
    await produced.aclose()


# -- coroutines -----------------------------------------------------------------------------------------------------------------------------


async def test_a_coroutine_span_covers_the_awaiting(recorder):
    @hw.stage("call")
    async def call():
        await asyncio.sleep(0.005)
        return "done"

    assert await call() == "done"
    assert duration_ms(recorder.one("call")) >= 5


async def test_a_cancelled_coroutine_is_cancelled_not_failed(recorder):
    @hw.stage("call")
    async def call():
        await asyncio.sleep(60)

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = recorder.one("call")
    assert span.attributes[OUTCOME.name] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET
    assert span.events == ()


async def test_concurrent_coroutines_do_not_become_each_others_children(recorder):
    @hw.stage("child")
    async def child():
        await asyncio.sleep(0.001)
        with hw.stage.span("leaf"):
            await asyncio.sleep(0.001)

    with hw.run("speech"):
        await asyncio.gather(child(), child(), child())
    children = {span.context.span_id for span in recorder.spans if span.name == "child"}
    assert {span.parent.span_id for span in recorder.spans if span.name == "child"} == {recorder.one("speech").context.span_id}
    assert {span.parent.span_id for span in recorder.spans if span.name == "leaf"} == children


def test_a_coroutine_never_awaited_to_its_end_leaves_the_context_alone(recorder, caplog):
    @hw.stage("call")
    async def call():
        await asyncio.sleep(0)

    coroutine = call()
    context = copy_context()
    context.run(coroutine.send, None)
    coroutine.close()  # in another context than it was started in
    assert recorder.attributes("call")[OUTCOME.name] == "abandoned"
    assert caplog.records == []
    assert current_span_id() == 0


# -- kinds of callables ---------------------------------------------------------------------------------------------------------------------


def plain(x):
    """Doc."""
    return x


async def coroutine_function(x):
    return x


def generator_function(x):
    yield x


async def async_generator_function(x):
    yield x


@pytest.mark.parametrize("function", [plain, coroutine_function, generator_function, async_generator_function])
def test_the_kind_and_the_face_stay(function):
    wrapped = hw.stage("s")(function)
    for question in (inspect.isfunction, inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert question(wrapped) == question(function)
    assert asyncio.iscoroutinefunction(wrapped) == asyncio.iscoroutinefunction(function)
    assert (wrapped.__name__, wrapped.__doc__, wrapped.__wrapped__) == (function.__name__, function.__doc__, function)
    assert inspect.signature(wrapped) == inspect.signature(function)


class Methods:
    __slots__ = ("factor",)

    def __init__(self, factor=3):
        self.factor = factor

    @hw.stage("method", input_size=lambda x: x)
    def method(self, x):
        return x * self.factor

    @hw.stage("class_above", input_size=lambda x: x)
    @classmethod
    def class_above(cls, x):
        return cls, x

    @classmethod
    @hw.stage("class_below", input_size=lambda x: x)
    def class_below(cls, x):
        return cls, x

    @hw.stage("static_above", input_size=lambda x: x)
    @staticmethod
    def static_above(x):
        return x

    @staticmethod
    @hw.stage("static_below", input_size=lambda x: x)
    def static_below(x):
        return x

    @property
    @hw.stage("prop")
    def prop(self):
        return self.factor

    @hw.stage("async_method")
    async def async_method(self, x):
        return x * self.factor


class Child(Methods):
    __slots__ = ()


def test_methods_classmethods_staticmethods_and_properties(recorder):
    assert Methods().method(2) == 6
    assert Child.class_above(1) == (Child, 1)
    assert Child().class_below(1) == (Child, 1)
    assert (Methods.static_above(5), Methods().static_below(5)) == (5, 5)
    assert Methods().prop == 3
    sizes = {span.name: span.attributes.get("headwater.input.size") for span in recorder.spans}
    assert sizes == {"method": 2, "class_above": 1, "class_below": 1, "static_above": 5, "static_below": 5, "prop": None}
    assert isinstance(inspect.getattr_static(Methods, "class_above"), classmethod)
    assert isinstance(inspect.getattr_static(Methods, "static_above"), staticmethod)


def test_a_partial(recorder):
    assert hw.stage("p")(functools.partial(plain, 7))() == 7
    wrapped = hw.stage("q")(functools.partial(coroutine_function, 8))
    assert inspect.iscoroutinefunction(wrapped)
    assert asyncio.run(wrapped()) == 8
    assert recorder.names == ["p", "q"]


class Model:
    def __call__(self, x):
        return x + 1


class AsyncModel:
    async def __call__(self, x):
        await asyncio.sleep(0.003)
        return x + 1


def test_a_callable_object_and_one_with_an_async_call(recorder):
    assert hw.stage("m")(Model())(1) == 2
    wrapped = hw.stage("am")(AsyncModel())
    assert inspect.iscoroutinefunction(wrapped)
    assert asyncio.run(wrapped(1)) == 2
    assert duration_ms(recorder.one("am")) >= 3


def test_a_plain_function_that_returns_a_generator(recorder):
    @hw.stage("stream")
    def stream():
        assert hw.stage.current().recording
        return (item for item in range(3))

    outside = current_span_id()
    produced = stream()
    assert current_span_id() == outside
    assert recorder.names == []
    assert list(produced) == [0, 1, 2]
    assert recorder.attributes("stream")[ITEMS.name] == 3


async def test_a_plain_function_that_returns_a_coroutine_or_an_async_generator(recorder):
    sleeper = hw.stage("sleeper")(lambda: asyncio.sleep(0.004, "slept"))
    stream = hw.stage("stream")(lambda: async_generator_function(5))
    assert await sleeper() == "slept"
    assert [item async for item in stream()] == [5]
    assert duration_ms(recorder.one("sleeper")) >= 4
    assert recorder.attributes("stream")[ITEMS.name] == 1
    assert current_span_id() == 0


def test_lru_cache_above_and_below(recorder):
    above = functools.lru_cache(hw.stage("above")(lambda x: x))
    below = hw.stage("below")(functools.lru_cache(lambda x: x))
    assert [above(1), above(1), below(1), below(1)] == [1, 1, 1, 1]
    assert recorder.names == ["above", "below", "below"]  # a cached call is no execution above, and one below
    assert below.cache_info().hits == 1


def test_recursion(recorder):
    @hw.stage("fact")
    def fact(n):
        return 1 if n == 0 else n * fact(n - 1)

    assert fact(4) == 24
    parents = [span.parent.span_id if span.parent else None for span in reversed(recorder.spans)]
    assert parents == [None, *(span.context.span_id for span in list(reversed(recorder.spans))[:-1])]


@pytest.mark.parametrize("target", [property(plain), Model, 3, ["a", "b"]])
def test_what_cannot_be_a_stage_is_refused_at_decoration(target):
    with pytest.raises(TypeError, match="allowed: functions"):
        hw.stage("s")(target)


# -- pickle, processes, threads -------------------------------------------------------------------------------------------------------------


@hw.stage("picklable")
def picklable(x):
    return x


def test_pickle_keeps_tracing(recorder):
    again = pickle.loads(pickle.dumps(picklable))
    assert again is picklable
    assert pickle.loads(pickle.dumps(Methods().method.__func__))(Methods(), 2) == 6
    assert recorder.names == ["method"]


def test_cloudpickle_by_value_keeps_tracing(recorder):
    offset = 10

    @hw.stage("by_value", confidence=lambda r: 0.5, quality={"q": hw.own(lambda r: r)}, config=lambda: {"offset": offset})
    def by_value(x):
        return x + offset

    again = pickle.loads(cloudpickle.dumps(by_value))
    assert again is not by_value
    assert again(1) == 11
    assert recorder.attributes("by_value")[CONFIDENCE.name] == 0.5
    piped = pickle.loads(cloudpickle.dumps(hw.pipeline("pipe", run_id=lambda x: f"run-{x}")(lambda x: x)))
    assert piped(3) == 3
    assert recorder.one("pipe").attributes["headwater.run.id"] == "run-3"


CHILD = """
import sys
import cloudpickle, pickle
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
function = pickle.loads(sys.stdin.buffer.read())
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
print(function(4), [span.name for span in exporter.get_finished_spans()])
"""


def test_a_function_sent_to_another_process_is_traced_there():
    shipped = cloudpickle.dumps(hw.stage("shipped")(lambda x: x * 2))
    done = subprocess.run([sys.executable, "-c", CHILD], input=shipped, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "8 ['shipped']"


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_after_the_first_span(recorder):
    picklable(1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            recorder.exporter.clear()
            picklable(2)
            os.write(writer, ",".join(recorder.names).encode())
        finally:
            os._exit(0)
    os.close(writer)
    told = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    assert told == "picklable"
    assert recorder.names == ["picklable"]


def test_a_pool_thread_given_the_context_keeps_the_parent_even_when_it_has_ended(recorder):
    @hw.stage("work")
    def work():
        return 1

    with ThreadPoolExecutor(1) as pool:
        with hw.run("speech", run_id="r1"):
            future = pool.submit(copy_context().run, work)
            late = copy_context()
        assert future.result() == 1
        assert pool.submit(late.run, work).result() == 1
    for span in recorder.spans:
        if span.name == "work":
            assert span.parent.span_id == recorder.one("speech").context.span_id
            assert span.attributes["headwater.run.id"] == "r1"


def test_stages_in_many_threads_do_not_mix(recorder):
    @hw.stage("outer")
    def outer(tag):
        with hw.stage.span("inner") as st:
            time.sleep(0.001)
            st.set("tag", tag)
        hw.stage.current().set("tag", tag)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(outer, range(32)))
    tags = {span.context.span_id: span.attributes["tag"] for span in recorder.spans if span.name == "outer"}
    inner = [span for span in recorder.spans if span.name == "inner"]
    assert len(inner) == 32
    assert all(tags[span.parent.span_id] == span.attributes["tag"] for span in inner)


# -- exceptions of the user's own -----------------------------------------------------------------------------------------------------------


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize("error", [ValueError("x"), UnprintableError(), StopIteration(3), KeyError("\ud800"), ExceptionGroup("g", [ValueError("y")])])
def test_the_users_own_exception_object_reaches_the_caller(recorder, error):
    @hw.stage("raiser")
    def raiser():
        raise error

    with pytest.raises(type(error)) as caught:
        raiser()
    assert caught.value is error
    assert caught.traceback[-1].name == "raiser"
    assert error.__context__ is None
    span = recorder.one("raiser")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes[ERROR_TYPE.name].endswith(type(error).__name__)
    (event,) = span.events
    assert event.name == "exception"
    event.attributes["exception.message"].encode("utf-8")
    span.status.description.encode("utf-8")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, concurrent.futures.CancelledError, asyncio.CancelledError])
def test_interrupts_and_cancellations_pass_and_are_no_failures(recorder, kind):
    error = kind()

    @hw.stage("raiser")
    def raiser():
        raise error

    with pytest.raises(kind) as caught:
        raiser()
    assert caught.value is error
    assert recorder.one("raiser").status.status_code is StatusCode.UNSET
    assert recorder.attributes("raiser")[OUTCOME.name] in {"cancelled", "abandoned"}
    assert current_span_id() == 0


def test_wrong_arguments_raise_the_functions_own_type_error(recorder):
    with pytest.raises(TypeError, match=r"plain\(\) missing 1 required positional argument"):
        hw.stage("s")(plain)()
    with pytest.raises(TypeError, match=r"generator_function\(\) missing 1 required positional argument"):
        next(hw.stage("s")(generator_function)())
    with pytest.raises(TypeError, match=r"coroutine_function\(\) missing 1 required positional argument"):
        asyncio.run(hw.stage("s")(coroutine_function)())
    assert current_span_id() == 0
    assert {span.status.status_code for span in recorder.spans} == {StatusCode.ERROR}


def test_an_argument_whose_str_raises_and_a_large_one_are_not_looked_at(recorder):
    class Opaque:
        def __str__(self):
            raise RuntimeError

        __repr__ = __hash__ = __eq__ = __len__ = __str__

    opaque = Opaque()
    assert hw.stage("opaque")(lambda x: x)(opaque) is opaque
    assert hw.stage("large")(len)("x" * 5_000_000) == 5_000_000
    assert sum(len(str(value)) for value in recorder.attributes("large").values()) < 200


# -- extractors -----------------------------------------------------------------------------------------------------------------------------


def read(recorder, value, **options):
    assert hw.stage("s", **options)(lambda: value)() is value
    return recorder.attributes("s")


def test_scalars_of_array_libraries_are_numbers_on_the_wire(recorder):
    found = read(recorder, np.float32(0.5), confidence=lambda r: r, quality={"n": lambda r: np.int64(3), "b": lambda r: np.bool_(True)})
    assert (found[CONFIDENCE.name], found[QUALITY.of("n")], found[QUALITY.of("b")]) == (0.5, 3.0, 1.0)
    assert all(type(found[name]) is float for name in (CONFIDENCE.name, QUALITY.of("n"), QUALITY.of("b")))


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), float("inf")])
def test_a_confidence_outside_0_to_1_is_dropped_marked_and_counted(recorder, value, swallowing):
    found = read(recorder, value, confidence=lambda r: r, confidence_kind="prob")
    assert CONFIDENCE.name not in found
    assert found[CONFIDENCE_KIND.name] == "invalid"
    assert isolate.counts() == {"confidence outside 0..1: s": 1}


def test_none_is_not_reported_and_nan_quality_is_dropped(recorder, swallowing):
    found = read(recorder, None, confidence=lambda r: r, quality={"none": lambda r: None, "nan": lambda r: float("nan")})
    assert {CONFIDENCE.name, CONFIDENCE_KIND.name, QUALITY.of("none"), QUALITY.of("nan")} & set(found) == set()
    assert isolate.counts() == {f"not a finite number: {QUALITY.of('nan')}": 1}


def test_an_extractor_that_raises_is_counted_not_raised(recorder, swallowing):
    found = read(recorder, "r", confidence=lambda r: 1 / 0, quality={"ok": lambda r: 1, "text": lambda r: r})
    assert found[QUALITY.of("ok")] == 1.0
    assert CONFIDENCE.name not in found
    assert set(isolate.counts()) == {"extractor raised: s confidence", f"extractor raised: {QUALITY.of('text')}"}


def test_an_extractor_that_raises_is_heard_under_pytest_and_the_span_still_ends(recorder):
    with pytest.raises(ZeroDivisionError):
        hw.stage("s", confidence=lambda r: 1 / 0)(lambda: 1)()
    assert recorder.names == ["s"]
    assert current_span_id() == 0


def test_an_input_reader_that_raises_under_pytest_ends_its_span_too(recorder):
    with pytest.raises(ZeroDivisionError):
        hw.stage("s", input_size=lambda x: x / 0)(plain)(1)
    assert recorder.names == ["s"]
    assert current_span_id() == 0


def test_an_extractor_that_raises_100_times_in_a_row_is_switched_off_with_one_warning(recorder, swallowing, caplog):
    asked = []

    def bad(result):
        asked.append(result)
        raise LookupError("never there")

    stage = hw.stage("s", quality={"bad": bad})(lambda x: x)
    for number in range(150):
        stage(number)
    assert asked == list(range(100))
    assert [record for record in caplog.records if "switched off" in record.getMessage()] != []
    assert len([record for record in caplog.records if "switched off" in record.getMessage()]) == 1


def test_one_success_starts_the_count_again(recorder, swallowing):
    asked = []

    def flaky(result):
        asked.append(result)
        if result != 99:
            raise LookupError
        return 1.0

    stage = hw.stage("s", quality={"flaky": flaky})(lambda x: x)
    for number in range(150):
        stage(number)
    assert len(asked) == 150


# -- providers ------------------------------------------------------------------------------------------------------------------------------


def test_a_provider_set_after_decoration_and_after_the_first_call_is_used(no_provider):
    stage = hw.stage("s")(plain)
    assert stage(1) == 1
    made = Recorder()
    put_in_force(made.provider)
    assert stage(2) == 2
    assert made.names == ["s"]


def test_two_providers_one_after_the_other(recorder):
    stage = hw.stage("s")(plain)
    stage(1)
    second = Recorder()
    put_in_force(second.provider)
    stage(2)
    put_in_force(recorder.provider)
    assert (len(recorder.spans), len(second.spans)) == (1, 1)


def test_an_api_that_renames_its_global_is_asked_by_its_public_door(recorder, monkeypatch):
    monkeypatch.setattr(live, "GLOBAL", "_RENAMED")
    monkeypatch.setattr(live, "state", live.Seen(object(), None, parent_decides=False))
    stage = hw.stage("s")(plain)
    stage(1)
    put_in_force(None)
    stage(2)
    assert recorder.names == ["s"]


def test_no_provider_runs_no_extractor(no_provider):
    asked = []
    stage = hw.stage("s", confidence=asked.append, input_size=asked.append)(plain)
    assert stage(1) == 1
    assert asked == []
    assert not hw.stage.current().recording


def test_otel_sdk_disabled(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    made = Recorder()
    put_in_force(made.provider)
    try:
        assert hw.stage("s")(plain)(3) == 3
        with hw.run("speech", run_id="r") as run:
            assert run.run_id == "r"
        assert made.names == []
    finally:
        put_in_force(None)


class Broken(SpanProcessor):
    def __init__(self, where):
        self.where = where

    def on_start(self, span, parent_context=None):
        if self.where == "start":
            raise RuntimeError("on_start")

    def on_end(self, span):
        if self.where == "end":
            raise RuntimeError("on_end")


class BrokenSampler(Sampler):
    def should_sample(self, *args, **kwargs):
        raise RuntimeError("sampler")

    def get_description(self):
        return "broken"


@pytest.mark.parametrize("made", [{"processor": Broken("start")}, {"processor": Broken("end")}, {"sampler": BrokenSampler()}])
def test_a_span_processor_or_sampler_that_raises_does_not_reach_the_host(made, swallowing):
    put_in_force(Recorder(**made).provider)
    try:
        with hw.run("speech"):
            assert hw.stage("s")(plain)(3) == 3
            with pytest.raises(ValueError, match="mine"), hw.stage.span("block"):
                raise ValueError("mine")
        assert sum(isolate.counts().values()) == 3
        assert current_span_id() == 0
    finally:
        put_in_force(None)


def test_under_an_unsampled_parent_nothing_is_read_and_nothing_recorded():
    made = Recorder(sampler=ParentBased(ALWAYS_OFF))
    put_in_force(made.provider)
    asked = []
    try:
        with hw.run("speech", run_id="r") as run:
            inside = current_span_id()
            stage = hw.stage("s", confidence=asked.append)(current_span_id)
            assert stage() == inside != 0
            assert not run.recording
            assert hw.token().endswith("-00;r")
            assert list(hw.stage("g")(generator_function)(1)) == [1]
        hw.outcome(run.token, loss=1.0)
        assert (made.names, asked) == ([], [])
    finally:
        put_in_force(None)


def parent_context(*, remote, flags):
    context = trace.SpanContext(trace_id=1 << 90, span_id=7, is_remote=remote, trace_flags=trace.TraceFlags(flags))
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


@pytest.mark.parametrize(
    ("sampler", "remote", "recorded"),
    [
        (ParentBased(ALWAYS_ON), True, False),
        (ParentBased(ALWAYS_ON), False, False),
        (ALWAYS_ON, True, True),
        (ParentBased(ALWAYS_ON, remote_parent_not_sampled=ALWAYS_ON), True, True),
        (ParentBased(ALWAYS_ON, local_parent_not_sampled=ALWAYS_ON), False, True),
    ],
)
def test_a_sampler_that_may_overrule_an_unsampled_parent_is_asked(sampler, remote, recorded):
    made = Recorder(sampler=sampler)
    put_in_force(made.provider)
    token = otel_context.attach(parent_context(remote=remote, flags=0))
    try:
        hw.stage("s")(plain)(1)
        assert made.names == (["s"] if recorded else [])
    finally:
        otel_context.detach(token)
        put_in_force(None)


def test_an_invalid_span_is_no_parent(recorder):
    token = otel_context.attach(trace.set_span_in_context(trace.INVALID_SPAN))
    try:
        hw.stage("s")(plain)(1)
    finally:
        otel_context.detach(token)
    assert recorder.one("s").parent is None


def test_an_unsampled_root_makes_its_children_unsampled():
    made = Recorder(sampler=ALWAYS_OFF)
    put_in_force(made.provider)
    try:
        outer = hw.stage("outer")(lambda: (current_span_id(), hw.stage("inner")(current_span_id)()))
        own, inner = outer()
        assert own != 0 != inner
        assert current_span_id() == 0
    finally:
        put_in_force(None)


# -- attributes -----------------------------------------------------------------------------------------------------------------------------


def test_200_user_attributes_do_not_push_ours_out(recorder):
    @hw.stage("s", version="7", confidence=lambda r: 0.5)
    def crowded():
        for number in range(200):
            trace.get_current_span().set_attribute(f"user.{number}", number)
        for number in range(200):
            hw.stage.current().set(f"mine.{number}", number)

    crowded()
    found = recorder.attributes("s")
    assert (found[STAGE_NAME.name], found["headwater.stage.version"], found[CONFIDENCE.name]) == ("s", "7", 0.5)


def test_a_user_attribute_can_neither_take_one_of_our_names_nor_push_it_out(recorder):
    with hw.stage.span("s") as st:
        st.set(STAGE_NAME.name, "impostor")
        for number in range(200):
            st.set(f"mine.{number}", number)
    assert recorder.attributes("s")[STAGE_NAME.name] == "s"


def test_lone_surrogates_in_names_values_and_errors_become_plain(recorder):
    @hw.stage("st\ud800age", model="m\udfff@1")
    def stage():
        hw.stage.current().set("key\ud800", "value\ud800")
        raise ValueError("\ud800")

    with pytest.raises(ValueError, match="\ud800"), hw.run("p\ud800", run_id="r\ud800"):
        stage()
    for span in recorder.spans:
        texts = [span.name, span.status.description, *span.attributes, *(str(value) for value in span.attributes.values())]
        assert [text for text in texts if text.encode("utf-8", "replace").decode() != text] == []


def test_a_10k_item_batch_is_one_span_with_its_sizes(recorder):
    stage = hw.stage("batch", input_size=len, output_size=len)(lambda items: [item * 2 for item in items])
    assert len(stage(list(range(10_000)))) == 10_000
    found = recorder.attributes("batch")
    assert (found["headwater.input.size"], found["headwater.output.size"]) == (10_000.0, 10_000.0)
    assert len(recorder.spans) == 1


def test_a_clock_that_steps_back_moves_no_span(recorder, monkeypatch):
    from headwater.instrument import opening

    wall = iter([2_000_000_000_000_000_000, 1_000_000_000_000_000_000, 1, 1, 1])
    monkeypatch.setattr(opening, "time_ns", lambda: next(wall))
    with hw.run("speech"), hw.stage.span("a"), hw.stage.span("b"):
        time.sleep(0.002)
    spans = {span.name: span for span in recorder.spans}
    assert spans["speech"].start_time <= spans["a"].start_time <= spans["b"].start_time
    assert spans["b"].end_time <= spans["a"].end_time <= spans["speech"].end_time
    assert spans["b"].end_time - spans["b"].start_time >= 2_000_000


def test_a_task_that_outlives_its_run_lays_its_own_clock(recorder, monkeypatch):
    from headwater.instrument import opening

    with hw.run("speech"):
        later = copy_context()
    monkeypatch.setattr(opening, "time_ns", lambda: 3_000_000_000_000_000_000)
    later.run(hw.stage("late")(plain), 1)
    assert recorder.one("late").start_time == 3_000_000_000_000_000_000


CALLS = st.lists(st.one_of(st.integers(), st.text(max_size=5), st.none(), st.just(float("nan"))), max_size=4)
FAILURES = st.sampled_from([None, ValueError, UnprintableError, KeyError, StopIteration, AssertionError, MemoryError, RecursionError])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(args=CALLS, failure=FAILURES, kind=st.sampled_from(["plain", "coroutine", "generator"]))
def test_result_exception_and_traceback_tail_equal_the_unwrapped(recorder, args, failure, kind):
    error = failure() if failure is not None else None

    def body(*given):
        if error is not None:
            raise error
        return given

    async def coroutine(*given):
        return body(*given)

    def generator(*given):
        yield from body(*given)

    drive = {"plain": lambda f: f(*args), "coroutine": lambda f: run_coroutine(f(*args)), "generator": lambda f: list(f(*args))}[kind]
    function = {"plain": body, "coroutine": coroutine, "generator": generator}[kind]
    expected, seen = attempt(lambda: drive(function)), attempt(lambda: drive(hw.stage("s", confidence=lambda _: 0.5)(function)))
    assert len(seen[0]) == len(expected[0])
    assert all(left is right for left, right in zip(seen[0], expected[0], strict=True))
    assert seen[1] == expected[1]


def run_coroutine(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("these coroutines do not wait")


def attempt(call):
    """(what came out, the user's frames); an exception is one object that came out."""
    try:
        return list(call()), []
    except Exception as error:
        frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        error.__traceback__ = None
        converted = type(error) is RuntimeError and isinstance(error.__cause__, StopIteration)  # the interpreter's own conversion, PEP 479
        return [error.__cause__ if converted else error], [name for name in frames if name in {"body", "coroutine", "generator"}]


def test_the_users_own_span_inside_and_outside(recorder):
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("mine"):

        @hw.stage("s")
        def stage():
            with tracer.start_as_current_span("deep"):
                hw.stage.current().fault("inside")

        stage()
    assert recorder.parent_of("s") == "mine"
    assert recorder.parent_of("deep") == "s"
    assert recorder.attributes("s")["headwater.fault.injected"] == "inside"


def test_other_context_values_stay(recorder):
    token = otel_context.attach(otel_context.set_value("theirs", 5))
    try:
        with hw.run("speech"):
            assert hw.stage("s")(lambda: otel_context.get_value("theirs"))() == 5
        assert otel_context.get_value("theirs") == 5
    finally:
        otel_context.detach(token)


def test_fresh_interpreter_import_is_light():
    names = ("numpy", "opentelemetry.sdk", "grpc", "wrapt", "asyncio", "ssl", "headwater.model")
    code = f"import sys\nimport headwater as hw\nprint([n for n in {names!r} if n in sys.modules])\nprint(hw.stage('s')(lambda x: x)(3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "3"]
