"""The pipeline as a graph of stages."""

from dataclasses import dataclass

import numpy as np

from headwater.model.errors import require
from headwater.model.spans import I32, I64, lock


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PipelineGraph:
    """s stages in a topological order where the graph is acyclic, else by first appearance; edge (e, 2) i32 from → to; calls (e,) i64.

    `declared` says that the edges were stated (links); False = read off the order and parentage of the spans.
    """

    pipeline: str
    stages: tuple[str, ...]
    edge: I32
    calls: I64
    stage_calls: I64
    declared: bool

    def __post_init__(self) -> None:
        s, e = len(self.stages), int(self.calls.size)
        require(self.edge.shape == (e, 2), "edge and calls differ in length")
        require(not e or (int(self.edge.min()) >= 0 and int(self.edge.max()) < s), "an edge names a stage that is not there")
        require(self.stage_calls.shape == (s,), "stage_calls has another length than stages")
        lock(self.edge, self.calls, self.stage_calls)

    def order(self) -> tuple[int, ...] | None:
        """Stages in a topological order, ties by position; None if the graph has a cycle."""
        waiting = np.zeros(len(self.stages), np.int64)
        np.add.at(waiting, self.edge[:, 1], 1)
        done: list[int] = []
        ready = [stage for stage in range(len(self.stages)) if not waiting[stage]]
        while ready:
            stage = min(ready)
            ready.remove(stage)
            done.append(stage)
            for target in self.edge[self.edge[:, 0] == stage, 1]:
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(int(target))
        return tuple(done) if len(done) == len(self.stages) else None

    @property
    def acyclic(self) -> bool:
        return self.order() is not None
