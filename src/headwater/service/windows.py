"""Windows as people type them: ISO 8601 instants, ages such as ``1h``, ``previous``."""

import re
from datetime import UTC, datetime
from typing import Final

from headwater.model.errors import UsageError
from headwater.model.ports import PipelineSummary, Window

_SECOND_NS: Final = 1_000_000_000
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
DEFAULT_SPAN_NS: Final = 7 * 86_400 * _SECOND_NS


def parse_instant(text: str, *, now_ns: int) -> int:
    """UTC nanoseconds of "2026-03-01T12:00:00Z" (no zone = UTC), of an age before `now_ns` ("90s", "1h", "2d"), or of plain nanoseconds.

    UsageError if it is none of them.
    """
    age = _AGE.fullmatch(text.strip())
    if age:
        return now_ns - int(float(age[1]) * _UNITS_S[age[2]] * _SECOND_NS)
    if re.fullmatch(r"\d{16,19}", text.strip()):
        return int(text)
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is not an instant; give ISO 8601 (2026-03-01T12:00:00Z), an age (90s, 45m, 1h, 2d) or UTC nanoseconds") from None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    whole = int(instant.replace(microsecond=0).timestamp())
    return whole * _SECOND_NS + instant.microsecond * 1_000


def parse_where(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """("key=value", …) → pairs; UsageError where the sign is missing."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, sign, _) in zip(texts, pairs, strict=True):
        if not sign or not key.strip():
            raise UsageError(f"--where {text!r} has no '='; write --where key=value")
    return tuple((key.strip(), value) for key, _, value in pairs)


def current_window(summary: PipelineSummary, *, since: int | None, until: int | None, where: tuple[tuple[str, str], ...]) -> Window:
    """The window asked for; where no start is given, all stored runs, at most the 7 days before the newest (or before `until`)."""
    newest = summary.last_start_ns
    if since is None:
        end = newest if until is None else min(newest, until)
        since = max(summary.first_start_ns, end - DEFAULT_SPAN_NS)
    if until is not None and until <= since:
        raise UsageError("the window ends before it starts; swap --since and --until")
    return Window(start_ns=since, end_ns=until, where=where)


def previous_window(window: Window, *, newest_ns: int) -> Window:
    """The window of the same length that ends where `window` starts. UsageError if `window` covers everything from the first run on."""
    if window.start_ns is None:
        raise UsageError("--baseline previous needs a start: add --since")
    end = newest_ns + 1 if window.end_ns is None else window.end_ns
    return Window(start_ns=window.start_ns - (end - window.start_ns), end_ns=window.start_ns, where=window.where)
