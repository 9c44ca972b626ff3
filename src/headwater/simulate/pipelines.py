"""Pipelines with a known culprit, as spans: what a real one would send, with realistic times, sizes, confidences and versions (worlds.py)."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.conventions.attributes import (
    CONFIG_DIGEST,
    DIFFICULTY,
    FAULT_INJECTED,
    INPUT_SIZE,
    LINK_KINDS,
    MODEL_VERSION,
    OUTCOME_LOSS,
    OUTCOME_NAME,
    OUTCOME_SPAN_NAME,
    OUTPUT_SIZE,
    OWN,
    QUALITY,
    RUN_ID,
    SESSION_ID,
    STAGE_TYPE,
    STAGE_VERSION,
)
from headwater.model.spans import F64, I64, U64, Bool, SpanTable, TextColumn
from headwater.simulate.worlds import CHAIN3, CHAIN4, DIAMOND5, MS, Fault, Faults, Shape, Traits, Truth, World, as_faults, damage, draw, truth_of

__all__ = ["CHAIN3", "CHAIN4", "DIAMOND5", "Fault", "Shape", "Simulated", "Traits", "Truth", "chain", "diamond", "simulate"]

HARD: Final = DIFFICULTY.of("hard_segment")
LENGTH: Final = DIFFICULTY.of("length")
OWN_METRIC: Final = OWN.of("inconsistency")
COVERAGE: Final = QUALITY.of("coverage")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Simulated:
    """Spans of m traces (root, stages) and their outcome spans, and the truth; `edges` are (from, to) stage names."""

    pipeline: str
    edges: tuple[tuple[str, str], ...]
    spans: SpanTable
    truth: Truth


_PLAIN: Final = Traits()


def chain(rng: np.random.Generator, *, n_traces: int = 400, length: int = 3, fault: Faults = None, traits: Traits = _PLAIN) -> Simulated:
    """A chain of 3 (vad, asr, nlu) or 4 (capture first) stages.

    `fault` is a stage's name (defaults of `Fault`: second half, versioned), one Fault or several, None = healthy.
    """
    return simulate(rng, {3: CHAIN3, 4: CHAIN4}[length], n_traces=n_traces, fault=fault, traits=traits)


def diamond(rng: np.random.Generator, *, n_traces: int = 400, fault: Faults = None, traits: Traits = _PLAIN) -> Simulated:
    """The stages sensors → (detector ∥ tracker) → quality (a qc stage) → decision."""
    return simulate(rng, DIAMOND5, n_traces=n_traces, fault=fault, traits=traits)


def simulate(rng: np.random.Generator, shape: Shape, *, n_traces: int, fault: Faults, traits: Traits = _PLAIN) -> Simulated:
    """Spans and truth of `n_traces` runs through `shape`."""
    faults = as_faults(shape, fault)
    world = draw(rng, shape, n_traces, faults=faults, traits=traits)
    truth = truth_of(shape, world, faults, traits)
    spans = _spans(rng, shape, world, faults=faults, traits=traits, loss=truth.loss)
    return Simulated(pipeline=shape.name, edges=shape.edges, spans=spans, truth=truth)


def _ids(rng: np.random.Generator, n: int) -> U64:
    return rng.integers(1, 2**63 - 1, n).astype(np.uint64)


def _spans(rng: np.random.Generator, shape: Shape, world: World, *, faults: tuple[Fault, ...], traits: Traits, loss: F64) -> SpanTable:
    m, s = world.own.shape
    trace_id, root_id = np.stack([_ids(rng, m), _ids(rng, m)], axis=1), _ids(rng, m)
    stage_id = np.stack([_ids(rng, m) for _ in range(s)], axis=1)
    run: list[str | None] = [f"run-{trace:06d}" for trace in range(m)]
    began = traits.start_ns + np.arange(m, dtype=np.int64) * traits.gap_ns
    start, end = _times(rng, shape, world, faults=faults, began=began)
    shows = {shape.stages.index(one.stage): one.strength for one in faults if one.evident}
    harms = {shape.stages.index(one.stage): one.strength for one in faults if not one.harmless}
    own, content = damage(shape, world, shows, traits)[0], damage(shape, world, harms, traits)[1]
    blocks = [_root(shape, world, run, ids=(trace_id, root_id), began=began, ended=end.max(axis=1) + MS, traits=traits)]
    for stage in range(s):
        columns = _stage_columns(rng, shape, stage, world=world, faults=faults, traits=traits, logged=(own[:, stage], content[:, stage]))
        links = shape.parents(shape.stages[stage])
        blocks.append(
            SpanTable.build(
                trace_id=trace_id.copy(),
                span_id=stage_id[:, stage].copy(),
                parent_id=root_id.copy(),
                start_ns=start[:, stage],
                end_ns=end[:, stage],
                final=np.full(m, stage == s - 1),
                link_row=np.tile(np.arange(m, dtype=np.int64), len(links)),
                link_trace_id=np.tile(trace_id, (len(links), 1)),
                link_span_id=np.concatenate([stage_id[:, parent] for parent in links]) if links else np.empty(0, np.uint64),
                link_kind=np.full(m * len(links), LINK_KINDS.index("input"), np.int8),
                **columns,
            )
        )
    labelled = np.flatnonzero(rng.random(m) < traits.labelled)
    blocks.append(_outcomes(rng, shape, labelled, run=run, target=(trace_id, root_id), loss=loss, at=end.max(axis=1) + 60_000 * MS))
    return SpanTable.concatenate(blocks)


def _times(rng: np.random.Generator, shape: Shape, world: World, *, faults: tuple[Fault, ...], began: I64) -> tuple[I64, I64]:
    """A stage starts 0.1 ms after its last parent ended; its time grows with the length of the input and has a lognormal spread."""
    m, s = world.own.shape
    spread = np.exp(0.2 * rng.standard_normal((m, s)))
    took = np.array(shape.mean_ms) * spread * (0.4 + 0.6 * world.length[:, None])
    for one in faults:
        stage = shape.stages.index(one.stage)
        took[:, stage] *= np.where(world.hit[stage], one.slow, 1.0)
    start, end = np.zeros((m, s), np.int64), np.zeros((m, s), np.int64)
    for stage, name in enumerate(shape.stages):
        parents = shape.parents(name)
        start[:, stage] = (end[:, parents].max(axis=1) if parents else began) + MS // 10
        end[:, stage] = start[:, stage] + (took[:, stage] * MS).astype(np.int64)
    return start, end


def _root(shape: Shape, world: World, run: list[str | None], *, ids: tuple[U64, U64], began: I64, ended: I64, traits: Traits) -> SpanTable:
    m = began.size
    difficulty = {HARD: world.hard.astype(np.float64), LENGTH: world.length.copy()} if traits.difficulty else {}
    return SpanTable.build(
        trace_id=ids[0].copy(),
        span_id=ids[1].copy(),
        start_ns=began,
        end_ns=ended,
        name=_constant(shape.name, m),
        service=_constant(shape.name, m),
        pipeline=_constant(shape.name, m),
        numbers=difficulty,
        texts={RUN_ID.name: TextColumn.of(run), SESSION_ID.name: TextColumn.of([f"session-{one}" for one in world.session])},
    )


def _stage_columns(
    rng: np.random.Generator,
    shape: Shape,
    stage: int,
    *,
    world: World,
    faults: tuple[Fault, ...],
    traits: Traits,
    logged: tuple[F64, F64],
) -> dict[str, object]:
    """Names, confidence, numbers and texts of one stage's spans."""
    own, content = logged
    m, name = own.size, shape.stages[stage]
    here = next((one for one in faults if one.stage == name), None)
    sign = -1.0 if name in traits.inverted else 1.0
    confidence = 1.0 / (1.0 + np.exp(-(1.6 - sign * 0.9 * (content - 1.0) + 0.3 * rng.standard_normal(m))))
    numbers = {
        INPUT_SIZE.name: np.round(16_000 * world.length),
        OUTPUT_SIZE.name: np.round(8_000 * world.length * np.exp(-0.05 * content)),
        COVERAGE: np.exp(-0.25 * content) + 0.02 * rng.standard_normal(m),
    }
    read = own + 0.12 * rng.standard_normal(m)
    if traits.evidence and name not in traits.blind:
        numbers[OWN_METRIC] = read
    new = world.hit[stage] if here is not None and here.versioned else np.zeros(m, dtype=np.bool_)
    texts = {STAGE_TYPE.name: _constant(shape.types[stage], m)}
    if traits.versions and name not in traits.blind:
        texts |= _versions(name, shape.types[stage], new)
    if here is not None:
        texts[FAULT_INJECTED.name] = TextColumn(codes=np.where(world.hit[stage], 0, -1).astype(np.int32), values=(f"degrade:{name}",))
    return {
        "name": _constant(name, m),
        "stage": _constant(name, m),
        "service": _constant(shape.name, m),
        "pipeline": _constant(shape.name, m),
        "confidence": confidence,
        "numbers": numbers,
        "texts": texts,
    }


