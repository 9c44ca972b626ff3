"""The main job, whole: a real pipeline is traced into a running headwater, a fault is switched on half-way, and headwater names the stage.

    python -m examples.demo --fault vad

Starts `headwater serve` on free ports over a store of its own, runs the speech pipeline against it, then prints the latency and the error report
of the second half against the first, the sentence, and beside it the truth found by rerunning every utterance with the fault taken out.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from urllib.parse import urlencode

from rich.console import Console
from rich.progress import Progress

from examples.pipelines.speech.demo import DemoResult, run_demo, summary_table
from examples.pipelines.speech.pipeline import PIPELINE
from headwater.cli.render import Style, style
from headwater.cli.source import Asked, ask
from headwater.dashboard.standalone import standalone
from headwater.report import text

STORE: Final = Path(".headwater-demo")
_READY_S: Final = 60


@contextmanager
def serving(store: Path) -> Iterator[dict[str, int]]:
    """A `headwater serve` of its own on free ports; its ports. SIGTERM and drained at the end."""
    command = [sys.executable, "-m", "headwater", "serve", "--store", str(store)]
    process = subprocess.Popen(
        [*command, "--http-port", "0", "--otlp-http-port", "0", "--otlp-grpc-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - PIPE was asked for
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"headwater serve ended with exit code {process.wait(_READY_S)}; run it by hand to see why: {' '.join(command[1:])}")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_READY_S)


def window_of(result: DemoResult) -> dict[str, str]:
    """The second half against the first, as REST and page parameters."""
    return {
        "pipeline": PIPELINE,
        "since": str(result.split_ns),
        "until": str(result.end_ns),
        "baseline_since": str(result.start_ns),
        "baseline_until": str(result.split_ns),
    }


def answers(url: str, result: DemoResult) -> dict[str, Any]:
    """What headwater says about the two halves."""
    asked = Asked(url=url, params=window_of(result))
    return {noun: ask(noun, asked) for noun in ("why", "reports/errors", "reports/latency", "overview")}


def verdict_line(result: DemoResult, errors: dict[str, Any]) -> str:
    """Named against true, in one line."""
    rows = (errors["comparison"] or {}).get("stages", [])
    named = max(rows, key=lambda row: row["own_delta"] or 0.0, default=None)
    true = 100 * result.loss_share[result.fault.stage]
    if named is None:
        return f"headwater names no stage; true: {result.fault.stage}, {true:+.1f} points by rerun."
    low, high = (100 * bound for bound in named["interval"])
    said = f"{named['stage']}, {100 * named['own_delta']:+.1f} points [{low:.1f}, {high:.1f}]"
    right = "the same stage" if named["stage"] == result.fault.stage else "NOT the stage named"
    return f"headwater names {said}. The truth by rerun: {result.fault.stage}, {true:+.1f} points: {right}."


def show(result: DemoResult, found: dict[str, Any], console: Console, look: Style) -> None:
    """Reports, truth, sentence: in the order a reader wants them."""
    print(text.latency(found["reports/latency"], **look))
    print(text.errors(found["reports/errors"], **look))
    console.print(summary_table(result))
    print(f"\n{found['why']['sentence']}\n\n{verdict_line(result, found['reports/errors'])}")


def run(options: argparse.Namespace) -> int:
    began = perf_counter()
    notes = Console(stderr=True)
    shutil.rmtree(options.store, ignore_errors=True)  # the demo's own directory, made anew
    with serving(options.store) as ports:
        url = f"http://127.0.0.1:{ports['http']}"
        notes.print(f"headwater serves at {url}; {options.utterances} utterances go through capture → vad → asr → nlu ...")
        with Progress(console=notes, transient=True) as bars:
            tasks = {what: bars.add_task(what, total=options.utterances) for what in ("utterances", "reruns")}
            result = run_demo(
                options.fault,
                count=options.utterances,
                seed=options.seed,
                endpoint=f"http://127.0.0.1:{ports['otlp_http']}",
                on_progress=lambda what, done, total: bars.update(tasks[what], completed=done, total=total),
            )
        found = answers(url, result)
        page = f"/?{urlencode(window_of(result))}"
        report = options.store / "report.html"
        report.write_text(standalone(found["overview"]), encoding="utf-8")
        if options.json:
            print(json.dumps({"schema": "headwater.demo/1", "demo": result.document(), "answers": found}))
        else:
            show(result, found, Console(), style())
            print(f"\nThe page: {report} (one file), or live: headwater serve --store {options.store}\n          then http://127.0.0.1:8417{page}")
            print(f"Set-up apart, the main job took {perf_counter() - began:.0f} s.")
        if options.serve:
            notes.print(f"serving {url}{page} until Ctrl-C")
            signal.sigwait([signal.SIGINT, signal.SIGTERM])
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="A real pipeline, a fault half-way, the stage to blame.")
    parser.add_argument("--fault", default="vad", help="a stage (capture, vad, asr, nlu) or one of its faults by name (default vad)")
    parser.add_argument("--utterances", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path, default=STORE, help=f"directory, made anew (default {STORE})")
    parser.add_argument("--serve", action="store_true", help="keep the dashboard up until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="everything as one JSON document")
    try:
        return run(parser.parse_args(arguments))
    except ValueError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
