"""A pipeline of four stages whose slow stage is known: capture → vad → asr → nlu, with sizes handed on and recorded."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from headwater.conventions.attributes import INPUT_SIZE, OUTPUT_SIZE
from headwater.model.spans import F64, I64, KIND_INTERNAL, SpanTable, TextColumn

STAGES: Final = ("capture", "vad", "asr", "nlu")
_BASE_MS: Final = (2.0, 4.0, 10.0, 3.0)
_PER_UNIT_MS: Final = (0.5, 1.0, 4.0, 0.8)
_KEPT: Final = (1.0, 0.8, 2.5, 1.0)
_GAP_MS: Final = 0.5
START_NS: Final = 1_700_000_000_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is different in a window: `slower` multiplies the time a stage takes for the same input, `larger` the size of what it hands on."""

    slower: tuple[tuple[str, float], ...] = ()
    larger: tuple[tuple[str, float], ...] = ()
    record_sizes: bool = True


def speech_runs(rng: np.random.Generator, *, n_runs: int, change: Change | None = None, first_trace: int = 1) -> SpanTable:
    """5 spans a run: a root without a stage and the four stages one after the other, 0.5 ms apart.

    A stage takes (base + per unit · size) · slower · noise, the size being what the stage before handed on (a log-normal number of seconds at the
    start), noise log-normal with mean 1 and spread 0.15. Runs start 1 s apart; trace ids count up from `first_trace`.
    """
    change = change or Change()
    slower, larger = dict(change.slower), dict(change.larger)
    size = np.exp(rng.normal(1.0, 0.4, n_runs))
    at = START_NS + np.arange(n_runs, dtype=np.int64) * 1_000_000_000
    start, end, received, handed = [], [], [], []
    begin = at.copy()
    for index, stage in enumerate(STAGES):
        noise = np.exp(rng.normal(-(0.15**2) / 2, 0.15, n_runs))
        time_ms = (_BASE_MS[index] + _PER_UNIT_MS[index] * size) * slower.get(stage, 1.0) * noise
        begin = begin + round(_GAP_MS * 1e6)
        finish = begin + np.round(time_ms * 1e6).astype(np.int64)
        start.append(begin)
        end.append(finish)
        received.append(size)
        size = size * _KEPT[index] * larger.get(stage, 1.0) * np.exp(rng.normal(0, 0.1, n_runs))
        handed.append(size)
        begin = finish
    sizes = (np.stack(received, axis=1), np.stack(handed, axis=1)) if change.record_sizes else None
    return _table(n_runs, first_trace, (at, np.stack(start, axis=1), np.stack(end, axis=1)), sizes)


def slowdown_ns(stage: str, factor: float, *, size: F64) -> float:
    """The truth for `slower`: by how much the mean time of a stage rises for runs that hand it `size`."""
    index = STAGES.index(stage)
    return float(np.mean(_BASE_MS[index] + _PER_UNIT_MS[index] * size) * (factor - 1) * 1e6)


def growth_ns(stage: str, size_before: F64, size_after: F64) -> float:
    """The truth for `larger`: by how much the mean time of a stage rises because its input grew."""
    return float((np.mean(size_after) - np.mean(size_before)) * _PER_UNIT_MS[STAGES.index(stage)] * 1e6)


def _table(n_runs: int, first_trace: int, times: tuple[I64, I64, I64], sizes: "tuple[F64, F64] | None") -> SpanTable:
    at, start, end = times
    width = len(STAGES) + 1
    n = n_runs * width
    trace = np.repeat(np.arange(first_trace, first_trace + n_runs, dtype=np.uint64), width)
    span_id = np.arange(1, n + 1, dtype=np.uint64) + np.uint64(first_trace * 1000)
    parent_id = np.repeat(span_id[::width], width)
    parent_id[::width] = 0
    stage = np.tile(np.array([-1, *range(len(STAGES))], np.int32), n_runs)
    numbers = {}
    if sizes is not None:
        missing = np.full((n_runs, 1), np.nan)
        numbers = {name: np.hstack([missing, column]).ravel() for name, column in zip((INPUT_SIZE.name, OUTPUT_SIZE.name), sizes, strict=True)}
    return SpanTable.build(
        trace_id=np.stack([np.zeros(n, np.uint64), trace], axis=1),
        span_id=span_id,
        parent_id=parent_id,
        start_ns=np.hstack([at[:, None], start]).ravel(),
        end_ns=np.hstack([end[:, -1:] + round(_GAP_MS * 1e6), end]).ravel(),
        kind=np.full(n, KIND_INTERNAL, np.int8),
        name=TextColumn(codes=stage + 1, values=("run", *STAGES)),
        stage=TextColumn(codes=stage, values=STAGES),
        service=TextColumn(codes=np.zeros(n, np.int32), values=("speech",)),
        pipeline=TextColumn(codes=np.zeros(n, np.int32), values=("speech",)),
        weight=np.ones(n),
        numbers=numbers,
    )
