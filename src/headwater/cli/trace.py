"""`headwater trace`."""

from typing import Annotated

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, ask_each, emit
from headwater.model.errors import UsageError
from headwater.report import text

_ALL_LIMIT = 1_000_000


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
        if every:
            params = {"pipeline": pipeline, "since": since, "until": until, "limit": _ALL_LIMIT}
            trace_ids = [str(row["trace_id"]) for row in ask("traces", Asked(store=store, url=url, params=params))["traces"]]
        if not trace_ids:
            raise UsageError("no trace was named; give ids, or --all", next_command="headwater trace --all --jsonl")
        if len(trace_ids) > 1 and json:
            raise UsageError("several traces make several documents; use --jsonl instead of --json")
        nouns = (f"traces/{trace_id}" for trace_id in trace_ids)
        for found in ask_each(nouns, Asked(store=store, url=url)):
            emit(found, as_json=json or jsonl, text="" if json or jsonl else text.trace(found, **style()))
