"""`headwater report latency` and `headwater report errors`."""

from collections.abc import Mapping
from typing import Any

import typer

from headwater.cli import options
from headwater.cli.render import style
from headwater.cli.source import Asked, ask, emit
from headwater.report import text

app = typer.Typer(help="Reports over a window: where time was spent, which stage began the errors.")


@app.command()
def latency(
    pipeline: options.Pipeline = None,
    since: options.Since = None,
    until: options.Until = None,
    baseline: options.Baseline = None,
    *,
    baseline_since: options.BaselineSince = None,
    baseline_until: options.BaselineUntil = None,
    where: options.Where = None,
    store: options.Store = None,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """Split end-to-end latency (mean, p50, p95, p99) over the components so that the parts add up; compare two windows.

    Example: headwater report latency --since 1h --baseline previous
    """
    found = ask("reports/latency", Asked(store=store, url=url, params=_window(locals())))
    emit(found, as_json=json, text=text.latency(found, **style()))


@app.command()
def errors(
    pipeline: options.Pipeline = None,
    since: options.Since = None,
    until: options.Until = None,
    baseline: options.Baseline = None,
    *,
    baseline_since: options.BaselineSince = None,
    baseline_until: options.BaselineUntil = None,
    where: options.Where = None,
    outcome: options.Outcome = None,
    cluster: options.Cluster = None,
    store: options.Store = None,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """Split the final loss over the stages that began it, with intervals and a verdict; compare two windows.

    Example: headwater report errors --since 2026-03-01T14:20:00Z --baseline previous
    """
    found = ask("reports/errors", Asked(store=store, url=url, params=_window(locals())))
    emit(found, as_json=json, text=text.errors(found, **style()))


_WINDOW = ("pipeline", "since", "until", "baseline", "baseline_since", "baseline_until", "where", "outcome", "cluster")


def _window(given: Mapping[str, Any]) -> dict[str, object]:
    """The window options among a verb's arguments, under their REST names."""
    return {name: given[name] for name in _WINDOW if name in given}
