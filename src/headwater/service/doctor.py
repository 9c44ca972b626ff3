"""What is missing before the reports can be believed, each with the next command."""

import math
from collections.abc import Iterator

import httpx

from headwater.model.answers import Check
from headwater.model.blame import ErrorReport
from headwater.model.errors import HeadwaterError
from headwater.model.latency import LatencyReport
from headwater.service.ports import Answers

_JAEGER_TIMEOUT_S = 2.0


def checks(answers: Answers, *, pipeline: str | None = None, jaeger_url: str | None = None) -> tuple[Check, ...]:
    """Every check, in the order a person would mend them. A check that needs data is left out while there is none."""
    found: list[Check] = [*_health(answers)]
    if jaeger_url is not None:
        found.append(_jaeger(jaeger_url))
    known = answers.pipelines()
    if not known:
        return (
            *found,
            Check(name="spans", ok=False, text="the store holds no traces yet", next="headwater serve   # then send OTLP, or: headwater ingest FILE"),
        )
    found.append(Check(name="spans", ok=True, text=", ".join(f"{one.pipeline}: {one.n_traces} runs, {one.n_spans} spans" for one in known)))
    for one in known:
        if pipeline in (None, one.pipeline):
            found.extend(_pipeline(answers, one.pipeline))
    return tuple(found)


def _health(answers: Answers) -> Iterator[Check]:
    health = answers.health()
    yield from health.checks
    if health.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(health.rejected.items()))
        yield Check(name="rejected", ok=False, text=f"spans were rejected: {reasons}", next="mend the sender; /metrics counts them by reason")


def _pipeline(answers: Answers, name: str) -> Iterator[Check]:
    try:
        query = answers.query(pipeline=name)
        latency = answers.latency(query)
    except HeadwaterError as error:
        yield Check(name=f"{name}: latency", ok=False, text=error.text, next=error.next)
        return
    yield from _latency(name, latency)
    try:
        yield from _errors(name, answers.errors(query))
    except HeadwaterError as error:
        yield Check(name=f"{name}: outcomes", ok=False, text=error.text, next=error.next or "hw.outcome(...), or: headwater outcome import FILE")


def _latency(name: str, report: LatencyReport) -> Iterator[Check]:
    stages = [row.stage for row in report.stages]
    yield Check(
        name=f"{name}: stages",
        ok=bool(stages),
        text=f"stages: {', '.join(stages)}" if stages else "no span of this pipeline names a stage",
        next=None if stages else 'wrap the stages: @hw.stage("name")',
    )
    broken = {key: count for key, count in report.completeness.items() if key in {"orphans", "rootless", "cycles"} and count}
    said = ", ".join(f"{count} {key}" for key, count in broken.items())
    yield Check(
        name=f"{name}: whole traces",
        ok=not broken,
        text=f"of {report.n_traces} runs: {said}" if broken else f"all {report.n_traces} runs are whole",
        next="send every span of a run (no head sampling between services), and hand the context on: hw.token()" if broken else None,
    )
    if report.weights == "unknown":
        yield Check(
            name=f"{name}: sampling",
            ok=True,
            text="no sampling weights on the spans; figures hold if every run was exported",
        )
    for warning in report.warnings:
        if warning.code == "no_sizes":
            yield Check(name=f"{name}: sizes", ok=False, text=warning.text, next="@hw.stage(..., input_size=, output_size=)")


def _errors(name: str, report: ErrorReport) -> Iterator[Check]:
    share = report.n_labelled / report.n_traces if report.n_traces else math.nan
    yield Check(
        name=f"{name}: outcomes",
        ok=report.n_labelled > 0,
        text=f"{report.n_labelled} of {report.n_traces} runs have an outcome ({share:.0%})",
        next=None if report.n_labelled else "hw.outcome(run_id, loss=…), or: headwater outcome import FILE",
    )
    for stage in report.stages:
        able = any(evidence.role in {"own", "version"} for evidence in stage.evidence)
        yield Check(
            name=f"{name}: evidence of {stage.stage}",
            ok=able,
            text=f"{stage.stage} records {', '.join(evidence.attribute for evidence in stage.evidence) or 'nothing'}",
            next=None if able else f'@hw.stage("{stage.stage}", version=…, quality={{"…": hw.own(f)}})',
        )


def _jaeger(url: str) -> Check:
    try:
        httpx.get(f"{url.rstrip('/')}/", timeout=_JAEGER_TIMEOUT_S)
    except httpx.HTTPError as error:
        return Check(
            name="jaeger", ok=False, text=f"Jaeger does not answer at {url}: {error}", next="docker compose up jaeger, or set HEADWATER_JAEGER_URL"
        )
    return Check(name="jaeger", ok=True, text=f"Jaeger answers at {url}")
