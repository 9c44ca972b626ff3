"""Thread pools and process pools carry the run: programs of their own, their spans read where they arrive."""

import concurrent.futures
import multiprocessing
import multiprocessing.pool
import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context
from tests.instrument.recording import no_provider, recorder
from tests.instrument.test_configure import collector, scalar

import headwater as hw
from headwater.instrument import pools

__all__ = ["collector", "no_provider", "recorder"]

WARNS_OF_FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture
def carrying(recorder):
    """The recorder's provider is a program's own: `hw.configure` only patches the pools."""
    assert hw.configure() is False
    yield recorder
    hw.shutdown()


@hw.stage("work")
def work(x=0):
    return x


def parents(spans, name):
    return [None if span.parent is None else span.parent.span_id for span in spans if span.name == name]


# -- threads --------------------------------------------------------------------------------------------------------------------------------


def test_a_thread_pool_keeps_the_parent_and_the_run(carrying):
    with ThreadPoolExecutor(2) as pool, hw.run("speech", run_id="r1"):
        assert pool.submit(work, 3).result() == 3
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    assert set(parents(carrying.spans, "work")) == {carrying.one("speech").context.span_id}
    assert {span.attributes["headwater.run.id"] for span in carrying.spans} == {"r1"}


def test_a_task_submitted_outside_a_run_gets_no_run_of_a_task_before_it(carrying):
    with ThreadPoolExecutor(1) as pool:
        with hw.run("speech"):
            pool.submit(work).result()
        pool.submit(work).result()
    assert parents(carrying.spans, "work") == [carrying.one("speech").context.span_id, None]


def test_a_parent_that_has_ended_in_between_is_still_the_parent(carrying):
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with hw.run("speech"):
            future = pool.submit(lambda: gate.wait(5) and work(1))
        gate.set()
        assert future.result() == 1
    assert parents(carrying.spans, "work") == [carrying.one("speech").context.span_id]


def test_result_and_exception_of_a_pool_task_are_the_tasks_own_objects(carrying):
    answer, error = object(), ValueError("mine")

    def raiser():
        raise error

    with ThreadPoolExecutor(1) as pool, hw.run("speech"):
        assert pool.submit(lambda: answer).result() is answer
        with pytest.raises(ValueError, match="mine") as caught:
            pool.submit(raiser).result()
    assert caught.value is error
    assert caught.traceback[-1].name == "raiser"


def test_the_submitters_other_context_values_come_along_and_its_contextvars_do_not(carrying):
    import contextvars

    theirs = contextvars.ContextVar("theirs", default="worker")
    theirs.set("submitter")
    token = otel_context.attach(baggage.set_baggage("tenant", "kitchen"))
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: (baggage.get_baggage("tenant"), theirs.get())).result() == ("kitchen", "worker")
            assert pool.submit(contextvars.copy_context().run, theirs.get).result() == "submitter"
    finally:
        otel_context.detach(token)


def test_configure_patches_and_shutdown_puts_back(recorder):
    owners = [
        (concurrent.futures.ThreadPoolExecutor, "submit"),
        (concurrent.futures.ProcessPoolExecutor, "submit"),
        (multiprocessing.pool.Pool, "map"),
        (multiprocessing.pool.Pool, "apply_async"),
    ]
    before = [owner.__dict__[name] for owner, name in owners]
    for _ in range(2):
        hw.configure()
        hw.configure()
        assert all(owner.__dict__[name] is not old for (owner, name), old in zip(owners, before, strict=True))
        assert all(owner.__dict__[name].__wrapped__ is old for (owner, name), old in zip(owners, before, strict=True))
        hw.shutdown()
        assert [owner.__dict__[name] for owner, name in owners] == before


def test_somebody_elses_patch_over_ours_stays_and_ours_lets_everything_pass(recorder, monkeypatch):
    hw.configure()
    ours = ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda self, fn, /, *args: ours(self, fn, *args))
    theirs = ThreadPoolExecutor.submit
    hw.shutdown()
    assert ThreadPoolExecutor.submit is theirs
    with ThreadPoolExecutor(1) as pool, hw.run("speech"):
        assert pool.submit(work, 4).result() == 4
    assert parents(recorder.spans, "work") == [None]
    monkeypatch.undo()
    pools._State.patches.clear()
    ThreadPoolExecutor.submit = ours.__wrapped__


