"""What one span costs on its way in, step by step: decode, log, memory, flush; and its bytes on disk beside the bytes it came in.

    .venv/bin/python benchmarks/ingest.py [--spans 51200] [--repeats 5]

Figures are spans per CPU-second of this process (fastest and median of the repeats) on requests of 512 spans with 13 attributes, traces of 8 spans.
The floor is the parser alone: `ExportTraceServiceRequest.FromString`, which gives neither columns nor salvage.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from headwater.ingest import otlp
from headwater.ingest.spool import Spool
from headwater.ingest.values import wire_attributes
from headwater.model.ports import Window
from headwater.store.span_store import SpanStore

STAGES = ("speech", "capture", "vad", "asr", "nlu", "slots", "rank", "reply")
REQUEST_SPANS = 512
START_NS = 1_700_000_000_000_000_000


def requests(n_spans: int, rng: np.random.Generator) -> list[bytes]:
    """Bodies of 512 spans, as the wrapper writes them; random ids, times and figures, so that nothing compresses better than in life."""
    bodies, numbers = [], itertools.count()
    for _ in range(n_spans // REQUEST_SPANS):
        message = ExportTraceServiceRequest()
        owner = message.resource_spans.add()
        for key, value in (("service.name", "speech"), ("service.version", "1.4.2"), ("host.name", "node-7"), ("telemetry.sdk.language", "python")):
            owner.resource.attributes.add(key=key).value.string_value = value
        group = owner.scope_spans.add()
        group.scope.name, group.scope.version = "headwater", "0.1.0"
        for _ in range(REQUEST_SPANS // len(STAGES)):
            trace(group.spans, next(numbers), rng)
        bodies.append(message.SerializeToString())
    return bodies


def trace(spans, number: int, rng: np.random.Generator) -> None:
    ids, root = rng.bytes(16), rng.bytes(8)
    at = START_NS + number * 3_000_000 + int(rng.integers(2_000_000))
    for place, stage in enumerate(STAGES):
        length = int(rng.lognormal(16, 1))
        span = spans.add(
            trace_id=ids, span_id=rng.bytes(8) if place else root, name=stage, kind=1, start_time_unix_nano=at, end_time_unix_nano=at + length
        )
        at += length if place else 10_000
        texts = {"headwater.pipeline.name": "speech", "headwater.run.id": f"order-{number}", "session.id": f"user-{number % 997}"}
        if place:
            span.parent_span_id = root
            texts |= {
                "headwater.stage.name": stage,
                "headwater.model.version": "2026-01",
                "headwater.config.digest": "6f1c9a20",
                "headwater.outcome": "ok",
            }
            texts |= {"code.function.name": f"speech.{stage}.run", "headwater.confidence.kind": "prob"}
        for key, value in texts.items():
            span.attributes.add(key=key).value.string_value = value
        names = (
            ("headwater.confidence", f"headwater.own.{stage}_p", "headwater.quality.snr", "headwater.output.size")
            if place
            else ("headwater.difficulty.snr",)
        )
        for key in names:
            span.attributes.add(key=key).value.double_value = float(rng.random())


def measured(work: Callable[[], object], repeats: int) -> list[float]:
    """CPU seconds of each repeat."""
    seconds = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        seconds.append(time.process_time() - before)
    return seconds


def tell(what: str, n_spans: int, seconds: list[float]) -> None:
    rates = [n_spans / second for second in seconds]
    print(f"{what:34} {max(rates):>12,.0f} best {statistics.median(rates):>12,.0f} median  spans/CPU-s")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--spans", type=int, default=51_200)
    options.add_argument("--repeats", type=int, default=5)
    asked = options.parse_args()
    bodies = requests(asked.spans, np.random.default_rng(7))
    n_spans = len(bodies) * REQUEST_SPANS
    print(f"{n_spans} spans in {len(bodies)} requests, {sum(map(len, bodies)) / n_spans:.0f} B/span as OTLP")
    tell("parser alone", n_spans, measured(lambda: [ExportTraceServiceRequest.FromString(body) for body in bodies], asked.repeats))
    tell("decode to columns", n_spans, measured(lambda: [otlp.decode(body) for body in bodies], asked.repeats))
    batches = [otlp.decode(body) for body in bodies]
    with tempfile.TemporaryDirectory() as scratch:
        numbers = itertools.count()
        tell("log, one sync a request", n_spans, measured(lambda: log(Path(scratch) / f"log{next(numbers)}", bodies), asked.repeats))
        stores: list[Path] = []

        def append_and_flush() -> None:
            stores.append(Path(scratch) / f"store{len(stores)}")
            with SpanStore(stores[-1], writer=True, attributes=wire_attributes) as store:
                store.append(batches)

        tell("memory table to Parquet segment", n_spans, measured(append_and_flush, asked.repeats))
        sizes = {kind: sum(path.stat().st_size for path in stores[0].glob(f"segments/*-{kind}.parquet")) / n_spans for kind in ("spans", "traces")}
        print(f"on disk, lossless: {sum(sizes.values()):.1f} B/span (spans {sizes['spans']:.1f}, trace index {sizes['traces']:.1f})")
        read(stores[0], n_spans, asked.repeats)


def log(directory: Path, bodies: list[bytes]) -> None:
    spool = Spool(directory)
    for body in bodies:
        with spool.record(1, 0, body):
            pass
    spool.close()


def read(directory: Path, n_spans: int, repeats: int) -> None:
    with SpanStore(directory, writer=False, attributes=wire_attributes) as store:
        table = store.window("speech", Window())
        assert len(table) == n_spans
        ids = (int(table.trace_id[0, 0]), int(table.trace_id[0, 1]))
        for what, ask in (
            ("window", lambda: store.window("speech", Window())),
            ("trace by id", lambda: store.trace(ids)),
            ("pipelines", store.pipelines),
        ):
            walls = []
            for _ in range(repeats):
                before = time.perf_counter()
                ask()
                walls.append(time.perf_counter() - before)
            print(f"read {what:29} {min(walls) * 1e3:>12.1f} best {statistics.median(walls) * 1e3:>12.1f} median  ms wall, warm")


if __name__ == "__main__":
    main()
