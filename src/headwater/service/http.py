"""The HTTP face: pages, their .json and .csv twins, the REST documents of json-contract.md, health and metrics.

Every answer is a document of headwater.report; a page is that document rendered. Handlers are plain functions and run in worker threads.
"""

from collections.abc import Callable, Iterable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from headwater.dashboard.environment import static_files
from headwater.model.errors import HeadwaterError
from headwater.service.face import Face, as_json
from headwater.service.guards import Guards
from headwater.service.metrics import exposition
from headwater.service.ports import Answers
from headwater.service.rest import rest
from headwater.service.site import site_routes


def http_app(
    answers: Answers, *, jaeger_url: str | None = None, allowed_hosts: Iterable[str] = (), ready: Callable[[], bool] = lambda: True
) -> FastAPI:
    """The application over `answers`.

    jaeger_url: base of Jaeger's UI, checked by doctor. allowed_hosts: Host names beside loopback. ready: False = /healthz answers 503, so that
    a load balancer sends nothing more while the service drains.
    """
    app = FastAPI(title="headwater", version="1", docs_url=None, redoc_url=None, description="Latency and errors attributed to their origin.")
    face = Face(answers, jaeger_url)
    app.include_router(rest(face))
    app.include_router(site_routes(face))
    app.include_router(_operations(answers, ready))
    app.add_exception_handler(HeadwaterError, face.on_error)
    app.add_exception_handler(RequestValidationError, face.on_invalid)
    app.add_exception_handler(HTTPException, face.on_http)
    app.add_middleware(Guards, allowed=tuple(allowed_hosts))
    return app


def _operations(answers: Answers, ready: Callable[[], bool]) -> APIRouter:
    """For machines that watch: liveness, metrics, and the style sheet."""
    site = APIRouter(include_in_schema=False)

    @site.get("/healthz")
    def healthz() -> Response:
        up = ready()
        return as_json({"status": "ok" if up else "draining"}, 200 if up else 503)

    @site.get("/metrics")
    def metrics(request: Request) -> Response:
        body, content_type = exposition(answers.health(), request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    @site.get("/static/{name}")
    def static(name: str) -> Response:
        found = static_files().get(name)
        if found is None:
            raise HTTPException(404, "there is no such file")
        return Response(found[0], media_type=found[1], headers={"cache-control": "public, max-age=300"})

    return site
