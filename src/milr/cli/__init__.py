"""The command line: flags, progress and printed results; everything else is elsewhere."""

from __future__ import annotations


def main() -> None:
    """The entry point: the program can be interrupted and its output lost from here on, while everything else loads."""
    from milr.cli import interrupts, streams

    interrupts.handle_signals()
    streams.protect_streams()
    code = _run()
    if error := streams.output_error():
        sentence, lost = streams.describe_lost_output(error)
        _say(sentence)
        code = code or lost
    if interrupts.exit_code():
        interrupts.end(interrupts.exit_code())
    raise SystemExit(code)


def _run() -> int:
    """The exit code of the command."""
    from milr.cli.app import main as run

    try:
        run()
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        _say(str(stop.code))
        return 1
    return 0


def _say(sentence: str) -> None:
    import sys

    sys.stderr.write(f"{sentence}\n")
