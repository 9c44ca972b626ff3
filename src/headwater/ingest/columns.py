"""The one place where attributes become columns; every decoder builds its table here.

Precedence: a `headwater.*` attribute always wins; nothing else names a stage (a span without `headwater.stage.name` is no stage), and
only `service.name` of the resource stands in, for a pipeline nobody named (that join is the reader's, per trace).
"""

import math
import re
from typing import Any, Final

import numpy as np
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headwater.conventions import attributes as names
from headwater.ingest.limits import RejectedSpanError
from headwater.ingest.values import as_number, as_text, plain
from headwater.model.spans import BLOCKING_UNKNOWN, F64, SpanBatch, SpanTable, TextColumn, WireRows

_MAX_TIME: Final = 2**63 - 1
_NO_PARENT: Final = bytes(8)
# A hostile sender must not turn each span into a column: names beyond these many stay in the wire row only.
_MAX_COLUMNS: Final = 256
_MAX_ORIGIN_BYTES: Final = 256 << 10

_OWN_COLUMN: Final = frozenset(
    {names.STAGE_NAME.name, names.PIPELINE_NAME.name, names.CONFIDENCE.name, names.BLOCKING.name, names.FINAL.name},
)
# Names outside headwater.* that analysis reads: the error's class, the function, the cluster of runs.
_FOREIGN: Final = frozenset({names.ERROR_TYPE.name, names.CODE_FUNCTION_NAME.name, names.SESSION_ID.name, "user.id"})
_KNOWN: Final = {
    attribute.name: attribute.kind
    for attribute in names.ALL
    if attribute.side != "link" and not attribute.is_family and (attribute.name.startswith("headwater.") or attribute.name in _FOREIGN)
} | {"user.id": "string"}
_FAMILIES: Final = tuple(attribute.prefix for attribute in names.ALL if attribute.is_family)
_LINK_CODE: Final = {kind: code for code, kind in enumerate(names.LINK_KINDS)}
_THRESHOLD: Final = re.compile(r"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?:[;,\s]|$)")


class Origin:
    """Where spans came from: codes of their resource and scope bytes, and the service named by the resource (None = not named)."""

    __slots__ = ("resource", "scope", "service")

    def __init__(self, resource: int, scope: int, service: str | None) -> None:
        self.resource = resource
        self.scope = scope
        self.service = service


