"""Pipelines with a known culprit: a seeded structural model that writes spans, and the truth by rerunning its equations.

Every stage adds damage of its own to the damage it received and passes the sum on. Own evidence reads only what the stage added; confidence and
`quality.coverage` read the sum, so late ones are symptoms of early faults. The final loss is drawn from the damage of the last stage and the
segment of the input with one uniform number per trace, kept fixed over reruns: the truth of a trace is the Shapley value of its loss over all
subsets of its faults, exact, and what also fails with every fault removed is nobody's.
"""

from dataclasses import dataclass, field
from itertools import combinations, pairwise
from math import factorial
from typing import Final, Literal

import numpy as np

from headwater.model.spans import F64, I64, Bool, lock

MS: Final = 1_000_000
START_NS: Final = 1_750_000_000_000_000_000
Mixing = Literal["sum", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong at `stage`: from the fraction `since` of the window on, a share `rate` of the runs gets `strength` more damage.

    versioned: the runs hit carry another version; evident: the damage shows in the stage's own evidence; slow: factor on the stage's time;
    harmless: version and evidence move but nothing is damaged (a change that must not be blamed).
    """

    stage: str
    since: float = 0.5
    rate: float = 1.0
    strength: float = 3.0
    versioned: bool = True
    evident: bool = True
    harmless: bool = False
    slow: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the pipeline logs and how its world is.

    versions, evidence: logged at all; blind: stages that log neither; inverted: stages whose confidence rises with damage; base_failure, hard_share,
    hard_failure: failures that also happen in healthy runs, outside and inside the hard segment; sessions: clusters of runs that share the segment.
    """

    versions: bool = True
    evidence: bool = True
    difficulty: bool = True
    blind: tuple[str, ...] = ()
    inverted: tuple[str, ...] = ()
    mixing: Mixing = "sum"
    passed_on: float = 0.9
    base_failure: float = 0.04
    hard_share: float = 0.2
    hard_failure: float = 0.45
    hard_damage: float = 0.3
    sessions: int = 60
    labelled: float = 1.0
    start_ns: int = START_NS
    gap_ns: int = 2_000 * MS


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """m traces in order of start, s stages: faulty (m, s) bool; loss, healthy_loss (m,) f64: as seen, and with every fault removed.

    shapley (m, s) f64: exact over all subsets of faults, rows sum to loss − healthy_loss. culprit (m,) i64: the largest positive of the row where the
    trace failed because of a fault, −1 where it did not fail or would have failed anyway. cluster (m,) i64: the session.
    """

    stages: tuple[str, ...]
    faulty: Bool
    loss: F64
    healthy_loss: F64
    shapley: F64
    culprit: I64
    cluster: I64

    def __post_init__(self) -> None:
        lock(self.faulty, self.loss, self.healthy_loss, self.shapley, self.culprit, self.cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A pipeline: stages in topological order, their types, mean times and the edges between them."""

    name: str
    stages: tuple[str, ...]
    types: tuple[str, ...]
    mean_ms: tuple[float, ...]
    edges: tuple[tuple[str, str], ...]

    def parents(self, stage: str) -> list[int]:
        return [self.stages.index(source) for source, target in self.edges if target == stage]


def _line(name: str, stages: tuple[str, ...], types: tuple[str, ...], mean_ms: tuple[float, ...]) -> Shape:
    return Shape(name=name, stages=stages, types=types, mean_ms=mean_ms, edges=tuple(pairwise(stages)))


CHAIN3: Final = _line("speech", ("vad", "asr", "nlu"), ("rule", "model", "model"), (6.0, 90.0, 9.0))
CHAIN4: Final = _line("speech", ("capture", "vad", "asr", "nlu"), ("io", "rule", "model", "model"), (3.0, 6.0, 90.0, 9.0))
DIAMOND5: Final = Shape(
    name="inspection",
    stages=("sensors", "detector", "tracker", "quality", "decision"),
    types=("io", "model", "model", "qc", "rule"),
    mean_ms=(4.0, 40.0, 25.0, 12.0, 3.0),
    edges=(("sensors", "detector"), ("sensors", "tracker"), ("detector", "quality"), ("tracker", "quality"), ("quality", "decision")),
)
SHAPES: Final = {3: CHAIN3, 4: CHAIN4, 5: DIAMOND5}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class World:
    """Everything drawn once: reruns change only which faults are on."""

    hard: Bool
    length: F64
    session: I64
    own: F64
    extra: F64
    luck: F64
    hit: dict[int, Bool] = field(default_factory=dict)


Faults = str | Fault | tuple[Fault, ...] | None


def as_faults(shape: Shape, fault: Faults) -> tuple[Fault, ...]:
    faults = () if fault is None else (Fault(stage=fault),) if isinstance(fault, str) else (fault,) if isinstance(fault, Fault) else fault
    unknown = [one.stage for one in faults if one.stage not in shape.stages]
    if unknown:
        raise ValueError(f"stage {unknown[0]!r} is not in pipeline {shape.name!r}; known: {', '.join(shape.stages)}")
    if len({one.stage for one in faults}) < len(faults):
        raise ValueError("two faults at one stage")
    return faults


def draw(rng: np.random.Generator, shape: Shape, m: int, *, faults: tuple[Fault, ...], traits: Traits) -> World:
    session = rng.integers(0, traits.sessions, m)
    hard_session = rng.random(traits.sessions) < traits.hard_share
    position = np.arange(m) / max(1, m)
    hit = {shape.stages.index(one.stage): (position >= one.since) & (rng.random(m) < one.rate) for one in faults}
    own = 0.4 * np.abs(rng.standard_normal((m, len(shape.stages))))
    extra = 0.6 + 0.8 * rng.random((m, len(shape.stages)))
    length = np.exp(0.4 * rng.standard_normal(m))
    return World(hard=hard_session[session], length=length, session=session, own=own, extra=extra, luck=rng.random(m), hit=hit)


def damage(shape: Shape, world: World, on: dict[int, float], traits: Traits) -> tuple[F64, F64]:
    """(own, content): damage each stage adds and the damage of what it hands on, both (m, s), with the faults in `on` (stage → strength)."""
    own = world.own + traits.hard_damage * world.hard[:, None]
    for stage, strength in on.items():
        own[:, stage] += strength * world.extra[:, stage] * world.hit[stage]
    content = np.zeros_like(own)
    for stage, name in enumerate(shape.stages):
        above = [content[:, parent] for parent in shape.parents(name)]
        received = np.zeros(own.shape[0]) if not above else np.max(above, axis=0) if traits.mixing == "max" else np.sum(above, axis=0) / len(above)
        content[:, stage] = own[:, stage] + traits.passed_on * received
    return own, content


def loss_of(shape: Shape, world: World, on: dict[int, float], traits: Traits) -> F64:
    """(m,) 0/1: one uniform number a trace against the probability the damage gives; the same number in every rerun."""
    _, content = damage(shape, world, on, traits)
    base = np.where(world.hard, traits.hard_failure, traits.base_failure)
    harm = 1.0 / (1.0 + np.exp(-1.6 * (content[:, -1] - 3.4)))
    return np.asarray(world.luck < base + (1.0 - base) * harm, dtype=np.float64)


def truth_of(shape: Shape, world: World, faults: tuple[Fault, ...], traits: Traits) -> Truth:
    strength = {shape.stages.index(one.stage): 0.0 if one.harmless else one.strength for one in faults}
    players = sorted(strength)
    losses = {
        subset: loss_of(shape, world, {stage: strength[stage] for stage in subset}, traits)
        for size in range(len(players) + 1)
        for subset in combinations(players, size)
    }
    healthy, loss = losses[()], losses[tuple(players)]
    shapley = np.zeros((healthy.size, len(shape.stages)))
    for stage in players:
        others = [player for player in players if player != stage]
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(players))
            for subset in combinations(others, size):
                shapley[:, stage] += weight * (losses[tuple(sorted((*subset, stage)))] - losses[subset])
    faulty = np.zeros(shapley.shape, dtype=np.bool_)
    for one in faults:
        faulty[:, shape.stages.index(one.stage)] = world.hit[shape.stages.index(one.stage)] & (not one.harmless)
    blamed = (loss > healthy) & (shapley.max(axis=1) > 0)
    culprit = np.where(blamed, shapley.argmax(axis=1), -1).astype(np.int64)
    return Truth(stages=shape.stages, faulty=faulty, loss=loss, healthy_loss=healthy, shapley=shapley, culprit=culprit, cluster=world.session)
