"""collector-config/otelcol.yaml in the real Collector: what it passes on, to whom, and what it may never lose or leak."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import pytest
from e2e_processes import COLLECTOR_FILE, LOOPBACK, Collector, free_ports, plain_environment
from e2e_spans import Sender, Sink, key_of, make_span, values_of, wait_until

from headwater.conventions.attributes import ALL, CONFIDENCE, MODEL_VERSION, OUTCOME, OUTCOME_SPAN_NAME, PIPELINE_NAME, STAGE_NAME

pytestmark = pytest.mark.e2e
_SAMPLES = {"string": "asr-2026.11", "double": 0.8125, "int": 7, "boolean": True}


@pytest.fixture
def jaeger_sink() -> Sink:
    made = Sink(free_ports(1)[0])
    yield made
    made.close()


def test_the_collector_accepts_its_file(binaries: dict[str, Path]) -> None:
    done = subprocess.run(
        [binaries["HEADWATER_OTELCOL"], "validate", "--config", COLLECTOR_FILE],
        env=plain_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_headwater_attribute_passes_unchanged(
    start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink, jaeger_sink: Sink
) -> None:
    collector = start_collector(headwater=sink.port, jaeger=jaeger_sink.port)
    values = {a.of("snr") if a.is_family else a.name: _SAMPLES[a.kind] for a in ALL}
    values |= {
        "headwater.run.id": "4111-1111-1111-1111",
        "session.id": "speaker:07@lab",
        "gen_ai.usage.input_tokens": 12,
        "llm.token_count.prompt": "12",
    }
    resource = {"service.name": "speech", "service.version": "1.4.0"}
    sent = make_span("asr", values)
    sent.status.code = 1  # the Collector writes an unset status as an empty message: the same value in other bytes
    sender = sender_to(collector.grpc)
    sender.send([sent], resource)
    sink.wait_for({key_of(sent)})
    jaeger_sink.wait_for({key_of(sent)})
    for receiver in (sink, jaeger_sink):
        assert receiver.spans[key_of(sent)].SerializeToString(deterministic=True) == sent.SerializeToString(deterministic=True)
        assert receiver.resources[key_of(sent)] == resource


def test_secrets_end_at_the_collector(start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink) -> None:
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    secret = "s3cr3t-" + "x" * 20
    values = {
        "db.password": secret,
        "http.request.header.authorization": secret,
        "app.api_key": secret,
        "note": f"called with Bearer {secret} and went on",
        "url.full": f"https://user:{secret}@example.org/path",
        "key": "AKIA" + "Q7" * 8,
        "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlc3M",
        "llm.key": "sk-" + "a1B2" * 8,
        "headwater.run.id": "run-17",
    }
    sent = make_span("asr", values)
    event = sent.events.add(name="request")
    event.attributes.add(key="cookie").value.string_value = secret
    sender_to(collector.grpc).send([sent], {"deploy.token": "fine", "aws.secret": secret})
    sink.wait_for({key_of(sent)})
    arrived = sink.spans[key_of(sent)]
    everything = arrived.SerializeToString() + repr(sink.resources[key_of(sent)]).encode()
    for leak in (secret, "AKIAQ7", "eyJhbGci", "sk-a1B2"):
        assert leak.encode() not in everything, leak
    seen = values_of(arrived)
    assert seen["headwater.run.id"] == "run-17"
    assert seen["note"].startswith("called with ****")
    assert seen["note"].endswith(" and went on")
    assert seen["url.full"] == "https****example.org/path"
    assert seen["redaction.masked.count"] == 8


def test_merged_batches_never_outgrow_the_receiver(start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink) -> None:
    """What waited for headwater is merged. Merged by span count (2,048 to 4,096), 40 requests of half a megabyte become one of 19 MB, which

    a server with a limit of 16 MiB refuses for good, and the Collector then drops all of it.
    """
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    sink.available = False
    sender = sender_to(collector.grpc)
    for _ in range(40):
        sender.send([make_span("llm", {"prompt": "p" * 40_000}) for _ in range(12)])
    collector.stop()  # a restart reads the whole queue at once
    sink.available = True
    collector.start()
    sink.wait_for(sender.acknowledged, timeout_s=30)
    assert max(sink.request_sizes) <= 16 * 1024 * 1024
    assert len(sink.request_sizes) < 40, "nothing was merged, so nothing was tested"


def test_a_single_span_as_large_as_the_receiver_takes_gets_through(
    start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink
) -> None:
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    sender = sender_to(collector.grpc)
    large = make_span("llm", {"prompt": "p" * (15 * 1024 * 1024 - 400)})
    sender.send([large])
    sink.wait_for({key_of(large)})
    with pytest.raises(grpc.RpcError) as refused:  # one that is larger is refused to its sender's face, not dropped later
        sender.send([make_span("llm", {"prompt": "p" * (15 * 1024 * 1024)})])
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_tail_sampling_keeps_what_one_looks_for_and_headwater_gets_it_all(
    start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink, jaeger_sink: Sink
) -> None:
    collector = start_collector(headwater=sink.port, jaeger=jaeger_sink.port, settings={"HEADWATER_JAEGER_SAMPLING_PERCENTAGE": "0"})
    failed = make_span("asr")
    failed.status.code = 2
    kept = {
        "error": failed,
        "low confidence": make_span("asr", {CONFIDENCE.name: 0.49}),
        "slow": make_span("asr", duration_ns=2_100_000_000),
        "fallback": make_span("asr", {OUTCOME.name: "fallback"}),
        "judged outcome": make_span(OUTCOME_SPAN_NAME),
    }
    child_of_kept = make_span("nlu", {CONFIDENCE.name: 0.99}, trace=failed.trace_id, parent=failed.span_id)
    ordinary = [make_span("asr", {CONFIDENCE.name: 0.51, OUTCOME.name: "ok"}) for _ in range(20)] + [make_span("asr") for _ in range(20)]
    sender = sender_to(collector.grpc)
    sender.send([*kept.values(), child_of_kept, *ordinary])
    sink.wait_for(sender.acknowledged)
    wanted = {key_of(span) for span in [*kept.values(), child_of_kept]}
    jaeger_sink.wait_for(wanted)
    late = make_span("tts", trace=failed.trace_id, parent=failed.span_id)  # after the decision: it follows it
    sender.send([late, make_span("tts", trace=ordinary[0].trace_id, parent=ordinary[0].span_id)])
    jaeger_sink.wait_for({key_of(late)})
    sink.wait_for(sender.acknowledged)
    assert jaeger_sink.keys() == wanted | {key_of(late)}


def test_a_jaeger_that_is_down_holds_nothing_up(start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink) -> None:
    port = free_ports(1)[0]
    collector = start_collector(headwater=sink.port, jaeger=port)
    sender = sender_to(collector.grpc)
    for _ in range(20):
        sender.send([make_span("asr") for _ in range(100)])
    sink.wait_for(sender.acknowledged)
    late = Sink(port)  # Jaeger comes up: what was decided meanwhile is still there for it
    try:
        late.wait_for(sender.acknowledged, timeout_s=25)
    finally:
        late.close()


def _send_for_ever(sender: Sender) -> None:
    while len(sender.acknowledged) < 100_000:
        sender.send([make_span("asr") for _ in range(100)])


def test_a_full_queue_refuses_instead_of_dropping(start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink) -> None:
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0], settings={"OTELCOL_QUEUE_SPANS": "1000"})
    sink.available = False
    sender = sender_to(collector.grpc)
    with pytest.raises(grpc.RpcError) as refused:
        _send_for_ever(sender)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE  # what an SDK retries
    assert 0 < len(sender.acknowledged) <= 1000
    sink.available = True
    sink.wait_for(sender.acknowledged, timeout_s=30)


def test_span_metrics_in_the_names_jaeger_reads(start_collector: Callable[..., Collector], sender_to: Callable[[str], Sender], sink: Sink) -> None:
    collector = start_collector(headwater=sink.port, jaeger=free_ports(1)[0])
    values = {PIPELINE_NAME.name: "speech", STAGE_NAME.name: "asr", MODEL_VERSION.name: "2026.11"}
    spans = [make_span("asr", values, duration_ns=70_000_000) for _ in range(5)]
    spans[0].status.code = 2
    sender_to(collector.grpc).send(spans)
    text, exemplars = "", False

    def calls() -> list[str]:
        nonlocal text, exemplars
        headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
        text = httpx.get(f"http://{LOOPBACK}:{collector.span_metrics_port}/metrics", headers=headers, timeout=5).text
        exemplars |= any(span.trace_id.hex() in text for span in spans)  # shown for one flush interval only
        return [line for line in text.splitlines() if line.startswith("traces_span_metrics_calls_total{")]

    # A new series is first shown at 0, so that a rate over it sees its first step.
    wait_until(lambda: sum(float(line.partition("} ")[2].split()[0]) for line in calls()) == 5, lambda: f"no five calls in:\n{text}")
    for label in ('headwater_stage_name="asr"', 'headwater_pipeline_name="speech"', 'headwater_model_version="2026.11"', 'service_name="e2e"'):
        assert all(label in line for line in calls()), label
    assert sum('status_code="STATUS_CODE_ERROR"' in line for line in calls()) == 1
    buckets = {
        float(match[1]): float(match[2])
        for line in text.splitlines()
        if "STATUS_CODE_UNSET" in line and (match := re.search(r'traces_span_metrics_duration_seconds_bucket\{.*le="([0-9.]+)".*?\} ([0-9.]+)', line))
    }
    assert (buckets[0.05], buckets[0.1]) == (0.0, 4.0)
    assert exemplars, "no exemplar named a trace"
