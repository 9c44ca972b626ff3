import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from tests.support.otlp_samples import T0, body, make_span, speech_trace

from headwater.ingest import otlp, otlp_json
from headwater.ingest.limits import Limits, OverLimitError
from headwater.ingest.receipt import BusyError, Content, Receipt, UnavailableError, receipt_of
from headwater.ingest.receive.grpc import SERVICE, grpc_receiver
from headwater.ingest.receive.http import http_receiver
from headwater.ingest.receive.inflate import inflate
from headwater.model.errors import UndecodableError, UsageError
from headwater.service.ingestor import Ingestor

LIMITS = Limits(body_bytes=100_000)
PROTOBUF = {"content-type": "application/x-protobuf"}


class Taker:
    """Decodes and remembers; or raises what it is told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, Content]] = []
        self.fails: Exception | None = None

    def __call__(self, data: bytes, content: Content) -> Receipt:
        if self.fails is not None:
            raise self.fails
        batch = (otlp if content == "protobuf" else otlp_json).decode(data, limits=LIMITS)
        self.taken.append((len(batch.spans), content))
        return receipt_of(len(batch.spans), batch.rejected)


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
async def client(taker: Taker):
    transport = httpx.ASGITransport(app=http_receiver(taker, limits=LIMITS, held_bytes=150_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
        yield client


def partly_bad() -> bytes:
    bad = make_span(1, 9)
    bad.trace_id = b"x"
    return body(make_span(1, 1), bad)


ENCODERS = {"identity": lambda data: data, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("content", ["protobuf", "json"])
async def test_traces_are_taken_in_every_form(client, taker, encoding, content) -> None:
    data = body(*speech_trace(1)) if content == "protobuf" else otlp_json.encode(otlp.decode(body(*speech_trace(1))).wire)
    media = "application/x-protobuf" if content == "protobuf" else "application/json; charset=utf-8"
    answer = await client.post("/v1/traces", content=ENCODERS[encoding](data), headers={"content-type": media, "content-encoding": encoding})
    assert answer.status_code == 200
    assert taker.taken == [(3, content)]
    if content == "protobuf":
        assert answer.headers["content-type"] == "application/x-protobuf"
        assert not ExportTraceServiceResponse.FromString(answer.content).HasField("partial_success")
    else:
        assert answer.json() == {}


async def test_a_bad_span_is_told_in_partial_success(client) -> None:
    answer = await client.post("/v1/traces", content=partly_bad(), headers=PROTOBUF)
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "1 spans rejected (1 invalid_trace_id); the others were accepted")
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}
    answer = await client.post("/v1/traces", json=spans)
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize(
    ("status", "headers", "content", "said"),
    [
        (400, PROTOBUF, b"hello", "not an OTLP ExportTraceServiceRequest"),
        (400, {**PROTOBUF, "content-encoding": "gzip"}, b"hello", "not whole gzip"),
        (400, {**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(body(*speech_trace(1)))[:-9], "ends early"),
        (400, {**PROTOBUF, "content-encoding": "zstd"}, zstandard.compress(body(*speech_trace(1)))[:-1], "ends early"),
        (413, PROTOBUF, bytes(100_001), "more than 100000 bytes"),
        (413, {**PROTOBUF, "content-encoding": "gzip"}, gzip.compress(bytes(10_000_000)), "inflates to more than 100000 bytes"),
        (413, {**PROTOBUF, "content-encoding": "zstd"}, zstandard.compress(bytes(10_000_000)), "inflates to more than 100000 bytes"),
        (415, {"content-type": "text/plain"}, b"x", "must be one of application/x-protobuf, application/json"),
        (415, {}, b"x", "must be one of"),
        (415, {**PROTOBUF, "content-encoding": "br"}, b"x", "'br' is not one of identity, gzip, zstd"),
    ],
)
async def test_wrong_requests_get_a_sentence(client, taker, status, headers, content, said) -> None:
    answer = await client.post("/v1/traces", content=content, headers=headers)
    assert answer.status_code == status
    text = Status.FromString(answer.content).message if headers.get("content-type") == "application/x-protobuf" else answer.json()["message"]
    assert said in text
    assert "retry-after" not in answer.headers
    assert taker.taken == []


async def test_json_gets_its_errors_in_json(client) -> None:
    answer = await client.post("/v1/traces", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == 3
    assert "not JSON" in answer.json()["message"]


@pytest.mark.parametrize(("error", "status"), [(BusyError("full", retry_after_s=1.2), 429), (UnavailableError("disk", retry_after_s=7), 503)])
async def test_senders_are_told_when_to_come_back(client, taker, error, status) -> None:
    taker.fails = error
    answer = await client.post("/v1/traces", content=body(*speech_trace(1)), headers=PROTOBUF)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == {429: "2", 503: "7"}[status]
    assert Status.FromString(answer.content).message == error.text


async def test_too_many_bodies_at_once_are_sent_away_and_their_bytes_forgotten(client, taker) -> None:
    app = http_receiver(taker, limits=LIMITS, held_bytes=1_000)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://collector") as small:
        for _ in range(3):
            answer = await small.post("/v1/traces", content=bytes(2_000), headers=PROTOBUF)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert (await small.post("/v1/traces", content=body(make_span(1, 1)), headers=PROTOBUF)).status_code == 200


async def test_other_signals_are_named_in_the_refusal(client) -> None:
    for signal in ("metrics", "logs"):
        answer = await client.post(f"/v1/{signal}", content=b"", headers=PROTOBUF)
        assert answer.status_code == 404
        assert answer.json()["message"] == f"headwater takes traces only, at /v1/traces; send {signal} to another exporter"
    assert (await client.get("/v1/traces")).status_code == 405


def test_gzip_of_several_members_and_zstd_of_several_frames() -> None:
    assert inflate("gzip", gzip.compress(b"a") + gzip.compress(b"b"), LIMITS) == b"ab"
    assert inflate("zstd", zstandard.compress(b"a" * 500) + zstandard.compress(b"b"), LIMITS) == b"a" * 500 + b"b"
    assert inflate("", b"x", LIMITS) == b"x"


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001])
def test_the_limit_is_exact(size) -> None:
    for encoding, encode in ENCODERS.items():
        data = encode(bytes(range(256)) * 391)[:0] + encode((bytes(range(256)) * 391)[:size])
        if size <= LIMITS.body_bytes:
            assert len(inflate(encoding, data, LIMITS)) == size
        else:
            with pytest.raises(OverLimitError):
                inflate(encoding, data, LIMITS)


def test_a_bomb_is_stopped_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inflater may not make more than limit + 1 bytes of gzip at any time."""
    made: list[int] = []
    real = zlib.decompressobj

    class Counting:
        def __init__(self, *args) -> None:
            self._inner = real(*args)

        def decompress(self, data: bytes, most: int) -> bytes:
            out = self._inner.decompress(data, most)
            made.append(len(out))
            return out

        def __getattr__(self, name: str):
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    with pytest.raises(OverLimitError):
        inflate("gzip", gzip.compress(bytes(50_000_000)), LIMITS)
    assert sum(made) == LIMITS.body_bytes + 1


