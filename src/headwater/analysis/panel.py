"""Traces as a table: one row a trace, what each stage showed, the input's difficulty, the loss, the cluster.

The current window and the baseline, where there is one, stand in one panel (`current` tells them apart), so that versions share one dictionary.
Retries and fan-out: of several spans of one stage in a trace, the last one gives the version (it is what went downstream) and the one farthest from
the column's median gives each number (the worst, whichever way "worse" points). A skipped stage shows nothing: its numbers are NaN, its version −1.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from headwater.conventions.attributes import (
    CANARY,
    CONFIDENCE,
    CONFIG_DIGEST,
    DATA_VERSION,
    DIFFICULTY,
    INPUT_SIZE,
    MODEL_VERSION,
    OWN,
    QUALITY,
    ROUTE,
    STAGE_TYPE,
    STAGE_VERSION,
)
from headwater.model.blame import Role
from headwater.model.pipeline import PipelineGraph
from headwater.model.spans import F64, I64, STATUS_ERROR, Bool, SpanTable
from headwater.model.traces import TraceTable

VERSIONS: Final = (STAGE_VERSION.name, MODEL_VERSION.name, DATA_VERSION.name, CONFIG_DIGEST.name)
STATUS: Final = "status"
JUDGES: Final = ("qc", "judge")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Column:
    """One number a stage showed: values (m,) f64, NaN = missing. `stage` indexes Panel.stages."""

    stage: int
    attribute: str
    role: Role
    declared: bool
    values: F64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Panel:
    """m traces, s stages in topological order, p difficulty columns.

    loss (m,) f64, NaN = unlabelled or a canary; weight (m,) f64 ≥ 0, 1 / sampling probability, 1 where unknown; cluster (m,) i64;
    start_ns (m,) i64 of the root; current (m,) bool;
    present (m, s) bool; version (m, s) i64 codes of the stage's levels, −1 = none; version_names (s,) the wire names that make up the level;
    difficulty (m, p) f64, NaN = missing; ancestors (s, s) bool: [a, b] = a lies upstream of b; level (s,) i64 depth in the graph; judge (s,) bool.
    """

    stages: tuple[str, ...]
    loss: F64
    weight: F64
    cluster: I64
    start_ns: I64
    current: Bool
    present: Bool
    version: I64
    version_names: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    difficulty: F64
    difficulty_names: tuple[str, ...]
    ancestors: Bool
    level: I64
    judge: Bool
    acyclic: bool

    def __len__(self) -> int:
        return int(self.loss.size)

    @property
    def labelled(self) -> Bool:
        return ~np.isnan(self.loss)

    def of_stage(self, stage: int) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if column.stage == stage)

    def take(self, rows: I64) -> "Panel":
        """The panel of some of its traces, in that order."""
        return replace(
            self,
            loss=self.loss[rows],
            weight=self.weight[rows],
            cluster=self.cluster[rows],
            start_ns=self.start_ns[rows],
            current=self.current[rows],
            present=self.present[rows],
            version=self.version[rows],
            columns=tuple(replace(column, values=column.values[rows]) for column in self.columns),
            difficulty=self.difficulty[rows],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rows:
    """Spans of both windows and the panel row each belongs to; `stage` is the panel's stage or −1; `root` (m,) rows."""

    spans: SpanTable
    trace: I64
    stage: I64
    root: I64


