"""What all routes share: the answers, the parameters of a question, and how an error looks as JSON and as a page."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headwater.dashboard import pages
from headwater.dashboard.links import Links
from headwater.model.errors import (
    HeadwaterError,
    StoreLockedError,
    TooLittleDataError,
    UndecodableError,
    UnknownPipelineError,
    UnknownTraceError,
    UnreachableError,
    UsageError,
)
from headwater.report.json import error_document, health_document, overview_document, pipelines_document, trace_document, traces_document
from headwater.service.documents import document, resolve
from headwater.service.ports import Answers

Document = dict[str, Any]
Params = dict[str, object]
RECENT_ON_PAGE: Final = 25

_STATUS: Final[tuple[tuple[type[HeadwaterError], int], ...]] = (
    (UnknownPipelineError, 404),
    (UnknownTraceError, 404),
    (UsageError, 400),
    (UndecodableError, 400),
    (TooLittleDataError, 422),
    (StoreLockedError, 409),
    (UnreachableError, 502),
)
_TITLES: Final = {404: "Not here", 400: "That cannot be asked", 422: "Too little to go by", 409: "The store is busy", 502: "No answer from there"}


def window_params(
    pipeline: Annotated[str | None, Query(description="name of the pipeline; may be left out where there is one")] = None,
    since: Annotated[str | None, Query(description="ISO 8601, or an age such as 1h or 2d")] = None,
    until: Annotated[str | None, Query(description="as since")] = None,
    baseline: Annotated[str | None, Query(description="previous")] = None,
    *,
    baseline_since: Annotated[str | None, Query(description="as since")] = None,
    baseline_until: Annotated[str | None, Query(description="as since")] = None,
    outcome: Annotated[str | None, Query(description="which outcome is explained; default loss")] = None,
    cluster: Annotated[str | None, Query(description="attribute that clusters runs; default session.id")] = None,
    where: Annotated[list[str] | None, Query(description="key=value, repeatable")] = None,
) -> Params:
    """The query parameters shared by all reports; empty ones count as not given."""
    given = {"pipeline": pipeline, "since": since, "until": until, "baseline": baseline, "baseline_since": baseline_since}
    given |= {"baseline_until": baseline_until, "outcome": outcome, "cluster": cluster}
    return {key: value for key, value in given.items() if value} | {"where": where or []}


Window = Annotated[Params, Depends(window_params)]


def status_of(error: HeadwaterError) -> int:
    """The HTTP status of an error; 500 for one that is none of the known kinds."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def as_json(found: Mapping[str, Any], status: int = 200) -> Response:
    """NaN would be no JSON: it raises here rather than reach a reader. Lone surrogates of a hostile span become "?"."""
    body = json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(body, status, media_type="application/json")


def as_html(text: str, status: int = 200) -> Response:
    return Response(text.encode("utf-8", "replace"), status, media_type="text/html; charset=utf-8")


def as_csv(text: str) -> Response:
    return Response(text.encode("utf-8", "replace"), media_type="text/csv; charset=utf-8")


class Face:
    """What the routes share: the answers, and how a page's surroundings and errors look."""

    def __init__(self, answers: Answers, jaeger_url: str | None) -> None:
        self.answers = answers
        self.jaeger_url = jaeger_url

    def document(self, noun: str, params: Params) -> Document:
        return document(self.answers, noun, params, jaeger_url=self.jaeger_url)

    def overview(self, params: Params) -> Document:
        """The overview of the pipeline asked for; of the one that ran last where none was named."""
        known = self.answers.pipelines()
        if known and not params.get("pipeline"):
            params = {**params, "pipeline": max(known, key=lambda row: row.last_start_ns).pipeline}
        return overview_document(self.answers.overview(resolve(self.answers, params)))

    def pipeline(self, name: str, params: Params) -> Document:
        query = resolve(self.answers, {**params, "pipeline": name})
        found = overview_document(self.answers.overview(query))
        recent = traces_document(query.pipeline, self.answers.recent(query, RECENT_ON_PAGE))
        return {**found, "schema": "headwater.pipeline/1", "traces": recent["traces"]}

    def trace(self, trace_id: str) -> Document:
        return trace_document(self.answers.trace(trace_id))

    def view(self, request: Request, pipeline: str | None) -> pages.View:
        links = Links(params=tuple(request.query_params.multi_items()))
        known = pipelines_document(self.answers.pipelines())["pipelines"]
        return pages.View(links=links, pipelines=known, pipeline=pipeline, health=health_document(self.answers.health()))

    async def on_error(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HeadwaterError):
            raise error
        return self._failed(request, error_document(error), status_of(error))

    async def on_invalid(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        first = next(iter(error.errors()), {"loc": (), "msg": "it cannot be read"})
        place = ".".join(str(part) for part in first["loc"])
        return self._failed(request, error_document(UsageError(f"{place}: {first['msg']}")), 422)

    async def on_http(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        response = self._failed(
            request, error_document(UsageError(f"{request.url.path}: {error.detail}", next_command="GET /openapi.json")), error.status_code
        )
        response.headers.update(error.headers or {})
        return response

    def _failed(self, request: Request, found: Document, status: int) -> Response:
        path = request.url.path
        if path.startswith(("/api/", "/metrics", "/healthz", "/static/")) or path.endswith((".json", ".csv")):
            return as_json(found, status)
        view = pages.View(links=Links(params=tuple(request.query_params.multi_items())))
        return as_html(pages.error_page(found, view, title=_TITLES.get(status, "Something went wrong")), status)
