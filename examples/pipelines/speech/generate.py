"""A drill on file: real traces of utterances under a random mix of faults, as OTLP, and the truth about each as CSV.

    python -m examples.pipelines.speech.generate --utterances 300 --seed 1 --mix --out drill

writes ``drill.pb`` (one ExportTraceServiceRequest) or, with ``--format jsonl``, ``drill.jsonl`` (one OTLP/JSON request per line), and
``drill_truth.csv``.
"""

import argparse
import csv
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from google.protobuf.json_format import MessageToDict
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from examples.pipelines.speech.batch import Outcome, run_batch
from examples.pipelines.speech.setup import FAULTS, STAGES, Fault, Stage, faults_of
from examples.pipelines.speech.voice import utterances

# The share of utterances with no fault, with one faulty stage, with two.
MIX: Final = (0.45, 0.40, 0.15)
Kinds = Literal["usual", "unseen"]


class FileExporter(SpanExporter):
    """Spans as OTLP into a file: binary requests one after another (which protobuf reads as one), or one JSON request a line."""

    def __init__(self, path: Path, *, as_json: bool) -> None:
        self._path = path
        self._as_json = as_json
        self._lock = threading.Lock()
        path.write_bytes(b"")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        request = encode_spans(spans)
        body = (otlp_json(MessageToDict(request)) + "\n").encode() if self._as_json else request.SerializeToString()
        with self._lock, self._path.open("ab") as file:
            file.write(body)
        return SpanExportResult.SUCCESS


def otlp_json(request: dict[str, object]) -> str:
    """The JSON of OTLP: protobuf's own mapping but for the ids, which are hexadecimal and not base64."""
    import base64

    def walk(value: object) -> object:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            return {
                key: base64.b64decode(item).hex() if key in {"traceId", "spanId", "parentSpanId"} and isinstance(item, str) else walk(item)
                for key, item in value.items()
            }
        return value

    return json.dumps(walk(request), separators=(",", ":"))


def draw_mix(count: int, *, rng: np.random.Generator, kinds: Kinds = "usual", mix: tuple[float, float, float] = MIX) -> list[tuple[Fault, ...]]:
    """Faults per utterance: none, one or two stages with the odds `mix`; stages and variants of a stage equally likely."""
    drawn = []
    for _ in range(count):
        how_many = int(rng.choice(len(mix), p=mix))
        stages: list[Stage] = [STAGES[int(i)] for i in np.sort(rng.choice(len(STAGES), size=how_many, replace=False))]
        drawn.append(tuple(_one_of(faults_of(stage, held_back=kinds == "unseen"), rng) for stage in stages))
    return drawn


def _one_of(faults: Sequence[Fault], rng: np.random.Generator) -> Fault:
    return faults[int(rng.integers(len(faults)))]


TRUTH_COLUMNS: Final = (
    "run_id",
    "trace_id",
    "sentence",
    "intent",
    "voice",
    "faults",
    "faulty_stages",
    "loss",
    "wer",
    "healthy_loss",
    "healthy_wer",
    "vad_false_positive",
    "vad_false_negative",
    *(f"loss_share_{stage}" for stage in STAGES),
    *(f"wer_share_{stage}" for stage in STAGES),
    "top",
    "tied",
)


def write_truth(outcomes: Sequence[Outcome], path: Path) -> None:
    """One row per run; see README.md for the columns. A rate without frames to count is empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, TRUTH_COLUMNS)
        writer.writeheader()
        writer.writerows(truth_row(outcome) for outcome in outcomes)


def truth_row(outcome: Outcome) -> dict[str, object]:
    """One run's truth, flat. Raises ValueError when the batch ran without truth."""
    truth = outcome.truth
    if truth is None:
        raise ValueError("this batch was run with truth=False; run it again with truth=True")
    return {
        "run_id": outcome.run_id,
        "trace_id": f"{outcome.trace_id:032x}",
        "sentence": outcome.utterance.sentence.text,
        "intent": outcome.utterance.sentence.intent,
        "voice": outcome.utterance.voice.name,
        "faults": "|".join(outcome.faults),
        "faulty_stages": "|".join(truth.faulty),
        "loss": outcome.loss,
        "wer": round(outcome.wer, 6),
        "healthy_loss": truth.healthy_loss,
        "healthy_wer": round(truth.healthy_wer, 6),
        "vad_false_positive": round(outcome.vad_errors.false_positive, 6),
        "vad_false_negative": round(outcome.vad_errors.false_negative, 6),
        **{f"loss_share_{stage}": round(truth.loss_share[stage], 6) for stage in STAGES},
        **{f"wer_share_{stage}": round(truth.wer_share[stage], 6) for stage in STAGES},
        "top": truth.top or "",
        "tied": truth.tied,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.pipelines.speech.generate", description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--utterances", type=int, default=300)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--mix", action="store_true", help="each utterance under a random subset of faulty stages; without it all are healthy")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="this one fault for every utterance")
    parser.add_argument("--kinds", choices=("usual", "unseen"), default="usual", help="the usual faults, or those kept back to judge a method")
    parser.add_argument("--format", choices=("pb", "jsonl"), default="pb")
    parser.add_argument("--workers", type=int, default=2, help="processes for the reruns; 0 reruns in this one")
    parser.add_argument("--out", type=Path, required=True, help="path without suffix")
    options = parser.parse_args(arguments)

    spoken = utterances(options.utterances, seed=options.seed)
    faults: list[tuple[Fault, ...]] = [()] * len(spoken)
    if options.mix:
        faults = draw_mix(len(spoken), rng=np.random.default_rng([options.seed, 1]), kinds=options.kinds)
    elif options.fault:
        faults = [(FAULTS[options.fault],)] * len(spoken)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    traces = options.out.with_suffix(f".{options.format}")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "speech-assistant"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(traces, as_json=options.format == "jsonl")))
    trace.set_tracer_provider(provider)
    outcomes = run_batch(spoken, faults, workers=options.workers, on_progress=_print_progress)
    provider.shutdown()
    truth = options.out.with_name(f"{options.out.name}_truth.csv")
    write_truth(outcomes, truth)
    failed = [outcome for outcome in outcomes if outcome.loss]
    named = sum(outcome.truth is not None and outcome.truth.top is not None for outcome in failed)
    print(f"{len(outcomes)} runs, {len(failed)} failed, {named} of them because of a faulty stage: {traces}, {truth}")
    return 0


def _print_progress(what: str, done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        print(f"{what} {done}/{total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
