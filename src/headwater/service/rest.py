"""/api/v1: the documents of the command line at the same nouns."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from headwater.service.face import Face, Window, as_json
from headwater.service.outcomes import OutcomeIn

MOST_OUTCOMES: Final = 50_000
_DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": words, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, words in ((400, "The question cannot be read"), (404, "Unknown pipeline or trace"), (422, "Too little data, or a wrong value"))
}


Outcomes = Annotated[list[OutcomeIn], Field(min_length=1, max_length=MOST_OUTCOMES)]


def rest(face: Face) -> APIRouter:
    """Everything under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=_DOCUMENTED)

    @api.get("/pipelines")
    def pipelines() -> Response:
        return as_json(face.document("pipelines", {}))

    @api.get("/graph")
    def graph(window: Window) -> Response:
        return as_json(face.document("graph", window))

    @api.get("/reports/latency")
    def latency(window: Window) -> Response:
        return as_json(face.document("reports/latency", window))

    @api.get("/reports/errors")
    def errors(window: Window) -> Response:
        return as_json(face.document("reports/errors", window))

    @api.get("/overview")
    def overview(window: Window) -> Response:
        return as_json(face.overview(window))

    _more(api, face)
    return api


def _more(api: APIRouter, face: Face) -> None:
    """One sentence, single traces, checks; and the one way in: outcomes."""

    @api.get("/why")
    def why(window: Window) -> Response:
        return as_json(face.document("why", window))

    @api.get("/traces")
    def traces(window: Window, limit: Annotated[int, Query(ge=1, le=1_000_000)] = 50) -> Response:
        return as_json(face.document("traces", {**window, "limit": limit}))

    @api.get("/traces/{trace_id}")
    def trace(trace_id: str) -> Response:
        return as_json(face.trace(trace_id))

    @api.get("/doctor")
    def doctor(window: Window) -> Response:
        return as_json(face.document("doctor", window))

    @api.post("/outcomes")
    def outcomes(body: OutcomeIn | Outcomes) -> Response:
        rows = [one.row() for one in (body if isinstance(body, list) else [body])]
        counts = face.answers.add_outcomes(rows)
        return as_json({"schema": "headwater.outcomes/1", **{key: int(number) for key, number in counts.items()}})
