"""The whole way with real parts: a traced program, the SDK, the Collector, and behind it Jaeger and the headwater service."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from e2e_processes import ROOT, Child, Collector, Headwater, Jaeger, headwater_command, make_collector, make_headwater, make_jaeger, plain_environment
from e2e_spans import Sender, jaeger_spans, json_spans, make_span, wait_until

from headwater.conventions.attributes import CONFIDENCE, MODEL_VERSION, OUTCOME_SPAN_NAME, STAGE_NAME, STAGE_VERSION

pytestmark = pytest.mark.e2e
UTTERANCES = 20
Record = dict[str, Any]


def sending(collector: Collector, record: Path, *, what: str, runs: int, pause_s: float = 0.0) -> list[str]:
    del collector
    script = Path(__file__).with_name("e2e_sending.py")
    return [sys.executable, str(script), "--what", what, "--runs", str(runs), "--record", str(record), "--pause-s", str(pause_s)]


def sender_environment(collector: Collector) -> dict[str, str]:
    """Only what the OpenTelemetry specification names."""
    return plain_environment(
        {
            "OTEL_SERVICE_NAME": "speech-e2e",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.http,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20000",
            "PYTHONPATH": str(ROOT),
        }
    )


def read_record(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def exported(headwater: Headwater) -> list[Record]:
    """Every span `headwater export` has, through the command line, while the service runs."""
    done = subprocess.run(
        [*headwater_command(), "export", "--format", "otlp-jsonl", "--store", str(headwater.store)],
        env=plain_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [span for line in done.stdout.splitlines() for span in json_spans(json.loads(line))]


def wait_delivered(collector: Collector, exporter: str, spans: int) -> None:
    wait_until(
        lambda: collector.delivered(exporter) >= spans,
        lambda: f"{collector.delivered(exporter)} of {spans} spans delivered to {exporter}",
        timeout_s=60,
    )


def keys_of(spans: list[Record]) -> Counter[tuple[str, str]]:
    return Counter((span["trace"], span["span"]) for span in spans)


def differences(sent: list[Record], found: list[Record]) -> list[str]:
    """In what the spans that were found differ from those that were sent: ids, parents, names, times, attributes, links."""
    by_key = {(span["trace"], span["span"]): span for span in found}
    said: list[str] = []
    for span in sent:
        other = by_key.get((span["trace"], span["span"]))
        if other is None:
            said.append(f"{span['name']} {span['trace']}/{span['span']} is missing")
            continue
        parts = [part for part in ("parent", "name", "start", "end") if span[part] != other[part]]
        said += [f"{span['name']}: {part} {span[part]!r} became {other[part]!r}" for part in parts]
        said += [
            f"{span['name']}: {key} {value!r} became {other['values'].get(key)!r}"
            for key, value in span["values"].items()
            if other["values"].get(key) != value
        ]
        if [tuple(link) for link in span["links"]] != other["links"]:
            said.append(f"{span['name']}: links {span['links']} became {other['links']}")
    return said


@dataclass(frozen=True, kw_only=True)
class Stack:
    collector: Collector
    jaeger: Jaeger
    headwater: Headwater
    sent: list[Record]
    in_jaeger: list[Record]
    in_headwater: list[Record]


@pytest.fixture(scope="module")
def stack(binaries: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three running, and the 20 utterances sent through them."""
    directory = tmp_path_factory.mktemp("stack")
    started: list[Child] = []

    def run(child: Child) -> None:
        started.append(child)
        child.start()

    try:
        jaeger = make_jaeger(binaries["HEADWATER_JAEGER"], directory)
        run(jaeger)
        headwater = make_headwater(directory, {"HEADWATER_JAEGER_URL": jaeger.query})
        run(headwater)
        collector = make_collector(binaries["HEADWATER_OTELCOL"], directory, headwater=headwater.ports["otlp_grpc"], jaeger=jaeger.otlp_port)
        run(collector)
        record = directory / "sent.jsonl"
        subprocess.run(
            sending(collector, record, what="speech", runs=UTTERANCES), env=sender_environment(collector), cwd=ROOT, timeout=120, check=True
        )
        sent = read_record(record)
        for exporter in ("headwater", "jaeger"):
            wait_delivered(collector, exporter, len(sent))
        kept = jaeger_spans(jaeger.query, sorted({span["trace"] for span in sent}))
        yield Stack(collector=collector, jaeger=jaeger, headwater=headwater, sent=sent, in_jaeger=kept, in_headwater=exported(headwater))
    finally:
        for child in reversed(started):
            child.stop()


def as_jaeger_keeps(sent: list[Record]) -> list[Record]:
    """Jaeger's sanitizer makes a span of no duration, such as an outcome, one nanosecond long."""
    return [span | {"end": max(span["end"], span["start"] + 1)} for span in sent]


def test_every_span_of_20_utterances_is_in_jaeger(stack: Stack) -> None:
    found = stack.in_jaeger
    assert len({span["trace"] for span in stack.sent if span["name"] != OUTCOME_SPAN_NAME}) == UTTERANCES
    assert len(stack.sent) == UTTERANCES * 7, "a run, four stages and two outcomes each"
    assert keys_of(found) == keys_of(stack.sent)
    assert differences(as_jaeger_keeps(stack.sent), found) == []


