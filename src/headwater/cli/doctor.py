"""`headwater doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from headwater.cli import config_check, options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, emit
from headwater.model.errors import EXIT_FINDINGS
from headwater.report import text
from headwater.report.json import doctor_document

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Look at this headwater.toml alone: which patterns match nothing? Imports the modules they name."),
]


def register(app: typer.Typer) -> None:
    @app.command()
    def doctor(
        pipeline: options.Pipeline = None, *, config: Config = None, store: options.Store = None, url: options.Url = None, json: options.Json = False
    ) -> None:
        """Look for what is missing: spans, outcomes, sizes, versions, roots, Jaeger; say the next command. Exit code 1 if something is."""
        if config is None:
            found = ask("doctor", Asked(store=store, url=url, params={"pipeline": pipeline}))
        else:
            found = doctor_document(config_check.checks(config))
        emit(found, as_json=json, text=text.doctor(found, **style()))
        if not all(check["ok"] for check in found["checks"]):
            raise typer.Exit(EXIT_FINDINGS)
