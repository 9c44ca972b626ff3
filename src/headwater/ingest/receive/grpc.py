"""OTLP over gRPC: TraceService/Export on raw bytes, so that one bad span does not make the request undecodable before we see it.

INVALID_ARGUMENT: do not resend. RESOURCE_EXHAUSTED and UNAVAILABLE carry RetryInfo, without which OpenTelemetry's clients drop the batch.
Source: opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from headwater.ingest.limits import RECEIVED, Limits
from headwater.ingest.receipt import Accept, BusyError, Receipt, RetryLaterError
from headwater.model.errors import HeadwaterError, UsageError

SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_MAX_CALLS: Final = 64


def grpc_receiver(accept: Accept, *, address: str, limits: Limits = RECEIVED, workers: int = 4) -> tuple[grpc.Server, int]:
    """A started server and the port it is bound to; `address` is host:port, port 0 = a free one. UsageError if the address cannot be bound."""
    server = grpc.server(
        ThreadPoolExecutor(max_workers=workers, thread_name_prefix="headwater-grpc"),
        options=[
            ("grpc.max_receive_message_length", limits.body_bytes),
            ("grpc.so_reuseport", 0),  # a second service on the port must fail, not share it
        ],
        maximum_concurrent_rpcs=_MAX_CALLS,
    )
    export = grpc.unary_unary_rpc_method_handler(_exporter(accept))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UsageError(
            f"OTLP/gRPC cannot listen on {address}: it is taken or not ours", next_command="headwater serve --otlp-grpc-port 0"
        ) from error
    server.start()
    return server, int(port)


def _exporter(accept: Accept) -> Callable[[bytes, Any], bytes]:
    def export(body: bytes, context: Any) -> bytes:
        try:
            return _response(accept(body, "protobuf"))
        except RetryLaterError as error:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(error, BusyError) else grpc.StatusCode.UNAVAILABLE
            context.set_trailing_metadata((("grpc-status-details-bin", _retry_details(code, error)),))
            context.abort(code, error.text)
        except HeadwaterError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.text)
        raise AssertionError("abort returned")

    return export


def _response(receipt: Receipt) -> bytes:
    message = ExportTraceServiceResponse()
    if receipt.n_rejected:
        message.partial_success.rejected_spans = receipt.n_rejected
        message.partial_success.error_message = receipt.message
    return message.SerializeToString()


def _retry_details(code: grpc.StatusCode, error: RetryLaterError) -> bytes:
    wait = Duration()
    wait.FromMilliseconds(int(error.retry_after_s * 1_000))
    details = AnyMessage()
    details.Pack(RetryInfo(retry_delay=wait))
    raw: bytes = Status(code=code.value[0], message=error.text, details=[details]).SerializeToString()
    return raw
