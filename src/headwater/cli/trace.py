"""`headwater trace`."""

from typing import Annotated

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask_each, each_trace, emit
from headwater.model.errors import UsageError
from headwater.report import text


def register(app: typer.Typer) -> None:
    @app.command()
    def trace(
        trace_ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Trace ids, 32 hex digits.")] = None,
        pipeline: options.Pipeline = None,
        since: options.Since = None,
        until: options.Until = None,
        *,
        every: Annotated[bool, typer.Option("--all", help="Every trace of the window.")] = False,
        store: options.Store = None,
        url: options.Url = None,
        json: options.Json = False,
        jsonl: options.JsonLines = False,
    ) -> None:
        """Waterfall, critical path and blame of one trace, or of many with --jsonl."""
        asked = Asked(store=store, url=url, params={"pipeline": pipeline, "since": since, "until": until})
        if not trace_ids and not every:
            raise UsageError("no trace was named; give ids, or --all", next_command="headwater trace --all --jsonl")
        if json and (every or len(trace_ids or ()) > 1):
            raise UsageError("several traces make several documents; use --jsonl instead of --json")
        found = each_trace(asked) if every else ask_each((f"traces/{trace_id}" for trace_id in trace_ids or ()), Asked(store=store, url=url))
        for one in found:
            emit(one, as_json=json or jsonl, text="" if json or jsonl else text.trace(one, **style()))
