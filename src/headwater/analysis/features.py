"""What each stage received: the sizes that explain its time, and where they came from."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.analysis.components import names
from headwater.conventions.attributes import INPUT_SIZE, OUTPUT_SIZE, ROUTE
from headwater.model.latency import LatencyInput
from headwater.model.spans import F64, I64, Bool, lock

_STAGE: Final = "self:"
MISSING_MAX: Final = 0.2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Received:
    """One window by trace (m,), in the order of the input. work_ns, size: component → (m,) f64, for components self:stage only. work_ns is the self
    time of all spans that work for the stage, on the path or not; size is what it received, NaN = not recorded in that trace. source: component →
    name of that size ("vad.output.size", or "vad.input.size" where nothing came before). route (m,) text: the route named on the root, else the set
    of stages that ran.
    """

    work_ns: dict[str, F64]
    size: dict[str, F64]
    source: dict[str, str]
    route: tuple[str, ...]

    def __post_init__(self) -> None:
        lock(*self.work_ns.values(), *self.size.values())


def received(given: LatencyInput) -> Received:
    """Sizes by ``headwater.input.size``, summed over a stage's calls; where no span of the stage says, the ``headwater.output.size`` of the stage
    that ends last before it begins.
    """
    traces, cut = given.traces, given.partition
    spans = traces.spans
    m, stages = len(traces), spans.stage.values
    trace, code = traces.trace_of_row(), spans.stage.codes
    known = names(traces)
    works = np.flatnonzero((known.stage >= 0) & ~known.edge)
    width = max(len(stages), 1)
    work = np.zeros((m, width))
    np.add.at(work, (trace[works], known.stage[works]), cut.self_ns[works])
    ran = np.zeros((m, width), np.bool_)
    own = np.flatnonzero(code >= 0)
    ran[trace[own], code[own]] = True
    before = _upstream(given, ran)
    taken, given_out = _sum(given, spans.number(INPUT_SIZE.name)), _sum(given, spans.number(OUTPUT_SIZE.name))
    work_ns: dict[str, F64] = {}
    size: dict[str, F64] = {}
    source: dict[str, str] = {}
    for stage, name in enumerate(stages):
        if not np.any(ran[:, stage]):
            continue
        key = _STAGE + name
        above = int(before[stage])
        work_ns[key] = work[:, stage].copy()
        size[key] = taken[:, stage].copy()
        if above >= 0 and not _recorded(size[key], ran[:, stage]):
            size[key] = given_out[:, above].copy()
        source[key] = f"{stages[above]}.output.size" if above >= 0 else f"{name}.input.size"
    return Received(work_ns=work_ns, size=size, source=source, route=_routes(given, ran))


def _recorded(size: F64, ran: Bool) -> bool:
    return bool(np.mean(np.isnan(size[ran])) <= MISSING_MAX) if np.any(ran) else False


def usable(size: F64, work_ns: F64) -> bool:
    """Is the size there in at least 80 % of the traces in which the stage worked?"""
    return _recorded(size, work_ns > 0)


def _sum(given: LatencyInput, column: F64) -> F64:
    """(m, stages) sum of a column over the spans of each stage; NaN where no span says."""
    traces = given.traces
    width = max(len(traces.spans.stage.values), 1)
    rows = np.flatnonzero((traces.spans.stage.codes >= 0) & ~np.isnan(column))
    key = traces.trace_of_row()[rows] * width + traces.spans.stage.codes[rows]
    total = np.bincount(key, weights=column[rows], minlength=len(traces) * width).astype(np.float64)
    total[np.bincount(key, minlength=total.size) == 0] = np.nan
    return total.reshape(len(traces), width)


def _upstream(given: LatencyInput, ran: Bool) -> I64:
    """(stages,) the stage that, in most traces with both, ended before this one began, the one ending last on average; −1 = none."""
    traces = given.traces
    spans, m, width = traces.spans, len(traces), ran.shape[1]
    rows = np.flatnonzero(spans.stage.codes >= 0)
    key = traces.trace_of_row()[rows] * width + spans.stage.codes[rows]
    begin, end = np.full(m * width, np.iinfo(np.int64).max), np.full(m * width, np.iinfo(np.int64).min)
    np.minimum.at(begin, key, spans.start_ns[rows])
    np.maximum.at(end, key, spans.end_ns[rows])
    begin, end = begin.reshape(m, width), end.reshape(m, width)
    found = np.full(width, -1, np.int64)
    for stage in range(width):
        nearest = np.inf
        for other in range(width):
            both = ran[:, stage] & ran[:, other]
            if other == stage or not np.any(both):
                continue
            gap = begin[both, stage] - end[both, other]
            if np.mean(gap >= 0) > 0.5 and float(np.median(gap)) < nearest:
                found[stage], nearest = other, float(np.median(gap))
    return found


def _routes(given: LatencyInput, ran: Bool) -> tuple[str, ...]:
    traces = given.traces
    if not len(traces):
        return ()
    column = traces.spans.text(ROUTE.name)
    named = column.codes[traces.root_row()]
    patterns, place = np.unique(ran, axis=0, return_inverse=True)
    values = np.array(traces.spans.stage.values or ("",), dtype=object)
    texts = ["+".join(sorted(values[pattern])) if np.any(pattern) else "" for pattern in patterns]
    return tuple(column.values[code] if code >= 0 else texts[index] for code, index in zip(named.tolist(), place.ravel().tolist(), strict=True))
