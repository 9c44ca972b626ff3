"""Every metric headwater writes, and the attributes on it: one table, like `headwater.conventions.attributes`.

Stage metrics see every call, sampled or not. Attributes are few on purpose: their values are named by code, not by traffic.
"""

from dataclasses import dataclass
from typing import Final, Literal

from headwater.conventions.attributes import OUTCOME, PIPELINE_NAME, STAGE_NAME, STAGE_VERSION

OTHER: Final = "__other__"
METRIC_NAME: Final = "headwater.metric.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: `name`, instrument `kind`, `unit` (UCUM), what it says, bucket `bounds` of a histogram, and attributes."""

    name: str
    kind: Literal["counter", "histogram"]
    unit: str
    brief: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...] = ()


_STAGE: Final = (STAGE_NAME.name, STAGE_VERSION.name, PIPELINE_NAME.name)
_SECONDS: Final = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0)
_SHARES: Final = tuple(step / 20 for step in range(1, 20))
_FIGURES: Final = (-100.0, -10.0, -1.0, 0.0, 0.01, 0.02, 0.05, *(step / 10 for step in range(1, 11)), 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)

STAGE_CALLS = Metric(
    name="headwater.stage.calls",
    kind="counter",
    unit="{call}",
    brief="Ended calls by outcome: ok, error, or one said.",
    attributes=(*_STAGE, OUTCOME.name),
)
STAGE_ERRORS = Metric(name="headwater.stage.errors", kind="counter", unit="{call}", brief="Calls that raised.", attributes=_STAGE)
STAGE_DURATION = Metric(
    name="headwater.stage.duration", kind="histogram", unit="s", brief="How long a call took.", attributes=_STAGE, bounds=_SECONDS
)
STAGE_CONFIDENCE = Metric(
    name="headwater.stage.confidence", kind="histogram", unit="1", brief="Confidence, 0 to 1.", attributes=_STAGE, bounds=_SHARES
)
STAGE_QUALITY = Metric(
    name="headwater.stage.quality",
    kind="histogram",
    unit="1",
    brief="Quality figures of undeclared role.",
    attributes=(*_STAGE, METRIC_NAME),
    bounds=_FIGURES,
)
STAGE_OWN = Metric(
    name="headwater.stage.own",
    kind="histogram",
    unit="1",
    brief="Evidence about the stage's own work.",
    attributes=(*_STAGE, METRIC_NAME),
    bounds=_FIGURES,
)

ALL_METRICS: Final[tuple[Metric, ...]] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
