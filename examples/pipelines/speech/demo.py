"""Sixty utterances through the assistant, a fault switched on half-way, and the truth about what it did.

    python -m examples.pipelines.speech.demo --fault vad --endpoint http://127.0.0.1:4318

Traces and outcomes go to the endpoint as OTLP/HTTP while it runs; the truth is found by rerunning afterwards and stays here.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import Progress as Bars
from rich.table import Table

import headwater as hw
from examples.pipelines.speech.batch import Outcome, Progress, run_batch
from examples.pipelines.speech.pipeline import PIPELINE
from examples.pipelines.speech.setup import FAULTS, STAGES, Fault, Stage, faults_of
from examples.pipelines.speech.voice import utterances

SERVICE: Final = "speech-assistant"
_FLUSH_TIMEOUT_S: Final = 10.0
_WORKERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One half of the demo: how many `runs`, the share with intent and slots right, mean word error rate, the VAD's rates per 10 ms frame."""

    runs: int
    success: float
    wer: float
    vad_false_positive: float
    vad_false_negative: float
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemoResult:
    """What happened and what is true of it.

    Windows are [start_ns, split_ns) healthy and [split_ns, end_ns) faulty, wall clock; no run crosses the split. `loss_share` and `wer_share`:
    mean Shapley value per stage over the second half, by rerunning. `failures` of the second half, of which `unattributable` fail in the healthy
    pipeline too; `top` counts the stage to blame among the others. `seconds`: how long each part of the demo took.
    """

    fault: Fault
    seed: int
    start_ns: int
    split_ns: int
    end_ns: int
    before: Half
    after: Half
    loss_share: dict[Stage, float]
    wer_share: dict[Stage, float]
    failures: int
    unattributable: int
    top: dict[Stage, int]
    outcomes: tuple[Outcome, ...]
    seconds: dict[str, float]

    def document(self) -> dict[str, object]:
        """The machine-readable summary, one entry per run included."""
        return {
            "pipeline": PIPELINE,
            "fault": {"name": self.fault.name, "stage": self.fault.stage, "brief": self.fault.brief},
            "seed": self.seed,
            "windows": {"start_ns": self.start_ns, "split_ns": self.split_ns, "end_ns": self.end_ns},
            "before": asdict(self.before),
            "after": asdict(self.after),
            "truth": {
                "stage": self.fault.stage,
                "loss_share": self.loss_share,
                "wer_share": self.wer_share,
                "failures": self.failures,
                "unattributable": self.unattributable,
                "top": self.top,
            },
            "seconds": self.seconds,
            "runs": [_run_document(outcome) for outcome in self.outcomes],
        }


def fault_named(name: str) -> Fault:
    """A fault by its own name, or the first one of a stage by the stage's.

    Raises:
        ValueError: neither a stage nor a fault is called so.
    """
    if name in FAULTS:
        return FAULTS[name]
    for stage in STAGES:
        if stage == name:
            return faults_of(stage)[0]
    message = f"no fault {name!r}; stages: {', '.join(STAGES)}; faults: {', '.join(FAULTS)}"
    raise ValueError(message)


def run_demo(
    fault: str = "vad", *, count: int = 60, seed: int = 0, endpoint: str | None = None, on_progress: Progress | None = None, workers: int = _WORKERS
) -> DemoResult:
    """`count` utterances, the second half under `fault` (a stage or a fault by name), traced to `endpoint`.

    A tracer provider that is set already is used and left alone. When this returns, every span and outcome has been handed to the exporter.

    Raises:
        ValueError: unknown fault, or fewer than two utterances.
    """
    chosen = fault_named(fault)
    if count < 2:
        message = f"{count} utterances cannot be halved; give at least 2"
        raise ValueError(message)
    clock = [perf_counter()]
    hw.configure(service=SERVICE, endpoint=endpoint)
    spoken = utterances(count, seed=seed)
    clock.append(perf_counter())
    half = count // 2
    marks = _Marks(on_progress)
    outcomes = run_batch(spoken, [() if i < half else (chosen,) for i in range(count)], workers=workers, on_progress=marks.tell)
    hw.flush(_FLUSH_TIMEOUT_S)
    clock.append(perf_counter())
    after = outcomes[half:]
    failed = [outcome for outcome in after if outcome.loss]
    tops = [outcome.truth.top for outcome in failed if outcome.truth is not None and outcome.truth.top is not None]
    return DemoResult(
        fault=chosen,
        seed=seed,
        start_ns=outcomes[0].started_ns,
        split_ns=outcomes[half].started_ns,
        end_ns=outcomes[-1].started_ns + outcomes[-1].duration_ns + 1,
        before=_half(outcomes[:half]),
        after=_half(after),
        loss_share={stage: _mean([o.truth.loss_share[stage] for o in after if o.truth is not None]) for stage in STAGES},
        wer_share={stage: _mean([o.truth.wer_share[stage] for o in after if o.truth is not None]) for stage in STAGES},
        failures=len(failed),
        unattributable=len(failed) - len(tops),
        top={stage: tops.count(stage) for stage in STAGES},
        outcomes=tuple(outcomes),
        seconds={"voices": clock[1] - clock[0], "runs": marks.runs_done - clock[1], "reruns": clock[2] - marks.runs_done},
    )


