"""The command line: data on standard output, everything else on standard error, one verb per file."""

import sys


def main() -> None:
    """Entry point of the `headwater` command; says what to install where the service parts are missing."""
    if sys.argv[1:2] == ["run"]:  # becomes the program at once, and needs no service parts
        from headwater.cli.launch import main as launch

        raise SystemExit(launch(sys.argv[2:]))
    try:
        from headwater.cli.app import run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("headwater"):
            raise
        raise SystemExit(f"headwater: the command line needs {error.name}; install it with: pip install 'headwater[service]'") from error
    raise SystemExit(run())
