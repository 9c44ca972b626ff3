"""`--where key=value` and `--cluster KEY`: attributes by name, from a column where there is one, else from the bytes the span came in."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from headwater.conventions.attributes import CONFIDENCE, PIPELINE_NAME, SERVICE_NAME, STAGE_NAME
from headwater.model.spans import I64, Bool, SpanTable, TextColumn

# (span bytes, resource bytes) → every attribute as text. The store knows disks, not wires: its owner says how to read one.
AttributeReader = Callable[[bytes, bytes], Mapping[str, str]]
_TEXTS: Final = {STAGE_NAME.name: "stage", PIPELINE_NAME.name: "pipeline", SERVICE_NAME.name: "service"}


def no_attributes(_span: bytes, _resource: bytes) -> Mapping[str, str]:
    """For stores whose owner has no use for attributes beyond the columns."""
    return {}


def has_column(spans: SpanTable, key: str) -> bool:
    """Can `key` be read from the columns of this table?"""
    return key in _TEXTS or key == CONFIDENCE.name or key in spans.texts or key in spans.numbers


def column_equals(spans: SpanTable, key: str, value: str) -> Bool:
    """(n,) bool: does the column hold `value`, as text or as a number? Booleans are 1 and 0, so "true" finds 1."""
    found = np.zeros(len(spans), np.bool_)
    texts = _text_column(spans, key)
    if texts is not None:
        codes = [code for code, text in enumerate(texts.values) if same_value(text, value)]
        found |= np.isin(texts.codes, codes)
    number = _number(value)
    if number is not None:
        column = spans.confidence if key == CONFIDENCE.name else spans.number(key)
        found |= column == number
    return found


def texts_at(spans: SpanTable, key: str, rows: I64) -> list[str | None]:
    """The attribute of those rows as text, from the columns; None where missing."""
    texts = _text_column(spans, key)
    numbers = spans.confidence if key == CONFIDENCE.name else spans.number(key)
    out = [texts.at(int(row)) if texts is not None else None for row in rows]
    return [_digits(numbers[row]) if text is None else text for text, row in zip(out, rows, strict=True)]


def same_value(found: str, asked: str) -> bool:
    """Equal as text or as numbers ("1" and "1.0")."""
    if found == asked:
        return True
    left, right = _number(found), _number(asked)
    return left is not None and left == right


def _text_column(spans: SpanTable, key: str) -> TextColumn | None:
    if key in _TEXTS:
        column: TextColumn = getattr(spans, _TEXTS[key])
        return column
    return spans.texts.get(key)


def _number(text: str) -> float | None:
    if text in {"true", "false"}:
        return float(text == "true")
    try:
        return float(text)
    except ValueError:
        return None


def _digits(value: float) -> str | None:
    if math.isnan(value):
        return None
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
