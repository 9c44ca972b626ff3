"""Small rules about single values, shared by what is declared and what is said by hand."""

from typing import Final

from opentelemetry.util.types import AttributeValue

from headwater.conventions.attributes import CONFIDENCE, CONFIDENCE_KIND
from headwater.instrument import isolate

Attributes = dict[str, AttributeValue]
CONFIDENCE_KINDS: Final = ("prob", "margin", "entropy", "logprob", "self_report")
STAGE_TYPES: Final = ("model", "rule", "retrieval", "io", "human", "qc")


def confidence_attributes(value: float | None, kind: str | None, *, what: str) -> Attributes:
    """Attributes for one confidence: nothing for None; outside 0..1 or NaN the kind ``invalid`` alone, and a count."""
    if value is None:
        return {}
    if not 0.0 <= value <= 1.0:
        isolate.count(f"confidence outside 0..1: {what}")
        return {CONFIDENCE_KIND.name: "invalid"}
    if kind is None:
        return {CONFIDENCE.name: value}
    return {CONFIDENCE.name: value, CONFIDENCE_KIND.name: one_of(kind, CONFIDENCE_KINDS, what="confidence kind")}


def one_of(value: str, allowed: tuple[str, ...], *, what: str) -> str:
    """`value` if allowed; else ValueError naming the found and the allowed."""
    if value in allowed:
        return value
    message = f"{what} {value!r} is unknown; allowed: {', '.join(allowed)}"
    raise ValueError(message)


def split_model(model: str) -> tuple[str, str]:
    """``"whisper@1.2.3"`` -> ``("whisper", "1.2.3")``; without ``@`` the version is empty."""
    name, mark, version = model.rpartition("@")
    return (name, version) if mark and name else (model, "")
