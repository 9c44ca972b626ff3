import json

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from headwater.cli.app import run
from headwater.conventions.attributes import OUTCOME_SPAN_NAME
from headwater.ingest import otlp

START_NS = 1_790_000_000_000_000_000
SECOND_NS = 1_000_000_000


def attribute(key, value):
    kind = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}[type(value)]
    return KeyValue(key=key, value=AnyValue(**{kind: value}))


def span(trace, number, name, *, start_ms, end_ms, at_ns, parent=0, **attributes):
    return Span(
        trace_id=trace.to_bytes(16, "big"),
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=name,
        start_time_unix_nano=at_ns + start_ms * 1_000_000,
        end_time_unix_nano=at_ns + end_ms * 1_000_000,
        attributes=[attribute(key.replace("__", "."), value) for key, value in attributes.items()],
    )


def request_body(spans):
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])
    resource.resource.attributes.append(attribute("service.name", "shop"))
    body = resource.SerializeToString()
    return b"\x0a" + _varint(len(body)) + body


def _varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def shop_runs(count):
    """Runs of a pipeline "shop": stages find (10 ms) and rank (30 ms or, from the middle on, 60 ms under a new version, which then fails every second run)."""
    spans = []
    for i in range(count):
        trace, at = 1000 + i, START_NS + i * SECOND_NS
        late = i >= count // 2
        names = {"headwater__pipeline__name": "shop", "headwater__run__id": f"run-{i}"}
        spans.append(span(trace, 1, "shop", start_ms=0, end_ms=80, at_ns=at, **names))
        for number, (stage, start, end, version) in enumerate((("find", 5, 15, "1"), ("rank", 15, 75 if late else 45, "2" if late else "1")), 2):
            own = {"headwater__stage__name": stage, "headwater__stage__version": version, "headwater__confidence": 0.9, "headwater__input__size": 1.0}
            spans.append(span(trace, number, stage, start_ms=start, end_ms=end, at_ns=at, parent=1, **names, **own))
        loss = float(i % 2) if late else float(i % 10 == 0)
        judged = {"headwater__run__id": f"run-{i}", "headwater__outcome__loss": loss, "headwater__outcome__name": "loss"}
        spans.append(span(5000 + i, 9, OUTCOME_SPAN_NAME, start_ms=100, end_ms=100, at_ns=at, **judged))
    return spans


@pytest.fixture(scope="session")
def shop_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "shop.pb"
    path.write_bytes(request_body(shop_runs(120)))
    assert len(otlp.decode(path.read_bytes()).spans) == 480
    return path


@pytest.fixture(scope="session")
def shop_store(shop_file, tmp_path_factory):
    store = tmp_path_factory.mktemp("shop") / "store"
    assert run(["ingest", str(shop_file), "--store", str(store)]) == 0
    return store


@pytest.fixture
def headwater(capsys, tmp_path, monkeypatch):
    """Runs the command line in an empty directory: (exit code, document or text of stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("HEADWATER_STORE", "HEADWATER_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        if "--json" in arguments and out:
            return code, json.loads(out), err
        return code, out, err

    return call
