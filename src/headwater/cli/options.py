"""Options that several verbs share, said once."""

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[Path | None, typer.Option("--store", metavar="DIR", help="Directory of the embedded store (default .headwater, HEADWATER_STORE).")]
Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Ask a running service instead of the store (HEADWATER_URL).")]
Pipeline = Annotated[str | None, typer.Option("--pipeline", "-p", metavar="NAME", help="Pipeline; may be left out when there is just one.")]
Since = Annotated[str | None, typer.Option("--since", metavar="WHEN", help="Start of the window: ISO 8601, or an age such as 1h, 2d.")]
Until = Annotated[str | None, typer.Option("--until", metavar="WHEN", help="End of the window.")]
BaselineSince = Annotated[str | None, typer.Option("--baseline-since", metavar="WHEN", help="Start of the window to compare with.")]
BaselineUntil = Annotated[str | None, typer.Option("--baseline-until", metavar="WHEN", help="End of the window to compare with.")]
Baseline = Annotated[str | None, typer.Option("--baseline", metavar="previous", help="Compare with the window of equal length just before.")]
Outcome = Annotated[str | None, typer.Option("--outcome", metavar="NAME", help="Which outcome to explain (default loss).")]
Cluster = Annotated[
    str | None, typer.Option("--cluster", metavar="KEY", help="Root attribute that groups runs for folds and intervals (default session.id).")
]
Where = Annotated[list[str] | None, typer.Option("--where", metavar="KEY=VALUE", help="Keep traces with this attribute; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="One JSON document a line.")]
