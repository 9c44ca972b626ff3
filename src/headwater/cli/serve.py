"""`headwater serve`."""

import json
import signal
import sys
import threading
from typing import Annotated

import typer

from headwater.cli import options
from headwater.service.app import Service
from headwater.service.settings import load_settings


def register(app: typer.Typer) -> None:
    @app.command()
    def serve(
        host: Annotated[str | None, typer.Option("--host", help="Address to bind to (default 127.0.0.1).")] = None,
        *,
        http_port: Annotated[int | None, typer.Option("--http-port", help="Dashboard and REST (default 8417; 0 = a free one).")] = None,
        otlp_http_port: Annotated[int | None, typer.Option("--otlp-http-port", help="OTLP over HTTP (default 4318).")] = None,
        otlp_grpc_port: Annotated[int | None, typer.Option("--otlp-grpc-port", help="OTLP over gRPC (default 4317).")] = None,
        store: options.Store = None,
        jaeger_url: Annotated[str | None, typer.Option("--jaeger-url", help="Base address of Jaeger's UI, for deep links.")] = None,
        allow_open_bind: Annotated[
            bool, typer.Option("--allow-open-bind", help="Bind to a non-loopback host although there is no authentication.")
        ] = False,
    ) -> None:
        """Receive OTLP, keep it, and answer: dashboard, REST, receivers. Prints one JSON line with its ports when ready; SIGTERM drains."""
        settings = load_settings(
            host=host,
            http_port=http_port,
            otlp_http_port=otlp_http_port,
            otlp_grpc_port=otlp_grpc_port,
            store=store,
            jaeger_url=jaeger_url,
            allow_open_bind=allow_open_bind or None,
        )
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with Service(settings) as service:
            ports = service.ports
            sys.stdout.write(json.dumps({"schema": "headwater.ready/1", **ports}) + "\n")
            sys.stdout.flush()
            sys.stderr.write(
                f"headwater: dashboard http://{settings.host}:{ports['http']}/ · OTLP/HTTP :{ports['otlp_http']} · OTLP/gRPC :{ports['otlp_grpc']}\n"
            )
            stop.wait()
            sys.stderr.write("headwater: draining ...\n")
