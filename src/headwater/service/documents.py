"""Noun → document: the one mapping that the command line uses on a local store; REST serves the same nouns (service/http.py)."""

from collections.abc import Mapping
from typing import Any

from headwater.model.answers import Query
from headwater.model.errors import NoOutcomesError, TooLittleDataError, UsageError
from headwater.report import json as documents
from headwater.report import text
from headwater.service.doctor import checks
from headwater.service.ports import Answers

Document = dict[str, Any]


def document(answers: Answers, noun: str, params: Mapping[str, object], *, jaeger_url: str | None = None) -> Document:
    """The document of a noun. Raises what `Answers` raises, UsageError for a noun nobody knows."""
    if noun == "pipelines":
        return documents.pipelines_document(answers.pipelines())
    if noun == "doctor":
        return documents.doctor_document(checks(answers, pipeline=_text(params, "pipeline"), jaeger_url=jaeger_url))
    if noun.startswith("traces/"):
        return documents.trace_document(answers.trace(noun.removeprefix("traces/")))
    query = resolve(answers, params)
    if noun == "graph":
        return documents.graph_document(answers.graph(query))
    if noun == "reports/latency":
        return documents.latency_document(answers.latency(query))
    if noun == "reports/errors":
        return documents.errors_document(answers.errors(query))
    if noun == "why":
        return why_document(answers, query)
    if noun == "traces":
        return documents.traces_document(query.pipeline, answers.recent(query, int(str(params.get("limit", 50)))))
    raise UsageError(f"there is no document {noun!r}", next_command="headwater --help")


def resolve(answers: Answers, params: Mapping[str, object]) -> Query:
    """The query that texts from a command line or a URL mean."""
    where = params.get("where", ())
    names = ("pipeline", "since", "until", "baseline_since", "baseline_until", "baseline", "outcome", "cluster")
    return answers.query(**{name: _text(params, name) for name in names}, where=[str(item) for item in where] if isinstance(where, list) else ())


def why_document(answers: Answers, query: Query) -> Document:
    """One sentence over both reports; where no outcomes are known it says so and speaks of latency alone."""
    latency = documents.latency_document(answers.latency(query))
    errors: Document | None = None
    missing: str | None = None
    try:
        errors = documents.errors_document(answers.errors(query))
    except (NoOutcomesError, TooLittleDataError) as error:
        missing = error.text
    sentence = text.sentence(errors, latency)
    return {
        "schema": "headwater.why/1",
        "pipeline": query.pipeline,
        "sentence": sentence,
        "errors_missing": missing,
        "errors": errors,
        "latency": latency,
    }


def _text(params: Mapping[str, object], name: str) -> str | None:
    value = params.get(name)
    return None if value is None else str(value)
