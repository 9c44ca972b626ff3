"""The body of POST /api/v1/outcomes: judged outcomes as a person or a script sends them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, field_validator, model_validator

from headwater.conventions.attributes import DEFAULT_OUTCOME
from headwater.model.answers import OutcomeRow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Name = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class OutcomeIn(BaseModel):
    """One outcome. Exactly one of trace_id and run_id; loss 0 = right, 1 = wrong, or any real loss; judged_at ISO 8601 with a zone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    trace_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{32}$")] | None = None
    run_id: Name | None = None
    loss: FiniteFloat
    name: Name = DEFAULT_OUTCOME
    label: Name | None = None
    judged_at: Annotated[str, StringConstraints(max_length=64)] | None = Field(default=None, description="ISO 8601; without a zone it is UTC")
    source: Name | None = None
    audit: bool = False

    @field_validator("judged_at")
    @classmethod
    def _is_instant(cls, text: str | None) -> str | None:
        if text is not None and not datetime(1970, 1, 2, tzinfo=UTC) <= instant_of(text) < datetime(2262, 1, 1, tzinfo=UTC):
            raise ValueError("judged_at must lie between 1970 and 2262")
        return text

    @model_validator(mode="after")
    def _names_one_target(self) -> "OutcomeIn":
        if (self.trace_id is None) == (self.run_id is None):
            raise ValueError("an outcome names either trace_id or run_id")
        return self

    def row(self) -> OutcomeRow:
        """The same as the service takes it; judged_at_ns None = the receiver says when."""
        at = None if self.judged_at is None else (instant_of(self.judged_at) - _EPOCH) // timedelta(microseconds=1) * 1000
        return OutcomeRow(
            trace_id=None if self.trace_id is None else self.trace_id.lower(),
            run_id=self.run_id,
            loss=self.loss,
            name=self.name,
            label=self.label,
            judged_at_ns=at,
            source=self.source,
            audit=self.audit,
        )


def instant_of(text: str) -> datetime:
    """An ISO 8601 instant; UTC where no zone is given. ValueError otherwise."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
