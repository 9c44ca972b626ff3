"""`headwater export`."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli import options
from headwater.service.export import export_spans
from headwater.service.settings import load_settings


class Format(enum.StrEnum):
    """What can be written."""

    OTLP_JSONL = "otlp-jsonl"
    PARQUET = "parquet"


def register(app: typer.Typer) -> None:
    @app.command()
    def export(
        form: Annotated[
            Format, typer.Option("--format", help="otlp-jsonl: what came in, attribute for attribute; parquet: our columns and wire rows.")
        ],
        output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Default standard output.")] = None,
        *,
        pipeline: options.Pipeline = None,
        since: options.Since = None,
        until: options.Until = None,
        store: options.Store = None,
    ) -> None:
        """Write the stored spans, those still in memory or only in the log included; all pipelines unless one is named."""
        settings = load_settings(store=store)
        if output is None:
            count = export_spans(form.value, sys.stdout.buffer, settings, pipeline=pipeline, since=since, until=until)
            sys.stdout.buffer.flush()
        else:
            part = output.with_name(output.name + ".part")
            with part.open("wb") as file:
                count = export_spans(form.value, file, settings, pipeline=pipeline, since=since, until=until)
            part.replace(output)
        sys.stderr.write(f"headwater: {count} spans\n")
