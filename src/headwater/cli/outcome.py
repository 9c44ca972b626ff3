"""`headwater outcome add` and `headwater outcome import`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydantic import ValidationError

from headwater.cli import options
from headwater.cli.source import emit, remote_answer
from headwater.conventions.attributes import DEFAULT_OUTCOME
from headwater.ingest.outcomes import read_rows
from headwater.model.answers import OutcomeRow
from headwater.model.errors import UsageError
from headwater.service.app import add_outcomes
from headwater.service.outcomes import OutcomeIn
from headwater.service.settings import load_settings

app = typer.Typer(help="Late outcomes: was the final result right? They join their run whenever they come.")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")


@app.command()
def add(
    target: Annotated[str, typer.Argument(metavar="RUN_OR_TRACE", help="Run id, or trace id of 32 hex digits.")],
    loss: Annotated[float, typer.Option("--loss", help="0 right, 1 wrong, or any real loss.")],
    *,
    label: Annotated[str | None, typer.Option("--label", help="The judgement in words.")] = None,
    judged_at: Annotated[str | None, typer.Option("--judged-at", help="ISO 8601; default now.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Who or what judged it.")] = None,
    outcome: options.Outcome = None,
    audit: Annotated[bool, typer.Option("--audit", help="It was labelled because it was drawn at random.")] = False,
    store: options.Store = None,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """Report one outcome. Example: headwater outcome add order-17 --loss 1 --label wrong"""
    is_trace = bool(_TRACE_ID.fullmatch(target))
    given = {"trace_id" if is_trace else "run_id": target, "loss": loss, "name": outcome, "label": label, "judged_at": judged_at, "source": source}
    try:
        row = OutcomeIn(**{key: value for key, value in given.items() if value is not None}, audit=audit).row()  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{' '.join(map(str, first['loc']))}: {first['msg']}", next_command="headwater outcome add --help") from error
    _send([row], store=store, url=url, as_json=json)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet: trace_id or run_id, loss; label, judged_at, source, audit.")],
    outcome: options.Outcome = None,
    *,
    store: options.Store = None,
    url: options.Url = None,
    json: options.Json = False,
) -> None:
    """Report many outcomes from a file; all rows or none. Importing a file twice changes nothing."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", next_command="headwater outcome import --help") from error
    _send(read_rows(str(file), data, outcome=outcome or DEFAULT_OUTCOME), store=store, url=url, as_json=json)


def _send(rows: Sequence[OutcomeRow], *, store: Path | None, url: str | None, as_json: bool) -> None:
    settings = load_settings(store=store, url=url)
    counts: Mapping[str, Any]
    if settings.url is None:
        counts = add_outcomes(rows, settings)
    else:
        counts = remote_answer(
            lambda: httpx.post(f"{str(settings.url).rstrip('/')}/api/v1/outcomes", json=[_body(row) for row in rows]), settings.url
        )
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if isinstance(count, int))
    emit({"schema": "headwater.outcomes/1"} | dict(counts), as_json=as_json, text=f"outcomes: {said}")


def _body(row: OutcomeRow) -> dict[str, Any]:
    """The row as REST takes it."""
    given = asdict(row)
    at = given.pop("judged_at_ns")
    if at is not None:
        given["judged_at"] = (_EPOCH + timedelta(microseconds=at // 1000)).isoformat()
    return {key: value for key, value in given.items() if value is not None}
