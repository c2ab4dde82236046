"""The --help of milr and of each of its commands as one Markdown page: `python -m tests.help_pages > docs/help.md`."""

from __future__ import annotations

from typer.main import get_command
from typer.testing import CliRunner

from milr.cli.app import app

WIDTH = 100


def page() -> str:
    """The whole page; the same on every machine and terminal."""
    names = sorted(getattr(get_command(app), "commands", {}))
    sections = [_section("milr", []), *(_section(f"milr {name}", [name]) for name in names)]
    return "# Command line\n\nWritten by `make help-page` from the program itself.\n\n" + "\n".join(sections)


def _section(title: str, command: list[str]) -> str:
    return f"## {title}\n\n```\n{_help_of(command)}\n```\n"


def _help_of(command: list[str]) -> str:
    environment = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "NO_COLOR": "1"}
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="milr", terminal_width=WIDTH, env=environment)
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip("\n").splitlines())


if __name__ == "__main__":
    print(page(), end="")
