"""A progress bar where a call runs inside a notebook; elsewhere nothing is shown."""

from __future__ import annotations

import dataclasses
import html
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.types import Key, Prompt, Step
    from milr.workflows.prepare import PreparedRun
    from milr.workflows.running import Listeners


@contextmanager
def progress_bar(prepared: PreparedRun, listeners: Listeners) -> Iterator[Listeners]:
    """The listeners for a run, which move the bar of a notebook, too."""
    display = _notebook_display()
    if display is None:
        yield listeners
        return
    bar = _Bar(display, prepared)
    try:
        yield dataclasses.replace(listeners, on_step=bar.before(listeners.on_step))
    finally:
        bar.show(closed=True)


def _notebook_display() -> Any:
    """IPython's `display` inside a notebook, else None; IPython is not loaded where it is not running."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display


class _Html:
    def __init__(self, content: str) -> None:
        self._content = content

    def _repr_html_(self) -> str:
        return self._content

    def __repr__(self) -> str:
        return ""


class _Bar:
    """Counts pictures against the most that the run may draw."""

    def __init__(self, display: Any, prepared: PreparedRun) -> None:
        self._most, self._drawn, self._last = prepared.pictures, 0, ""
        self._handle = display(_Html(self._content()), display_id=True)

    def before(self, listener: Any) -> Any:
        """An `on_step` that moves the bar and then calls `listener`, if there is one."""

        def on_step(prompt: Prompt, key: Key, step: Step) -> None:
            self._drawn += 1
            score = "unscored" if step.score.value is None else f"{step.score.value:.2f}"
            self._last = f"{prompt.text}: step {step.index}, score {score}"
            self.show()
            if listener:
                listener(prompt, key, step)

        return on_step

    def show(self, closed: bool = False) -> None:
        """Show how far it is."""
        if self._handle is not None:
            self._handle.update(_Html(self._content(closed)))

    def _content(self, closed: bool = False) -> str:
        words = f"{self._drawn} pictures" if closed else f"{self._drawn} of at most {self._most} pictures; {self._last}"
        bar = "" if closed else f'<progress max="{self._most}" value="{self._drawn}"></progress> '
        return f"<p>{bar}{html.escape(words)}</p>"
