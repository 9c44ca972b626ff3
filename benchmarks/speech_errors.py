"""Blame on the real speech pipeline against the truth by rerunning every subset of the faulty stages.

    .venv/bin/python benchmarks/speech_errors.py [--seed 12345]          # generates utterances under that or a fresh seed, then judges
    .venv/bin/python benchmarks/speech_errors.py --data drill            # judges drill.pb + drill_truth.csv (examples.pipelines.speech.generate)

Judged on failed utterances that a faulty stage made fail (the healthy rerun of the others fails too; they are counted apart). Top-1: is
`introduced_by` the stage of the largest Shapley share? "strict" wants the earliest of equals, "of equals" takes any of them. Beside it, on the same
utterances: the least confident stage, and the earliest own-flagged stage. L1 is between the mean shares over all failed utterances (a population
figure) and per utterance; Brier is the squared error of the shares over that of all-zero shares. Intervals: 95 %, 2,000 resamplings of sentences.
"""

import argparse
import csv
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from headwater.analysis.blame import earliest_flagged
from headwater.analysis.errors import analyse
from headwater.analysis.panel import VERSIONS, panel_of
from headwater.conventions.attributes import SESSION_ID
from headwater.ingest.limits import FROM_FILE
from headwater.ingest.otlp import decode
from headwater.model.blame import ErrorReport, TraceBlame
from headwater.model.spans import SpanTable
from headwater.model.traces import TraceTable
from headwater.traces.assemble import assemble
from headwater.traces.pipeline import graph as pipeline_graph

RESAMPLED = 2_000


@dataclass(frozen=True)
class Truth:
    """Rows in the order of the trace table: share (m, s), loss, healthy (m,), sentence (m,) codes."""

    share: np.ndarray
    loss: np.ndarray
    healthy: np.ndarray
    sentence: np.ndarray

    @property
    def judged(self) -> np.ndarray:
        return (self.loss > 0) & (self.healthy < self.loss)

    @property
    def top(self) -> np.ndarray:
        return self.equals.argmax(axis=1)

    @property
    def equals(self) -> np.ndarray:
        return self.share >= self.share.max(axis=1, keepdims=True) - 1e-6


def generate(seed: int, utterances: int, kinds: str, out: Path) -> None:
    command = [sys.executable, "-m", "examples.pipelines.speech.generate", "--utterances", str(utterances), "--seed", str(seed), "--mix"]
    subprocess.run([*command, "--kinds", kinds, "--out", str(out)], check=True, cwd=Path(__file__).parent.parent)


def read(data: Path, stages_of: Callable[[TraceTable], tuple[str, ...]]) -> tuple[TraceTable, Truth]:
    traces = assemble(decode(data.with_suffix(".pb").read_bytes(), limits=FROM_FILE).spans)
    with data.with_name(f"{data.name}_truth.csv").open(encoding="utf-8") as file:
        rows = {row["run_id"]: row for row in csv.DictReader(file)}
    stages = stages_of(traces)
    mine = [rows[traces.run_id.at(i) or ""] for i in range(len(traces))]
    _, sentence = np.unique([row["sentence"] for row in mine], return_inverse=True)
    truth = Truth(
        share=np.array([[float(row[f"loss_share_{stage}"]) for stage in stages] for row in mine]),
        loss=np.array([float(row["loss"]) for row in mine]),
        healthy=np.array([float(row["healthy_loss"]) for row in mine]),
        sentence=sentence,
    )
    if not np.array_equal(truth.loss, traces.outcome_loss):
        raise ValueError("the outcomes of the traces are not those of the truth file")
    return traces, truth


def without_versions(traces: TraceTable) -> TraceTable:
    texts = {name: column for name, column in traces.spans.texts.items() if name not in VERSIONS}
    return replace(traces, spans=replace(traces.spans, texts=texts))


def least_confident(traces: TraceTable, stages: tuple[str, ...]) -> np.ndarray:
    spans: SpanTable = traces.spans
    worst = np.full((len(traces), len(stages)), np.inf)
    for s, stage in enumerate(stages):
        rows = np.flatnonzero((spans.stage.codes == spans.stage.code_of(stage)) & ~np.isnan(spans.confidence))
        np.minimum.at(worst[:, s], traces.trace_of_row()[rows], spans.confidence[rows])
    return worst.argmin(axis=1)


