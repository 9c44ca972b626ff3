"""The verbs together, and the one place where an error becomes a sentence and an exit code."""

import json
import os
import sys
from collections.abc import Sequence

import typer

from headwater.cli import doctor, export, graph, ingest, outcome, pipelines, report, serve, trace, why
from headwater.cli import run as run_verb
from headwater.model.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, HeadwaterError, UsageError
from headwater.report.json import error_document

app = typer.Typer(
    name="headwater",
    help="Which stage of a multi-model pipeline began it: latency and final-output errors attributed to their origin.",
    epilog="Start: `headwater serve`, send OTLP to it, then `headwater why`. Every read verb takes --json.",
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (serve, run_verb, ingest, pipelines, graph, trace, why, doctor, export):
    verb.register(app)
app.add_typer(report.app, name="report")
app.add_typer(outcome.app, name="outcome")


def _wants_json(arguments: Sequence[str]) -> bool:
    return "--json" in arguments or "--jsonl" in arguments


def _help_of(arguments: Sequence[str]) -> str:
    """The help of the verb that was meant; of headwater if there is no such verb."""
    known = {command.callback.__name__ for command in app.registered_commands if command.callback} | {group.name for group in app.registered_groups}
    return f"headwater {arguments[0]} --help" if arguments and arguments[0] in known else "headwater --help"


def _say(error: HeadwaterError, *, as_json: bool) -> None:
    """One sentence with the next command on standard error."""
    if as_json:
        sys.stderr.write(json.dumps(error_document(error)) + "\n")
        return
    hint = f"\nnext: {error.next}" if error.next else ""
    sys.stderr.write(f"headwater: {error.text}{hint}\n")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code of the contract (json-contract: 0 ok, 1 findings, 2 usage, 3 too little data, 4 unreachable, 130)."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(given, standalone_mode=False)
    except HeadwaterError as error:
        _say(error, as_json=_wants_json(given))
        return error.exit_code
    except typer.TyperException as error:
        _say(UsageError(error.format_message(), next_command=_help_of(given)), as_json=_wants_json(given))
        return EXIT_USAGE
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `headwater … | head`: the reader has had enough; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code if isinstance(code, int) else EXIT_OK
