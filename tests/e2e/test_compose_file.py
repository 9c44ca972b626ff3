"""docker-compose.yml and the Dockerfile, read: what they mount exists, ports and commands match the configurations, every service is hardened.

There is no container engine in the test environment; the mounted files themselves run with the real binaries in the other tests here.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e_processes import COLLECTOR_FILE, JAEGER_BADGER_FILE, JAEGER_FILE, ROOT

from headwater.service.settings import LOOPBACK, Settings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
STAGES = {name: (image, text) for image, name, text in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)}
CONFIGS = {"otelcol": COLLECTOR_FILE, "jaeger": JAEGER_FILE}
_RESERVED = {16685, 16686, 16687, 5778, 5779, 13133, 14250, 14268, 9411, 17270, 17271, 8888, 8889}


def _defaults(path: Path) -> dict[str, str]:
    """NAME -> default of every ${env:NAME:-default} in a configuration."""
    return dict(re.findall(r"\$\{env:([A-Z0-9_]+):-([^}]*)\}", path.read_text()))


def _mounts(service: dict[str, Any]) -> dict[str, tuple[str, bool]]:
    """Target -> (source, read-only)."""
    parts = [volume.split(":") for volume in service["volumes"]]
    return {part[1]: (part[0], part[2:] == ["ro"]) for part in parts}


def _expand(text: str) -> str:
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def test_there_are_just_the_services_that_are_tested() -> None:
    assert set(SERVICES) == {"otelcol", "headwater", "jaeger"}


@pytest.mark.parametrize("name", list(SERVICES))
def test_each_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"]), "numeric and not root"
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert not {"network_mode", "pid", "ipc", "devices"} & set(service)
    assert not any("docker.sock" in volume for volume in service["volumes"])


@pytest.mark.parametrize("name", list(SERVICES))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    published = [port.split(":") for port in SERVICES[name]["ports"]]
    assert published
    for address, host_port, container_port in published:
        assert address == "127.0.0.1"
        assert host_port == container_port


def test_no_port_is_published_twice_and_headwater_takes_none_of_the_others() -> None:
    published = [port.split(":")[1] for service in SERVICES.values() for port in service["ports"]]
    assert sorted(published) == ["16686", "4317", "4318", "8417"]
    assert Settings.model_fields["http_port"].default not in _RESERVED


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_mounted_file_exists_and_is_read_only(name: str) -> None:
    for target, (source, read_only) in _mounts(SERVICES[name]).items():
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert read_only, source
        else:
            assert source in COMPOSE["volumes"]
            # The volume takes its owner from the image: the stage must create the directory for the user that runs.
            assert re.search(rf"^COPY --from=directories --chown={SERVICES[name]['user']} \S+ {target}$", STAGES[name][1], re.MULTILINE), target


@pytest.mark.parametrize(("name", "files"), [("otelcol", [COLLECTOR_FILE]), ("jaeger", [JAEGER_FILE, JAEGER_BADGER_FILE])])
def test_commands_name_mounted_files(name: str, files: list[Path]) -> None:
    (command,) = SERVICES[name]["command"]
    inside = Path(_expand(command.removeprefix("--config=")))
    for target, (source, _) in _mounts(SERVICES[name]).items():
        if inside.is_relative_to(target):
            outside = (ROOT / source / inside.relative_to(target)).resolve()
            assert outside == files[0]
            assert all(file.parent == outside.parent for file in files)
            return
    pytest.fail(f"{inside} is in no mount of {name}")


def test_the_links_file_lies_where_jaeger_looks() -> None:
    inside = _defaults(JAEGER_FILE)["JAEGER_UI_CONFIG"]
    assert "/etc/jaeger" in _mounts(SERVICES["jaeger"])
    assert json.loads((ROOT / "jaeger" / Path(inside).relative_to("/etc/jaeger")).read_text())["linkPatterns"]


def test_ports_match_the_configurations() -> None:
    otelcol, jaeger = _defaults(COLLECTOR_FILE), _defaults(JAEGER_FILE)
    assert {f"127.0.0.1:{otelcol[key]}:{otelcol[key]}" for key in ("OTELCOL_OTLP_GRPC_PORT", "OTELCOL_OTLP_HTTP_PORT")} == set(
        SERVICES["otelcol"]["ports"]
    )
    assert SERVICES["jaeger"]["ports"] == [f"127.0.0.1:{jaeger['JAEGER_QUERY_HTTP_PORT']}:{jaeger['JAEGER_QUERY_HTTP_PORT']}"]
    fields = Settings.model_fields
    assert SERVICES["headwater"]["ports"] == [f"127.0.0.1:{fields['http_port'].default}:{fields['http_port'].default}"]
    assert otelcol["HEADWATER_OTLP_ENDPOINT"] == f"headwater:{fields['otlp_grpc_port'].default}"
    assert otelcol["JAEGER_OTLP_ENDPOINT"] == f"jaeger:{jaeger['JAEGER_OTLP_GRPC_PORT']}"
    assert otelcol["OTELCOL_LISTEN_HOST"] == jaeger["JAEGER_LISTEN_HOST"] == "0.0.0.0"


def test_health_checks_ask_where_the_configurations_listen() -> None:
    otelcol, jaeger = _defaults(COLLECTOR_FILE), _defaults(JAEGER_FILE)
    assert SERVICES["otelcol"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{otelcol['OTELCOL_HEALTH_PORT']}/"
    assert SERVICES["jaeger"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{jaeger['JAEGER_HEALTH_PORT']}/status"
    assert f"http://127.0.0.1:{Settings.model_fields['http_port'].default}/" in SERVICES["headwater"]["healthcheck"]["test"][-1]
    compile(SERVICES["headwater"]["healthcheck"]["test"][-1], "healthcheck", "exec")


def test_directories_match_the_volumes() -> None:
    queue = Path(_defaults(COLLECTOR_FILE)["OTELCOL_QUEUE_DIR"])
    assert any(queue.is_relative_to(target) for target in _mounts(SERVICES["otelcol"]))
    assert _defaults(JAEGER_BADGER_FILE)["JAEGER_DATA_DIR"] in _mounts(SERVICES["jaeger"])
    assert f"HEADWATER_STORE={next(iter(_mounts(SERVICES['headwater'])))}" in SERVICES["headwater"]["environment"]


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_variable_handed_over_is_one_that_is_read(name: str) -> None:
    names = {entry.partition("=")[0] for entry in SERVICES[name]["environment"]} - {"GOMEMLIMIT"}
    known = {f"HEADWATER_{field.upper()}" for field in Settings.model_fields} if name == "headwater" else set(_defaults(CONFIGS[name]))
    if name == "jaeger":
        known |= set(_defaults(JAEGER_BADGER_FILE))
    assert names <= known


def test_the_open_bind_is_allowed_just_where_the_port_is_not_published_openly() -> None:
    """The service refuses this host without the setting; with it, only the compose network and 127.0.0.1 of the host reach it."""
    service = SERVICES["headwater"]
    assert service["command"][-1] == "0.0.0.0"
    assert service["command"][-1] not in LOOPBACK
    assert "HEADWATER_ALLOW_OPEN_BIND=1" in service["environment"]
    assert service["networks"] == ["headwater"]


def test_the_dockerfile_builds_what_compose_names() -> None:
    assert {service["build"]["target"] for service in SERVICES.values()} <= set(STAGES)
    versions = {"otelcol": "otel/opentelemetry-collector-contrib:0.155.0", "jaeger": "jaegertracing/jaeger:2.20.0", "headwater": "python:3.13-slim"}
    assert {name: STAGES[name][0] for name in versions} == versions
    builder = yaml.safe_load((ROOT / "collector-config" / "builder.yaml").read_text())
    assert builder["dist"]["version"] == "0.155.0", "tests run the Collector version that compose runs"
    assert SERVICES["otelcol"]["image"].endswith(":0.155.0")
    assert SERVICES["jaeger"]["image"].endswith(":2.20.0")
    for name in SERVICES:
        assert re.findall(r"^USER (.*)$", STAGES[name][1], re.MULTILINE) == [SERVICES[name]["user"]]


def test_the_dockerfile_copies_what_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [source for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE) for source in sources.split()]
    assert set(copied) == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_collector_names_only_parts_that_the_tested_binary_has() -> None:
    """The contrib image has more; a part that only it has would work there and be tested nowhere."""
    builder = yaml.safe_load((ROOT / "collector-config" / "builder.yaml").read_text())
    built = " ".join(part["gomod"] for kind in ("receivers", "processors", "exporters", "connectors", "extensions") for part in builder[kind])
    document = yaml.safe_load(COLLECTOR_FILE.read_text())
    modules = {"otlp_grpc": "otlpexporter", "health_check": "healthcheckextension", "file_storage": "filestorage"}
    for kind in ("receivers", "processors", "exporters", "connectors", "extensions"):
        for name in document[kind]:
            part = name.split("/")[0]
            assert modules.get(part, part.replace("_", "")) in built, name
