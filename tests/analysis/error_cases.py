"""Simulated runs as the analysis takes them: assembled traces, the graph, the clusters."""

from dataclasses import dataclass

import numpy as np

from headwater.analysis.errors import ErrorAnalysis, analyse
from headwater.model.pipeline import PipelineGraph
from headwater.model.traces import TraceTable
from headwater.simulate.pipelines import Simulated, Truth
from headwater.traces.assemble import assemble


def graph_of(run: Simulated) -> PipelineGraph:
    stages = run.truth.stages
    edge = np.array([(stages.index(a), stages.index(b)) for a, b in run.edges], np.int32).reshape(-1, 2)
    m = run.truth.loss.size
    return PipelineGraph(
        pipeline=run.pipeline, stages=stages, edge=edge, calls=np.full(len(edge), m), stage_calls=np.full(len(stages), m), declared=True
    )


@dataclass(frozen=True)
class Case:
    """traces in the table's order and `place`: the truth row of each."""

    traces: TraceTable
    graph: PipelineGraph
    truth: Truth
    place: np.ndarray

    @property
    def clusters(self) -> np.ndarray:
        return self.truth.cluster[self.place]

    def half(self, second: bool) -> TraceTable:
        rows = np.flatnonzero((self.place >= len(self.traces) // 2) == second)
        return self.traces.take(rows)


def case_of(run: Simulated) -> Case:
    traces = assemble(run.spans)
    place = np.array([int((traces.run_id.at(i) or "run--1").removeprefix("run-")) for i in range(len(traces))], np.int64)
    return Case(traces=traces, graph=graph_of(run), truth=run.truth, place=place)


def analysed(case: Case, *, compare: bool = False, seed: int = 0, clusters: bool = True) -> ErrorAnalysis:
    """The whole window, or its second half against its first."""
    rng = np.random.default_rng(seed)
    if not compare:
        return analyse(case.traces, case.graph, pipeline="p", baseline=None, clusters=case.clusters if clusters else None, rng=rng)
    late = case.place >= len(case.traces) // 2
    return analyse(
        case.half(second=True),
        case.graph,
        pipeline="p",
        baseline=case.half(second=False),
        clusters=case.clusters[late] if clusters else None,
        baseline_clusters=case.clusters[~late] if clusters else None,
        rng=rng,
    )
