"""`headwater graph`."""

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, emit
from headwater.report import text


def register(app: typer.Typer) -> None:
    @app.command()
    def graph(
        pipeline: options.Pipeline = None,
        since: options.Since = None,
        until: options.Until = None,
        *,
        store: options.Store = None,
        url: options.Url = None,
        json: options.Json = False,
    ) -> None:
        """Show the stages of a pipeline and who feeds whom, as observed or declared."""
        found = ask("graph", Asked(store=store, url=url, params={"pipeline": pipeline, "since": since, "until": until}))
        emit(found, as_json=json, text=text.graph(found, **style()))
