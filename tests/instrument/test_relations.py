"""Links, batches, retries, queues and digests, and the pipeline they give back."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from tests.instrument.recording import recorder, swallowing

import headwater as hw
from headwater.ingest.otlp import decode
from headwater.instrument import flow, isolate
from headwater.instrument.content import content_digest
from headwater.traces.assemble import assemble
from headwater.traces.pipeline import graph

__all__ = ["recorder", "swallowing"]


@dataclass(eq=False)
class Scores:
    value: float


def scored(value):
    return Scores(value)


def links(span, kind):
    return [link.context.span_id for link in span.links if link.attributes["headwater.link.kind"] == kind]


def ids(recorder, *names):
    return [span.context.span_id for name in names for span in recorder.spans if span.name == name]


def recovered(recorder):
    found = graph(assemble(decode(encode_spans(recorder.spans).SerializeToString()).spans))
    return {(found.stages[a], found.stages[b]) for a, b in found.edge}


TRUE = {("split", "left"), ("split", "right"), ("left", "join"), ("right", "join")}


def fan(**options):
    split = hw.stage("split", **options)(lambda x: (Scores(x), Scores(x + 1)))
    left = hw.stage("left", **options)(lambda part: Scores(part.value * 2))
    right = hw.stage("right", **options)(lambda part: Scores(part.value * 3))
    join = hw.stage("join", **options)(lambda parts: parts[0].value + parts[1].value)
    return split, left, right, join


def test_the_graph_of_a_fan_out_and_fan_in_run_in_sequence_is_the_true_one(recorder):
    """By time alone the branches would be a chain."""
    split, left, right, join = fan()
    for number in range(3):
        with hw.run("speech"):
            a, b = split(number)
            assert join([left(a), right(b)]) == 2 * number + 3 * (number + 1)
    assert recovered(recorder) == TRUE


def test_the_graph_is_the_true_one_with_the_branches_in_threads(recorder):
    split, left, right, join = fan()
    hw.configure()
    try:
        with ThreadPoolExecutor(2) as pool, hw.run("speech"):
            a, b = split(1)
            join([future.result() for future in (pool.submit(left, a), pool.submit(right, b))])
    finally:
        hw.shutdown()
    assert recovered(recorder) == TRUE


def test_by_digest_outputs_that_cannot_be_weakly_referenced_are_linked(recorder):
    split = hw.stage("split", digest=True)(lambda x: (["left part", x], ["right part", x]))
    left = hw.stage("left", digest=True)(lambda part: f"left of {part[1]}")
    right = hw.stage("right", digest=True)(lambda part: f"right of {part[1]}")
    join = hw.stage("join", digest=True)(lambda a, b: a + b)
    with hw.run("speech"):
        a, b = split(7)
        join(left(a), right(list(b)))
    assert recovered(recorder) == TRUE
    assert recorder.attributes("left")["headwater.input.digest"] == content_digest(a)
    assert recorder.attributes("left")["headwater.output.digest"] == content_digest("left of 7")


def test_upstream_says_it_by_name_and_takes_all_executions_since_the_last(recorder):
    part = hw.stage("part")(lambda x: x)
    join = hw.stage("join", upstream="part")(lambda x: x)
    with hw.run("speech"):
        join([part(1), part(2)])
        join(part(3))
        join(3)
    first, second, third = (links(span, "input") for span in recorder.spans if span.name == "join")
    one, two, three = ids(recorder, "part")
    assert (first, second, third) == ([one, two], [three], [three])


def test_half_of_the_inputs_known_is_no_link_and_another_trace_is_none(recorder):
    left = hw.stage("left")(scored)
    join = hw.stage("join")(lambda *parts: None)
    with hw.run("one"):
        made = left(1.0)
        join(made, {"from": "nowhere"})
    with hw.run("two"):
        join(made)
    assert [span.links for span in recorder.spans if span.name == "join"] == [(), ()]


def test_nothing_is_kept_alive_and_the_registry_is_bounded(recorder):
    make = hw.stage("make")(scored)
    flow.PRODUCED.clear()
    make(1.0)
    assert len(flow.PRODUCED) == 0
    kept = [make(float(number)) for number in range(50)]
    assert len(flow.PRODUCED) == 50
    context = recorder.spans[-1].context
    more = [Scores(0.0) for _ in range(flow.MAX_OBJECTS)]
    for each in more:
        flow.produced(each, context)
    assert len(flow.PRODUCED) == flow.MAX_OBJECTS
    assert flow.origin(kept[0]) is None
    del kept, more, each
    assert len(flow.PRODUCED) == 0


def test_a_retry_is_an_attempt_with_a_link_and_another_input_is_not(recorder):
    failing = [True, True, False, True, False]

    @hw.stage("ask", retries=True)
    def ask(question):
        if failing.pop(0):
            raise ConnectionError

    with hw.run("speech"):
        question = "first question"
        for asked in (question, question, question, "second question", "third question"):
            with suppress(ConnectionError):
                ask(asked)
    spans = [span for span in recorder.spans if span.name == "ask"]
    assert [span.attributes["headwater.stage.attempt"] for span in spans] == [1, 2, 3, 1, 1]
    assert [links(span, "retry_of") for span in spans] == [[], [spans[0].context.span_id], [spans[1].context.span_id], [], []]


def test_a_consumer_joins_the_producers_trace_and_knows_how_long_it_waited(recorder):
    with hw.run("speech", run_id="order-17", version="3", route="fast", canary=True):
        token = hw.token(queued=True)
        carried = hw.headers()
    with hw.resume(token) as run:
        assert run.run_id == "order-17"
        hw.stage("consume")(lambda: None)()
        hw.stage("second")(lambda: None)()
    with hw.resume({"TraceParent": carried["traceparent"], "Headwater-Token": carried["headwater-token"]}):
        hw.stage("served")(lambda: None)()
    root = recorder.one("speech")
    for name in ("consume", "second", "served"):
        span = recorder.one(name)
        assert (span.parent.span_id, span.context.trace_id) == (root.context.span_id, root.context.trace_id)
        found = {key: span.attributes[f"headwater.{key}"] for key in ("run.id", "pipeline.name", "pipeline.version", "route", "canary")}
        assert found == {"run.id": "order-17", "pipeline.name": "speech", "pipeline.version": "3", "route": "fast", "canary": True}
    assert recorder.attributes("consume")["headwater.queue.time_ns"] >= 0
    assert "headwater.queue.time_ns" not in recorder.attributes("second")


def test_a_queued_token_serves_for_an_outcome_too(recorder):
    with hw.run("speech", run_id="r;1"):
        token = hw.token(queued=True)
    hw.outcome(token, loss=1.0)
    assert recorder.attributes("headwater.outcome")["headwater.run.id"] == "r;1"


@pytest.mark.parametrize("whence", ["", {}, {"traceparent": "00-zz"}, "hw1;00-zz-yy-01;r", 3])
def test_with_nothing_to_resume_the_block_does_nothing(recorder, swallowing, whence):
    with hw.resume(whence):
        hw.stage("s")(lambda: None)()
    assert recorder.one("s").parent is None
    assert sum(isolate.counts().values()) == (whence in ("hw1;00-zz-yy-01;r", 3))


def test_a_batch_is_one_span_and_its_items_with_a_token_have_theirs(recorder):
    tokens = []
    for number in range(2):
        with hw.run("request", run_id=f"r{number}"):
            tokens.append(hw.token(queued=True))

    @hw.stage("asr", batch="items", confidence="conf", input_size=lambda item: item["size"], model="m@1")
    def asr(items, beam=1):
        return [{"conf": item["size"] / 10} for item in items]

    with hw.run("batcher", run_id="b"):
        asr([{"size": 3, "headwater_token": tokens[0]}, {"size": 4}, {"size": 5, "headwater_token": tokens[1]}])
    spans = [span for span in recorder.spans if span.name == "asr"]
    (batch,) = [span for span in spans if span.attributes["headwater.run.id"] == "b"]
    items = sorted((span for span in spans if span is not batch), key=lambda span: span.attributes["headwater.item.index"])
    assert batch.attributes["headwater.batch.size"] == 3
    assert links(batch, "batch_item") == ids(recorder, "request")
    assert [item.attributes["headwater.item.index"] for item in items] == [0, 2]
    for item, root, size in zip(items, [span for span in recorder.spans if span.name == "request"], (3, 5), strict=True):
        assert item.parent.span_id == root.context.span_id
        assert item.attributes["headwater.run.id"] == root.attributes["headwater.run.id"]
        assert (item.attributes["headwater.input.size"], item.attributes["headwater.confidence"]) == (size, size / 10)
        assert (item.attributes["headwater.batch.size"], item.attributes["headwater.model.version"]) == (3, "1")
        assert item.attributes["headwater.pipeline.name"] == "request"
        assert item.attributes["headwater.queue.time_ns"] >= 0
        assert links(item, "batch_item") == [batch.context.span_id]
        assert (item.start_time, item.end_time) == (batch.start_time, batch.end_time)


def test_a_batch_of_10k_carries_128_links_and_counts_the_rest(recorder):
    def count(items):
        return len(items)

    make = hw.stage("make")(scored)
    items = [make(1.0) for _ in range(200)] + [Scores(1.0)] * 9_800
    assert hw.stage("batch", batch="items")(count)(items) == 10_000
    found = recorder.one("batch")
    assert len(found.links) == 128
    assert (found.attributes["headwater.batch.size"], found.attributes["headwater.links.dropped"]) == (10_000, 72)


def test_a_batch_that_fails_fails_for_its_items_and_a_stream_is_not_consumed(recorder):
    with hw.run("request"):
        token = hw.token()

    @hw.stage("asr", batch="items", item_token=lambda item: item)
    def asr(items):
        if isinstance(items, list):
            raise ValueError("all of them")
        return list(items)

    with pytest.raises(ValueError, match="all of them"):
        asr([token])
    assert [span.attributes["error.type"] for span in recorder.spans if span.name == "asr"] == ["ValueError"] * 2
    assert asr(iter("ab")) == ["a", "b"]


def test_memory_is_sampled_every_nth_call(recorder):
    stage = hw.stage("s", memory=3)(lambda: None)
    [stage() for _ in range(7)]
    sampled = ["headwater.memory.rss_bytes" in span.attributes for span in recorder.spans]
    assert sampled == [True, False, False, True, False, False, True]
    assert 1e6 < recorder.spans[0].attributes["headwater.memory.rss_bytes"] < 1e12


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": "rows"}, "batch='rows'; allowed: the name of the parameter that holds the items: items"),
        ({"item_token": "t"}, "item_token= without batch="),
        ({"upstream": [3]}, "allowed: the name of a stage"),
        ({"memory": -1}, "allowed: True"),
    ],
)
def test_what_cannot_be_is_refused_at_decoration(options, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        hw.stage("s", **options)(lambda items: items)
    assert words in str(caught.value)


def test_upstream_names_are_known_where_a_stage_is_unpickled():
    import cloudpickle

    shipped = cloudpickle.dumps(hw.stage("join", upstream="far away")(lambda x: x))
    flow.NAMED.discard("far away")
    pickle.loads(shipped)
    assert "far away" in flow.NAMED
