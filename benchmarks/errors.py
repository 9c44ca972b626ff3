"""Error attribution on simulated pipelines with a known culprit: coverage of the intervals, false flags, error per trace, time.

    .venv/bin/python benchmarks/errors.py [--seeds 100]        # 20 unless told

Truth is the Shapley value of every trace's loss over all subsets of its faults, on the simulator's own equations; population figures are those of one
run of 200,000 traces. Beside the method: all-zero blame, the stage with the least confidence, and the earliest own-flagged stage.
"""

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from headwater.analysis.errors import ErrorAnalysis, analyse
from headwater.model.pipeline import PipelineGraph
from headwater.model.traces import TraceTable
from headwater.simulate.pipelines import CHAIN3, CHAIN4, DIAMOND5, Fault, Shape, Simulated, Traits, simulate
from headwater.traces.assemble import assemble


@dataclass(frozen=True)
class Scenario:
    name: str
    shape: Shape
    faults: tuple[Fault, ...]
    traits: Traits
    n_traces: int
    compare: bool


MIXED = tuple(Fault(stage=stage, since=0.0, rate=0.25) for stage in CHAIN4.stages)
SCENARIOS = (
    Scenario("healthy, two windows", CHAIN3, (), Traits(), 600, compare=True),
    Scenario("healthy, small windows", CHAIN3, (), Traits(), 60, compare=True),
    Scenario("one fault switched on", CHAIN3, (Fault(stage="asr"),), Traits(), 600, compare=True),
    Scenario("one fault, demo size", CHAIN3, (Fault(stage="vad"),), Traits(sessions=30), 60, compare=True),
    Scenario("rolled out to 40 %", CHAIN4, (Fault(stage="vad", rate=0.4),), Traits(), 600, compare=True),
    Scenario("mixed faults, versions", CHAIN4, MIXED, Traits(), 600, compare=False),
    Scenario("mixed faults, evidence only", CHAIN4, MIXED, Traits(versions=False), 600, compare=False),
    Scenario("mixed faults, versions only", CHAIN4, MIXED, Traits(evidence=False), 600, compare=False),
    Scenario(
        "diamond, two faults", DIAMOND5, tuple(Fault(stage=s, since=0.0, rate=0.3) for s in ("detector", "quality")), Traits(), 600, compare=False
    ),
    Scenario("mild faults", CHAIN4, tuple(Fault(stage=s, since=0.0, rate=0.3, strength=1.5) for s in CHAIN4.stages), Traits(), 600, compare=False),
)


def graph_of(run: Simulated) -> PipelineGraph:
    stages, m = run.truth.stages, run.truth.loss.size
    edge = np.array([(stages.index(a), stages.index(b)) for a, b in run.edges], np.int32).reshape(-1, 2)
    return PipelineGraph(
        pipeline=run.pipeline, stages=stages, edge=edge, calls=np.full(len(edge), m), stage_calls=np.full(len(stages), m), declared=True
    )


def place_of(traces: TraceTable) -> np.ndarray:
    return np.array([int((traces.run_id.at(i) or "").removeprefix("run-")) for i in range(len(traces))])


def answer(run: Simulated, scenario: Scenario, seed: int) -> tuple[ErrorAnalysis, np.ndarray, float]:
    """(analysis, truth rows of its traces, seconds)."""
    traces, graph = assemble(run.spans), graph_of(run)
    place = place_of(traces)
    late = place >= len(traces) // 2 if scenario.compare else np.ones(len(traces), bool)
    cluster = run.truth.cluster[place]
    baseline = traces.take(np.flatnonzero(~late)) if scenario.compare else None
    current = traces.take(np.flatnonzero(late))
    began = time.perf_counter()
    found = analyse(
        current,
        graph,
        pipeline="p",
        baseline=baseline,
        clusters=cluster[late],
        baseline_clusters=cluster[~late] if scenario.compare else None,
        rng=np.random.default_rng(seed),
    )
    return found, place[late], time.perf_counter() - began


@dataclass(frozen=True)
class Population:
    share: np.ndarray
    attributable: np.ndarray
    own_delta: np.ndarray