def test_confidence_and_versions_are_in_jaeger(stack: Stack) -> None:
    stages = [span for span in stack.in_jaeger if STAGE_NAME.name in span["values"]]
    recognised = [span for span in stages if span["values"][STAGE_NAME.name] == "asr"]
    assert len(recognised) == UTTERANCES
    for span in recognised:
        assert 0.0 <= span["values"][CONFIDENCE.name] <= 1.0
        assert span["values"][MODEL_VERSION.name]
    assert all(span["values"].get(STAGE_VERSION.name) for span in stages), "every stage has a version, given or the digest of its code"


def test_every_span_of_20_utterances_is_in_headwater_once(stack: Stack) -> None:
    found = stack.in_headwater
    assert keys_of(found) == keys_of(stack.sent)
    assert differences(stack.sent, found) == []
    assert {span["resource"]["service.name"] for span in found} == {"speech-e2e"}


def test_both_sides_link_to_each_other(stack: Stack) -> None:
    """Deep link into Jaeger at a span, back link to headwater's page, and the REST document names the Jaeger page."""
    span = next(span for span in stack.sent if span["values"].get(STAGE_NAME.name) == "asr")
    deep = httpx.get(f"{stack.jaeger.query}/trace/{span['trace']}?uiFind={span['span']}", timeout=5)
    assert deep.status_code == 200
    pattern = json.loads((ROOT / "jaeger" / "ui.json").read_text())["linkPatterns"][0]["url"]
    path = pattern.replace("#{traceID}", span["trace"]).removeprefix("http://127.0.0.1:8417")
    back = httpx.get(stack.headwater.url + path, timeout=10)
    assert back.status_code == 200, back.text[:500]
    assert span["trace"] in back.text
    document = httpx.get(f"{stack.headwater.url}/api/v1/traces/{span['trace']}", timeout=10)
    assert document.status_code == 200, document.text[:500]
    trace = document.json()
    assert trace["trace_id"] == span["trace"]
    assert trace["jaeger_url"].startswith(f"{stack.jaeger.query}/trace/{span['trace']}")
    assert httpx.get(trace["jaeger_url"], timeout=5).status_code == 200
    said = {stage["span_id"]: stage["confidence"] for stage in trace["stages"]}
    assert said[span["span"]] == span["values"][CONFIDENCE.name]
    of_trace = {other["span"] for other in stack.sent if other["trace"] == span["trace"] and STAGE_NAME.name in other["values"]}
    assert {stage["span_id"] for stage in trace["stages"]} >= of_trace


def test_the_health_check_of_compose_answers(stack: Stack) -> None:
    """The very line docker-compose.yml runs inside the container, with this service's port."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    program, flag, code = compose["services"]["headwater"]["healthcheck"]["test"][1:]
    assert (program, flag) == ("python", "-c")
    here = code.replace("http://127.0.0.1:8417/", f"{stack.headwater.url}/")
    assert here != code
    subprocess.run([sys.executable, "-c", here], timeout=20, check=True)


def test_the_service_takes_the_largest_batches_the_collector_sends(
    start_collector: Callable[..., Collector], start_headwater: Callable[..., Headwater], sender_to: Callable[[str], Sender]
) -> None:
    """Long prompts: a request as large as the Collector takes, and many that it merges while the service is away."""
    headwater = start_headwater()
    collector = start_collector(headwater=headwater.ports["otlp_grpc"], jaeger=1)
    sender = sender_to(collector.grpc)
    sender.send([make_span("llm", {"prompt": "p" * 40_000}) for _ in range(390)])
    headwater.stop()
    for _ in range(20):
        sender.send([make_span("llm", {"prompt": "p" * 40_000}) for _ in range(12)])
    headwater.start()
    wait_delivered(collector, "headwater", len(sender.acknowledged))
    assert keys_of(exported(headwater)) == Counter(sender.acknowledged)


def test_kill_9_of_the_service_loses_nothing_and_doubles_nothing(
    start_collector: Callable[..., Collector], start_headwater: Callable[..., Headwater], children: list[Child], tmp_path: Path
) -> None:
    """Killed, and then stopped in good order, while a program sends; restarted on the same ports and store. The Collector bridges the gaps."""
    headwater = start_headwater({"HEADWATER_FLUSH_INTERVAL_S": "0.5"})
    collector = start_collector(headwater=headwater.ports["otlp_grpc"], jaeger=1)
    record = tmp_path / "sent.jsonl"
    program = subprocess.Popen(
        sending(collector, record, what="stages", runs=600, pause_s=0.01),
        env=sender_environment(collector),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    try:
        for share, end in ((0.25, headwater.kill), (0.6, headwater.stop)):
            wait_until(
                lambda share=share: record.exists() and record.read_text().count("\n") > share * 3000,
                lambda: f"the program does not send:\n{collector.tail()}",
                timeout_s=40,
            )
            assert end() in {None, 0}, headwater.tail()
            threading.Event().wait(0.5)
            assert program.poll() is None, "the program ended before the kill: nothing was tested"
            headwater.start()
        assert program.wait(timeout=60) == 0
    finally:
        program.kill()
        program.wait()
    sent = read_record(record)
    assert len(sent) == 600 * 5
    wait_delivered(collector, "headwater", len(sent))
    found = exported(headwater)
    assert keys_of(found) == keys_of(sent)
    assert differences(sent, found) == []
    children[0].assert_alive()
