"""Names for time: which component a piece of the path belongs to."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from headwater.conventions.attributes import LINK_KINDS
from headwater.model.spans import I8, I32, I64, KIND_CLIENT, KIND_CONSUMER, KIND_SERVER, Bool, SpanTable
from headwater.model.traces import TraceTable

UNACCOUNTED: Final = "unaccounted"
_NOT_WORK: Final = (LINK_KINDS.index("outcome"), LINK_KINDS.index("retry_of"))


@njit(cache=True)
def _stage_kernel(parent: I64, stage: I32, closed: Bool) -> I32:
    """(n,) i32: own stage code, else that of the nearest ancestor unless a closed span lies between; −1 = none."""
    found = np.full(parent.size, -2, np.int32)
    for first in range(parent.size):
        row = first
        while found[row] == -2 and stage[row] < 0 and not closed[row] and parent[row] >= 0:
            row = parent[row]
        code = found[row] if found[row] != -2 else stage[row]
        row = first
        while found[row] == -2:
            found[row] = code
            if stage[row] >= 0 or closed[row] or parent[row] < 0:
                break
            row = parent[row]
    return found


def orphans(traces: TraceTable) -> Bool:
    """(n,) bool: spans whose parent id is not the id of their parent row: orphans, attached or not, and ends of loops that were cut."""
    spans = traces.spans
    up = np.where(traces.parent >= 0, traces.parent, 0)
    same = (traces.parent >= 0) & (spans.span_id[up] == spans.parent_id) if len(spans) else np.empty(0, np.bool_)
    marked: Bool = (spans.parent_id != 0) & ~same
    return marked


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Names:
    """How spans are called. caller (n,) i32 and callee (n,) i32 index `words`; component codes are made by `label`."""

    words: tuple[str, ...]
    caller: I64
    callee: I64
    stage: I32
    edge: Bool
    edge_child: I64
    batched: Bool


def names(traces: TraceTable) -> Names:
    """caller: the stage the span works for, else its service, else its name. callee: its own stage, else its first child's, else service, name.

    A span without a stage works for the stage above it, but a server or consumer span, a root and an orphan work for nobody else: their gaps are
    unaccounted. edge (n,) bool: a client span with exactly one server child, edge_child its row. batched: it links to several producers.
    """
    spans, parent = traces.spans, traces.parent
    n = len(spans)
    closed = np.isin(spans.kind, (KIND_SERVER, KIND_CONSUMER)) | orphans(traces)
    stage = _stage_kernel(parent, spans.stage.codes, closed)
    child_stage = np.full(n, -1, np.int64)
    named = np.flatnonzero((spans.stage.codes >= 0) & (parent >= 0))[::-1]
    child_stage[parent[named]] = spans.stage.codes[named]  # reversed: the first child writes last
    own_or_child = np.where(spans.stage.codes >= 0, spans.stage.codes, child_stage)
    words, column = _words(spans)
    edge, edge_child = _edges(parent, spans.kind)
    return Names(
        words=words,
        caller=_choose(column, stage.astype(np.int64)),
        callee=_choose(column, own_or_child),
        stage=stage,
        edge=edge,
        edge_child=edge_child,
        batched=_batched(spans),
    )


def _words(spans: SpanTable) -> tuple[tuple[str, ...], tuple[int, I64, int, I64, int]]:
    """One vocabulary: stages, services, names, and one word for spans without any of them."""
    stages, services, titles = spans.stage.values, spans.service.values, spans.name.values
    words = (*stages, *services, *titles, "unnamed")
    return words, (
        len(stages),
        spans.service.codes.astype(np.int64),
        len(stages) + len(services),
        spans.name.codes.astype(np.int64),
        len(words) - 1,
    )


def _choose(column: tuple[int, I64, int, I64, int], stage: I64) -> I64:
    services_at, service, titles_at, title, unnamed = column
    below = np.where(title >= 0, title + titles_at, unnamed)
    below = np.where(service >= 0, service + services_at, below)
    return np.where(stage >= 0, stage, below)


def _edges(parent: I64, kind: I8) -> tuple[Bool, I64]:
    n = parent.size
    remote = np.flatnonzero((parent >= 0) & (kind == KIND_SERVER))
    remote = remote[kind[parent[remote]] == KIND_CLIENT]
    child = np.full(n, -1, np.int64)
    child[parent[remote]] = remote
    return np.bincount(parent[remote], minlength=n)[:n] == 1, child


def _batched(spans: SpanTable) -> Bool:
    work = ~np.isin(spans.link_kind, _NOT_WORK)
    return np.bincount(spans.link_row[work], minlength=len(spans))[: len(spans)] > 1


def label(pieces: I64, known: Names) -> tuple[tuple[str, ...], I32]:
    """(components in use, sorted by name; code (g,) i32 of each piece). pieces (g, 5) as `partition_kernel` returns them."""
    row, producer = pieces[:, 2], pieces[:, 4]
    g = row.size
    width = len(known.words) + 1
    key = np.zeros(g, np.int64)  # 0 = unaccounted
    held = np.flatnonzero(row >= 0)
    owner = row[held]
    edge = known.edge[owner]
    stage = known.stage[owner].astype(np.int64)
    key[held] = np.where(stage >= 0, width + stage, 0)
    key[held[edge]] = 2 * width + known.callee[known.edge_child[owner[edge]]]
    queue = np.flatnonzero(producer >= 0)
    if queue.size:
        consumer = pieces[queue, 2]
        together = known.batched[consumer]
        key[queue] = np.where(together, 3 * width + known.callee[consumer], (4 + known.caller[producer[queue]]) * width + known.callee[consumer])
    used, code = _ranked(key)
    texts = [_text(int(value), width, known.words) for value in used]
    components = tuple(sorted(set(texts)))
    place = np.array([components.index(text) for text in texts], np.int32)
    return components, place[code] if g else np.empty(0, np.int32)


def _ranked(key: I64) -> tuple[I64, I64]:
    """(distinct keys ascending, place of each key among them): by a table where keys are small, as they nearly always are, else by sorting."""
    top = int(key.max(initial=0)) + 1
    if top > max(10_000_000, key.size):
        used, code = np.unique(key, return_inverse=True)
        return used, code.astype(np.int64)
    seen = np.zeros(top, np.bool_)
    seen[key] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[key]


def _text(key: int, width: int, words: tuple[str, ...]) -> str:
    kind, word = divmod(key, width)
    if not kind:
        return UNACCOUNTED
    if kind <= 3:
        return ("self:", "edge:", "batch_wait:")[kind - 1] + words[word]
    return f"queue:{words[kind - 4]}->{words[word]}"


__all__ = ["UNACCOUNTED", "Names", "label", "names", "orphans"]