def _versions(name: str, kind: str, new: Bool) -> dict[str, TextColumn]:
    codes = new.astype(np.int32)
    texts = {
        STAGE_VERSION.name: _constant("1.4.0", new.size),
        CONFIG_DIGEST.name: TextColumn(codes=codes, values=(f"{name}-cfg-a", f"{name}-cfg-b")),
    }
    if kind == "model":
        texts[MODEL_VERSION.name] = TextColumn(codes=codes.copy(), values=("2025-05", "2025-06"))
    return texts


def _outcomes(
    rng: np.random.Generator,
    shape: Shape,
    labelled: I64,
    *,
    run: list[str | None],
    target: tuple[U64, U64],
    loss: F64,
    at: I64,
) -> SpanTable:
    """One outcome span in a trace of its own for every labelled trace, linked to the root of its target and carrying the run id."""
    n = labelled.size
    return SpanTable.build(
        trace_id=np.stack([_ids(rng, n), _ids(rng, n)], axis=1),
        span_id=_ids(rng, n),
        start_ns=at[labelled],
        end_ns=at[labelled],
        name=_constant(OUTCOME_SPAN_NAME, n),
        service=_constant(shape.name, n),
        pipeline=_constant(shape.name, n),
        numbers={OUTCOME_LOSS.name: loss[labelled]},
        texts={RUN_ID.name: TextColumn.of([run[trace] for trace in labelled]), OUTCOME_NAME.name: _constant("loss", n)},
        link_row=np.arange(n, dtype=np.int64),
        link_trace_id=target[0][labelled],
        link_span_id=target[1][labelled],
        link_kind=np.full(n, LINK_KINDS.index("outcome"), np.int8),
    )


def _constant(value: str, n: int) -> TextColumn:
    return TextColumn(codes=np.zeros(n, np.int32), values=(value,))
