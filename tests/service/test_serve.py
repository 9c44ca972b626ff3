"""`headwater serve` as people run it: one ready line, receivers, pages, verbs beside it, SIGTERM drains, a second writer is refused."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import grpc
import httpx
import pytest
from tests.cli.conftest import request_body, shop_runs

from headwater.cli.app import run

PORTS = ["--http-port", "0", "--otlp-http-port", "0", "--otlp-grpc-port", "0"]
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@contextmanager
def serving(store, *options):
    command = [sys.executable, "-m", "headwater", "serve", "--store", str(store), *PORTS, *options]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADWATER_")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def send(ports, body):
    return httpx.post(f"http://127.0.0.1:{ports['otlp_http']}/v1/traces", content=body, headers={"content-type": "application/x-protobuf"})


@pytest.fixture
def body():
    return request_body(shop_runs(60))


def test_what_is_acknowledged_is_answered_at_once_and_is_there_after_sigterm(body, tmp_path, capsys):
    store = tmp_path / "store"
    with serving(store) as (process, ports):
        assert ports["schema"] == "headwater.ready/1"
        url = f"http://127.0.0.1:{ports['http']}"
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        assert run(["why", "--url", url]) == 3  # empty: too little data, from afar as from near
        assert "holds no traces yet" in capsys.readouterr().err
        assert send(ports, body).status_code == 200
        answers = []
        for where in (["--url", url], ["--store", str(store)]):  # through the service, and the files beside it
            for verb in (["pipelines"], ["report", "errors"], ["report", "latency"], ["graph"]):
                assert run([*verb, *where, "--json"]) == 0
                answers.append(json.loads(capsys.readouterr().out))
        assert answers[:4] == answers[4:]
        assert answers[0]["pipelines"][0]["n_traces"] == 60
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert run(["pipelines", "--store", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pipelines"][0]["n_spans"] == 180


def test_grpc_takes_the_same_spans_and_they_count_once(body, tmp_path):
    with serving(tmp_path / "store") as (_, ports):
        with grpc.insecure_channel(f"127.0.0.1:{ports['otlp_grpc']}") as channel:
            export = channel.unary_unary(EXPORT, request_serializer=bytes, response_deserializer=bytes)
            assert export(body, timeout=10) == b""
            with pytest.raises(grpc.RpcError) as caught:
                export(b"garbage", timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert send(ports, body).status_code == 200
        found = httpx.get(f"http://127.0.0.1:{ports['http']}/api/v1/pipelines").json()
        assert found["pipelines"][0]["n_spans"] == 180


def test_a_body_that_is_not_otlp_is_refused_whole_and_loses_nothing(body, tmp_path):
    with serving(tmp_path / "store") as (_, ports):
        assert send(ports, body).status_code == 200
        for bad in (b"garbage", body[:-7]):
            answer = send(ports, bad)
            assert answer.status_code == 400
            assert b"nothing of it was taken" in answer.content
        found = httpx.get(f"http://127.0.0.1:{ports['http']}/api/v1/pipelines").json()
        assert found["pipelines"][0]["n_spans"] == 180


def test_an_outcome_by_rest_joins_its_run(body, tmp_path, capsys):
    with serving(tmp_path / "store") as (_, ports):
        url = f"http://127.0.0.1:{ports['http']}"
        send(ports, body)
        assert run(["outcome", "add", "run-1", "--loss", "1", "--url", url, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["accepted"] == 1
        found = httpx.get(f"{url}/api/v1/traces/{1001:032x}").json()
        assert found["blame"]["loss"] == 1.0


def test_a_second_writer_is_refused_with_a_clear_line(body, tmp_path, capsys):
    store = tmp_path / "store"
    with serving(store) as (process, ports):
        send(ports, body)
        assert run(["serve", "--store", str(store), *PORTS]) == 2
        assert f"written by another process (pid {process.pid})" in capsys.readouterr().err
        file = tmp_path / "more.pb"
        file.write_bytes(body)
        assert run(["ingest", str(file), "--store", str(store)]) == 2
        assert "reading is possible" in capsys.readouterr().err
        assert run(["serve", "--store", str(tmp_path / "other"), *PORTS[2:], "--http-port", str(ports["http"])]) == 2
        assert "--http-port" in capsys.readouterr().err
        assert httpx.get(f"http://127.0.0.1:{ports['http']}/healthz").status_code == 200


def test_killed_it_comes_back_with_everything_acknowledged_once(body, tmp_path):
    store = tmp_path / "store"
    with serving(store) as (process, ports):
        assert send(ports, body).status_code == 200
        before = httpx.get(f"http://127.0.0.1:{ports['http']}/api/v1/reports/errors").json()
        process.kill()
        process.wait(10)
    with serving(store) as (_, ports):
        assert send(ports, body).status_code == 200  # the sender did not hear the answer and tries again
        url = f"http://127.0.0.1:{ports['http']}"
        assert httpx.get(f"{url}/api/v1/pipelines").json()["pipelines"][0]["n_spans"] == 180
        assert httpx.get(f"{url}/api/v1/reports/errors").json() == before
