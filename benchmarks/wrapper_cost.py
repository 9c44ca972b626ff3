"""What one wrapped call costs, as a ratio to a hand-written span that sets the same six attributes, in the same process.

    make bench-wrapper
    python benchmarks/wrapper_cost.py [--rounds 61] [--calls 250] [--strict]

In each round every candidate runs right after the hand-written span, and one ratio is taken; a row shows the median ratio over all rounds, so
that a busy machine, which slows neighbours alike, moves it little. Figures in ns are the *minimum* over the rounds, less that of the bare call:
what the code itself takes when nothing interrupts it. Time goes to a span processor that does nothing: exporting is not measured.
"""

import argparse
import gc
import os
import platform
import sys
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter_ns
from typing import NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.version import __version__ as api_version

import headwater as hw
from headwater.conventions.attributes import CODE_FUNCTION_NAME, MODEL_NAME, MODEL_VERSION, PIPELINE_NAME, STAGE_NAME, STAGE_VERSION

Function = Callable[[int], object]
ITEMS = 100


def work(x: int) -> int:
    return x


def hand_with(tracer: trace.Tracer) -> Function:
    def call(x: int) -> int:
        with tracer.start_as_current_span("asr") as span:
            result = work(x)
            span.set_attribute(STAGE_NAME.name, "asr")
            span.set_attribute(CODE_FUNCTION_NAME.name, "benchmarks.work")
            span.set_attribute(STAGE_VERSION.name, "1")
            span.set_attribute(MODEL_NAME.name, "whisper")
            span.set_attribute(MODEL_VERSION.name, "1.2.3")
            span.set_attribute(PIPELINE_NAME.name, "speech")
            return result

    return call


SAME = hw.stage("asr", model="whisper@1.2.3", version="1", pipeline="speech")(work)
WITH_CPU = hw.stage("asr", model="whisper@1.2.3", version="1", pipeline="speech", cpu=True)(work)
WITH_READER = hw.stage("asr", model="whisper@1.2.3", version="1", pipeline="speech", confidence=lambda _: 0.5)(work)


def stream(items: int) -> Iterator[int]:
    yield from range(items)


STREAM = hw.stage("stream", version="1", pipeline="speech")(stream)


class Row(NamedTuple):
    """One measured line: its goal is a ratio to the hand-written span, or ns above the bare call."""

    title: str
    ratio: float
    above_bare_ns: float
    goal_ratio: float | None = None
    goal_ns: float | None = None

    @property
    def met(self) -> bool:
        return (self.goal_ratio is None or self.ratio <= self.goal_ratio) and (self.goal_ns is None or self.above_bare_ns <= self.goal_ns)

    def text(self) -> str:
        wanted = f"≤ {self.goal_ratio} ×" if self.goal_ratio is not None else f"≤ {self.goal_ns:.0f} ns"
        verdict = ("met" if self.met else "MISSED") if self.goal_ratio is not None or self.goal_ns is not None else ""
        return f"{self.title:<46}{self.ratio:8.3f} ×{self.above_bare_ns:10.0f} ns   goal {wanted:<10} {verdict}"


