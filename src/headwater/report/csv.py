"""Documents as CSV that a spreadsheet opens without running anything in it."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO
from typing import Any, Final

from headwater.report.clean import clean
from headwater.report.numbers import Document

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "|", "%")


def safe(value: Any) -> Any:
    """Text that a spreadsheet would read as a formula gets an apostrophe in front; numbers stay numbers; None is an empty cell."""
    if not isinstance(value, str):
        return "" if value is None else value
    shown = clean(value, limit=32_000)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA) else shown


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([safe(value) for value in row] for row in rows)
    return out.getvalue()


def _ends(ends: list[float] | None) -> tuple[float | None, float | None]:
    return (None, None) if ends is None else (ends[0], ends[1])


STAGE_COLUMNS: Final = (
    *("pipeline", "stage", "calls", "p50_ns", "p95_ns", "p99_ns", "error_rate", "cpu_ns", "blame_share", "blame_low", "blame_high", "n_faults"),
    *("q_value", "verdict", "own_delta", "own_delta_low", "own_delta_high", "inherited_delta", "flagged"),
)


def overview_csv(document: Document) -> str:
    """A row a stage: latency, blame with its interval, own and inherited change."""
    errors = document["errors"]
    blamed = {} if errors is None else {row["stage"]: row for row in errors["stages"]}
    changed = {} if errors is None or errors["comparison"] is None else {row["stage"]: row for row in errors["comparison"]["stages"]}
    rows = []
    for row in document["latency"]["stages"]:
        blame, change = blamed.get(row["stage"], {}), changed.get(row["stage"], {})
        latency = (row[key] for key in ("stage", "calls", "p50_ns", "p95_ns", "p99_ns", "error_rate", "cpu_ns"))
        own = (change.get("own_delta"), *_ends(change.get("interval")), change.get("inherited_delta"), change.get("flagged"))
        shares = (blame.get("blame_share"), *_ends(blame.get("blame_interval")), blame.get("n_faults"), blame.get("q_value"), blame.get("verdict"))
        rows.append((document["pipeline"], *latency, *shares, *own))
    return _table(STAGE_COLUMNS, rows)


def pipeline_csv(document: Document) -> str:
    """A row an edge of the graph: calls and how a fault passes along it."""
    passed = {} if document["errors"] is None else {(row["from"], row["to"]): row for row in document["errors"]["edges"]}
    measured = ("rate_given_error", "rate_baseline", "risk_ratio", "gain", "effect")
    rows = [
        (document["pipeline"], edge["from"], edge["to"], edge["calls"], *(passed.get((edge["from"], edge["to"]), {}).get(key) for key in measured))
        for edge in document["graph"]["edges"]
    ]
    return _table(("pipeline", "from", "to", "calls", *measured), rows)


def trace_csv(document: Document) -> str:
    """A row a span, in the order of the trace, with the blame of its stage."""
    shares = {} if document["blame"] is None else {row["stage"]: row["share"] for row in document["blame"]["stages"]}
    plain = ("span_id", "parent_span_id", "name", "stage", "service", "kind", "start_ns", "end_ns", "self_ns", "path_ns", "status")
    rows = [(document["trace_id"], *(span[key] for key in plain), shares.get(span["stage"])) for span in document["spans"]]
    return _table(("trace_id", *plain, "blame_share"), rows)


def health_csv(document: Document) -> str:
    """A row a figure."""
    figures = [(key, document[key]) for key in ("received", "accepted", "duplicates", "lag_ns", "queue", "disk_bytes")]
    return _table(("figure", "value"), [*figures, *((f"rejected {reason}", number) for reason, number in document["rejected"].items())])
