"""`hw.configure` in processes of its own: a provider can be set once per process."""

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from tests.instrument.recording import no_provider, recorder

import headwater as hw
from headwater.instrument.configure import MissingSdkError, configure

__all__ = ["no_provider", "recorder"]


class Collector:
    """What arrived, decoded."""

    def __init__(self):
        self.requests = []
        self.paths = []

    @property
    def spans(self):
        return [span for request in self.requests for block in request.resource_spans for scope in block.scope_spans for span in scope.spans]

    @property
    def services(self):
        return {
            item.value.string_value
            for request in self.requests
            for block in request.resource_spans
            for item in block.resource.attributes
            if item.key == "service.name"
        }


@pytest.fixture
def collector():
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            found.paths.append((self.path, self.headers["Content-Type"]))
            found.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


PROGRAM = """
import headwater as hw
{before}
assert hw.configure({arguments}) is {made}
assert hw.configure({arguments}) is False
@hw.stage("asr", version="1", model="w\\ud800@2", confidence=lambda r: 0.5, quality={{"oov": hw.own(lambda r: 0.25)}}, cpu=True)
def asr(audio):
    hw.stage.current().set("note\\ud800", "lone \\ud800 surrogate")
    return audio
with hw.run("speech", run_id="order-17") as run:
    asr("x")
    try:
        with hw.stage.span("gate\\ud800"):
            raise ValueError("\\udfff")
    except ValueError:
        pass
hw.outcome(run.token, loss=1.0)
{after}
"""


def start(program, **environment):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTEST_"))}
    return subprocess.run([sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True, check=False, timeout=60)


def program(arguments="", *, before="", after="", made=True):
    return PROGRAM.format(arguments=arguments, before=before, after=after, made=made)


def scalar(value):
    return getattr(value, value.WhichOneof("value"))


def check_arrival(found):
    assert sorted(span.name for span in found.spans) == ["asr", "gate?", "headwater.outcome", "speech"]
    spans = {span.name: span for span in found.spans}
    attributes = {item.key: scalar(item.value) for item in spans["asr"].attributes}
    assert attributes.pop("headwater.cpu.time_ns") >= 0
    assert attributes.pop("code.function.name") == "__main__.asr"
    assert attributes == {
        "headwater.stage.name": "asr",
        "headwater.stage.version": "1",
        "headwater.model.name": "w?",
        "headwater.model.version": "2",
        "headwater.pipeline.name": "speech",
        "headwater.run.id": "order-17",
        "headwater.confidence": 0.5,
        "headwater.own.oov": 0.25,
        "note?": "lone ? surrogate",
    }
    assert spans["asr"].parent_span_id == spans["speech"].span_id
    assert spans["gate?"].status.message == "ValueError: ?"
    (link,) = spans["headwater.outcome"].links
    assert (link.trace_id, link.span_id) == (spans["speech"].trace_id, spans["speech"].span_id)


def test_the_round_trip_over_http(collector):
    done = start(program(f"service='voice', endpoint='{collector.url}'"))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(collector.paths) == {("/v1/traces", "application/x-protobuf")}
    assert collector.services == {"voice"}
    check_arrival(collector)


def test_the_standard_variables_are_enough(collector):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "from-env", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    assert start(program(after="hw.flush()"), **environment).stderr == ""
    assert collector.services == {"from-env"}
    check_arrival(collector)


def test_the_service_defaults_to_the_scripts_name(collector, tmp_path):
    script = tmp_path / "till.py"
    script.write_text(program(f"endpoint='{collector.url}'"))
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)
    assert collector.services == {"till"}


def test_the_round_trip_over_grpc():
    found = Collector()

    class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            found.requests.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        done = start(program(f"endpoint='http://127.0.0.1:{port}'"), OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    finally:
        server.stop(0).wait()
    assert done.returncode == 0, done.stderr
    check_arrival(found)


def test_a_provider_of_the_programs_own_is_used_and_never_closed(collector):
    before = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
mine = TracerProvider()
mine.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(mine)
"""
    after = "hw.shutdown(); asr('y'); print([span.name for span in exporter.get_finished_spans()]); print(trace.get_tracer_provider() is mine)"
    done = start(program(f"endpoint='{collector.url}'", before=before, after=after, made=False))
    assert done.stdout.splitlines() == ["['asr', 'gate?', 'speech', 'headwater.outcome', 'asr']", "True"]
    assert collector.requests == []


def test_a_disabled_sdk_and_no_exporter_send_nothing(collector):
    for switch in ({"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
        done = start(program(), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, HEADWATER_RERAISE="0", **switch)
        assert done.returncode == 0, done.stderr
    assert collector.requests == []


def timed_exit(endpoint):
    begun = time.monotonic()
    done = start("import time\nfrom time import monotonic\n" + program(f"endpoint='{endpoint}'", after="print(monotonic())"))
    assert done.returncode == 0, done.stderr
    return time.monotonic() - float(done.stdout), time.monotonic() - begun


def test_exit_with_the_collector_down_is_bounded():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    after_work_s, _ = timed_exit(f"http://127.0.0.1:{port}")
    assert after_work_s <= 2.5


def test_exit_with_a_collector_that_hangs_is_bounded():
    with socket.create_server(("127.0.0.1", 0)) as hanging:  # takes connections and never answers
        after_work_s, _ = timed_exit(f"http://127.0.0.1:{hanging.getsockname()[1]}")
    assert 1.5 <= after_work_s <= 2.5


def test_flush_and_shutdown_say_when_they_ran_out_of_time():
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        after = "import time; t = time.monotonic(); print(hw.flush(0.2), hw.shutdown(0.2), hw.shutdown(0.2), time.monotonic() - t < 1)"
        done = start(program(f"endpoint='http://127.0.0.1:{hanging.getsockname()[1]}'", after=after))
    assert done.stdout.split() == ["False", "False", "True", "True"]


def test_a_forked_child_sends_its_own(collector):
    after = """
import os
if os.fork() == 0:
    asr("child")
    print(hw.flush())
    os._exit(0)
os.wait()
"""
    done = start(program(f"endpoint='{collector.url}'", after=after))
    assert done.returncode == 0, done.stderr
    assert [span.name for span in collector.spans].count("asr") == 2


def test_without_the_sdk_the_error_names_the_cure(no_provider, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingSdkError, match=r"pip install headwater\[otlp\]"):
        configure()


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_EXPORTER='zipkin' is not known here; allowed: otlp, console, none"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not known here; allowed: http/protobuf, grpc"),
    ],
)
def test_an_unknown_exporter_or_protocol_names_the_allowed(no_provider, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError) as caught:
        configure()
    assert words in str(caught.value)


def test_flush_without_a_provider_is_done_at_once(no_provider):
    assert hw.flush()
    assert hw.shutdown()
