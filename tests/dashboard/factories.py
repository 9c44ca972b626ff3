"""Typed results built by hand: a speech pipeline whose recogniser got worse and slower half-way. Every sum closes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from headwater.conventions.attributes import CONFIDENCE_KIND, DIFFICULTY, MODEL_VERSION, OUTCOME, OWN, QUALITY, STAGE_VERSION
from headwater.model.alert import Alert
from headwater.model.answers import Check, Flow, Health, OutcomeRow, OverviewAnswer, Query, TraceAnswer, TraceRow
from headwater.model.attribution import Attribution, ReportWarning
from headwater.model.blame import Edge, ErrorChange, ErrorReport, Evidence, StageBlame, StageChange, TraceBlame
from headwater.model.errors import EmptyStoreError, UnknownPipelineError, UnknownTraceError, UsageError
from headwater.model.latency import ComponentChange, LatencyChange, LatencyReport, LatencyStatistic, Partition, StageLatency
from headwater.model.pipeline import PipelineGraph
from headwater.model.ports import PipelineSummary, Window
from headwater.model.spans import SpanTable, TextColumn
from headwater.model.traces import Defects, TraceTable

STAGES = ("capture", "vad", "asr", "nlu")
MS = 1_000_000
DAY_NS = 86_400 * 10**9
T0 = 1_772_375_000_000_000_000  # 2026-03-01T14:23:20Z
TRACE_ID = (0x0AF7651916CD43DD, 0x8448EB211C80319C)
TRACE_HEX = "0af7651916cd43dd8448eb211c80319c"
OTHER_HEX = "4bf92f3577b34da6a3ce929d0e0e4736"


def graph(stages: Sequence[str] = STAGES, *, edges: Sequence[tuple[int, int]] | None = None, calls: int = 900) -> PipelineGraph:
    pairs = list(edges) if edges is not None else [(i, i + 1) for i in range(len(stages) - 1)]
    return PipelineGraph(
        pipeline="speech",
        stages=tuple(stages),
        edge=np.array(pairs, np.int32).reshape(-1, 2),
        calls=np.full(len(pairs), calls, np.int64),
        stage_calls=np.full(len(stages), calls, np.int64),
        declared=True,
    )


def statistic(name: str, parts: Sequence[float]) -> LatencyStatistic:
    share = np.array([*parts, 0.02 * sum(parts)])
    components = (*(f"self:{stage}" for stage in STAGES), "unaccounted")
    total = float(share.sum())
    return LatencyStatistic(
        statistic=name,
        value_ns=total,
        low_ns=0.93 * total,
        high_ns=1.08 * total,
        spent=Attribution(
            components=components,
            share=share,
            low=0.9 * share,
            high=1.1 * share,
            unexplained=0.0,
            total=total,
            unit="ns",
            method="harrell-davis",
            level=0.95,
            n_traces=900,
            verdict="identified",
        ),
        on_path_share=np.ones(len(components)),
        drag_ns=np.array([1e6, np.nan, 3e6, 4e6, np.nan]),
    )


def latency_change(name: str, base: float) -> LatencyChange:
    own = {"capture": 0.4 * MS, "vad": -0.3 * MS, "asr": 231.0 * MS, "nlu": 0.9 * MS}
    inherited: dict[str, Mapping[str, float]] = {"nlu": {"asr.output.size": 4.0 * MS}}
    rows = []
    for stage in STAGES:
        spent = own[stage] + sum(inherited.get(stage, {}).values())
        rows.append(
            ComponentChange(
                component=f"self:{stage}",
                spent_delta_ns=spent,
                low_ns=spent - 8 * MS,
                high_ns=spent + 9 * MS,
                own_ns=own[stage],
                own_low_ns=own[stage] - 7 * MS,
                own_high_ns=own[stage] + 8 * MS,
                inherited_ns=inherited.get(stage, {}),
                mix_ns=0.0,
                flagged=stage == "asr",
            )
        )
    delta = sum(row.spent_delta_ns for row in rows)
    return LatencyChange(
        statistic=name,
        baseline_ns=base,
        current_ns=base + delta,
        delta_ns=delta,
        low_ns=delta - 12 * MS,
        high_ns=delta + 13 * MS,
        components=tuple(rows),
    )


def stage_latency(scale: float = 1.0, *, asr_errors: float = 0.0) -> tuple[StageLatency, ...]:
    medians = {"capture": 22.0, "vad": 9.0, "asr": 260.0 * scale, "nlu": 31.0}
    rates = {"asr": asr_errors}
    return tuple(
        StageLatency(
            stage=stage,
            calls=900,
            p50_ns=median * MS,
            p95_ns=2.1 * median * MS,
            p99_ns=3.0 * median * MS,
            error_rate=rates.get(stage, 0.0),
            cpu_ns=0.8 * median * MS if stage != "vad" else float("nan"),
        )
        for stage, median in medians.items()
    )


def latency(*, compared: bool = True) -> LatencyReport:
    return LatencyReport(
        pipeline="speech",
        n_traces=900,
        n_effective=900.0,
        weights="none",
        completeness={"orphans": 0, "duplicates": 2, "skewed": 0, "cycles": 0, "rootless": 12},
        level=0.95,
        statistics=(
            statistic("mean", [24 * MS, 10 * MS, 480 * MS, 33 * MS]),
            statistic("p50", [22 * MS, 9 * MS, 410 * MS, 31 * MS]),
            statistic("p95", [39 * MS, 14 * MS, 905 * MS, 55 * MS]),
            statistic("p99", [44 * MS, 18 * MS, 1300 * MS, 71 * MS]),
        ),
        comparison=tuple(latency_change(name, base) for name, base in (("mean", 318.0 * MS), ("p50", 300.0 * MS), ("p95", 781.0 * MS)))
        if compared
        else None,
        stages=stage_latency(1.7, asr_errors=0.004),
        warnings=(ReportWarning(code="rootless", text="12 of 900 traces had no root; their horizon is their first to their last span"),),
        n_baseline=880 if compared else None,
        baseline_stages=stage_latency() if compared else None,
    )


def stage_blame(stage: str, share: float, verdict: Any = "identified", faults: int = 40) -> StageBlame:
    unsure = verdict == "not identifiable"
    return StageBlame(
        stage=stage,
        blame_share=share,
        blame_low=float("nan") if unsure else max(0.0, share - 0.07),
        blame_high=float("nan") if unsure else share + 0.08,
        attributable_fraction=float("nan") if unsure else 0.9 * share,
        attributable_low=float("nan") if unsure else 0.7 * share,
        attributable_high=float("nan") if unsure else 1.1 * share,
        fixable_loss=None,
        q_value=0.001 if share > 0.2 else 0.6,
        n_faults=faults,
        verdict=verdict,
        evidence=(
            Evidence(attribute=f"{stage}.version", role="version", declared=True, upstream_auc=float("nan"), used=True),
            Evidence(attribute=f"{stage}.confidence", role="symptom", declared=False, upstream_auc=0.91, used=False),
        ),
    )


def error_change() -> ErrorChange:
    own = {"capture": 0.0012, "vad": 0.001, "asr": 0.026, "nlu": -0.0012}
    inherited = {"capture": 0.0, "vad": 0.009, "asr": 0.01, "nlu": 0.036}
    changes = tuple(
        StageChange(
            stage=stage,
            own_delta=own[stage],
            low=own[stage] - 0.005,
            high=own[stage] + 0.005,
            q_value=0.0004 if stage == "asr" else 0.7,
            flagged=stage == "asr",
            inherited_delta=inherited[stage],
        )
        for stage in STAGES
    )
    delta = sum(own.values()) + 0.009 + 0.002
    return ErrorChange(
        baseline_loss=0.041,
        current_loss=0.041 + delta,
        delta=delta,
        input_delta=0.009,
        unexplained_delta=0.002,
        stages=changes,
        n_baseline_labelled=800,
    )


def errors(*, compared: bool = True, verdict: Any = "identified") -> ErrorReport:
    stages = (
        stage_blame("capture", 0.04, faults=11),
        stage_blame("vad", 0.12, "bounded", faults=35),
        stage_blame("asr", 0.61, faults=82),
        stage_blame("nlu", 0.03, "not identifiable", faults=4),
    )
    shares = sum(stage.blame_share for stage in stages)
    return ErrorReport(
        pipeline="speech",
        outcome="loss",
        n_traces=900,
        n_labelled=855,
        n_failures=68,
        mean_loss=0.079,
        low=0.062,
        high=0.099,
        level=0.95,
        stages=stages,
        input_share=0.06,
        unexplained_share=1 - shares - 0.06,
        edges=(
            Edge(source="vad", target="asr", rate_given_error=0.4, rate_baseline=0.08, risk_ratio=5.0, gain=1.8, effect="amplify"),
            Edge(source="asr", target="nlu", rate_given_error=0.11, rate_baseline=0.1, risk_ratio=1.1, gain=0.4, effect="absorb"),
            Edge(source="capture", target="vad", rate_given_error=0.1, rate_baseline=0.1, risk_ratio=1.0, gain=float("nan"), effect="pass"),
        ),
        comparison=error_change() if compared else None,
        verdict=verdict,
        warnings=(
            ReportWarning(code="no_own_evidence", text="nlu has neither own evidence nor a version: record nlu.version or an invariant of its work"),
        ),
    )


def no_outcomes() -> ErrorReport:
    nan = float("nan")
    report = errors(compared=False, verdict="not identifiable")
    stages = tuple(replace(stage_blame(stage, nan, "not identifiable", 0), blame_share=nan) for stage in STAGES)
    return replace(
        report, n_labelled=0, n_failures=0, mean_loss=nan, low=nan, high=nan, stages=stages, input_share=nan, unexplained_share=nan, edges=()
    )


def trace_table(stages: Sequence[str] = STAGES, *, partial: bool = False, text: str | None = None, defects: Defects | None = None) -> TraceTable:
    """Root [0, 400] ms; stages one after the other from 5 ms, each ending where the next begins; the third is slow."""
    s = len(stages)
    lengths = [40, 15, 260, 50, *([10] * max(0, s - 4))][:s]
    bounds = np.cumsum([5, *lengths])
    start = np.array([0, *bounds[:-1]], np.int64) * MS + T0
    end = np.array([bounds[-1] + 5, *bounds[1:]], np.int64) * MS + T0
    n = s + 1
    confidence = np.full(n, np.nan)
    confidence[1:] = np.linspace(0.95, 0.55, s)
    columns: dict[str, list[str | None]] = {
        MODEL_VERSION.name: [None, *(f"{stage}-2026.3" for stage in stages)],
        STAGE_VERSION.name: [None, *("a1b2c3d4" for _ in stages)],
        OUTCOME.name: [None, *("ok" for _ in stages)],
        CONFIDENCE_KIND.name: [None, *(text if text is not None else "prob" for _ in stages)],
    }
    numbers = {QUALITY.of("speech_ratio"): [0.4, 0.41], OWN.of("dropped_p"): [0.12, 0.7], DIFFICULTY.of("snr_db"): [9.5, 9.5]}
    spans = SpanTable.build(
        trace_id=np.tile(np.array([TRACE_ID], np.uint64), (n, 1)),
        span_id=np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x1000000000000001),
        parent_id=np.array([0, *([0x1000000000000001] * s)], np.uint64),
        start_ns=start,
        end_ns=end,
        status=np.array([0] * (n - 1) + [2], np.int8),
        name=TextColumn.of(["handle utterance", *stages]),
        stage=TextColumn.of([None, *stages]),
        service=TextColumn.of(["phone"] * n),
        pipeline=TextColumn.of(["speech"] * n),
        confidence=confidence,
        numbers={name: np.array([np.nan, *(values * s)[:s]]) for name, values in numbers.items()},
        texts={name: TextColumn.of(values) for name, values in columns.items()},
    )
    return TraceTable(
        spans=spans,
        offset=np.array([0, n], np.int64),
        trace_id=np.array([TRACE_ID], np.uint64),
        parent=np.array([-1, *([0] * s)], np.int64),
        pipeline=TextColumn.of(["speech"]),
        run_id=TextColumn.of(["utt-0042"]),
        outcome="loss",
        outcome_loss=np.array([1.0]),
        outcome_at_ns=np.array([T0 + DAY_NS], np.int64),
        outcome_audit=np.array([False]),
        partial=np.array([partial]),
        defects=defects or Defects.none(1),
    )


def partition(traces: TraceTable) -> Partition:
    """The chain above: the root owns the two ends, each stage its own interval."""
    start, end = traces.spans.start_ns, traces.spans.end_ns
    n = len(traces.spans)
    row = np.array([0, *range(1, n), 0], np.int64)
    self_ns = np.array([10 * MS, *(end[1:] - start[1:])], np.int64)
    stages = [traces.spans.stage.at(place) for place in range(1, n)]
    return Partition(
        components=("unaccounted", *(f"self:{stage}" for stage in stages)),
        trace=np.zeros(n + 1, np.int64),
        component=np.array([0, *range(1, n), 0], np.int32),
        row=row,
        start_ns=np.array([start[0], *start[1:], end[-1]], np.int64),
        end_ns=np.array([start[1], *end[1:], end[0]], np.int64),
        flags=np.array([0, 1, *([0] * (n - 1))], np.uint8),
        horizon_start_ns=np.array([start[0]], np.int64),
        horizon_end_ns=np.array([end[0]], np.int64),
        after_response_ns=np.array([3 * MS], np.int64),
        self_ns=self_ns,
        path_ns=self_ns.copy(),
        ambiguous_share=0.0,
    )


def trace_blame(stages: Sequence[str] = STAGES) -> TraceBlame:
    s = len(stages)
    own = np.zeros((1, s))
    own[0, min(2, s - 1)], own[0, 0] = 0.62, 0.05
    share = np.zeros((1, s))
    share[0, min(2, s - 1)], share[0, 0] = 0.7, 0.08
    flagged = np.zeros((1, s), np.bool_)
    flagged[0, min(2, s - 1)] = True
    inherited = np.cumsum(np.hstack([np.zeros((1, 1)), own[:, :-1]]), axis=1)
    return TraceBlame(
        stages=tuple(stages),
        loss=np.array([1.0]),
        baseline=np.array([0.12]),
        input=np.array([0.05]),
        residual=np.array([0.88 - 0.05 - float(own.sum())]),
        own=own,
        inherited=inherited,
        share=share,
        unattributed=np.array([1 - float(share.sum())]),
        introduced_by=np.array([min(2, s - 1)], np.int64),
        missed_by=np.zeros((1, s), np.bool_),
        flagged=flagged,
        verdict="identified",
    )


def trace_answer(
    stages: Sequence[str] = STAGES, *, partial: bool = False, blamed: bool = True, text: str | None = None, defects: Defects | None = None
) -> TraceAnswer:
    traces = trace_table(stages, partial=partial, text=text, defects=defects)
    return TraceAnswer(
        traces=traces,
        partition=partition(traces),
        blame=trace_blame(stages) if blamed else None,
        blame_missing=None if blamed else "this run has no outcome yet",
        jaeger_url=f"http://127.0.0.1:16686/trace/{TRACE_HEX}?uiFind=1000000000000001",
    )


def flow(stages: Sequence[str] = STAGES, bins: int = 36) -> Flow:
    rng = np.random.default_rng(7)
    base = 25 + 8 * np.sin(np.linspace(0, 5, bins))
    calls = np.stack([np.maximum(0, base - place * 0.6 + rng.normal(0, 1, bins)).astype(np.int64) for place in range(len(stages))], axis=1)
    failed = np.zeros_like(calls)
    failed[bins // 2 :, min(2, len(stages) - 1)] = rng.poisson(2, bins - bins // 2)
    failed = np.minimum(failed, calls)
    return Flow(stages=tuple(stages), edges_ns=T0 + np.linspace(0, 6 * 3600 * 10**9, bins + 1).astype(np.int64), calls=calls, errors=failed)


def durations(scale: float) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    medians = {"capture": 22.0, "vad": 9.0, "asr": 260.0 * scale, "nlu": 31.0}
    return {stage: median * MS * np.exp(0.45 * rng.standard_normal(900)) for stage, median in medians.items()}


def alerts() -> tuple[Alert, ...]:
    return (
        Alert(
            at_ns=T0,
            stage="asr",
            kind="degradation",
            severity="warning",
            state="firing",
            cost=0.026,
            low=0.021,
            high=0.031,
            unit="loss",
            text="asr by itself raised the mean final loss by 2.6 points [2.1, 3.1]",
            exemplars=(TRACE_HEX,),
        ),
        Alert(
            at_ns=T0,
            stage="asr",
            kind="bottleneck",
            severity="critical",
            state="firing",
            cost=231.0 * MS,
            low=224.0 * MS,
            high=239.0 * MS,
            unit="ns",
            text="self:asr by itself raised p95 by 231.0 ms [224.0, 239.0]",
            exemplars=(TRACE_HEX, OTHER_HEX),
        ),
    )


def summary(name: str = "speech", stages: Sequence[str] = STAGES) -> PipelineSummary:
    return PipelineSummary(
        pipeline=name, stages=tuple(stages), n_traces=900, n_spans=4500, first_start_ns=T0, last_start_ns=T0 + 6 * 3600 * 10**9, n_outcomes=855
    )


def query(*, compared: bool = True) -> Query:
    return Query(
        pipeline="speech",
        window=Window(start_ns=T0, end_ns=T0 + 6 * 3600 * 10**9),
        baseline=Window(start_ns=T0 - 6 * 3600 * 10**9, end_ns=T0) if compared else None,
    )


def overview(*, compared: bool = True, labelled: bool = True) -> OverviewAnswer:
    return OverviewAnswer(
        pipelines=(summary(), summary("recommendation", ("profile", "rank"))),
        query=query(compared=compared),
        graph=graph(),
        latency=latency(compared=compared),
        errors=errors(compared=compared) if labelled else None,
        errors_missing=None if labelled else "no run of this window has an outcome",
        durations_ns=durations(1.7),
        baseline_durations_ns=durations(1.0) if compared else None,
        flow=flow(),
        alerts=alerts() if compared else (),
        failed_traces=(TRACE_HEX,),
        slowest_traces=(OTHER_HEX, TRACE_HEX),
    )


def health(lag_ns: int | None = 420 * MS) -> Health:
    return Health(
        received=4512,
        accepted=4500,
        duplicates=7,
        rejected={"bad_id": 3, 'quota "odd"': 2},
        lag_ns=lag_ns,
        queue=12,
        disk_bytes=3_400_000,
        checks=(
            Check(name="spans", ok=True, text="speech: 900 runs, 4500 spans"),
            Check(name="jaeger", ok=False, text="Jaeger does not answer at http://127.0.0.1:16686", next="docker compose up jaeger"),
        ),
        warnings=(ReportWarning(code="disk", text="the disk is 91 % full"),),
    )


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same result with other names: every text equal to a key of `names`, or "kind:key", in any depth; arrays stay as they are."""
    if isinstance(value, str):
        kind, colon, name = value.partition(":")
        return names.get(value, f"{kind}:{names[name]}" if colon and name in names else value)
    if isinstance(value, tuple):
        return tuple(renamed(item, names) for item in value)
    if isinstance(value, Mapping):
        return {renamed(key, names): renamed(item, names) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: renamed(getattr(value, field.name), names) for field in fields(value)})
    return value


