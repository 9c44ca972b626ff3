"""The spans of a trace document in waterfall order, each with its stretch of the critical path and its stage's blame."""

from dataclasses import dataclass

from headwater.report.numbers import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a waterfall: `path` = [start, end) ns the span spends on the critical path; share = blame of its stage, None = not known."""

    span: Document
    depth: int
    path: tuple[tuple[int, int], ...]
    share: float | None


def tree_rows(document: Document) -> list[Row]:
    """Parents before children, siblings by start; linear in spans and segments, no recursion. Orphans stand at depth 0 in time order."""
    spans = document["spans"]
    here = {span["span_id"] for span in spans}
    children: dict[str | None, list[Document]] = {}
    for span in sorted(spans, key=lambda span: (-span["start_ns"], span["end_ns"], span["span_id"])):
        parent = span["parent_span_id"] if span["parent_span_id"] in here else None
        children.setdefault(parent, []).append(span)
    path: dict[str, list[tuple[int, int]]] = {}
    for segment in document["segments"]:
        if segment["span_id"] is not None:
            path.setdefault(segment["span_id"], []).append((segment["start_ns"], segment["end_ns"]))
    blame = document["blame"]
    shares = {} if blame is None else {row["stage"]: row["share"] for row in blame["stages"]}
    rows: list[Row] = []
    waiting = [(span, 0) for span in children.get(None, [])]
    seen: set[str] = set()
    while waiting:
        span, depth = waiting.pop()
        if span["span_id"] in seen:
            continue
        seen.add(span["span_id"])
        stretch = tuple(path.get(span["span_id"], ()))
        rows.append(Row(span=span, depth=depth, path=stretch, share=shares.get(span["stage"])))
        waiting.extend((child, depth + 1) for child in children.get(span["span_id"], []))
    return rows