def test_rubbish_is_never_anything_but_undecodable() -> None:
    for encoding in ("gzip", "zstd"):
        whole = ENCODERS[encoding](b"some text, long enough to be worth it" * 9)
        for cut in range(1, len(whole)):
            with pytest.raises(UndecodableError):
                inflate(encoding, whole[:cut], LIMITS)


@pytest.fixture
def channel(taker: Taker) -> Iterator[grpc.Channel]:
    server, port = grpc_receiver(taker, address="127.0.0.1:0", limits=LIMITS)
    assert port > 0
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(0).wait()


def export(channel: grpc.Channel, data: bytes, **kwargs) -> bytes:
    return channel.unary_unary(f"/{SERVICE}/Export")(data, timeout=10, wait_for_ready=True, **kwargs)


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc_takes_traces(channel, taker, compression) -> None:
    answer = ExportTraceServiceResponse.FromString(export(channel, body(*speech_trace(1)), compression=compression))
    assert not answer.HasField("partial_success")
    assert taker.taken == [(3, "protobuf")]


def test_grpc_tells_of_a_bad_span(channel) -> None:
    assert ExportTraceServiceResponse.FromString(export(channel, partly_bad())).partial_success.rejected_spans == 1


def test_grpc_refuses_what_is_no_request_for_good(channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, b"hello")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "not an OTLP" in refused.value.details()


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_grpc_refuses_too_large_a_message(channel, taker, compression) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, bytes(200_000), compression=compression)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert taker.taken == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BusyError("full", retry_after_s=1.5), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (UnavailableError("disk", retry_after_s=1.5), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_grpc_carries_retry_info(channel, taker, error, code) -> None:
    taker.fails = error
    with pytest.raises(grpc.RpcError) as refused:
        export(channel, body(*speech_trace(1)))
    assert refused.value.code() is code
    trailers = dict(refused.value.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (code.value[0], error.text)
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 1_500


def test_a_port_that_is_taken_is_refused(taker) -> None:
    server, port = grpc_receiver(taker, address="127.0.0.1:0")
    with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}"):
        grpc_receiver(taker, address=f"127.0.0.1:{port}")
    server.stop(0).wait()


async def test_the_receivers_and_the_ingestor_fit(tmp_path: Path) -> None:
    with Ingestor(tmp_path, clock=lambda: T0) as one:
        transport = httpx.ASGITransport(app=http_receiver(one.accept))
        async with httpx.AsyncClient(transport=transport, base_url="http://collector") as client:
            assert (await client.post("/v1/traces", content=body(*speech_trace(1)), headers=PROTOBUF)).status_code == 200
        server, port = grpc_receiver(one.accept, address="127.0.0.1:0")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            export(channel, body(*speech_trace(2)))
        server.stop(0).wait()
        assert one.store.pipelines()[0].n_traces == 2
        assert json.dumps(dict(one.health().rejected)) == "{}"
