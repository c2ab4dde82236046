"""The command line: flags, progress and printed results; everything else is elsewhere."""

from __future__ import annotations


def main() -> None:
    """The entry point."""
    from milr.cli.app import main as run

    run()
