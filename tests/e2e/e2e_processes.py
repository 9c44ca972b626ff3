"""The real binaries as child processes on free loopback ports: start, wait until healthy, kill, restart, stop; never anyone else's process."""

import json
import os
import random
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
COLLECTOR_FILE = ROOT / "collector-config" / "otelcol.yaml"
JAEGER_FILE = ROOT / "jaeger" / "config.yaml"
JAEGER_BADGER_FILE = ROOT / "jaeger" / "config-badger.yaml"
JAEGER_UI_FILE = ROOT / "jaeger" / "ui.json"
LOOPBACK = "127.0.0.1"
START_S = 30.0
# Below the range the kernel hands to outgoing connections, so that nobody's client takes a port between the look and the use.
_PORTS = random.Random(os.getpid() ^ time.monotonic_ns())


def free_ports(count: int) -> list[int]:
    """`count` different ports of 127.0.0.1 that nothing listens on at the moment."""
    found: list[int] = []
    while len(found) < count:
        port = _PORTS.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def find_binaries() -> dict[str, Path]:
    """HEADWATER_OTELCOL and HEADWATER_JAEGER: from the environment, else where scripts/e2e-tools.sh put them.

    Missing ones skip the test with the reason; with CI set they fail it, because there a skip would hide that nothing was tested.
    """
    names = ("HEADWATER_OTELCOL", "HEADWATER_JAEGER")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    reason = ""
    if len(given) < len(names):
        answer = subprocess.run(["bash", ROOT / "scripts" / "e2e-tools.sh", "--paths"], capture_output=True, text=True, timeout=60, check=False)
        reason = answer.stderr.strip()
        for line in answer.stdout.splitlines():
            name, _, value = line.partition("=")
            given.setdefault(name, shlex.split(value)[0])
    paths = {name: Path(given[name]) for name in names if name in given}
    missing = [f"{name} ({path} is not an executable file)" for name, path in paths.items() if not os.access(path, os.X_OK)]
    missing += [name for name in names if name not in paths]
    if missing:
        text = f"the real binaries are needed, missing: {', '.join(missing)}. {reason}"
        if os.environ.get("CI"):
            pytest.fail(text + " (CI is set, so this fails instead of skipping)")
        pytest.skip(text)
    return paths


def plain_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: nothing of the caller's HEADWATER_*, OTEL* or JAEGER_* settings leaks into a test."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "VIRTUAL_ENV") if key in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NO_COLOR": "1"} | dict(extra)