class FixedAnswers:
    """`service.ports.Answers` over the results above: the smallest thing the HTTP face can stand on."""

    def __init__(self, *, empty: bool = False, trace_answer: TraceAnswer | None = None, overview_answer: OverviewAnswer | None = None) -> None:
        self.empty = empty
        self.taken: list[OutcomeRow] = []
        self.asked: list[dict[str, Any]] = []
        self._trace = trace_answer or globals()["trace_answer"]()
        self._overview = overview_answer

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        return () if self.empty else (summary(), summary("recommendation", ("profile", "rank")))

    def query(self, **asked: Any) -> Query:
        self.asked.append(asked)
        if self.empty:
            raise EmptyStoreError("the store holds no traces yet", next_command="headwater ingest traces.jsonl")
        name = asked.get("pipeline") or "speech"
        if name not in ("speech", "recommendation"):
            raise UnknownPipelineError.among(name, ("speech", "recommendation"))
        if asked.get("since") == "yesteryear":
            raise UsageError("--since 'yesteryear' is neither an instant nor an age", next_command="headwater report --help")
        return replace(query(compared=asked.get("baseline") is not None or asked.get("baseline_since") is not None), pipeline=name)

    def overview(self, query: Query) -> OverviewAnswer:
        found = self._overview or overview(compared=query.baseline is not None)
        return replace(found, query=query)

    def graph(self, query: Query) -> PipelineGraph:
        return replace(graph(), pipeline=query.pipeline)

    def latency(self, query: Query) -> LatencyReport:
        return latency(compared=query.baseline is not None)

    def errors(self, query: Query) -> ErrorReport:
        return errors(compared=query.baseline is not None)

    def trace(self, trace_id: str) -> TraceAnswer:
        if trace_id.lower() != TRACE_HEX:
            raise UnknownTraceError(f"trace {trace_id} is not in this store", next_command="headwater pipelines")
        return self._trace

    def recent(self, query: Query, limit: int) -> Sequence[TraceRow]:
        row = TraceRow(trace_id=TRACE_HEX, start_ns=T0, duration_ns=375 * MS, n_spans=5, status="error", loss=1.0, partial=False)
        return [row, replace(row, trace_id=OTHER_HEX, status="ok", loss=None)][:limit]

    def health(self) -> Health:
        return health()

    def add_outcomes(self, rows: Sequence[OutcomeRow]) -> Mapping[str, int]:
        self.taken.extend(rows)
        return {"received": len(rows), "accepted": len(rows)}