def test_import_alone_patches_nothing():
    import subprocess

    code = """
import concurrent.futures.thread as t
before = t.ThreadPoolExecutor.__dict__["submit"]
import headwater
print(t.ThreadPoolExecutor.__dict__["submit"] is before)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"


def test_the_thread_pool_of_multiprocessing_keeps_the_parent(carrying):
    with multiprocessing.pool.ThreadPool(2) as pool, hw.run("speech"):
        assert pool.map(work, range(3)) == [0, 1, 2]
        assert pool.apply(work, (5,)) == 5
    assert set(parents(carrying.spans, "work")) == {carrying.one("speech").context.span_id}


def test_ten_threads_lose_and_cross_no_parentage(carrying):
    """Each call is a run of its own that hands a stage to the pool; the stage's inner span must lie in the very run."""

    @hw.stage("inner")
    def inner(key):
        return key

    @hw.stage("outer")
    def outer(key):
        hw.stage.current().set("key", key)
        return inner(key)

    def caller(number):
        for call in range(60):
            key = f"{number}-{call}"
            with hw.run("speech", run_id=key):
                assert pool.submit(outer, key).result() == key

    with ThreadPoolExecutor(4) as pool:
        threads = [threading.Thread(target=caller, args=(number,)) for number in range(10)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    by_id = {span.context.span_id: span for span in carrying.spans}
    counts = Counter(span.name for span in carrying.spans)
    assert counts == {"speech": 600, "outer": 600, "inner": 600}
    for span in carrying.spans:
        if span.name == "outer":
            root = by_id[span.parent.span_id]
            assert (root.name, root.attributes["headwater.run.id"]) == ("speech", span.attributes["key"])
        if span.name == "inner":
            assert by_id[span.parent.span_id].name == "outer"
            assert by_id[span.parent.span_id].attributes["key"] == span.attributes["headwater.run.id"]


# -- processes ------------------------------------------------------------------------------------------------------------------------------

PROGRAM = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import headwater as hw

@hw.stage("inner", version="1")
def inner(key):
    return key

@hw.stage("outer", version="1")
def outer(key):
    hw.stage.current().set("key", key)
    hw.stage.current().set("pid", os.getpid())
    return inner(key)

def refuse(key):
    raise LookupError(key)

def main():
    hw.configure(service="voice", endpoint=sys.argv[2])
    method = sys.argv[1]
{body}

if __name__ == "__main__":
    main()
"""

EXECUTOR = """
    with ProcessPoolExecutor({workers}, mp_context=multiprocessing.get_context(method)) as pool:
        futures = []
        for number in range({runs}):
            with hw.run("speech", run_id=f"r{{number}}", route="fast"):
                futures.append(pool.submit(outer, f"r{{number}}"))
        assert [future.result() for future in futures] == [f"r{{number}}" for number in range({runs})]
        try:
            pool.submit(refuse, "no").result()
        except LookupError as error:
            assert error.args == ("no",)
"""


def run_program(tmp_path, body, *arguments):
    import subprocess

    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(body=body))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTEST_"))}
    kept["PYTHONPATH"] = str(tmp_path)
    return subprocess.run([sys.executable, str(script), *arguments], env=kept, capture_output=True, text=True, timeout=120, check=False)


def attributes(span):
    return {item.key: scalar(item.value) for item in span.attributes}


def check_parentage(found, runs):
    spans = {span.span_id: span for span in found.spans}
    names = Counter(span.name for span in found.spans)
    assert names == {"speech": runs, "outer": runs, "inner": runs}
    for span in found.spans:
        said = attributes(span)
        if span.name == "outer":
            root = spans[span.parent_span_id]
            assert (root.name, attributes(root)["headwater.run.id"]) == ("speech", said["key"])
            assert (said["headwater.run.id"], said["headwater.pipeline.name"], said["headwater.route"]) == (said["key"], "speech", "fast")
            assert said["headwater.queue.time_ns"] >= 0
        if span.name == "inner":
            assert spans[span.parent_span_id].name == "outer"
            assert attributes(spans[span.parent_span_id])["key"] == said["headwater.run.id"]
    assert found.services == {"voice"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_pool_keeps_the_parent_and_its_spans_leave_it(collector, tmp_path, method):
    done = run_program(tmp_path, EXECUTOR.format(workers=2, runs=12), method, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    check_parentage(collector, 12)
    assert len({attributes(span)["pid"] for span in collector.spans if span.name == "outer"}) >= 1


def test_a_forked_pool_of_eight_loses_and_crosses_no_parentage(collector, tmp_path):
    done = run_program(tmp_path, EXECUTOR.format(workers=8, runs=200), "fork", collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    check_parentage(collector, 200)
    assert len({attributes(span)["pid"] for span in collector.spans if span.name == "outer"}) >= 2


MP_POOL = """
    with hw.run("speech", run_id="r0", route="fast"):
        pool = multiprocessing.get_context(method).Pool(2)
        assert pool.map(outer, ["r0"] * 6) == ["r0"] * 6
        assert list(pool.imap_unordered(outer, ["r0"] * 2)) == ["r0"] * 2
        assert pool.apply(outer, ("r0",)) == "r0"
        pool.close()
        pool.join()
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_multiprocessing_pool_keeps_the_parent(collector, tmp_path, method):
    done = run_program(tmp_path, MP_POOL, method, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    root = next(span for span in collector.spans if span.name == "speech")
    outer = [span for span in collector.spans if span.name == "outer"]
    assert [span.parent_span_id for span in outer] == [root.span_id] * 9


FORKED_PROCESS = """
    with hw.run("speech", run_id="r0", route="fast"):
        process = multiprocessing.get_context("fork").Process(target=outer, args=("r0",))
        process.start()
        process.join()
        assert process.exitcode == 0
"""


def test_a_forked_process_is_below_its_parent_and_flushes(collector, tmp_path):
    done = run_program(tmp_path, FORKED_PROCESS, "fork", collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    root, outer = (next(span for span in collector.spans if span.name == name) for name in ("speech", "outer"))
    assert outer.parent_span_id == root.span_id
    assert Counter(span.name for span in collector.spans) == {"speech": 1, "outer": 1, "inner": 1}


JOBLIB = """
    from joblib import Parallel, delayed
    with hw.run("speech", run_id="r0", route="fast"):
        assert Parallel(n_jobs=2, backend=sys.argv[3], batch_size=1, pre_dispatch=2)(delayed(outer)("r0") for _ in range(8)) == ["r0"] * 8
    with hw.run("second", run_id="r1"):
        offset = 5
        local = hw.stage("local")(lambda x: x + offset)
        assert Parallel(n_jobs=2, backend=sys.argv[3])(delayed(local)(x) for x in range(3)) == [5, 6, 7]
"""


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib_keeps_the_parent_though_it_was_imported_later(collector, tmp_path, backend):
    done = run_program(tmp_path, JOBLIB, "loky", collector.url, backend)
    assert (done.returncode, done.stderr) == (0, "")
    roots = {span.name: span for span in collector.spans if not span.parent_span_id}
    assert set(roots) == {"speech", "second"}
    assert [span.parent_span_id for span in collector.spans if span.name == "outer"] == [roots["speech"].span_id] * 8
    assert [span.parent_span_id for span in collector.spans if span.name == "local"] == [roots["second"].span_id] * 3
    if backend == "loky":
        assert all(attributes(span)["headwater.run.id"] == "r0" for span in collector.spans if span.name in {"outer", "inner"})


def test_nothing_open_and_nothing_to_configure_goes_in_as_it_is(carrying):
    assert pools.for_thread(work) is work
    assert pools.for_process(work) is work
    with hw.run("speech"):
        crossing = pools.for_process(work)
        assert isinstance(crossing, pools.InProcess)
        assert pools.for_process(crossing) is crossing
        assert crossing(3) == 3  # in this very process: nothing is configured again
    assert parents(carrying.spans, "work") == [carrying.one("speech").context.span_id]
