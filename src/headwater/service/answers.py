"""Answers over a store: read a window, assemble, ask analysis, join what a page needs. The only place that chains the rooms."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

from headwater.alerts.incidents import alerts_over
from headwater.analysis import errors as error_analysis
from headwater.analysis import latency as latency_analysis
from headwater.analysis.critical_path import partition
from headwater.conventions.attributes import SESSION_ID
from headwater.model.answers import Health, OutcomeRow, OverviewAnswer, Query, TraceAnswer, TraceRow
from headwater.model.blame import ErrorReport, TraceBlame
from headwater.model.errors import EmptyStoreError, HeadwaterError, TooLittleDataError, UnknownPipelineError, UnknownTraceError, UsageError
from headwater.model.latency import LatencyInput, LatencyReport
from headwater.model.pipeline import PipelineGraph
from headwater.model.ports import PipelineSummary, SpanReader, Window
from headwater.model.spans import I64, STATUS_ERROR
from headwater.model.traces import TraceTable, format_span_id, format_trace_id, parse_trace_id
from headwater.service.extracts import blame_of_row, durations, extremes, flow, partition_of_row, rng_for
from headwater.service.windows import current_window, parse_instant, parse_where, previous_window
from headwater.traces.assemble import assemble
from headwater.traces.pipeline import graph as pipeline_graph

_CACHE_SIZE: Final = 16
_NO_OUTCOME: Final = "this run has no outcome yet; report it with hw.outcome(...) or `headwater outcome add`"
T = TypeVar("T")


class LocalAnswers:
    """Implements `service.ports.Answers` over one reader. `generation` changes whenever the store does; answers are kept until then."""

    def __init__(
        self,
        reader: SpanReader,
        *,
        now_ns: Callable[[], int],
        where: str = "the store",
        jaeger_url: str | None = None,
        generation: Callable[[], int] = lambda: 0,
        health: Callable[[], Health] | None = None,
        add_outcomes: Callable[[Sequence[OutcomeRow]], Mapping[str, int]] | None = None,
    ) -> None:
        self._reader = reader
        self._now_ns = now_ns
        self._where = where
        self._jaeger_url = jaeger_url
        self._generation = generation
        self._health = health
        self._add_outcomes = add_outcomes
        self._kept: dict[tuple[object, ...], object] = {}
        self._kept_generation = -1
        self._lock = threading.RLock()

    # ---- what to ask ------------------------------------------------------------------------------------------------------

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        return self._keep("pipelines", self._reader.pipelines)

    def query(
        self,
        *,
        pipeline: str | None = None,
        since: str | None = None,
        until: str | None = None,
        baseline_since: str | None = None,
        baseline_until: str | None = None,
        baseline: str | None = None,
        outcome: str | None = None,
        cluster: str | None = None,
        where: Sequence[str] = (),
    ) -> Query:
        now = self._now_ns()
        summary = self._summary(pipeline)
        pairs = parse_where(tuple(where))
        begin, end, base_begin, base_end = (
            None if text is None else parse_instant(text, now_ns=now) for text in (since, until, baseline_since, baseline_until)
        )
        window = current_window(summary, since=begin, until=end, where=pairs)
        compared: Window | None = None
        if baseline is not None and baseline != "previous":
            raise UsageError(f"--baseline {baseline!r} is not known; say previous, or give --baseline-since and --baseline-until")
        if baseline == "previous":
            compared = previous_window(window, newest_ns=summary.last_start_ns)
        elif base_begin is not None or base_end is not None:
            compared = Window(start_ns=base_begin, end_ns=base_end, where=pairs)
        return Query(pipeline=summary.pipeline, window=window, baseline=compared, outcome=outcome or "loss", cluster=cluster)

    def _summary(self, pipeline: str | None) -> PipelineSummary:
        known = self.pipelines()
        if not known:
            raise EmptyStoreError(
                f"{self._where} holds no traces yet; send OTLP to `headwater serve`, or read a file",
                next_command="headwater ingest traces.jsonl",
            )
        names = tuple(summary.pipeline for summary in known)
        if pipeline is None:
            if len(known) > 1:
                raise UsageError(
                    f"{self._where} holds several pipelines ({', '.join(names)}); pick one with --pipeline", next_command="headwater pipelines"
                )
            return known[0]
        if pipeline not in names:
            raise UnknownPipelineError.among(pipeline, names)
        return known[names.index(pipeline)]

    # ---- the questions ----------------------------------------------------------------------------------------------------

    def graph(self, query: Query) -> PipelineGraph:
        return self._keep(("graph", query), lambda: pipeline_graph(self._traces(query.pipeline, query.window, query.outcome)))

    def latency(self, query: Query) -> LatencyReport:
        def ask() -> LatencyReport:
            current = self._input(query.pipeline, query.window, query.outcome)
            baseline = None if query.baseline is None else self._input(query.pipeline, query.baseline, query.outcome)
            return latency_analysis.report(current, pipeline=query.pipeline, baseline=baseline, rng=rng_for(query), cluster=query.cluster)

        return self._keep(("latency", query), ask)

    def errors(self, query: Query) -> ErrorReport:
        return self._errors(query)[0]

    def _errors(self, query: Query) -> tuple[ErrorReport, TraceBlame]:
        def ask() -> tuple[ErrorReport, TraceBlame]:
            traces = self._traces(query.pipeline, query.window, query.outcome)
            baseline = None if query.baseline is None else self._traces(query.pipeline, query.baseline, query.outcome)
            both = traces if baseline is None else baseline
            labels: dict[str, int] = {}
            answer = error_analysis.analyse(
                traces,
                pipeline_graph(traces),
                pipeline=query.pipeline,
                baseline=baseline,
                clusters=self._clusters(query, traces, query.window, labels),
                baseline_clusters=None if query.baseline is None else self._clusters(query, both, query.baseline, labels),
                rng=rng_for(query),
            )
            return answer.report, answer.blame

        return self._keep(("errors", query), ask)

    def trace(self, trace_id: str) -> TraceAnswer:
        try:
            wanted = parse_trace_id(trace_id)
        except ValueError as error:
            raise UsageError(f"{trace_id!r} is not a trace id; give its hex digits (32 of them)", next_command="headwater pipelines") from error
        traces = assemble(self._reader.trace(wanted))
        if not len(traces):
            raise UnknownTraceError(f"trace {trace_id} is not in this store", next_command="headwater pipelines")
        row = int(np.flatnonzero((traces.trace_id[:, 0] == wanted[0]) & (traces.trace_id[:, 1] == wanted[1]))[0])
        alone = traces.take(np.array([row], np.int64))
        query = self.query(pipeline=alone.pipeline.at(0)) if alone.pipeline.at(0) is not None else None
        side = None if query is None else self._input(query.pipeline, query.window, query.outcome)
        rows = np.empty(0, np.int64) if side is None else np.flatnonzero(np.all(side.traces.trace_id == alone.trace_id[0], axis=1))
        if query is None or side is None or not rows.size:
            outside = "this run lies outside the pipeline's default window (the 7 days before its newest run)"
            return TraceAnswer(traces=alone, partition=partition(alone), blame=None, blame_missing=outside, jaeger_url=self._jaeger(alone))
        blame, missing = self._window_blame(query)
        return self._one(side, int(rows[0]), blame=blame, missing=missing)

    def each_trace(self, query: Query) -> Iterator[TraceAnswer]:
        """Every trace of the window in order of trace id, judged against the window; one read for all of them."""
        side = self._input(query.pipeline, query.window, query.outcome)
        blame, missing = self._window_blame(query)
        for i in range(len(side.traces)):
            yield self._one(side, i, blame=blame, missing=missing)

    def _window_blame(self, query: Query) -> tuple[TraceBlame | None, str]:
        """Blame of every trace of the window, or None and why there is none."""
        try:
            return self._errors(query)[1], _NO_OUTCOME
        except HeadwaterError as error:
            return None, error.text

    def _one(self, side: LatencyInput, row: int, *, blame: TraceBlame | None, missing: str) -> TraceAnswer:
        one = side.traces.take(np.array([row], np.int64))
        judged = not np.isnan(one.outcome_loss[0])
        return TraceAnswer(
            traces=one,
            partition=partition_of_row(side, row),
            blame=None if blame is None or not judged else blame_of_row(blame, row),
            blame_missing=(None if blame is not None else missing) if judged else _NO_OUTCOME,
            jaeger_url=self._jaeger(one),
        )

    def overview(self, query: Query) -> OverviewAnswer:
        def ask() -> OverviewAnswer:
            traces = self._traces(query.pipeline, query.window, query.outcome)
            latency = self.latency(query)
            missing: str | None = None
            report: ErrorReport | None = None
            try:
                report = self.errors(query)
            except TooLittleDataError as error:
                missing = error.text
            slow, failed = extremes(traces)
            baseline = None if query.baseline is None else self._traces(query.pipeline, query.baseline, query.outcome)
            graph = self.graph(query)
            return OverviewAnswer(
                pipelines=self.pipelines(),
                query=query,
                graph=graph,
                latency=latency,
                errors=report,
                errors_missing=missing,
                durations_ns=durations(traces, graph.stages),
                baseline_durations_ns=None if baseline is None else durations(baseline, graph.stages),
                flow=flow(traces, graph.stages),
                alerts=alerts_over(latency, report, at_ns=query.window.start_ns or 0, exemplars=failed or slow),
                failed_traces=failed,
                slowest_traces=slow,
            )

        return self._keep(("overview", query), ask)

    def recent(self, query: Query, limit: int) -> Sequence[TraceRow]:
        traces = self._traces(query.pipeline, query.window, query.outcome)
        spans = traces.spans
        starts = spans.start_ns[traces.offset[:-1]]
        ends = np.maximum.reduceat(spans.end_ns, traces.offset[:-1])
        failed = np.maximum.reduceat((spans.status == STATUS_ERROR).astype(np.int8), traces.offset[:-1])
        newest = np.argsort(-starts, kind="stable")[:limit]
        return tuple(
            TraceRow(
                trace_id=format_trace_id(*traces.trace_id[i]),
                start_ns=int(starts[i]),
                duration_ns=int(ends[i] - starts[i]),
                n_spans=int(traces.offset[i + 1] - traces.offset[i]),
                status="error" if failed[i] else "ok",
                loss=None if np.isnan(traces.outcome_loss[i]) else float(traces.outcome_loss[i]),
                partial=bool(traces.partial[i]),
            )
            for i in newest
        )

    def health(self) -> Health:
        if self._health is not None:
            return self._health()
        return Health(received=0, accepted=0, duplicates=0, rejected={}, lag_ns=None, queue=0, disk_bytes=0, checks=())

    def add_outcomes(self, rows: Sequence[OutcomeRow]) -> Mapping[str, int]:
        if self._add_outcomes is None:
            raise UsageError("this view of the store cannot write", next_command="headwater outcome import FILE")
        return self._add_outcomes(rows)

    # ---- reading ----------------------------------------------------------------------------------------------------------

    def _traces(self, pipeline: str, window: Window, outcome: str) -> TraceTable:
        def ask() -> TraceTable:
            traces = assemble(self._reader.window(pipeline, window), outcome=outcome)
            if not len(traces):
                raise TooLittleDataError(
                    f"no run of {pipeline!r} started in this window; widen --since or --until", next_command="headwater pipelines"
                )
            return traces

        return self._keep(("traces", pipeline, window, outcome), ask)

    def _input(self, pipeline: str, window: Window, outcome: str) -> LatencyInput:
        def ask() -> LatencyInput:
            traces = self._traces(pipeline, window, outcome)
            return LatencyInput(traces=traces, partition=partition(traces))

        return self._keep(("input", pipeline, window, outcome), ask)

    def _clusters(self, query: Query, traces: TraceTable, window: Window, labels: dict[str, int]) -> I64 | None:
        """(m,) cluster of each run by `query.cluster`, else session.id of the root; a run without one is its own cluster. None = no run has one."""
        if query.cluster is None:
            column = traces.spans.text(SESSION_ID.name).take(traces.root_row())
            texts = [column.at(i) for i in range(len(traces))]
        else:
            named = self._reader.root_attribute(query.pipeline, window, query.cluster)
            texts = [named.get(format_trace_id(*row)) for row in traces.trace_id]
            if not any(texts):
                raise UsageError(f"no root span in this window has the attribute {query.cluster!r}; name another --cluster")
        if not any(texts):
            return None
        keys = [text if text is not None else f"\0{format_trace_id(*row)}" for text, row in zip(texts, traces.trace_id, strict=True)]
        return np.array([labels.setdefault(key, len(labels)) for key in keys], np.int64)

    def _jaeger(self, traces: TraceTable) -> str | None:
        if self._jaeger_url is None:
            return None
        trace_id = format_trace_id(*traces.trace_id[0])
        span = format_span_id(int(traces.spans.span_id[traces.root_row()[0]]))
        return f"{self._jaeger_url.rstrip('/')}/trace/{trace_id}?uiFind={span}"

    def _keep(self, key: object, ask: Callable[[], T]) -> T:
        """`ask()` once a store generation. One asker at a time: a page asks for the same window five times over."""
        with self._lock:
            generation = self._generation()
            if generation != self._kept_generation or len(self._kept) > _CACHE_SIZE:
                self._kept = {}
                self._kept_generation = generation
            if (key,) not in self._kept:
                self._kept[key,] = ask()
            return self._kept[key,]  # type: ignore[return-value]
