"""`headwater ingest`."""

from typing import Annotated

import typer

from headwater.cli import options
from headwater.cli.source import emit
from headwater.service.app import ingest_paths
from headwater.service.settings import load_settings


def register(app: typer.Typer) -> None:
    @app.command()
    def ingest(
        paths: Annotated[
            list[str], typer.Argument(metavar="PATH…", help="OTLP/JSON lines, OTLP protobuf, Jaeger JSON, our Parquet; - = standard input.")
        ],
        store: options.Store = None,
        *,
        json: options.Json = False,
    ) -> None:
        """Read files into the store. Every file is taken whole or not at all; a span seen before is counted, not kept twice."""
        counts = ingest_paths(paths, load_settings(store=store))
        rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(counts["rejected"].items())) or "0"
        said = f"received {counts['received']} spans: {counts['accepted']} new, {counts['duplicate']} seen before, rejected {rejected}"
        emit({"schema": "headwater.ingest/1", **counts}, as_json=json, text=said)
