"""What one wrapped call costs, as a ratio to a hand-written span that sets the same six attributes, in the same process.

    python benchmarks/wrapper_cost.py [--repeats 41] [--calls 400]

The candidates are measured in turn within each repeat, so that a busy machine slows them alike; a row shows the median over repeats. Time goes to a
span processor that does nothing: exporting is not measured.
"""

import argparse
import gc
import os
import platform
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.version import __version__ as api_version

import headwater as hw
from headwater.conventions.attributes import CODE_FUNCTION_NAME, MODEL_NAME, MODEL_VERSION, PIPELINE_NAME, STAGE_NAME, STAGE_VERSION

Function = Callable[[int], int]


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


def time_ns(function: Function, calls: int) -> float:
    """ns per call over `calls` calls."""
    begun = perf_counter_ns()
    for number in range(calls):
        function(number)
    return (perf_counter_ns() - begun) / calls


def compare(functions: dict[str, Function], *, repeats: int, calls: int) -> dict[str, float]:
    """Median ns per call of each function; interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        time_ns(function, calls)
    gc.disable()
    for _ in range(repeats):
        for name, function in functions.items():
            taken[name].append(time_ns(function, calls))
        gc.collect()
    gc.enable()
    return {name: median(times) for name, times in taken.items()}


def provider(sampler: Sampler) -> TracerProvider:
    made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    made.add_span_processor(SpanProcessor())
    trace._TRACER_PROVIDER = made  # the API lets it be set once; each block here needs its own
    return made


def show(title: str, taken: dict[str, float], goals: dict[str, str]) -> None:
    hand = taken["by hand"]
    print(f"{title}")
    for name, each in taken.items():
        goal = f"   goal {goals[name]}" if name in goals else ""
        print(f"  {name:<34}{each:10.0f} ns{each / hand:8.2f} ×{goal}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=41)
    parser.add_argument("--calls", type=int, default=400)
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, opentelemetry {api_version}, {os.cpu_count()} cores, {asked.repeats} × {asked.calls} calls")

    tracer = provider(ParentBased(ALWAYS_ON)).get_tracer("hand")
    wrapped = {"hw.stage": SAME, "hw.stage, cpu=True": WITH_CPU, "hw.stage, one reader": WITH_READER}
    taken = compare({"by hand": hand_with(tracer), **wrapped, "bare call": work}, repeats=asked.repeats, calls=asked.calls)
    show("recorded", taken, {"hw.stage": "≤ 0.95", "hw.stage, cpu=True": "≤ 1.05", "hw.stage, one reader": "≤ 1.2 (with statistics)"})
    hand_recorded = taken["by hand"]

    tracer = provider(ParentBased(ALWAYS_OFF)).get_tracer("hand")
    taken = compare({"by hand": hand_with(tracer), "hw.stage": SAME}, repeats=asked.repeats, calls=asked.calls)
    show("unsampled root", taken, {"hw.stage": "≤ 0.7"})

    with tracer.start_as_current_span("parent"):
        taken = compare({"by hand": hand_with(tracer), "hw.stage": SAME, "bare call": work}, repeats=asked.repeats, calls=asked.calls)
    show("under an unsampled parent", taken, {"hw.stage": "≤ 300 ns above the bare call"})
    print(f"  {'(of a recorded span by hand)':<34}{'':13}{taken['hw.stage'] / hand_recorded:8.2f} ×   goal ≤ 0.06")

    trace._TRACER_PROVIDER = None
    tracer = trace.get_tracer("hand")
    taken = compare({"by hand": hand_with(tracer), "hw.stage": SAME, "bare call": work}, repeats=asked.repeats, calls=asked.calls)
    show("no provider", taken, {"hw.stage": "≤ 150 ns above the bare call"})


if __name__ == "__main__":
    main()
