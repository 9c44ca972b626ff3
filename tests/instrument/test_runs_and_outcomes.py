"""Runs, tokens and late outcomes."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from tests.instrument.recording import Recorder, no_provider, put_in_force, recorder, swallowing

import headwater as hw
from headwater.instrument import isolate
from headwater.instrument.outcome import parse_token

__all__ = ["no_provider", "recorder", "swallowing"]


def test_a_run_is_the_root_and_hands_its_identity_down(recorder):
    options = {"route": "mobile", "version": "4", "session_id": "s9", "canary": True, "attributes": {"tenant": "a"}}
    with hw.run("speech", run_id="order-17", difficulty={"snr": 12.0}, **options) as run, hw.stage.span("vad"):
        assert run.run_id == "order-17"
    root, stage = recorder.attributes("speech"), recorder.attributes("vad")
    flowing = {
        "headwater.pipeline.name": "speech",
        "headwater.pipeline.version": "4",
        "headwater.run.id": "order-17",
        "headwater.route": "mobile",
        "headwater.canary": True,
    }
    assert stage == flowing | {"headwater.stage.name": "vad"}
    assert root == flowing | {"headwater.difficulty.snr": 12.0, "session.id": "s9", "tenant": "a"}
    assert recorder.one("speech").parent is None
    assert recorder.parent_of("vad") == "speech"


def test_a_stage_outside_a_run_names_neither_pipeline_nor_run(recorder):
    with hw.stage.span("lone"):
        pass
    assert recorder.attributes("lone") == {"headwater.stage.name": "lone"}


def test_a_run_without_an_id_takes_its_trace_id(recorder):
    with hw.run("p") as outer, hw.run("q") as inner:
        pass
    root = recorder.one("p").context
    assert outer.run_id == f"{root.trace_id:032x}"
    assert inner.run_id == f"{root.trace_id:032x}-{recorder.one('q').context.span_id:016x}"


def test_an_inner_run_hides_the_outer_one_and_gives_it_back(recorder):
    with hw.run("outer", run_id="o"):
        with hw.run("inner", run_id="i"), hw.stage.span("a"):
            pass
        with hw.stage.span("b"):
            pass
    assert recorder.attributes("a")["headwater.run.id"] == "i"
    assert recorder.attributes("b")["headwater.run.id"] == "o"


async def test_a_run_may_be_async(recorder):
    async with hw.run("p", run_id=5) as run:
        assert run.run_id == "5"
    assert recorder.attributes("p")["headwater.run.id"] == "5"


def test_a_failed_run_fails_and_what_is_wrong_with_its_values_is_left_out(recorder, swallowing):
    with pytest.raises(KeyError), hw.run("p", run_id="r", difficulty={"bad": "loud", "nan": float("nan"), "good": 1}):
        raise KeyError("x")
    found = recorder.attributes("p")
    assert found["error.type"] == "KeyError"
    assert [name for name in found if "difficulty" in name] == ["headwater.difficulty.good"]
    assert len(isolate.counts()) == 2


class Pipelines:
    @hw.pipeline("shop", run_id=lambda order: order["id"], difficulty={"n": len, "k": 2}, route="web")
    def handle(self, order):
        with hw.stage.span("stage"):
            return hw.token()


def test_the_decorator_reads_the_run_id_from_the_input(recorder):
    token = Pipelines().handle({"id": 7})
    assert token.endswith(";7")
    found = recorder.attributes("shop")
    assert (found["headwater.run.id"], found["headwater.difficulty.n"], found["headwater.difficulty.k"]) == ("7", 1.0, 2.0)
    assert recorder.attributes("stage")["headwater.route"] == "web"


async def test_the_decorator_keeps_the_kind(recorder):
    @hw.pipeline("a")
    async def call():
        return hw.stage.current().run_id

    @hw.pipeline("g")
    def stream():
        yield hw.stage.current().run_id

    assert len(await call()) == 32
    assert list(stream()) == [f"{recorder.one('g').context.trace_id:032x}"]


@pytest.mark.parametrize(
    ("call", "words"), [(lambda: hw.run("p", runid="x"), "unknown keyword 'runid'"), (lambda: hw.pipeline(len), "the pipeline's name")]
)
def test_a_run_told_wrongly_says_so_at_once(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("run_id", ["order-17", "a;b", "ü/%20 \n", "x" * 300])
def test_a_token_is_plain_text_and_comes_back_whole(recorder, run_id):
    with hw.run("p", run_id=run_id) as run, hw.stage.span("s"):
        token = hw.token()
        assert token == run.token != hw.stage.current().token
    assert token.isascii()
    assert token.isprintable()
    assert json.loads(json.dumps(token)) == token
    context, back = parse_token(token)
    assert back == run_id
    assert (context.trace_id, context.span_id) == (recorder.one("p").context.trace_id, recorder.one("p").context.span_id)


def test_a_token_without_a_run_a_span_or_a_provider(recorder):
    assert hw.token() == ""
    with trace.get_tracer("user").start_as_current_span("mine") as span:
        assert parse_token(hw.token())[0].span_id == span.get_span_context().span_id
    put_in_force(None)
    with hw.run("p", run_id="r"):
        assert hw.token() == "hw1;;r"


def test_an_outcome_by_token_is_a_trace_of_its_own_with_one_link(recorder):
    with hw.run("p", run_id="r") as run:
        hw.outcome(run.token, loss=0.25, label="half", source="judge", audit=True)  # inside the run, and yet in no way its child
    span, root = recorder.one("headwater.outcome"), recorder.one("p")
    assert span.parent is None
    assert span.context.trace_id != root.context.trace_id
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (root.context.trace_id, root.context.span_id)
    assert link.attributes == {"headwater.link.kind": "outcome"}
    assert dict(span.attributes) == {
        "headwater.run.id": "r",
        "headwater.outcome.name": "loss",
        "headwater.outcome.loss": 0.25,
        "headwater.outcome.label": "half",
        "headwater.outcome.source": "judge",
        "headwater.outcome.audit": True,
        "annotations.0.annotation.name": "loss",
        "annotations.0.annotation.score": 0.75,
        "annotations.0.annotation.label": "half",
    }


def test_an_outcome_by_run_id_has_the_id_and_no_link(recorder):
    hw.outcome("order-17", loss=7, name="cost")
    span = recorder.one("headwater.outcome")
    assert span.links == ()
    assert span.attributes["headwater.run.id"] == "order-17"
    assert span.attributes["headwater.outcome.loss"] == 7.0
    assert "annotations.0.annotation.score" not in span.attributes  # no loss in 0..1


@pytest.mark.parametrize(
    ("at", "expected_ns"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), 1767323045678901000),
        (datetime(2026, 1, 2, 5, 4, 5, 678901, tzinfo=timezone(timedelta(hours=2))), 1767323045678901000),
        (1767323045678901234, 1767323045678901234),
        (1767323045.5, 1767323045500000000),
    ],
)
def test_an_outcome_happens_when_it_was_judged(recorder, at, expected_ns):
    hw.outcome("r", label="wrong", at=at)
    span = recorder.one("headwater.outcome")
    assert (span.start_time, span.end_time) == (expected_ns, expected_ns)


@pytest.mark.parametrize("root", [TraceIdRatioBased(0.0), ALWAYS_OFF])
def test_an_outcome_outlives_the_sampler(root):
    made = Recorder(sampler=ParentBased(root))
    put_in_force(made.provider)
    try:
        hw.outcome("r", loss=1)
        with hw.stage.span("s"):
            pass
        assert made.names == ["headwater.outcome"]
        assert made.one("headwater.outcome").context.trace_flags.sampled
    finally:
        put_in_force(None)


@pytest.mark.parametrize(
    ("target", "said", "words"),
    [
        ("r", {}, "neither loss nor label"),
        ("r", {"loss": float("nan")}, "allowed: a finite number"),
        ("r", {"loss": "bad"}, "allowed: a number"),
        ("r", {"loss": 1, "at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ("r", {"loss": 1, "at": -1}, "before 1970"),
        ("", {"loss": 1}, "the target is empty"),
        ("hw1;00-zz-yy-01;r", {"loss": 1}, "no valid traceparent"),
    ],
)
def test_a_wrong_outcome_is_counted_in_production_and_heard_under_pytest(recorder, target, said, words):
    with pytest.raises((ValueError, TypeError), match=words):
        hw.outcome(target, **said)
    isolate.set_reraise(False)
    isolate.clear_counts()
    try:
        hw.outcome(target, **said)
        assert isolate.counts() == {"outcome": 1}
    finally:
        isolate.set_reraise(None)
    assert recorder.spans == []


def test_an_outcome_without_a_provider_is_counted(no_provider, swallowing):
    hw.outcome("r", loss=1.0)
    assert isolate.counts() == {"outcome dropped": 1}