def population(scenario: Scenario) -> Population:
    """Shares of failures, of loss removed by repairing one stage's faults, and of the change, over 200,000 traces."""
    from headwater.simulate.worlds import draw, loss_of, truth_of

    traits = replace(scenario.traits, sessions=100_000)  # so that the population has its own share of hard sessions, not that of 60 draws
    world = draw(np.random.default_rng(987), scenario.shape, 200_000, faults=scenario.faults, traits=traits)
    truth = truth_of(scenario.shape, world, scenario.faults, traits)
    late = np.arange(200_000) >= 100_000 if scenario.compare else np.ones(200_000, bool)
    strength = {scenario.shape.stages.index(one.stage): one.strength for one in scenario.faults}
    fraction = np.zeros(len(scenario.shape.stages))
    for stage in strength:
        without = loss_of(scenario.shape, world, {s: v for s, v in strength.items() if s != stage}, traits)
        fraction[stage] = 1 - without[late].mean() / truth.loss[late].mean()
    return Population(
        share=truth.shapley[late].sum(axis=0) / truth.loss[late].sum(), attributable=fraction, own_delta=truth.shapley[late].mean(axis=0)
    )


def measure(scenario: Scenario, seeds: int) -> dict[str, float]:
    truth = population(scenario)
    got: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        run = simulate(np.random.default_rng(seed), scenario.shape, n_traces=scenario.n_traces, fault=scenario.faults, traits=scenario.traits)
        found, rows, seconds = answer(run, scenario, seed)
        got["seconds"].append(seconds)
        hit = {one.stage for one in scenario.faults}
        for s, one in enumerate(found.report.stages):
            if one.stage in hit:
                got["share covered"].append(one.blame_low <= truth.share[s] <= one.blame_high)
                got["share bias"].append(one.blame_share - truth.share[s])
                if not np.isnan(one.attributable_low):
                    got["AF covered"].append(one.attributable_low <= truth.attributable[s] <= one.attributable_high)
                    got["AF bias"].append(one.attributable_fraction - truth.attributable[s])
            else:
                got["share, healthy stage"].append(one.blame_share)
                got["q < .05, healthy stage"].append(one.q_value < 0.05)
        if found.report.comparison is not None:
            for s, moved in enumerate(found.report.comparison.stages):
                if moved.stage in hit:
                    got["change covered"].append(moved.low <= truth.own_delta[s] <= moved.high)
                    got["change bias"].append(moved.own_delta - truth.own_delta[s])
                    got["change found"].append(moved.flagged)
                else:
                    got["change covered, healthy"].append(moved.low <= 0 <= moved.high)
                    got["change false flag"].append(moved.flagged)
        per_trace(run, found, rows, got)
    return {key: float(np.mean(values)) for key, values in got.items()}


def per_trace(run: Simulated, found: ErrorAnalysis, rows: np.ndarray, got: dict[str, list[float]]) -> None:
    culprit = run.truth.culprit[rows]
    guilty = culprit >= 0
    if not guilty.any():
        return
    blame = found.blame
    share, truth = blame.share[guilty], run.truth.shapley[rows][guilty]
    got["top-1"].append(np.mean(blame.introduced_by[guilty] == culprit[guilty]))
    flagged = blame.flagged[guilty]
    got["top-1 earliest flagged"].append(np.mean(np.where(flagged.any(axis=1), flagged.argmax(axis=1), -1) == culprit[guilty]))
    confidence = run_confidence(run)[rows][guilty]
    got["top-1 least confident"].append(np.mean(confidence.argmin(axis=1) == culprit[guilty]))
    got["L1 a trace"].append(np.abs(share - truth).sum(axis=1).mean())
    got["L1 of all-zero"].append(np.abs(truth).sum(axis=1).mean())


def run_confidence(run: Simulated) -> np.ndarray:
    m = run.truth.loss.size
    rows = [np.flatnonzero(run.spans.stage.codes == run.spans.stage.code_of(stage)) for stage in run.truth.stages]
    return np.stack([run.spans.confidence[row][:m] for row in rows], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for scenario in SCENARIOS:
        if options.only in scenario.name:
            figures = measure(scenario, options.seeds)
            print(f"{scenario.name} (n = {scenario.n_traces}, {options.seeds} seeds)")
            print("   " + "  ".join(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
