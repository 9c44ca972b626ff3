"""`headwater run`: the entry in the list of verbs; `headwater.cli.launch` does it, and reads the options."""

import typer

from headwater.cli import launch


def register(app: typer.Typer) -> None:
    @app.command(add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False})
    def run(context: typer.Context) -> None:
        """Run a Python program with headwater.toml in force: headwater run -- python app.py"""
        raise typer.Exit(launch.main(context.args))
