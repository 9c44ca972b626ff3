"""Pages and documents over the real analysis of a simulated pipeline whose recogniser breaks half-way."""

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import numpy as np
import pytest
from tests.dashboard.memory import MemoryReader
from tests.service.asgi import Client

from headwater.service.answers import LocalAnswers
from headwater.service.http import http_app
from headwater.simulate.pipelines import Traits, chain

STAGES = ("capture", "vad", "asr", "nlu")
N = 500


def client_over(**said: object) -> tuple[Client, str]:
    """A client, and the query that compares the second half of the runs with the first."""
    simulated = chain(np.random.default_rng(11), n_traces=N, length=4, **said)  # type: ignore[arg-type]
    reader = MemoryReader(simulated.pipeline, simulated.spans, STAGES)
    summary = reader.pipelines()[0]
    middle = (summary.first_start_ns + summary.last_start_ns) // 2
    first, half = (datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat().replace("+00:00", "Z") for at_ns in (summary.first_start_ns - 10**9, middle))
    answers = LocalAnswers(reader, now_ns=lambda: summary.last_start_ns + 10**9, jaeger_url="http://127.0.0.1:16686")
    query = urlencode({"pipeline": simulated.pipeline, "since": half, "baseline_since": first, "baseline_until": half})
    return Client(http_app(answers), base_url="http://127.0.0.1:8417"), query


def refused(constant: str) -> float:
    raise AssertionError(f"{constant} in a document")


@pytest.fixture(scope="module")
def broken() -> tuple[Client, str]:
    return client_over(fault="asr")


def test_the_sentence_the_alert_and_the_tile_name_the_stage_that_broke(broken: tuple[Client, str]) -> None:
    client, query = broken
    found = client.get(f"/index.json?{query}").json()
    assert ": asr own +" in found["sentence"]
    assert {incident["origin"][0] for incident in found["alerts"]} == {"asr"}
    assert found["alerts"][0]["exemplars"]
    page = client.get(f"/?{query}").text
    assert "<strong>asr</strong>" in page
    assert 'class="origin">origin' in page


def test_documents_of_real_reports_are_strict_json_and_close(broken: tuple[Client, str]) -> None:
    client, query = broken
    for noun in ("reports/latency", "reports/errors", "graph", "why", "overview", "traces", "doctor"):
        answer = client.get(f"/api/v1/{noun}?{query}")
        assert answer.status_code == 200, answer.text
        json.loads(answer.content, parse_constant=refused)
    errors = client.get(f"/api/v1/reports/errors?{query}").json()
    assert abs(sum(row["blame_share"] for row in errors["stages"]) + errors["input_share"] + errors["unexplained_share"] - 1) < 1e-9
    change = errors["comparison"]
    assert abs(sum(row["own_delta"] for row in change["stages"]) + change["input_delta"] + change["unexplained_delta"] - change["delta"]) < 1e-9
    latency = client.get(f"/api/v1/reports/latency?{query}").json()
    assert latency["n_baseline"] + latency["n_traces"] == N
    assert [row["stage"] for row in latency["baseline_stages"]] == [row["stage"] for row in latency["stages"]]


def test_from_the_overview_to_the_blame_of_a_failed_run(broken: tuple[Client, str]) -> None:
    client, query = broken
    worst = client.get(f"/index.json?{query}").json()["exemplars"]["failed"][0]
    trace = client.get(f"/t/{worst}.json").json()
    assert trace["trace_id"] == worst
    assert trace["blame"]["loss"] == 1.0
    assert sum(row["time_ns"] for row in trace["components"]) == trace["duration_ns"]
    page = client.get(f"/t/{worst}")
    assert page.status_code == 200
    assert "adds up to the loss exactly" in page.text
    assert f"http://127.0.0.1:16686/trace/{worst}?uiFind=" in page.text


def test_without_outcomes_every_page_still_stands() -> None:
    client, query = client_over(traits=Traits(labelled=0.0))
    page = client.get(f"/?{query}")
    assert page.status_code == 200
    assert "No outcomes for" in page.text
    assert client.get(f"/pipelines/speech?{query}").status_code == 200
    assert client.get(f"/report.html?{query}").status_code == 200


def test_a_window_without_runs_is_told_as_too_little_data(broken: tuple[Client, str]) -> None:
    client, _ = broken
    answer = client.get("/api/v1/reports/latency?pipeline=speech&since=1990-01-01T00:00:00Z&until=1990-01-02T00:00:00Z")
    assert answer.status_code == 422
    assert answer.json()["code"] == "too_little_data"
    page = client.get("/?pipeline=speech&since=1990-01-01T00:00:00Z&until=1990-01-02T00:00:00Z")
    assert page.status_code == 422
    assert "Too little to go by" in page.text
