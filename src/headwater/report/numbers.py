"""From numbers of a result to values of a document: unknown is null, never NaN; nothing of numpy is left."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Document = dict[str, Any]


def plain(value: float | None) -> float | None:
    """A float that JSON can hold; None for None, NaN and infinities."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def interval(low: float | None, high: float | None) -> list[float] | None:
    """[low, high]; None unless both are known."""
    ends = plain(low), plain(high)
    return None if ends[0] is None or ends[1] is None else [ends[0], ends[1]]


def plain_map(values: Mapping[str, float]) -> dict[str, float | None]:
    return {str(key): plain(value) for key, value in values.items()}


def warnings_list(warnings: Sequence[Any]) -> list[dict[str, str]]:
    """`ReportWarning`s as {"code", "text"}."""
    return [{"code": warning.code, "text": warning.text} for warning in warnings]