class ColumnBuilder:
    """Takes spans one by one, gives a `SpanBatch`. `add` takes a span whole or not at all.

    Decode repairs, each with its mark: end < start → end = start and numbers[DEFECT_SKEWED] = 1; confidence outside 0..1 or not finite → NaN and the
    text CONFIDENCE_KIND = "invalid". Numbers that are not finite are missing. A numeric attribute sent as text is read as a number if it is one
    (numpy scalars arrive so); a text attribute sent as a number becomes its digits, so that run ids join however they were typed.
    """

    def __init__(self) -> None:
        self._resources: dict[bytes, int] = {}
        self._scopes: dict[bytes, int] = {}
        self._services: list[str | None] = []
        self._ids: list[bytes] = []
        self._times: list[tuple[int, int]] = []
        self._codes: list[tuple[int, int, int, int]] = []
        self._base: dict[str, list[str | None]] = {"name": [], "stage": [], "service": [], "pipeline": []}
        self._confidence: list[float] = []
        self._weight: list[float] = []
        self._numbers: dict[str, tuple[list[int], list[float]]] = {}
        self._texts: dict[str, tuple[list[int], list[str]]] = {}
        self._links: list[tuple[int, bytes, bytes, int]] = []
        self._wire: list[bytes] = []
        self._origins: list[tuple[int, int]] = []
        self._rejected: dict[str, int] = {}

    def origin(self, resource: bytes, scope: bytes) -> Origin:
        """Codes for `ResourceSpans` bytes without scope_spans and `ScopeSpans` bytes without spans; RejectedSpanError if they do not parse."""
        code = self._resources.get(resource)
        if code is None:
            service = _service_of(resource)
            code = self._resources.setdefault(resource, len(self._resources))
            self._services.append(service)
        if scope not in self._scopes:
            _parse(ScopeSpans, scope, "malformed_scope")
        return Origin(code, self._scopes.setdefault(scope, len(self._scopes)), self._services[code])

    def reject(self, reason: str, count: int = 1) -> None:
        self._rejected[reason] = self._rejected.get(reason, 0) + count

    def add(self, span: Span, raw: bytes, origin: Origin) -> None:
        """One parsed span and its own bytes. RejectedSpanError for ids or times that no span can have; the builder is then unchanged."""
        ids = _checked_ids(span)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        if max(start, end) > _MAX_TIME:
            raise RejectedSpanError("time_out_of_range")
        row = len(self._wire)
        own = self._attributes(row, span)
        self._ids.append(ids)
        if end < start:
            self._number(row, names.DEFECT_SKEWED, 1.0)
            end = start
        self._times.append((start, end))
        blocking, final = as_number(own.get(names.BLOCKING.name)), as_number(own.get(names.FINAL.name))
        code = BLOCKING_UNKNOWN if blocking is None else int(blocking != 0)
        self._codes.append((min(max(span.kind, 0), 5), min(max(span.status.code, 0), 2), code, int(bool(final))))
        base = self._base
        base["name"].append(span.name)
        base["stage"].append(as_text(own.get(names.STAGE_NAME.name)) or None)
        base["pipeline"].append(as_text(own.get(names.PIPELINE_NAME.name)) or None)
        base["service"].append(origin.service)
        self._confidence.append(self._checked_confidence(row, own.get(names.CONFIDENCE.name)))
        self._weight.append(weight_of(span.trace_state) if span.trace_state else np.nan)
        for link in span.links:
            self._link(row, link)
        self._wire.append(raw)
        self._origins.append((origin.resource, origin.scope))

    def _attributes(self, row: int, span: Span) -> dict[str, Any]:
        """Puts attributes into the sparse columns; gives those that have a column of their own. The last of equal keys wins."""
        own: dict[str, Any] = {}
        for attribute in span.attributes:
            key = attribute.key
            kind = _KNOWN.get(key)
            if kind is None and not key.startswith("headwater."):
                continue
            value = plain(attribute.value)
            if key in _OWN_COLUMN:
                own[key] = value
            elif kind == "string" or (kind is None and isinstance(value, str) and not key.startswith(_FAMILIES)):
                self._text(row, key, as_text(value))
            else:
                self._number(row, key, as_number(value))
        return own

    def _number(self, row: int, key: str, value: float | None) -> None:
        if value is None or not math.isfinite(value):
            return
        column = self._numbers.get(key)
        if column is None:
            if len(self._numbers) >= _MAX_COLUMNS and key not in _KNOWN:
                return
            column = self._numbers.setdefault(key, ([], []))
        column[0].append(row)
        column[1].append(value)

    def _text(self, row: int, key: str, value: str | None) -> None:
        if value is None:
            return
        column = self._texts.get(key)
        if column is None:
            if len(self._texts) >= _MAX_COLUMNS and key not in _KNOWN:
                return
            column = self._texts.setdefault(key, ([], []))
        column[0].append(row)
        column[1].append(value)

    def _checked_confidence(self, row: int, value: Any) -> float:
        number = as_number(value)
        if number is not None and 0.0 <= number <= 1.0:
            return number
        if value is not None:
            self._text(row, names.CONFIDENCE_KIND.name, "invalid")
        return np.nan

    def _link(self, row: int, link: Span.Link) -> None:
        """Links without a whole trace id stay in the wire row only."""
        if len(link.trace_id) != 16:
            return
        span_id = link.span_id if len(link.span_id) == 8 else _NO_PARENT
        kind = next((as_text(plain(a.value)) for a in link.attributes if a.key == names.LINK_KIND.name), None)
        self._links.append((row, link.trace_id, span_id, _LINK_CODE.get(kind or "", 0)))

    def build(self) -> SpanBatch:
        """Everything added so far, in order."""
        n = len(self._wire)
        ids = np.frombuffer(b"".join(self._ids), dtype=">u8").reshape(n, 4).astype(np.uint64)
        times = np.array(self._times, np.int64).reshape(n, 2)
        codes = np.array(self._codes, np.int8).reshape(n, 4)
        origins = np.array(self._origins, np.int32).reshape(n, 2)
        links = len(self._links)
        link_ids = b"".join(trace + span for _, trace, span, _ in self._links)
        link_id = np.frombuffer(link_ids, dtype=">u8").reshape(links, 3).astype(np.uint64)
        table = SpanTable(
            trace_id=ids[:, :2].copy(),
            span_id=ids[:, 2].copy(),
            parent_id=ids[:, 3].copy(),
            start_ns=times[:, 0].copy(),
            end_ns=times[:, 1].copy(),
            kind=codes[:, 0].copy(),
            status=codes[:, 1].copy(),
            blocking=codes[:, 2].copy(),
            final=codes[:, 3] == 1,
            confidence=np.array(self._confidence, np.float64),
            weight=np.array(self._weight, np.float64),
            numbers={key: _dense(n, *column) for key, column in sorted(self._numbers.items())},
            texts={key: _dense_text(n, *column) for key, column in sorted(self._texts.items())},
            link_row=np.array([link[0] for link in self._links], np.int64),
            link_trace_id=link_id[:, :2].copy(),
            link_span_id=link_id[:, 2].copy(),
            link_kind=np.array([link[3] for link in self._links], np.int8),
            **{key: TextColumn.of(values) for key, values in self._base.items()},
        )
        wire = WireRows(
            span=tuple(self._wire),
            resource_codes=origins[:, 0].copy(),
            resource_values=tuple(self._resources),
            scope_codes=origins[:, 1].copy(),
            scope_values=tuple(self._scopes),
        )
        return SpanBatch(spans=table, wire=wire, rejected=self._rejected)


