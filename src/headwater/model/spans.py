"""Spans as columns: 60 bytes a span where dictionaries take 1,459 (docs/adr/002-columns.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.model.errors import require

Bool = NDArray[np.bool_]
F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

KIND_UNSPECIFIED: Final = 0
KIND_INTERNAL: Final = 1
KIND_SERVER: Final = 2
KIND_CLIENT: Final = 3
KIND_PRODUCER: Final = 4
KIND_CONSUMER: Final = 5
STATUS_UNSET: Final = 0
STATUS_OK: Final = 1
STATUS_ERROR: Final = 2
BLOCKING_UNKNOWN: Final = -1


def lock(*arrays: NDArray[np.generic]) -> None:
    """Make arrays read-only: a column that flowed to two readers must not change under one of them."""
    for array in arrays:
        array.setflags(write=False)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TextColumn:
    """Dictionary-coded text: `codes` (n,) i32 into `values`; −1 = missing."""

    codes: I32
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        low, high = (int(self.codes.min()), int(self.codes.max())) if self.codes.size else (-1, -1)
        require(low >= -1 and high < len(self.values), f"codes {low}..{high} outside -1..{len(self.values) - 1}")
        lock(self.codes)

    def __len__(self) -> int:
        return int(self.codes.size)

    def at(self, row: int) -> str | None:
        """The text of one row; None if missing."""
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def take(self, rows: I64) -> "TextColumn":
        """The same dictionary, other rows."""
        return TextColumn(codes=self.codes[rows], values=self.values)

    def code_of(self, value: str) -> int:
        """Code of `value`; −1 if no row ever had it."""
        return self.values.index(value) if value in self.values else -1

    @classmethod
    def of(cls, texts: "list[str | None] | tuple[str | None, ...]") -> "TextColumn":
        """From plain values, None = missing; the dictionary is in order of first appearance."""
        known: dict[str, int] = {}
        codes = [-1 if text is None else known.setdefault(text, len(known)) for text in texts]
        return cls(codes=np.array(codes, dtype=np.int32), values=tuple(known))

    @classmethod
    def missing(cls, n: int) -> "TextColumn":
        return cls(codes=np.full(n, -1, dtype=np.int32), values=())

    @classmethod
    def concatenate(cls, parts: "list[TextColumn]") -> "TextColumn":
        """Rows of `parts` one after the other under one dictionary."""
        known: dict[str, int] = {}
        codes: list[I32] = []
        for part in parts:
            mapping = np.array([*(known.setdefault(value, len(known)) for value in part.values), -1], dtype=np.int32)
            codes.append(mapping[part.codes])
        return cls(codes=np.concatenate(codes) if codes else np.empty(0, np.int32), values=tuple(known))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SpanTable:
    """n spans and l links.

    trace_id (n, 2) u64, high half first; span_id, parent_id (n,) u64, parent 0 = none; start_ns, end_ns (n,) i64 UTC; kind, status (n,) i8 as in
    OTLP; confidence (n,) f64 in [0, 1], NaN = not reported; weight (n,) f64 = 1 / sampling probability, NaN = unknown; blocking (n,) i8: 1, 0,
    −1 = not said; final (n,) bool. `numbers` holds every other numeric headwater attribute under its wire name, NaN = missing; `texts` every
    text one. `stage` missing = the span is no stage. Links: link_row (l,) i64 is the row of the span that holds it, link_kind (l,) i8 indexes
    conventions LINK_KINDS. Checked: equal lengths, codes in range, end ≥ start, confidence in range, link rows in range.
    """

    trace_id: U64
    span_id: U64
    parent_id: U64
    start_ns: I64
    end_ns: I64
    kind: I8
    status: I8
    name: TextColumn
    stage: TextColumn
    service: TextColumn
    pipeline: TextColumn
    confidence: F64
    weight: F64
    blocking: I8
    final: Bool
    numbers: Mapping[str, F64] = field(default_factory=dict)
    texts: Mapping[str, TextColumn] = field(default_factory=dict)
    link_row: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    link_trace_id: U64 = field(default_factory=lambda: np.empty((0, 2), np.uint64))
    link_span_id: U64 = field(default_factory=lambda: np.empty(0, np.uint64))
    link_kind: I8 = field(default_factory=lambda: np.empty(0, np.int8))

    def __post_init__(self) -> None:
        n = len(self)
        require(self.trace_id.shape == (n, 2), f"trace_id {self.trace_id.shape} is not ({n}, 2)")
        flat: tuple[NDArray[Any], ...] = (
            self.parent_id,
            self.start_ns,
            self.end_ns,
            self.kind,
            self.status,
            self.confidence,
            self.weight,
            self.blocking,
            self.final,
        )
        columns: tuple[NDArray[Any], ...] = (*flat, *self.numbers.values())
        for array in columns:
            require(array.shape == (n,), f"a column of shape {array.shape} among {n} spans")
        for column in (self.name, self.stage, self.service, self.pipeline, *self.texts.values()):
            require(len(column) == n, f"a text column of {len(column)} among {n} spans")
        require(bool(np.all(self.end_ns >= self.start_ns)), "a span ends before it starts: repair and count it at decode")
        known = self.confidence[~np.isnan(self.confidence)]
        require(bool(np.all((known >= 0) & (known <= 1))), "confidence outside 0..1: drop it at decode")
        links = self.link_row.size
        require(
            self.link_trace_id.shape == (links, 2) and self.link_span_id.shape == (links,) and self.link_kind.shape == (links,),
            "link columns differ in length",
        )
        require(not links or (self.link_row.min() >= 0 and self.link_row.max() < n), "a link row outside the table")
        lock(self.trace_id, self.span_id, *flat, *self.numbers.values())
        lock(self.link_row, self.link_trace_id, self.link_span_id, self.link_kind)
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))
        object.__setattr__(self, "texts", MappingProxyType(dict(self.texts)))

    def __len__(self) -> int:
        return int(self.span_id.size)

    def number(self, name: str) -> F64:
        """A numeric column by wire name; all NaN if no span has it."""
        return self.numbers[name] if name in self.numbers else np.full(len(self), np.nan)

    def text(self, name: str) -> TextColumn:
        """A text column by wire name; all missing if no span has it."""
        return self.texts[name] if name in self.texts else TextColumn.missing(len(self))

    def take(self, rows: I64) -> "SpanTable":
        """The spans at `rows`, in that order, with their links. Each row at most once."""
        kept, holder = self._links_of(rows)
        return SpanTable(
            trace_id=self.trace_id[rows],
            span_id=self.span_id[rows],
            parent_id=self.parent_id[rows],
            start_ns=self.start_ns[rows],
            end_ns=self.end_ns[rows],
            kind=self.kind[rows],
            status=self.status[rows],
            name=self.name.take(rows),
            stage=self.stage.take(rows),
            service=self.service.take(rows),
            pipeline=self.pipeline.take(rows),
            confidence=self.confidence[rows],
            weight=self.weight[rows],
            blocking=self.blocking[rows],
            final=self.final[rows],
            numbers={key: value[rows] for key, value in self.numbers.items()},
            texts={key: value.take(rows) for key, value in self.texts.items()},
            link_row=holder,
            link_trace_id=self.link_trace_id[kept],
            link_span_id=self.link_span_id[kept],
            link_kind=self.link_kind[kept],
        )

    def _links_of(self, rows: I64) -> tuple[I64, I64]:
        """(links, new rows of their holders) of the spans at `rows`, by new row. No array as long as the table: one trace of millions is cheap."""
        if not self.link_row.size or not rows.size:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        order = np.argsort(rows, kind="stable").astype(np.int64)
        place = np.minimum(np.searchsorted(rows[order], self.link_row), rows.size - 1)
        kept = np.flatnonzero(rows[order][place] == self.link_row).astype(np.int64)
        holder = order[place[kept]]
        by_row = np.argsort(holder, kind="stable")
        return kept[by_row], holder[by_row]

    @classmethod
    def empty(cls) -> "SpanTable":
        return cls.build(trace_id=np.empty((0, 2), np.uint64), span_id=np.empty(0, np.uint64), start_ns=[], end_ns=[])

    @classmethod
    def build(cls, *, trace_id: U64, span_id: U64, start_ns: object, end_ns: object, **columns: object) -> "SpanTable":
        """A table from the columns at hand; every column left out is filled with its missing value. For simulators and tests."""
        n = int(np.asarray(span_id).size)
        defaults: dict[str, object] = {
            "parent_id": np.zeros(n, np.uint64),
            "kind": np.full(n, KIND_INTERNAL, np.int8),
            "status": np.zeros(n, np.int8),
            "name": TextColumn.missing(n),
            "stage": TextColumn.missing(n),
            "service": TextColumn.missing(n),
            "pipeline": TextColumn.missing(n),
            "confidence": np.full(n, np.nan),
            "weight": np.full(n, np.nan),
            "blocking": np.full(n, BLOCKING_UNKNOWN, np.int8),
            "final": np.zeros(n, np.bool_),
        }
        starts, ends = np.asarray(start_ns, np.int64), np.asarray(end_ns, np.int64)
        merged: dict[str, object] = {**defaults, **columns}
        return cls(trace_id=trace_id, span_id=span_id, start_ns=starts, end_ns=ends, **merged)  # type: ignore[arg-type]

    @classmethod
    def concatenate(cls, parts: "list[SpanTable]") -> "SpanTable":
        """Spans of `parts` one after the other; columns that only some have are filled with their missing value."""
        if not parts:
            return cls.empty()
        if len(parts) == 1:
            return parts[0]
        offsets = np.cumsum([0, *(len(part) for part in parts[:-1])])
        plain = ["trace_id", "span_id", "parent_id", "start_ns", "end_ns", "kind", "status", "confidence", "weight", "blocking", "final"]
        plain += ["link_trace_id", "link_span_id", "link_kind"]
        merged: dict[str, object] = {key: np.concatenate([getattr(part, key) for part in parts]) for key in plain}
        merged |= {key: TextColumn.concatenate([getattr(part, key) for part in parts]) for key in ("name", "stage", "service", "pipeline")}
        numbers = sorted({key for part in parts for key in part.numbers})
        texts = sorted({key for part in parts for key in part.texts})
        return cls(
            numbers={key: np.concatenate([part.number(key) for part in parts]) for key in numbers},
            texts={key: TextColumn.concatenate([part.text(key) for part in parts]) for key in texts},
            link_row=np.concatenate([part.link_row + offset for part, offset in zip(parts, offsets, strict=True)]),
            **merged,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WireRows:
    """The spans of a `SpanTable`, row by row, as they came: nothing that a column does not hold is lost.

    `span[i]` is the OTLP protobuf `Span` message; `resource` and `scope` are dictionary-coded: resource_values holds `ResourceSpans` messages
    without scope_spans, scope_values `ScopeSpans` messages without spans.
    """

    span: tuple[bytes, ...]
    resource_codes: I32
    resource_values: tuple[bytes, ...]
    scope_codes: I32
    scope_values: tuple[bytes, ...]

    def __post_init__(self) -> None:
        n = len(self.span)
        require(self.resource_codes.shape == (n,) and self.scope_codes.shape == (n,), "wire columns differ in length")
        lock(self.resource_codes, self.scope_codes)

    def __len__(self) -> int:
        return len(self.span)

    @classmethod
    def concatenate(cls, parts: "list[WireRows]") -> "WireRows":
        resources: dict[bytes, int] = {}
        scopes: dict[bytes, int] = {}
        resource_codes, scope_codes = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for part in parts:
            mapping = np.array([resources.setdefault(value, len(resources)) for value in part.resource_values], np.int32)
            resource_codes.append(mapping[part.resource_codes])
            mapping = np.array([scopes.setdefault(value, len(scopes)) for value in part.scope_values], np.int32)
            scope_codes.append(mapping[part.scope_codes])
        return cls(
            span=tuple(span for part in parts for span in part.span),
            resource_codes=np.concatenate(resource_codes),
            resource_values=tuple(resources),
            scope_codes=np.concatenate(scope_codes),
            scope_values=tuple(scopes),
        )

    def take(self, rows: I64) -> "WireRows":
        return WireRows(
            span=tuple(self.span[int(row)] for row in rows),
            resource_codes=self.resource_codes[rows],
            resource_values=self.resource_values,
            scope_codes=self.scope_codes[rows],
            scope_values=self.scope_values,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SpanBatch:
    """What a decoder makes of one body: accepted spans as columns and as wire rows, and how many were rejected for which reason."""

    spans: SpanTable
    wire: WireRows
    rejected: Mapping[str, int]

    def __post_init__(self) -> None:
        require(len(self.spans) == len(self.wire), f"{len(self.spans)} spans but {len(self.wire)} wire rows")
        object.__setattr__(self, "rejected", MappingProxyType(dict(self.rejected)))
