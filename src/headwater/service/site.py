"""The pages, and each page's .json and .csv twin."""

from fastapi import APIRouter, Request, Response

from headwater.dashboard import pages
from headwater.dashboard.standalone import standalone
from headwater.dashboard.trace_page import trace_page
from headwater.model.errors import EmptyStoreError
from headwater.report import csv
from headwater.report.json import health_document
from headwater.service.face import Face, Window, as_csv, as_html, as_json


def site_routes(face: Face) -> APIRouter:
    """Pages and their twins. A name in a path may hold slashes, so the twins come first."""
    site = APIRouter(include_in_schema=False)

    @site.get("/")
    def overview(request: Request, window: Window) -> Response:
        try:
            found = face.overview(window)
        except EmptyStoreError:
            return as_html(pages.empty_page(face.view(request, None)))
        return as_html(pages.overview_page(found, face.view(request, found["pipeline"])))

    @site.get("/index.json")
    def overview_json(window: Window) -> Response:
        return as_json(face.overview(window))

    @site.get("/index.csv")
    def overview_csv(window: Window) -> Response:
        return as_csv(csv.overview_csv(face.overview(window)))

    @site.get("/report.html")
    def report(window: Window) -> Response:
        response = as_html(standalone(face.overview(window)))
        response.headers["content-disposition"] = 'attachment; filename="headwater-report.html"'
        response.headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return response

    _pipelines(site, face)
    _traces(site, face)
    return site


def _pipelines(site: APIRouter, face: Face) -> None:
    @site.get("/pipelines/{name:path}.json")
    def pipeline_json(name: str, window: Window) -> Response:
        return as_json(face.pipeline(name, window))

    @site.get("/pipelines/{name:path}.csv")
    def pipeline_csv(name: str, window: Window) -> Response:
        return as_csv(csv.pipeline_csv(face.pipeline(name, window)))

    @site.get("/pipelines/{name:path}")
    def pipeline(request: Request, name: str, window: Window) -> Response:
        return as_html(pages.pipeline_page(face.pipeline(name, window), face.view(request, name)))


def _traces(site: APIRouter, face: Face) -> None:
    @site.get("/t/{trace_id}.json")
    def trace_json(trace_id: str) -> Response:
        return as_json(face.trace(trace_id))

    @site.get("/t/{trace_id}.csv")
    def trace_csv(trace_id: str) -> Response:
        return as_csv(csv.trace_csv(face.trace(trace_id)))

    @site.get("/t/{trace_id}")
    def trace(request: Request, trace_id: str) -> Response:
        found = face.trace(trace_id)
        return as_html(trace_page(found, face.view(request, found["pipeline"])))

    @site.get("/health.json")
    def health_json() -> Response:
        return as_json(health_document(face.answers.health()))

    @site.get("/health.csv")
    def health_csv() -> Response:
        return as_csv(csv.health_csv(health_document(face.answers.health())))

    @site.get("/health")
    def health(request: Request) -> Response:
        return as_html(pages.health_page(health_document(face.answers.health()), face.view(request, None)))