def weight_of(trace_state: str) -> float:
    """1 / sampling probability from W3C trace state `ot=th:HEX`: p = 1 − T / 2⁵⁶, T = HEX padded right to 14 digits; NaN if it does not say.

    Source: OpenTelemetry specification, trace/tracestate-probability-sampling.
    """
    found = _THRESHOLD.search(trace_state)
    if found is None:
        return float("nan")
    threshold = int(found[1].ljust(14, "0"), 16)
    return float(2**56 / (2**56 - threshold))


def _checked_ids(span: Span) -> bytes:
    """Trace id, span id and parent id as 32 bytes."""
    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id or _NO_PARENT
    if len(trace_id) != 16 or not any(trace_id):
        raise RejectedSpanError("invalid_trace_id")
    if len(span_id) != 8 or not any(span_id):
        raise RejectedSpanError("invalid_span_id")
    if len(parent_id) != 8:
        raise RejectedSpanError("invalid_parent_id")
    return trace_id + span_id + parent_id


def _service_of(resource: bytes) -> str | None:
    held: Resource = _parse(ResourceSpans, resource, "malformed_resource").resource
    return next((as_text(plain(a.value)) or None for a in held.attributes if a.key == names.SERVICE_NAME.name), None)


def _parse(message: Any, raw: bytes, reason: str) -> Any:
    if len(raw) > _MAX_ORIGIN_BYTES:
        raise RejectedSpanError(reason)
    try:
        return message.FromString(raw)
    except Exception as error:  # upb raises DecodeError; whatever it is, these bytes are not taken
        raise RejectedSpanError(reason) from error


def _dense(n: int, rows: list[int], values: list[float]) -> F64:
    column = np.full(n, np.nan)
    column[rows] = values
    return column


def _dense_text(n: int, rows: list[int], values: list[str]) -> TextColumn:
    packed = TextColumn.of(values)  # type: ignore[arg-type]
    codes = np.full(n, -1, np.int32)
    codes[rows] = packed.codes
    return TextColumn(codes=codes, values=packed.values)