def interval(values: np.ndarray, cluster: np.ndarray, figure: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """`figure(values, weights)` with its bootstrap interval over clusters."""
    rng = np.random.default_rng(0)
    known, place = np.unique(cluster, return_inverse=True)
    drawn = rng.multinomial(known.size, np.full(known.size, 1 / known.size), size=RESAMPLED)[:, place]
    samples = [figure(values, weight) for weight in drawn if weight.sum()]
    low, high = np.quantile(samples, [0.025, 0.975])
    return f"{figure(values, np.ones(len(values))):.3f} [{low:.3f}, {high:.3f}]"


def rate(values: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(values, weights=weight))


def population_l1(both: np.ndarray, weight: np.ndarray) -> float:
    """both (n, 2, s): estimated and true shares of the same failures."""
    means = np.average(both, axis=0, weights=weight)
    return float(np.abs(means[0] - means[1]).sum())


def brier(squares: np.ndarray, weight: np.ndarray) -> float:
    """squares (n, 2): squared error of the shares, and of saying nothing."""
    mine, nothing = np.average(squares, axis=0, weights=weight)
    return float(mine / nothing)


def judge(traces: TraceTable, truth: Truth, blame: TraceBlame, flags_only: np.ndarray) -> None:
    rows = np.flatnonzero(truth.judged)
    cluster = truth.sentence[rows]
    guesses = {
        "headwater, introduced_by": blame.introduced_by,
        "headwater, largest share": np.where(blame.share.max(axis=1) > 0, blame.share.argmax(axis=1), -1),
        "earliest own-flagged stage": flags_only,
        "least confident stage": least_confident(traces, blame.stages),
    }
    for name, guess in guesses.items():
        strict = (guess[rows] == truth.top[rows]).astype(float)
        fair = np.array([one >= 0 and truth.equals[row, one] for row, one in zip(rows, guess[rows], strict=True)], float)
        print(f"  top-1 {name:28s} strict {interval(strict, cluster, rate)}   of equals {interval(fair, cluster, rate)}")
    failed = np.flatnonzero(truth.loss > 0)
    shares = {"headwater": blame.share, "earliest own-flagged stage": one_hot(flags_only, len(blame.stages)), "all-zero": np.zeros_like(blame.share)}
    for name, share in shares.items():
        both = np.stack([share[failed], np.maximum(truth.share[failed], 0)], axis=1)
        rest = np.concatenate([both, 1 - both.sum(axis=2, keepdims=True)], axis=2)
        line = f"  L1 of shares {name:27s} {interval(both, truth.sentence[failed], population_l1)}"
        line += f"   with unattributed {interval(rest, truth.sentence[failed], population_l1)}"
        each = np.abs(both[:, 0] - both[:, 1]).sum(axis=1)
        squares = np.stack([((both[:, 0] - both[:, 1]) ** 2).sum(axis=1), (both[:, 1] ** 2).sum(axis=1)], axis=1)
        line += f"   Brier against all-zero {interval(squares, truth.sentence[failed], brier)}"
        print(line + f"   per utterance {interval(each, truth.sentence[failed], rate)}")


def one_hot(guess: np.ndarray, s: int) -> np.ndarray:
    return np.eye(s + 1)[guess][:, :s]


def print_report(report: ErrorReport, truth: Truth) -> None:
    whole = truth.loss.sum()
    for s, one in enumerate(report.stages):
        print(
            f"    {one.stage:8s} share {one.blame_share:.3f} [{one.blame_low:.3f}, {one.blame_high:.3f}] true {truth.share[:, s].sum() / whole:.3f}"
            f"   AF {one.attributable_fraction:.3f} [{one.attributable_low:.3f}, {one.attributable_high:.3f}]   faults {one.n_faults}   {one.verdict}"
        )
        for item in one.evidence:
            if item.role != "version":
                print(f"        {item.attribute:34s} declared {item.declared!s:5s} AUC {item.upstream_auc:.2f} used {item.used}")
    print(f"    input {report.input_share:.3f}   unexplained {report.unexplained_share:.3f}   verdict {report.verdict}")
    for warning in report.warnings:
        print(f"    ! {warning.code}: {warning.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="generate fresh utterances under this seed; left out: one drawn now and printed")
    parser.add_argument("--utterances", type=int, default=420)
    parser.add_argument("--kinds", choices=("usual", "unseen"), default="usual")
    parser.add_argument("--data", type=Path, help="path without suffix of an existing drill")
    options = parser.parse_args()
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or Path(scratch) / "fresh"
        if options.data is None:
            print(f"fresh utterances under seed {seed}", flush=True)
            generate(seed, options.utterances, options.kinds, data)
        traces, truth = read(data, lambda table: pipeline_graph(table).stages)
    print(f"{len(traces)} utterances, {int(truth.loss.sum())} failed, {int(truth.judged.sum())} of them because of a faulty stage")
    _, cluster = np.unique(traces.spans.text(SESSION_ID.name).codes[traces.root_row()], return_inverse=True)
    for name, table in (("versions recorded", traces), ("without versions", without_versions(traces))):
        answer = analyse(
            table, pipeline_graph(table), pipeline="speech", baseline=None, clusters=cluster.astype(np.int64), rng=np.random.default_rng(0)
        )
        level = panel_of(table, pipeline_graph(table)).level
        print(f"{name}:")
        judge(table, truth, answer.blame, earliest_flagged(answer.blame.share, answer.blame.flagged, level))
        print_report(answer.report, truth)


if __name__ == "__main__":
    main()
