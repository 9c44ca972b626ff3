"""OTLP attribute values as plain Python values, numbers and texts."""

import json
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


def plain(value: AnyValue) -> Any:
    """str, bool, int, float, bytes, list or dict; None for a value that was not set."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    held = getattr(value, kind)
    if kind == "array_value":
        return [plain(item) for item in held.values]
    return {item.key: plain(item.value) for item in held.values} if kind == "kvlist_value" else held


def as_number(value: Any) -> float | None:
    """Float of a number, a boolean (1 or 0) or a numeral; None for everything else and for integers beyond a double's range."""
    if isinstance(value, bool | int | float | str):
        try:
            return float(value)
        except (ValueError, OverflowError):
            return None
    return None


def as_text(value: Any) -> str | None:
    """Text as it is, booleans as true/false, numbers as shortest digits, bytes in hex, the rest as JSON; None stays None."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value, ensure_ascii=False, default=as_text, separators=(",", ":"))


def wire_attributes(span: bytes, resource: bytes) -> dict[str, str]:
    """Every attribute of a stored span by name, as text: its own before its resource's. Empty for bytes that do not parse."""
    try:
        held, owner = Span.FromString(span), ResourceSpans.FromString(resource)
    except DecodeError:
        return {}
    return {**_texts(owner.resource.attributes), **_texts(held.attributes)}


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    pairs = ((attribute.key, as_text(plain(attribute.value))) for attribute in attributes)
    return {key: text for key, text in pairs if text is not None}
