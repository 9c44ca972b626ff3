"""Error answers: blame of one trace, shares over many, change between windows, and how far each may be believed."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwater.model.attribution import ReportWarning, Verdict
from headwater.model.errors import require
from headwater.model.spans import F64, I64, Bool, lock

Role = Literal["own", "symptom", "difficulty", "version"]
Effect = Literal["amplify", "absorb", "pass"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TraceBlame:
    """Blame of m traces over s stages, mode `forward`; NaN rows where the loss is unknown.

    loss, baseline, input, residual (m,) f64; own, inherited, share (m, s) f64; unattributed (m,) f64; introduced_by (m,) i64 stage index,
    −1 = nobody; missed_by, flagged (m, s) bool. Checked on labelled rows: Σ own + input + residual == loss − baseline and, where loss > 0,
    Σ share + unattributed == 1 with share ≥ 0; both to 1e-9. `share` is the default answer for a failed trace.
    """

    stages: tuple[str, ...]
    loss: F64
    baseline: F64
    input: F64
    residual: F64
    own: F64
    inherited: F64
    share: F64
    unattributed: F64
    introduced_by: I64
    missed_by: Bool
    flagged: Bool
    verdict: Verdict

    def __post_init__(self) -> None:
        m, s = int(self.loss.size), len(self.stages)
        for array in (self.own, self.inherited, self.share, self.missed_by, self.flagged):
            require(array.shape == (m, s), f"a blame matrix of shape {array.shape}, not {(m, s)}")
        known = ~np.isnan(self.loss)
        gap = self.own.sum(axis=1) + self.input + self.residual - (self.loss - self.baseline)
        require(bool(np.all(np.abs(gap[known]) <= 1e-9 * np.maximum(1.0, np.abs(self.loss[known])))), "blame does not sum to loss − baseline")
        failed = known & (np.nan_to_num(self.loss) > 0)
        whole = self.share.sum(axis=1) + self.unattributed
        require(bool(np.all(np.abs(whole[failed] - 1) <= 1e-9)), "shares and unattributed do not sum to 1")
        require(bool(np.all(self.share[failed] >= -1e-12)), "a negative share")
        lock(self.loss, self.baseline, self.input, self.residual, self.own, self.inherited, self.share, self.unattributed)
        lock(self.introduced_by, self.missed_by, self.flagged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One attribute of one stage: its role, whether declared, whether it may accuse, and the data test.

    upstream_auc: how well its anomalies separate traces with an upstream flag, 0.5 = not at all, NaN = could not be tested.
    """

    attribute: str
    role: Role
    declared: bool
    upstream_auc: float
    used: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBlame:
    """One stage over the window. blame_share: mean share over failures, weighted by loss. NaN or None = not known."""

    stage: str
    blame_share: float
    blame_low: float
    blame_high: float
    attributable_fraction: float
    attributable_low: float
    attributable_high: float
    fixable_loss: float | None
    q_value: float
    n_faults: int
    verdict: Verdict
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """How a fault of `source` raises faults of `target`: rates with and without, ratio, gain in own-sd units. NaN = not known."""

    source: str
    target: str
    rate_given_error: float
    rate_baseline: float
    risk_ratio: float
    gain: float
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class StageChange:
    """One stage between two windows; the interval bounds own_delta; flagged: q < .05 and the effect ≥ .005."""

    stage: str
    own_delta: float
    low: float
    high: float
    q_value: float
    flagged: bool
    inherited_delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorChange:
    """Σ own_delta + input_delta + unexplained_delta == delta, to 1e-9. n_baseline_labelled: labelled traces of the baseline, None = not known."""

    baseline_loss: float
    current_loss: float
    delta: float
    input_delta: float
    unexplained_delta: float
    stages: tuple[StageChange, ...]
    n_baseline_labelled: int | None = None

    def __post_init__(self) -> None:
        total = sum(stage.own_delta for stage in self.stages) + self.input_delta + self.unexplained_delta
        require(abs(total - self.delta) <= 1e-9 * max(1.0, abs(self.delta)), f"the parts of the change miss it by {total - self.delta!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReport:
    """Everything `headwater report errors` prints. Σ blame_share + input_share + unexplained_share == 1 when mean_loss > 0."""

    pipeline: str
    outcome: str
    n_traces: int
    n_labelled: int
    n_failures: int
    mean_loss: float
    low: float
    high: float
    level: float
    stages: tuple[StageBlame, ...]
    input_share: float
    unexplained_share: float
    edges: tuple[Edge, ...]
    comparison: ErrorChange | None
    verdict: Verdict
    warnings: tuple[ReportWarning, ...]

    def __post_init__(self) -> None:
        if self.mean_loss > 0:
            total = sum(stage.blame_share for stage in self.stages) + self.input_share + self.unexplained_share
            require(abs(total - 1) <= 1e-9, f"blame shares sum to {total!r}, not 1")