def panel_of(
    traces: TraceTable,
    graph: PipelineGraph,
    *,
    baseline: TraceTable | None = None,
    clusters: I64 | None = None,
    baseline_clusters: I64 | None = None,
) -> Panel:
    """The current window's traces first, then the baseline's. Clusters left out: every trace its own, ordered by trace id."""
    order = graph.order()
    stages = tuple(graph.stages[stage] for stage in (order if order is not None else range(len(graph.stages))))
    parts = [traces] if baseline is None else [traces, baseline]
    spans = SpanTable.concatenate([part.spans for part in parts])
    starts = np.cumsum([0, *(len(part) for part in parts)])
    rows = np.cumsum([0, *(len(part.spans) for part in parts)])
    known = np.array([*(stages.index(name) if name in stages else -1 for name in spans.stage.values), -1], np.int64)
    table = _Rows(
        spans=spans,
        trace=np.concatenate([part.trace_of_row() + start for part, start in zip(parts, starts, strict=False)]),
        stage=known[spans.stage.codes],
        root=np.concatenate([part.root_row() + row for part, row in zip(parts, rows, strict=False)]),
    )
    m = int(starts[-1])
    ancestors, level = _ancestry(graph, stages)
    canary = _any_in_trace(table, _is_canary(spans), m)
    difficulty, names = _difficulty(table, stages, ancestors, m)
    versions = [_versions(table, stage, m) for stage in range(len(stages))]
    return Panel(
        stages=stages,
        loss=np.where(canary, np.nan, np.concatenate([part.outcome_loss for part in parts])),
        weight=_weights(spans.weight[table.root]),
        cluster=_clusters(parts, clusters, baseline_clusters),
        start_ns=spans.start_ns[table.root],
        current=np.arange(m) < len(traces),
        present=_present(table, len(stages), m),
        version=np.stack([codes for codes, _ in versions], axis=1) if versions else np.empty((m, 0), np.int64),
        version_names=tuple(wire for _, wire in versions),
        columns=tuple(column for stage in range(len(stages)) for column in _columns(table, stage, m)),
        difficulty=difficulty,
        difficulty_names=names,
        ancestors=ancestors,
        level=level,
        judge=_judges(table, len(stages)),
        acyclic=order is not None,
    )


def _weights(weight: F64) -> F64:
    """Unknown weights count 1; scaled to mean 1 so that a count of traces stays readable."""
    filled = np.where(np.isnan(weight) | (weight <= 0), 1.0, weight)
    return filled / filled.mean() if filled.size else filled


def _clusters(parts: list[TraceTable], clusters: I64 | None, baseline_clusters: I64 | None) -> I64:
    """Given clusters mean the same thing in both windows; where one window has none its traces get codes of their own."""
    identity = np.concatenate([part.trace_id for part in parts])
    rank = np.empty(identity.shape[0], np.int64)
    rank[np.lexsort((identity[:, 1], identity[:, 0]))] = np.arange(identity.shape[0])
    given = [clusters, baseline_clusters][: len(parts)]
    highest = max((int(one.max()) for one in given if one is not None and one.size), default=-1) + 1
    bounds = np.cumsum([0, *(len(part) for part in parts)])
    return np.concatenate(
        [
            rank[low:high] + highest if one is None else np.asarray(one, np.int64)
            for one, low, high in zip(given, bounds[:-1], bounds[1:], strict=True)
        ]
    )


def _ancestry(graph: PipelineGraph, stages: tuple[str, ...]) -> tuple[Bool, I64]:
    """Transitive closure and longest depth; with a cycle, every earlier stage of the list counts as upstream."""
    s = len(stages)
    if not graph.acyclic:
        return np.triu(np.ones((s, s), dtype=np.bool_), k=1), np.arange(s, dtype=np.int64)
    place = {name: position for position, name in enumerate(stages)}
    above, level = np.zeros((s, s), dtype=np.bool_), np.zeros(s, np.int64)
    edges = sorted((place[graph.stages[int(b)]], place[graph.stages[int(a)]]) for a, b in graph.edge)
    for target, source in edges:  # targets ascend, so a source is complete before anything below it is
        above[:, target] |= above[:, source]
        above[source, target] = True
        level[target] = max(level[target], level[source] + 1)
    return above, level


def _is_canary(spans: SpanTable) -> Bool:
    text = spans.text(CANARY.name)
    true = np.array([*(value.lower() == "true" for value in text.values), False], dtype=np.bool_)
    return np.asarray((np.nan_to_num(spans.number(CANARY.name)) > 0) | true[text.codes])


def _any_in_trace(table: _Rows, mark: Bool, m: int) -> Bool:
    out = np.zeros(m, dtype=np.bool_)
    out[table.trace[mark]] = True
    return out


def _present(table: _Rows, s: int, m: int) -> Bool:
    out = np.zeros((m, s), dtype=np.bool_)
    mine = table.stage >= 0
    out[table.trace[mine], table.stage[mine]] = True
    return out


