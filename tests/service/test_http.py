"""The HTTP face over fixed answers: routes, twins, statuses, guards, and what may not come out of it."""

import csv
import io
import json
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.dashboard.factories import OTHER_HEX, TRACE_HEX, FixedAnswers
from tests.service.asgi import Client

from headwater.model.answers import Health
from headwater.model.errors import (
    EmptyStoreError,
    HeadwaterError,
    NoOutcomesError,
    StoreLockedError,
    TooLittleDataError,
    UndecodableError,
    UnknownPipelineError,
    UnknownTraceError,
    UnreachableError,
    UsageError,
)
from headwater.model.ports import PipelineSummary
from headwater.service.face import as_json, status_of
from headwater.service.guards import BODY_LIMIT
from headwater.service.http import http_app

BASE = "http://127.0.0.1:8417"


@pytest.fixture
def answers() -> FixedAnswers:
    return FixedAnswers()


@pytest.fixture
def client(answers: FixedAnswers) -> Client:
    return Client(http_app(answers), base_url=BASE)


DOCUMENTS = {
    "/api/v1/pipelines": "headwater.pipelines/1",
    "/api/v1/graph?pipeline=speech": "headwater.graph/1",
    "/api/v1/reports/latency?pipeline=speech": "headwater.report.latency/1",
    "/api/v1/reports/errors?pipeline=speech&baseline=previous": "headwater.report.errors/1",
    "/api/v1/why?pipeline=speech": "headwater.why/1",
    "/api/v1/overview": "headwater.overview/1",
    "/api/v1/traces?pipeline=speech": "headwater.traces/1",
    f"/api/v1/traces/{TRACE_HEX}": "headwater.trace/1",
    "/api/v1/doctor": "headwater.doctor/1",
    "/index.json": "headwater.overview/1",
    "/pipelines/speech.json": "headwater.pipeline/1",
    f"/t/{TRACE_HEX}.json": "headwater.trace/1",
    "/health.json": "headwater.health/1",
}


@pytest.mark.parametrize(("path", "schema"), DOCUMENTS.items())
def test_every_document_names_its_schema_and_is_strict_json(client: Client, path: str, schema: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} in {path}")

    assert json.loads(answer.content, parse_constant=refuse)["schema"] == schema