@dataclass(kw_only=True)
class Child:
    """One process that this test started. `health` is polled until it answers 200; its log is kept over restarts."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    health: str | None
    patience_s: float = 20.0
    process: subprocess.Popen[str] | None = field(default=None)

    def start(self) -> None:
        assert self.process is None, f"{self.name} runs already"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                list(self.command), env=plain_environment(self.environment), stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )
        self.wait_healthy()

    def wait_healthy(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._answers():
            self.assert_alive()
            assert time.monotonic() < deadline, f"{self.name} is not healthy after {START_S} s:\n{self.tail()}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        assert self.health is not None
        try:
            return httpx.get(self.health, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def assert_alive(self) -> None:
        assert self.process is not None, f"{self.name} was not started"
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.tail()}"

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self.assert_alive()
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=10)
        self._forget()

    def stop(self, timeout_s: float | None = None) -> int | None:
        """SIGTERM and wait; SIGKILL after `timeout_s` (default: `patience_s`). The exit code, or None if it did not run."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=self.patience_s if timeout_s is None else timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=10)
        code = self.process.returncode
        self._forget()
        return code

    def _forget(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else "(no log)"


@dataclass(kw_only=True)
class Collector(Child):
    """collector-config/otelcol.yaml on free ports."""

    grpc_port: int
    http_port: int
    metrics_port: int
    span_metrics_port: int

    @property
    def grpc(self) -> str:
        return f"{LOOPBACK}:{self.grpc_port}"

    @property
    def http(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    def delivered(self, exporter: str) -> float:
        """Spans that `headwater` or `jaeger` acknowledged since this Collector started; one that was sent twice counts twice."""
        return self.metric("otelcol_exporter_sent_spans", exporter=f"otlp_grpc/{exporter}")

    def metric(self, name: str, **labels: str) -> float:
        """Sum of one of the Collector's own metrics over the series that carry `labels`; 0 while there is none."""
        text = httpx.get(f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=5).text
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((name + "{", name + " ")) and all(w in line for w in wanted)
        )


def make_collector(binary: Path, directory: Path, *, headwater: int, jaeger: int, settings: Mapping[str, str] | None = None) -> Collector:
    """A Collector (not started) that sends to OTLP/gRPC on the loopback ports `headwater` and `jaeger`."""
    grpc, http, health, metrics, span_metrics = free_ports(5)
    environment = {
        "OTELCOL_LISTEN_HOST": LOOPBACK,
        "OTELCOL_OTLP_GRPC_PORT": str(grpc),
        "OTELCOL_OTLP_HTTP_PORT": str(http),
        "OTELCOL_HEALTH_PORT": str(health),
        "OTELCOL_METRICS_PORT": str(metrics),
        "OTELCOL_SPAN_METRICS_PORT": str(span_metrics),
        "OTELCOL_SPAN_METRICS_INTERVAL": "1s",
        "OTELCOL_QUEUE_DIR": str(directory / "otelcol-queue"),
        "HEADWATER_OTLP_ENDPOINT": f"{LOOPBACK}:{headwater}",
        "JAEGER_OTLP_ENDPOINT": f"{LOOPBACK}:{jaeger}",
        "HEADWATER_JAEGER_DECISION_WAIT": "1s",
    }
    return Collector(
        name="otelcol",
        command=[str(binary), "--config", str(COLLECTOR_FILE)],
        environment=environment | dict(settings or {}),
        log=directory / "otelcol.log",
        health=f"http://{LOOPBACK}:{health}/",
        grpc_port=grpc,
        http_port=http,
        metrics_port=metrics,
        span_metrics_port=span_metrics,
    )


@dataclass(kw_only=True)
class Jaeger(Child):
    """jaeger/config.yaml (or the badger one) on free ports."""

    otlp_port: int
    query_port: int

    @property
    def query(self) -> str:
        return f"http://{LOOPBACK}:{self.query_port}"


def make_jaeger(binary: Path, directory: Path, *, config: Path = JAEGER_FILE, settings: Mapping[str, str] | None = None) -> Jaeger:
    otlp, otlp_http, query, query_grpc, health, metrics = free_ports(6)
    environment = {
        "JAEGER_LISTEN_HOST": LOOPBACK,
        "JAEGER_OTLP_GRPC_PORT": str(otlp),
        "JAEGER_OTLP_HTTP_PORT": str(otlp_http),
        "JAEGER_QUERY_HTTP_PORT": str(query),
        "JAEGER_QUERY_GRPC_PORT": str(query_grpc),
        "JAEGER_HEALTH_PORT": str(health),
        "JAEGER_METRICS_PORT": str(metrics),
        "JAEGER_UI_CONFIG": str(JAEGER_UI_FILE),
        "JAEGER_DATA_DIR": str(directory / "jaeger-data"),
    }
    return Jaeger(
        name="jaeger",
        command=[str(binary), "--config", str(config)],
        environment=environment | dict(settings or {}),
        log=directory / "jaeger.log",
        health=f"http://{LOOPBACK}:{health}/status",
        patience_s=0.5,  # after an HTTP request it waits 10 s before it ends
        otlp_port=otlp,
        query_port=query,
    )


@dataclass(kw_only=True)
class Headwater(Child):
    """`headwater serve` as a user starts it. Port 0 the first time; a restart takes the ports it had, as its senders expect."""

    store: Path
    ports: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        assert self.process is None, f"{self.name} runs already"
        command = [*self.command, "--host", LOOPBACK, "--store", str(self.store)]
        for flag, port in (("--http-port", "http"), ("--otlp-http-port", "otlp_http"), ("--otlp-grpc-port", "otlp_grpc")):
            command += [flag, str(self.ports.get(port, 0))]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, env=plain_environment(self.environment), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._read_ready()

    def _read_ready(self) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], 2 * START_S)[0], f"no ready line after {2 * START_S} s:\n{self.tail()}"
        line = self.process.stdout.readline()  # empty when the process has ended
        assert line, f"headwater serve printed no ready line and ended with {self.process.wait(timeout=10)}:\n{self.tail()}"
        ready = json.loads(line)
        assert ready["schema"] == "headwater.ready/1"
        self.ports = {key: int(ready[key]) for key in ("http", "otlp_http", "otlp_grpc")}

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports['http']}"


def headwater_command() -> list[str]:
    """The installed `headwater` script beside this interpreter; else the module, which is the same program."""
    script = Path(sys.executable).parent / "headwater"
    return [str(script)] if script.exists() else [sys.executable, "-m", "headwater"]


def make_headwater(directory: Path, settings: Mapping[str, str] | None = None) -> Headwater:
    return Headwater(
        name="headwater",
        command=[*headwater_command(), "serve"],
        environment=dict(settings or {}),
        log=directory / "headwater.log",
        health=None,
        store=directory / "store",
    )
