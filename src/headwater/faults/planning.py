"""Which call gets which fault: by a hash of the seed, the stage and a key, so that a plan can be replayed anywhere, in any order.

    draw = BLAKE2b-64(seed, rule, stage, key) / 2**64   in [0, 1);   the first rule that matches and has draw < share

The key is the run's id (every call of the stage in that run then shares its lot), or the number of the call outside a run.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Final

from headwater.faults.kinds import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`share` (0..1) of the calls of the stages that match the pattern `stage` get `fault`."""

    stage: str
    fault: Fault
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            message = f"share={self.share!r} of the faults of stage {self.stage!r}; allowed: 0 to 1"
            raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    rules: tuple[Rule, ...]
    seed: int = 0


IN_FORCE: Final[list[Plan]] = []  # the last one counts; empty: no faults


def choose(plan: Plan, stage: str, key: str) -> Fault | None:
    """The fault of the call `key` of `stage`, or None."""
    for number, rule in enumerate(plan.rules):
        if fnmatchcase(stage, rule.stage) and draw(plan.seed, f"{number}\0{stage}\0{key}") < rule.share:
            return rule.fault
    return None


def draw(seed: int, text: str) -> float:
    """A number in [0, 1), the same for the same arguments in every process."""
    raw = f"{seed}\0{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest()) / 2**64


class PlanBlock:
    """A plan that is in force inside its ``with`` block, in all threads of the process."""

    __slots__ = ("plan",)

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def __enter__(self) -> Plan:
        IN_FORCE.append(self.plan)
        return self.plan

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for position in reversed(range(len(IN_FORCE))):
            if IN_FORCE[position] is self.plan:
                del IN_FORCE[position]
                return


def plan(faults: Mapping[str, Fault], *, share: float = 1.0, seed: int = 0) -> PlanBlock:
    """Inject `faults` (pattern of stage names -> fault) into `share` of the calls: ``with hw.faults.plan({"asr": Slow(seconds=0.2)}, share=0.3):``.

    Plans nest; the inner one alone counts. Raises ValueError for a share outside 0..1.
    """
    return PlanBlock(Plan(rules=tuple(Rule(stage=stage, fault=fault, share=share) for stage, fault in faults.items()), seed=seed))