@pytest.mark.parametrize("path", ["/", "/pipelines/speech", f"/t/{TRACE_HEX}", "/health", "/?baseline=previous", "/report.html"])
def test_pages_are_html_with_no_script_and_no_inline_style(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text.lower()
    assert ' style="' not in answer.text
    assert "javascript:" not in answer.text


@pytest.mark.parametrize("path", ["/", "/api/v1/pipelines", "/static/headwater.css", "/nowhere", f"/t/{OTHER_HEX}", "/healthz"])
def test_security_headers_stand_on_every_answer(client: Client, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


def test_a_mailed_report_allows_its_own_style_and_nothing_else(client: Client) -> None:
    answer = client.get("/report.html")
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


def test_query_parameters_reach_the_service_as_they_were_typed(client: Client, answers: FixedAnswers) -> None:
    client.get(
        "/api/v1/reports/errors?pipeline=speech&since=2h&until=1h&baseline_since=2026-03-01T14:00:00Z&baseline_until=3h&outcome=wer&cluster=user.id"
        "&where=a%3D1&where=b%3Dx%20y"
    )
    assert answers.asked[-1] == {
        "pipeline": "speech",
        "since": "2h",
        "until": "1h",
        "baseline_since": "2026-03-01T14:00:00Z",
        "baseline_until": "3h",
        "baseline": None,
        "outcome": "wer",
        "cluster": "user.id",
        "where": ["a=1", "b=x y"],
    }


def test_empty_parameters_of_a_form_count_as_not_given(client: Client, answers: FixedAnswers) -> None:
    assert client.get("/?pipeline=speech&since=&until=&baseline_since=").status_code == 200
    assert answers.asked[-1]["since"] is None


@pytest.mark.parametrize("latest", ["speech", "recommendation"])
def test_overview_takes_the_pipeline_that_ran_last_where_none_is_named(latest: str) -> None:
    class Two(FixedAnswers):
        def pipelines(self) -> tuple[PipelineSummary, ...]:
            return tuple(replace(row, last_start_ns=row.last_start_ns + (row.pipeline == latest)) for row in super().pipelines())

    two = Two()
    assert Client(http_app(two), base_url=BASE).get("/").status_code == 200
    assert two.asked[-1]["pipeline"] == latest


STATUSES = [
    (UnknownPipelineError("x"), 404),
    (UnknownTraceError("x"), 404),
    (UsageError("x"), 400),
    (UndecodableError("x"), 400),
    (TooLittleDataError("x"), 422),
    (EmptyStoreError("x"), 422),
    (NoOutcomesError("x"), 422),
    (StoreLockedError("x"), 409),
    (UnreachableError("x"), 502),
    (HeadwaterError("x"), 500),
]


@pytest.mark.parametrize(("error", "status"), STATUSES, ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value))
def test_each_kind_of_error_has_its_status(error: HeadwaterError, status: int) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/v1/graph?pipeline=spech", 404, "unknown_pipeline"),
        (f"/api/v1/traces/{OTHER_HEX}", 404, "unknown_trace"),
        ("/api/v1/graph?pipeline=speech&since=yesteryear", 400, "usage"),
        ("/api/v1/traces?limit=0", 422, "usage"),
        ("/api/v1/nothing", 404, "usage"),
        ("/pipelines/spech.json", 404, "unknown_pipeline"),
        ("/pipelines/spech.csv", 404, "unknown_pipeline"),
    ],
)
def test_rest_errors_are_documents_with_the_next_command(client: Client, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    body = answer.json()
    assert body["schema"] == "headwater.error/1"
    assert body["code"] == code
    assert body["text"]
    assert body["exit_code"] == 2
    assert "next" in body


def test_a_page_that_cannot_be_shown_is_friendly_and_escaped(client: Client) -> None:
    answer = client.get("/pipelines/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    assert answer.status_code == 404
    assert "<img" not in answer.text
    assert "&lt;img" in answer.text
    assert "headwater pipelines" in answer.text


def test_empty_store_has_a_page_that_tells_the_next_command_and_a_document_that_says_so() -> None:
    client = Client(http_app(FixedAnswers(empty=True)), base_url=BASE)
    page = client.get("/")
    assert page.status_code == 200
    assert "headwater serve" in page.text
    assert "headwater ingest" in page.text
    assert client.get("/index.json").status_code == 422
    assert client.get("/index.json").json()["code"] == "empty_store"
    assert client.get("/api/v1/pipelines").json()["pipelines"] == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8417", "", "localhost.evil", "user@evil.example", "[::1"])
def test_a_foreign_host_name_is_refused(client: Client, host: str) -> None:
    answer = client.get("/api/v1/pipelines", headers={"host": host})
    assert answer.status_code == 403
    assert answer.json()["code"] == "host"
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9999", "127.0.0.1", "[::1]:8417"])
def test_loopback_names_are_answered_with_any_port(client: Client, host: str) -> None:
    assert client.get("/api/v1/pipelines", headers={"host": host}).status_code == 200


def test_configured_names_are_answered_and_a_star_answers_all(answers: FixedAnswers) -> None:
    named = Client(http_app(answers, allowed_hosts=("Head.Water", "")), base_url=BASE)
    assert named.get("/healthz", headers={"host": "head.water:80"}).status_code == 200
    assert named.get("/healthz", headers={"host": "other"}).status_code == 403
    every = Client(http_app(answers, allowed_hosts=("*",)), base_url=BASE)
    assert every.get("/healthz", headers={"host": "anything"}).status_code == 200


@pytest.mark.parametrize("body", [{"trace_id": TRACE_HEX.upper(), "loss": 1.0}, [{"trace_id": TRACE_HEX, "loss": 1}]])
def test_outcomes_are_taken_one_or_many(client: Client, answers: FixedAnswers, body: object) -> None:
    answer = client.post("/api/v1/outcomes", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"schema": "headwater.outcomes/1", "received": 1, "accepted": 1}
    row = answers.taken[0]
    assert (row.trace_id, row.run_id, row.loss, row.name, row.judged_at_ns, row.audit) == (TRACE_HEX, None, 1.0, "loss", None, False)


def test_an_outcome_keeps_all_it_says(client: Client, answers: FixedAnswers) -> None:
    said = {
        "run_id": "utt-1",
        "loss": 0.25,
        "name": "wer",
        "label": "off",
        "judged_at": "2026-03-01T15:23:20.000001+01:00",
        "source": "qc",
        "audit": True,
    }
    assert client.post("/api/v1/outcomes", json=said).status_code == 200
    row = answers.taken[0]
    assert row.judged_at_ns == 1_772_375_000_000_001_000
    assert (row.run_id, row.loss, row.name, row.label, row.source, row.audit) == ("utt-1", 0.25, "wer", "off", "qc", True)


@pytest.mark.parametrize(
    "body",
    [
        {"loss": 1.0},
        {"trace_id": TRACE_HEX, "run_id": "a", "loss": 1.0},
        {"trace_id": "12", "loss": 1.0},
        {"trace_id": TRACE_HEX, "loss": "1"},
        {"trace_id": TRACE_HEX, "loss": None},
        {"trace_id": TRACE_HEX, "loss": 1.0, "lable": "typo"},
        {"trace_id": TRACE_HEX, "loss": 1.0, "judged_at": "yesterday"},
        {"trace_id": TRACE_HEX, "loss": 1.0, "judged_at": "9999-12-31T23:59:59Z"},
        [],
        "text",
        [[]],
    ],
)
def test_a_wrong_outcome_is_refused_whole(client: Client, answers: FixedAnswers, body: object) -> None:
    answer = client.post("/api/v1/outcomes", json=body)
    assert answer.status_code == 422
    assert answer.json()["schema"] == "headwater.error/1"
    assert answers.taken == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_loss_that_is_no_number_is_refused(client: Client, answers: FixedAnswers, number: str) -> None:
    body = f'{{"run_id": "a", "loss": {number}}}'
    assert client.post("/api/v1/outcomes", content=body, headers={"content-type": "application/json"}).status_code == 422
    assert answers.taken == []


def test_a_form_of_another_site_cannot_write(client: Client, answers: FixedAnswers) -> None:
    body = json.dumps({"trace_id": TRACE_HEX, "loss": 1.0})
    assert client.post("/api/v1/outcomes", content=body, headers={"content-type": "text/plain"}).status_code == 422
    foreign = {"content-type": "application/json", "origin": "https://evil.example"}
    assert client.post("/api/v1/outcomes", content=body, headers=foreign).status_code == 403
    assert client.post("/api/v1/outcomes", content=body, headers={**foreign, "origin": "null"}).status_code == 403
    assert answers.taken == []
    own = {**foreign, "origin": BASE}
    assert client.post("/api/v1/outcomes", content=body, headers=own).status_code == 200


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for place in range(0, len(body), 2**20):
        yield body[place : place + 2**20]


@pytest.mark.parametrize("room", [-1, 1])
def test_a_body_above_the_limit_is_refused_named_or_not(client: Client, answers: FixedAnswers, room: int) -> None:
    body = b'{"run_id": "a", "loss": 1.0}'.ljust(BODY_LIMIT + room)
    headers = {"content-type": "application/json"}
    named = client.post("/api/v1/outcomes", content=body, headers=headers).status_code
    streamed = client.post("/api/v1/outcomes", content=chunks(body), headers=headers).status_code
    if room < 0:
        assert (named, streamed) == (200, 200)
    else:
        assert named == 413
        assert streamed in {400, 413, 422}
        assert answers.taken == []


def test_metrics_name_every_figure_in_both_formats(client: Client) -> None:
    plain = client.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    lines = plain.text.splitlines()
    assert "headwater_received_spans_total 4512.0" in lines
    assert "headwater_accepted_spans_total 4500.0" in lines
    assert "headwater_deduplicated_spans_total 7.0" in lines
    assert 'headwater_rejected_spans_total{reason="bad_id"} 3.0' in lines
    assert 'headwater_rejected_spans_total{reason="quota \\"odd\\""} 2.0' in lines
    assert "headwater_lag_seconds 0.42" in lines
    assert "headwater_queue_spans 12.0" in lines
    assert "headwater_disk_bytes 3.4e+06" in lines
    opened = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert opened.text.endswith("# EOF\n")


def test_healthz_turns_while_draining(answers: FixedAnswers) -> None:
    ready = [True]
    client = Client(http_app(answers, ready=lambda: ready[0]), base_url=BASE)
    assert client.get("/healthz").status_code == 200
    ready[0] = False
    assert client.get("/healthz").status_code == 503


def test_csv_twins_are_tables_that_run_nothing(client: Client) -> None:
    rows = list(csv.DictReader(io.StringIO(client.get("/index.csv?baseline=previous").text)))
    assert [row["stage"] for row in rows] == ["capture", "vad", "asr", "nlu"]
    assert math.isclose(float(rows[2]["blame_share"]), 0.61)
    assert rows[2]["flagged"] == "True"
    spans = list(csv.DictReader(io.StringIO(client.get(f"/t/{TRACE_HEX}.csv").text)))
    assert len(spans) == 5
    assert sum(int(span["path_ns"]) for span in spans) == 375_000_000
    edges = list(csv.DictReader(io.StringIO(client.get("/pipelines/speech.csv").text)))
    assert [(row["from"], row["to"]) for row in edges] == [("capture", "vad"), ("vad", "asr"), ("asr", "nlu")]
    assert "lag_ns,420000000" in client.get("/health.csv").text


@pytest.mark.parametrize("name", ["../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "nothing.css"])
def test_static_serves_its_own_files_and_no_path(client: Client, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404
    assert client.get("/static/headwater.css").headers["content-type"] == "text/css; charset=utf-8"


def test_openapi_describes_the_nouns_and_hides_the_pages(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/v1/reports/latency", "/api/v1/reports/errors", "/api/v1/traces/{trace_id}", "/api/v1/outcomes"} <= set(paths)
    assert all(path.startswith("/api/v1/") for path in paths)


def test_documents_with_nan_never_leave() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json({"x": math.nan})
    assert as_json({"x": "\ud800"}).body == b'{"x": "?"}'


def test_a_wrong_method_says_which_is_right(client: Client) -> None:
    answer = client.delete("/api/v1/outcomes")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


def test_a_bug_is_answered_without_detail_with_the_headers_and_raised_for_the_log() -> None:
    class Broken(FixedAnswers):
        def health(self) -> Health:
            raise RuntimeError("secret path")

    client = Client(http_app(Broken()), base_url=BASE)
    with pytest.raises(RuntimeError, match="secret path"):
        client.get("/health.json")
    answer = client.request("GET", "/health.json", raising=False)
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text
    assert "content-security-policy" in answer.headers
