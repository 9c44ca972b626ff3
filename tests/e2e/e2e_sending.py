"""A traced program, run as a child of the tests: the wrapper, `hw.configure()` and nothing but OTEL_* variables, as a user's program has it.

    python tests/e2e/e2e_sending.py --what speech|stages --runs 20 --record FILE [--pause-s 0.05]

`speech` is the real pipeline of examples/, its second half with a faulty voice activity detector; `stages` are three instant stages. Beside the exporter it records what the SDK ended,
one JSON object a span, so that the tests compare what arrived with what was there and not with what they hope.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

import headwater as hw


class Recorder(SpanProcessor):
    def __init__(self, out: TextIO) -> None:
        self.out = out

    def on_end(self, span: ReadableSpan) -> None:
        record = {
            "trace": f"{span.context.trace_id:032x}",
            "span": f"{span.context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}" if span.parent else "",
            "name": span.name,
            "start": span.start_time,
            "end": span.end_time,
            "values": dict(span.attributes or {}),
            "links": [[f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}"] for link in span.links],
        }
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()


@hw.stage("vad", model="energy@1", confidence=lambda heard: heard[1])
def vad(number: int) -> tuple[int, float]:
    return number, 0.9


@hw.stage("asr", model="tiny@2026.11", data_version="lm-7", confidence=lambda heard: heard[1])
def asr(heard: tuple[int, float]) -> tuple[str, float]:
    return f"order {heard[0]}", 0.4 + 0.5 * (heard[0] % 2)


@hw.stage("nlu", model="slots@3")
def nlu(text: tuple[str, float]) -> str:
    return text[0].upper()


def run_stages(count: int) -> Iterator[None]:
    for number in range(count):
        with hw.run("speech", run_id=f"run-{number}"):
            nlu(asr(vad(number)))
            token = hw.token()
        hw.outcome(token, loss=float(number % 3 == 0), label="e2e")
        yield


def run_speech(count: int) -> Iterator[None]:
    """7 spans an utterance: the run, four stages, and two judged outcomes."""
    from examples.pipelines.speech.batch import run_batch
    from examples.pipelines.speech.setup import FAULTS
    from examples.pipelines.speech.voice import utterances

    healthy = count // 2
    fault = next(fault for fault in FAULTS.values() if fault.stage == "vad")
    run_batch(utterances(count, seed=17), [()] * healthy + [(fault,)] * (count - healthy), truth=False)
    yield


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", choices=["speech", "stages"], required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--record", type=Path, required=True)
    parser.add_argument("--pause-s", type=float, default=0.0)
    asked = parser.parse_args()
    hw.configure()
    provider: Any = trace.get_tracer_provider()
    with asked.record.open("w") as out:
        provider.add_span_processor(Recorder(out))
        for _ in (run_speech if asked.what == "speech" else run_stages)(asked.runs):
            time.sleep(asked.pause_s)
        assert hw.flush(timeout_s=30.0), "the last spans were not taken within 30 s"


if __name__ == "__main__":
    main()
