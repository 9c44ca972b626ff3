"""Spans to traces: grouped, sorted, repaired, and joined with the outcome that was judged later."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from headwater.conventions.attributes import (
    CANARY,
    DEFAULT_OUTCOME,
    LINK_KINDS,
    OUTCOME_AUDIT,
    OUTCOME_LOSS,
    OUTCOME_NAME,
    OUTCOME_SPAN_NAME,
    RUN_ID,
)
from headwater.model.spans import F64, I64, U64, Bool, SpanTable, TextColumn
from headwater.model.traces import DEFECTS, Defects, TraceTable
from headwater.traces.repair import Draft, repair, trace_starts

_OUTCOME_LINK: Final = LINK_KINDS.index("outcome")
_TRUE: Final = ("true", "True", "1")


def assemble(
    spans: SpanTable,
    *,
    outcome: str = DEFAULT_OUTCOME,
    partial: frozenset[tuple[int, int]] = frozenset(),
    late: Mapping[tuple[int, int], int] | None = None,
) -> TraceTable:
    """Traces of `spans`, in ascending order of trace id whatever the order of the spans; an empty table if there are none.

    Duplicates are dropped, loops cut, orphans attached and all of it counted (`headwater.traces.repair`). Spans named
    ``headwater.outcome`` are taken out and joined: to the trace they link to, else to every trace of their run id; of several judgements
    named `outcome` the one that ended last counts, one without a loss never. `partial`: (high, low) ids of traces that may still grow;
    `late`: spans that came after their trace was first reported. Canary runs stay in: `canary_runs` tells them.
    """
    verdicts = _is_outcome(spans)
    order = _sorted_rows(spans, np.flatnonzero(~verdicts))
    kept = spans.take(order)
    starts = trace_starts(kept.trace_id)
    offset = np.append(starts, len(kept)).astype(np.int64)
    draft = Draft(spans=kept, offset=offset, parent=np.full(len(kept), -1, np.int64), counts={})
    if len(kept):
        draft = repair(draft)
    trace_id = kept.trace_id[starts]
    ids = [(int(high), int(low)) for high, low in trace_id] if partial or late else []
    counts = {name: draft.counts.get(name, np.zeros(starts.size, np.int32)) for name in DEFECTS}
    if late:
        counts["late"] = np.array([late.get(key, 0) for key in ids], np.int32)
    run_id = _first(draft, draft.spans.text(RUN_ID.name))
    loss, at_ns, audit = _join(spans.take(np.flatnonzero(verdicts)), outcome, trace_id, run_id)
    return TraceTable(
        spans=draft.spans,
        offset=draft.offset,
        trace_id=trace_id,
        parent=draft.parent,
        pipeline=_pipelines(draft),
        run_id=run_id,
        outcome=outcome,
        outcome_loss=loss,
        outcome_at_ns=at_ns,
        outcome_audit=audit,
        partial=np.array([key in partial for key in ids], np.bool_) if partial else np.zeros(starts.size, np.bool_),
        defects=Defects(**counts),
    )


def canary_runs(traces: TraceTable) -> Bool:
    """(m,) bool: traces of which any span carries ``headwater.canary`` = true, to be kept out of traffic statistics."""
    marked = truth(traces.spans, CANARY.name)
    found = np.zeros(len(traces), np.bool_)
    found[traces.trace_of_row()[marked]] = True
    return found


def truth(spans: SpanTable, name: str) -> Bool:
    """(n,) bool of a boolean attribute, wherever the decoder put it: a number other than 0, or the text true. Missing = false."""
    column = spans.text(name)
    words = np.array([*(value in _TRUE for value in column.values), False], np.bool_)
    said: Bool = words[column.codes]
    counted: Bool = np.nan_to_num(spans.number(name)) != 0
    return counted | said


def _is_outcome(spans: SpanTable) -> Bool:
    code = spans.name.code_of(OUTCOME_SPAN_NAME)
    return spans.name.codes == code if code >= 0 else np.zeros(len(spans), np.bool_)


def _sorted_rows(spans: SpanTable, rows: I64) -> I64:
    """`rows` by (trace id, start, end descending, span id)."""
    high, low = spans.trace_id[rows, 0], spans.trace_id[rows, 1]
    return rows[np.lexsort((spans.span_id[rows], -spans.end_ns[rows], spans.start_ns[rows], low, high))]


def _first(draft: Draft, column: TextColumn) -> TextColumn:
    """(m,) per trace: the value of its root, else of its first span that has one."""
    n, m = len(draft.spans), draft.offset.size - 1
    if not n:
        return TextColumn.missing(m)
    row = np.arange(n)
    root = np.minimum.reduceat(np.where(draft.parent < 0, row, n), draft.offset[:-1])
    first = np.minimum.reduceat(np.where(column.codes >= 0, row, n), draft.offset[:-1])
    root_codes = column.codes[np.minimum(root, n - 1)]
    first_codes = np.where(first < n, column.codes[np.minimum(first, n - 1)], -1)
    return TextColumn(codes=np.where(root_codes >= 0, root_codes, first_codes).astype(np.int32), values=column.values)


def _pipelines(draft: Draft) -> TextColumn:
    """(m,) per trace: the pipeline a span names, the root before others; else the service, likewise."""
    named, service = _first(draft, draft.spans.pipeline), _first(draft, draft.spans.service)
    both = TextColumn.concatenate([named, service])
    m = len(named)
    return TextColumn(codes=np.where(both.codes[:m] >= 0, both.codes[:m], both.codes[m:]), values=both.values)


def _join(verdicts: SpanTable, outcome: str, trace_id: U64, run_id: TextColumn) -> tuple[F64, I64, Bool]:
    """(loss, at_ns, audit), each (m,): the last judgement of every trace; NaN, 0, False where there is none."""
    m = trace_id.shape[0]
    loss, at_ns, audit = np.full(m, np.nan), np.zeros(m, np.int64), np.zeros(m, np.bool_)
    column = verdicts.text(OUTCOME_NAME.name)
    wanted = np.where(column.codes < 0, outcome == DEFAULT_OUTCOME, column.codes == _code(column, outcome))
    losses, audits = verdicts.number(OUTCOME_LOSS.name), truth(verdicts, OUTCOME_AUDIT.name)
    usable = np.flatnonzero(wanted & ~np.isnan(losses))
    if not usable.size or not m:
        return loss, at_ns, audit
    trace, judged = _targets(verdicts, usable, trace_id, run_id)
    # Ascending by end, span id last so that equal instants do not depend on the order of arrival: the last write wins.
    order = np.lexsort((verdicts.span_id[judged], verdicts.end_ns[judged]))
    for target, row in zip(trace[order], judged[order], strict=True):
        loss[target], at_ns[target], audit[target] = losses[row], verdicts.end_ns[row], audits[row]
    return loss, at_ns, audit


def _code(column: TextColumn, value: str) -> int:
    """Code of `value`, or one that no row has: −1 would match the missing ones."""
    code = column.code_of(value)
    return code if code >= 0 else len(column.values)


def _targets(verdicts: SpanTable, usable: I64, trace_id: U64, run_id: TextColumn) -> tuple[I64, I64]:
    """Pairs (trace, verdict row): by link of kind outcome, else by run id, which may name several traces."""
    known = {(int(high), int(low)): index for index, (high, low) in enumerate(trace_id)}
    linked: dict[int, int] = {}
    for link in np.flatnonzero(verdicts.link_kind == _OUTCOME_LINK):
        high, low = verdicts.link_trace_id[link]
        target = known.get((int(high), int(low)))
        if target is not None:
            linked.setdefault(int(verdicts.link_row[link]), target)
    runs: dict[str, list[int]] = {}
    for index, code in enumerate(run_id.codes.tolist()):
        if code >= 0:
            runs.setdefault(run_id.values[code], []).append(index)
    pairs: list[tuple[int, int]] = []
    names = verdicts.text(RUN_ID.name)
    for row in usable.tolist():
        name = names.at(row)
        targets = [linked[row]] if row in linked else runs.get(name, []) if name is not None else []
        pairs += [(target, row) for target in targets]
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


__all__ = ["assemble", "canary_runs", "truth"]
