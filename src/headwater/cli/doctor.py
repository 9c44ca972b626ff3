"""`headwater doctor`."""

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, emit
from headwater.model.errors import EXIT_FINDINGS
from headwater.report import text


def register(app: typer.Typer) -> None:
    @app.command()
    def doctor(pipeline: options.Pipeline = None, *, store: options.Store = None, url: options.Url = None, json: options.Json = False) -> None:
        """Look for what is missing: spans, outcomes, sizes, versions, roots, Jaeger; say the next command. Exit code 1 if something is."""
        found = ask("doctor", Asked(store=store, url=url, params={"pipeline": pipeline}))
        emit(found, as_json=json, text=text.doctor(found, **style()))
        if not all(check["ok"] for check in found["checks"]):
            raise typer.Exit(EXIT_FINDINGS)
