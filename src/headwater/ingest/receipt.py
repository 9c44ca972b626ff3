"""What a sender is told: taken, taken in part, or try again later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from headwater.model.errors import HeadwaterError

Content = Literal["protobuf", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A request that was taken durably: spans accepted, spans rejected by reason, and the sentence for OTLP's partial_success ("" = all taken)."""

    accepted: int
    rejected: Mapping[str, int]
    message: str

    @property
    def n_rejected(self) -> int:
        return sum(self.rejected.values())


class RetryLaterError(HeadwaterError):
    """Nothing was taken and nothing is wrong with the request: send it again after retry_after_s."""

    code = "retry_later"

    def __init__(self, text: str, *, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class BusyError(RetryLaterError):
    """More arrives than is written away."""

    code = "busy"


class UnavailableError(RetryLaterError):
    """The log cannot take anything: the disk is full or failing, or the service is shutting down."""

    code = "unavailable"


Accept = Callable[[bytes, Content], Receipt]


def receipt_of(accepted: int, rejected: Mapping[str, int]) -> Receipt:
    """The receipt with its sentence."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    message = f"{sum(rejected.values())} spans rejected ({reasons}); the others were accepted" if reasons else ""
    return Receipt(accepted=accepted, rejected=dict(rejected), message=message)
