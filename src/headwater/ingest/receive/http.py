"""OTLP over HTTP: POST /v1/traces in protobuf or JSON. Source of statuses and bodies: opentelemetry.io/docs/specs/otlp/#otlphttp.

200 taken, perhaps in part · 400 the body is wrong, do not resend · 413 too large · 415 another content type or encoding · 429, 503 resend after
Retry-After seconds. Every error has a google.rpc.Status with one sentence, in the content type of the request.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Final

import anyio
import anyio.to_thread
from google.rpc.code_pb2 import INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from headwater.ingest.limits import RECEIVED, Limits, OverLimitError, check_size
from headwater.ingest.receipt import Accept, BusyError, Content, Receipt, RetryLaterError
from headwater.ingest.receive.inflate import ENCODINGS, inflate
from headwater.model.errors import HeadwaterError

_CONTENT: Final[dict[str, Content]] = {"application/x-protobuf": "protobuf", "application/json": "json"}
_MEDIA: Final[dict[Content, str]] = {content: media for media, content in _CONTENT.items()}


class _RefusedError(Exception):
    def __init__(self, status: int, code: Any, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _Held:
    """Bytes of bodies being read or decoded."""

    n_bytes: int = 0


def http_receiver(accept: Accept, *, limits: Limits = RECEIVED, workers: int = 4, held_bytes: int = 128 << 20) -> Starlette:
    """An ASGI app. `accept` is called in up to `workers` threads at once; above held_bytes of bodies in hand senders get 429."""
    held = _Held()
    threads: list[anyio.CapacityLimiter] = []  # made inside the running loop, which anyio needs

    async def traces(request: Request) -> Response:
        content = _CONTENT.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        try:
            how = _encoding(request), _known(content)
            if not threads:
                threads.append(anyio.CapacityLimiter(workers))
            data = bytearray()
            try:
                await _read(request, data, held, (limits, held_bytes))
                take = _Take(accept, bytes(data), how, limits)
                receipt = await anyio.to_thread.run_sync(take, limiter=threads[0])
            finally:
                held.n_bytes -= len(data)
        except _RefusedError as refused:
            return _refusal(refused, content or "json")
        return Response(_response(receipt, how[1]), media_type=_MEDIA[how[1]])

    async def other(request: Request) -> Response:
        signal = request.url.path.rpartition("/")[2]
        return _refusal(_RefusedError(404, NOT_FOUND, f"headwater takes traces only, at /v1/traces; send {signal} to another exporter"), "json")

    return Starlette(
        routes=[
            Route("/v1/traces", traces, methods=["POST"]),
            Route("/v1/metrics", other, methods=["POST"]),
            Route("/v1/logs", other, methods=["POST"]),
        ],
    )


class _Take:
    """The work of one request, done in a thread: inflate, then accept."""

    def __init__(self, accept: Accept, data: bytes, how: tuple[str, Content], limits: Limits) -> None:
        self._accept = accept
        self._data = data
        self._how = how
        self._limits = limits

    def __call__(self) -> Receipt:
        try:
            return self._accept(inflate(self._how[0], self._data, self._limits), self._how[1])
        except BusyError as error:
            raise _RefusedError(429, RESOURCE_EXHAUSTED, error.text, error.retry_after_s) from error
        except RetryLaterError as error:
            raise _RefusedError(503, UNAVAILABLE, error.text, error.retry_after_s) from error
        except OverLimitError as error:
            raise _RefusedError(413, INVALID_ARGUMENT, error.text) from error
        except HeadwaterError as error:
            raise _RefusedError(400, INVALID_ARGUMENT, error.text) from error


def _known(content: Content | None) -> Content:
    if content is None:
        raise _RefusedError(415, INVALID_ARGUMENT, f"the content type must be one of {', '.join(_CONTENT)}")
    return content


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding and encoding not in ENCODINGS:
        raise _RefusedError(415, INVALID_ARGUMENT, f"the content encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
    return encoding


async def _read(request: Request, data: bytearray, held: _Held, bounds: tuple[Limits, int]) -> None:
    """Fills `data` with the raw body, counting it in `held`; refuses at the limit, before the rest has arrived."""
    limits, held_bytes = bounds
    declared = request.headers.get("content-length", "0")
    try:
        check_size(int(declared) if declared.isdecimal() else 0, limits)
        async for chunk in request.stream():
            data += chunk
            held.n_bytes += len(chunk)
            check_size(len(data), limits)
            if held.n_bytes > held_bytes:
                raise _RefusedError(429, RESOURCE_EXHAUSTED, "too many requests at once; nothing was taken, send again later", 1.0)
    except OverLimitError as error:
        raise _RefusedError(413, INVALID_ARGUMENT, error.text) from error
    except ClientDisconnect as error:
        raise _RefusedError(400, INVALID_ARGUMENT, "the sender went away before the body was whole; nothing was taken") from error


def _response(receipt: Receipt, content: Content) -> bytes:
    if content == "json":
        partial = {"partialSuccess": {"rejectedSpans": str(receipt.n_rejected), "errorMessage": receipt.message}} if receipt.n_rejected else {}
        return json.dumps(partial).encode()
    message = ExportTraceServiceResponse()
    if receipt.n_rejected:
        message.partial_success.rejected_spans = receipt.n_rejected
        message.partial_success.error_message = receipt.message
    return message.SerializeToString()


def _refusal(refused: _RefusedError, content: Content) -> Response:
    status = Status(code=refused.code, message=refused.text)
    body = status.SerializeToString() if content == "protobuf" else json.dumps({"code": int(status.code), "message": status.message}).encode()
    headers = {} if refused.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(refused.retry_after_s)))}
    return Response(body, status_code=refused.status, media_type=_MEDIA[content], headers=headers)