class _Marks:
    """Passes progress on, and notes when the last traced run was over."""

    def __init__(self, on_progress: Progress | None) -> None:
        self._on_progress = on_progress
        self.runs_done = 0.0

    def tell(self, what: str, done: int, total: int) -> None:
        if what == "utterances":
            self.runs_done = perf_counter()
        if self._on_progress is not None:
            self._on_progress(what, done, total)


def _half(outcomes: Sequence[Outcome]) -> Half:
    return Half(
        runs=len(outcomes),
        success=1.0 - _mean([outcome.loss for outcome in outcomes]),
        wer=_mean([outcome.wer for outcome in outcomes]),
        vad_false_positive=_mean([outcome.vad_errors.false_positive for outcome in outcomes]),
        vad_false_negative=_mean([outcome.vad_errors.false_negative for outcome in outcomes]),
        duration_ms=_mean([outcome.duration_ns / 1e6 for outcome in outcomes]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _run_document(outcome: Outcome) -> dict[str, object]:
    truth = outcome.truth
    return {
        "run_id": outcome.run_id,
        "trace_id": f"{outcome.trace_id:032x}",
        "sentence": outcome.utterance.sentence.text,
        "faults": list(outcome.faults),
        "loss": outcome.loss,
        "wer": outcome.wer,
        "vad_false_positive": outcome.vad_errors.false_positive,
        "vad_false_negative": outcome.vad_errors.false_negative,
        "duration_ns": outcome.duration_ns,
        "top": None if truth is None else truth.top,
        "loss_share": None if truth is None else truth.loss_share,
        "wer_share": None if truth is None else truth.wer_share,
    }


def summary_table(result: DemoResult) -> Table:
    """Both halves and the truth, for people."""
    table = Table(title=f"{result.fault.stage}: {result.fault.brief}", title_justify="left")
    for column, justify in (("", "left"), ("before", "right"), ("after", "right")):
        table.add_column(column, justify="right" if justify == "right" else "left")
    before, after = result.before, result.after
    table.add_row("intent and slots right", f"{before.success:.0%}", f"{after.success:.0%}")
    table.add_row("word error rate", f"{before.wer:.1%}", f"{after.wer:.1%}")
    table.add_row("VAD keeps silence (FP)", f"{before.vad_false_positive:.1%}", f"{after.vad_false_positive:.1%}")
    table.add_row("VAD drops speech (FN)", f"{before.vad_false_negative:.1%}", f"{after.vad_false_negative:.1%}")
    table.add_row("time per utterance", f"{before.duration_ms:.0f} ms", f"{after.duration_ms:.0f} ms")
    table.add_section()
    for stage in STAGES:
        table.add_row(f"truth by rerun: {stage}", "", f"{100 * result.loss_share[stage]:+.1f} points")
    table.add_row("failures / also fail in the healthy pipeline", "", f"{result.failures} / {result.unattributable}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.pipelines.speech.demo", description="Sixty spoken commands, a fault half-way.")
    parser.add_argument("--fault", default="vad", help=f"a stage ({', '.join(STAGES)}) or a fault ({', '.join(FAULTS)})")
    parser.add_argument("--utterances", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--endpoint", help="OTLP/HTTP base URL; default: OTEL_EXPORTER_OTLP_ENDPOINT, then http://localhost:4318")
    parser.add_argument("--json", action="store_true", help="the summary as JSON on stdout")
    options = parser.parse_args(arguments)
    err = Console(stderr=True)
    with Bars(console=err, transient=True) as bars:
        tasks = {what: bars.add_task(what, total=options.utterances) for what in ("utterances", "reruns")}
        try:
            result = run_demo(
                options.fault,
                count=options.utterances,
                seed=options.seed,
                endpoint=options.endpoint,
                on_progress=lambda what, done, total: bars.update(tasks[what], completed=done, total=total),
            )
        except ValueError as error:
            err.print(f"[red]{error}[/red]")
            return 2
    if options.json:
        print(json.dumps(result.document()))
    else:
        Console().print(summary_table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