def _judges(table: _Rows, s: int) -> Bool:
    kind = table.spans.text(STAGE_TYPE.name)
    judging = np.array([*(value in JUDGES for value in kind.values), False], dtype=np.bool_)
    out = np.zeros(s, dtype=np.bool_)
    out[table.stage[judging[kind.codes] & (table.stage >= 0)]] = True
    return out


def _worst(trace: I64, values: F64, m: int) -> F64:
    """(m,) f64: per trace the value farthest from the median of all; NaN where the trace has none."""
    out = np.full(m, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if known.size:
        distance = np.abs(values[known] - np.median(values[known]))
        order = known[np.lexsort((values[known], distance))]
        out[trace[order]] = values[order]
    return out


def _columns(table: _Rows, stage: int, m: int) -> list[Column]:
    """Every own, quality and confidence column of a stage, and its error status where it ever failed."""
    rows = np.flatnonzero(table.stage == stage)
    trace, spans = table.trace[rows], table.spans
    found: list[tuple[str, Role, bool, F64]] = [(CONFIDENCE.name, "symptom", False, spans.confidence[rows])]
    for name in sorted(spans.numbers):
        if name.startswith(OWN.prefix):
            found.append((name, "own", True, spans.numbers[name][rows]))
        elif name.startswith(QUALITY.prefix):
            found.append((name, "symptom", False, spans.numbers[name][rows]))
    failed = (spans.status[rows] == STATUS_ERROR).astype(np.float64)
    if np.any(failed):
        found.append((STATUS, "own", True, failed))
    return [
        Column(stage=stage, attribute=name, role=role, declared=declared, values=_worst(trace, values, m))
        for name, role, declared, values in found
        if not np.all(np.isnan(values))
    ]


def _versions(table: _Rows, stage: int, m: int) -> tuple[I64, tuple[str, ...]]:
    """Per trace the code of the level (stage, model, data version and digest together) of the stage's last span there; and which names it has."""
    rows = np.flatnonzero(table.stage == stage)
    codes = np.stack([table.spans.text(name).codes[rows] for name in VERSIONS], axis=1).astype(np.int64)
    wire = tuple(name for name, column in zip(VERSIONS, codes.T, strict=True) if np.any(column >= 0))
    out = np.full(m, -1, np.int64)
    if not wire:
        return out, ()
    stated = np.any(codes >= 0, axis=1)
    rows, codes = rows[stated], codes[stated]
    _, level = np.unique(codes, axis=0, return_inverse=True)
    last = np.lexsort((table.spans.span_id[rows], table.spans.start_ns[rows]))
    out[table.trace[rows][last]] = level.reshape(-1)[last]
    return out, wire


def _difficulty(table: _Rows, stages: tuple[str, ...], ancestors: Bool, m: int) -> tuple[F64, tuple[str, ...]]:
    """Difficulty and input size on the root or on a stage nothing lies above, and the root's route as indicators of its common values."""
    spans = table.spans
    first = np.zeros(len(spans), dtype=np.bool_)
    first[table.root] = True
    if stages:
        top: Bool = np.asarray(~ancestors.any(axis=0))
        first |= (table.stage >= 0) & top[table.stage]
    rows = np.flatnonzero(first)
    columns: list[F64] = []
    names: list[str] = []
    for name in sorted(spans.numbers):
        if name.startswith(DIFFICULTY.prefix) or name == INPUT_SIZE.name:
            values = _worst(table.trace[rows], spans.numbers[name][rows], m)
            if np.nanstd(values) > 0 if not np.all(np.isnan(values)) else False:
                columns.append(values)
                names.append(name)
    route = spans.text(ROUTE.name).codes[table.root]
    for code, value in enumerate(spans.text(ROUTE.name).values):
        share = float(np.mean(route == code)) if m else 0.0
        if 0.02 <= share < 1.0:
            columns.append((route == code).astype(np.float64))
            names.append(f"{ROUTE.name}={value}")
    return (np.stack(columns, axis=1) if columns else np.empty((m, 0))), tuple(names)
