"""The command line. Thin: it reads options, shows progress, prints results; everything else is elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from milr import __version__
from milr.cli.bench import bench, score
from milr.cli.bundle import bundle
from milr.cli.calibrate import calibrate
from milr.cli.compare import compare
from milr.cli.convert import convert
from milr.cli.experiment import experiment
from milr.cli.generate import generate
from milr.cli.interrupts import MESSAGE
from milr.cli.menu import doctor, list_parts
from milr.cli.rerun import rerun
from milr.cli.runs import export, merge, report
from milr.cli.serve import mcp, serve
from milr.outside.memory import is_out_of_memory
from milr.types import MilrError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Better pictures from a unified text-and-image model, by reasoning in its latent space at test "
                       "time (MILR).")  # fmt: skip


NO_MEMORY = "milr: memory is used up; what is finished is kept, and the same command with less --in-flight goes on."


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and stop.")] = False) -> None:
    if version:
        typer.echo(f"milr {__version__}")
        raise typer.Exit


for command in (generate, bench, score, experiment, compare, rerun, report, export, merge, bundle, convert, calibrate,
                serve, mcp):  # fmt: skip
    app.command()(command)
app.command("list")(list_parts)
app.command()(doctor)


def main() -> None:
    """The entry point: errors are one sentence on stderr, with the exit code that says whose they are."""
    try:
        app(standalone_mode=True)
    except MilrError as error:
        typer.echo(f"milr: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        typer.echo(f"milr: the package {error.name} is missing; install milr again.", err=True)
        sys.exit(3)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        typer.echo(NO_MEMORY, err=True)
        sys.exit(4)
    except SystemExit as stop:  # typer makes of an interrupt an exit with 130
        if stop.code == 130:
            typer.echo(MESSAGE, err=True)
        raise
