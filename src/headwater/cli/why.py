"""`headwater why`."""

import typer

from headwater.cli import options
from headwater.cli.source import Asked, ask, emit


def register(app: typer.Typer) -> None:
    @app.command()
    def why(
        pipeline: options.Pipeline = None,
        since: options.Since = None,
        until: options.Until = None,
        baseline: options.Baseline = None,
        *,
        baseline_since: options.BaselineSince = None,
        baseline_until: options.BaselineUntil = None,
        outcome: options.Outcome = None,
        cluster: options.Cluster = None,
        store: options.Store = None,
        url: options.Url = None,
        json: options.Json = False,
    ) -> None:
        """One sentence: what changed, which stage began it, how sure that is.

        Example: headwater why --since 1h --baseline previous
        """
        given = {"pipeline": pipeline, "since": since, "until": until, "baseline": baseline, "outcome": outcome, "cluster": cluster}
        asked = Asked(store=store, url=url, params=given | {"baseline_since": baseline_since, "baseline_until": baseline_until})
        found = ask("why", asked)
        emit(found, as_json=json, text=str(found["sentence"]))
