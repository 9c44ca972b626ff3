"""`headwater pipelines`."""

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, emit
from headwater.report import text


def register(app: typer.Typer) -> None:
    @app.command()
    def pipelines(store: options.Store = None, url: options.Url = None, *, json: options.Json = False) -> None:
        """List the pipelines in the store with their stages, runs and outcomes."""
        found = ask("pipelines", Asked(store=store, url=url))
        emit(found, as_json=json, text=text.pipelines(found, **style()))
