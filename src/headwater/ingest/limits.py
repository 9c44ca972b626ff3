"""How much one request may ask for, checked before anything is built from it."""

from dataclasses import dataclass
from typing import Final

from headwater.model.errors import UndecodableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper bounds of one request.

    body_bytes: after inflating. spans: per request. attributes: per span. items: events, and links, per span. depth: nesting of an attribute
    value, 1 = a plain value. string_bytes: one string or bytes value. Above body_bytes or spans the request is refused; above attributes or items
    the span is; deeper or longer values are cut, the span is kept and says so (`headwater.defect.cut`).
    """

    body_bytes: int = 16 << 20
    spans: int = 50_000
    attributes: int = 1_024
    items: int = 16_384
    depth: int = 32
    string_bytes: int = 64 << 10


RECEIVED: Final = Limits()
# A file on the user's own disk is read in chunks, so only the limits of a single span matter.
FROM_FILE: Final = Limits(body_bytes=1 << 40, spans=1 << 40)


class OverLimitError(UndecodableError):
    """A request larger than `Limits` allows; nothing of it was taken, and sending it again will not help."""

    code = "over_limit"


class RejectedSpanError(ValueError):
    """One span cannot be taken; its neighbours can. `reason` is a stable word, counted in `SpanBatch.rejected`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_size(size: int, limits: Limits) -> None:
    """OverLimitError if a body of `size` bytes is too large."""
    if size > limits.body_bytes:
        raise OverLimitError(f"the body has more than {limits.body_bytes} bytes after inflating; send smaller batches")


def check_spans(count: int, limits: Limits) -> None:
    """OverLimitError if `count` spans are too many for one request."""
    if count > limits.spans:
        raise OverLimitError(f"the request holds more than {limits.spans} spans; send smaller batches")