class Bench:
    """Measures candidates against a reference, round by round."""

    def __init__(self, rounds: int, calls: int) -> None:
        self.rounds = rounds
        self.calls = calls
        self.rows: list[Row] = []

    def _time_ns(self, function: Function) -> float:
        calls = range(self.calls)
        begun = perf_counter_ns()
        for number in calls:
            function(number)
        return (perf_counter_ns() - begun) / self.calls

    def row(self, title: str, reference: Function, candidate: Function, *, ratio: float | None = None, ns: float | None = None) -> None:
        """Measure one line. The order of the two alternates, so that neither always follows a collection of garbage."""
        ratios, least, bare = [], float("inf"), float("inf")
        for function in (reference, candidate, work):
            self._time_ns(function)
        for number in range(self.rounds):
            gc.collect()
            gc.disable()
            if number % 2:
                by_hand = self._time_ns(reference)
                took = self._time_ns(candidate)
            else:
                took = self._time_ns(candidate)
                by_hand = self._time_ns(reference)
            gc.enable()
            ratios.append(took / by_hand)
            least = min(least, took)
            bare = min(bare, self._time_ns(work))
        self.rows.append(Row(title, median(ratios), least - bare, ratio, ns))
        print(self.rows[-1].text(), flush=True)

    def per_item(self, title: str, *, ns: float) -> None:
        """What one item of a stream costs above the bare stream, opening and closing of the span included in neither."""
        taken: dict[str, float] = {}
        for _ in range(self.rounds):
            for name, function, items in (
                ("long", STREAM, ITEMS * 2),
                ("short", STREAM, ITEMS),
                ("bare long", stream, ITEMS * 2),
                ("bare", stream, ITEMS),
            ):
                begun = perf_counter_ns()
                for _item in function(items):
                    pass
                taken[name] = min(taken.get(name, float("inf")), perf_counter_ns() - begun)
        each = (taken["long"] - taken["short"] - taken["bare long"] + taken["bare"]) / ITEMS
        self.rows.append(Row(title, float("nan"), each, None, ns))
        print(self.rows[-1].text(), flush=True)


def provider(sampler: Sampler) -> trace.Tracer:
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(SpanProcessor())
    trace._TRACER_PROVIDER = made  # the API lets it be set once; each block here needs its own
    return made.get_tracer("hand")


def meters(*, on: bool) -> None:
    metrics._internal._METER_PROVIDER = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False) if on else None


def recorded(bench: Bench) -> None:
    hand = hand_with(provider(ParentBased(ALWAYS_ON)))
    bench.row("recorded", hand, SAME, ratio=0.95)
    bench.row("recorded, thread CPU time", hand, WITH_CPU, ratio=1.05)
    meters(on=True)
    bench.row("recorded, one extractor, statistics", hand, WITH_READER, ratio=1.2)
    meters(on=False)
    bench.per_item("one item of a generator", ns=1000)


def unsampled(bench: Bench) -> None:
    on = hand_with(provider(ParentBased(ALWAYS_ON)))
    tracer = provider(ParentBased(ALWAYS_OFF))
    hand = hand_with(tracer)
    bench.row("unsampled root (to an unsampled one by hand)", hand, SAME, ratio=0.7)
    with tracer.start_as_current_span("parent"):
        bench.row("under an unsampled parent", hand, SAME, ns=300)
        meters(on=True)
        bench.row("under an unsampled parent, statistics", hand, SAME, ns=1500)
        meters(on=False)
    with trace.use_span(trace.INVALID_SPAN):
        bench.row("unsampled root (to a recorded one by hand)", on, SAME, ratio=0.7)


def dark(bench: Bench) -> None:
    os.environ["OTEL_SDK_DISABLED"] = "true"
    tracer = provider(ParentBased(ALWAYS_ON))
    bench.row("OTEL_SDK_DISABLED", hand_with(tracer), SAME, ns=150)
    del os.environ["OTEL_SDK_DISABLED"]
    trace._TRACER_PROVIDER = None
    bench.row("no provider", hand_with(trace.get_tracer("hand")), SAME, ns=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=61)
    parser.add_argument("--calls", type=int, default=250)
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a goal is missed")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, opentelemetry {api_version}, {os.cpu_count()} cores, {asked.rounds} rounds × {asked.calls} calls")
    print(f"{'':<46}{'to a span':>10}{'above the':>13}\n{'':<46}{'by hand':>10}{'bare call':>13}")
    bench = Bench(asked.rounds, asked.calls)
    recorded(bench)
    unsampled(bench)
    dark(bench)
    missed = [row.title for row in bench.rows if not row.met]
    print("all goals met" if not missed else f"missed: {', '.join(missed)}")
    return 1 if missed and asked.strict else 0


if __name__ == "__main__":
    sys.exit(main())
