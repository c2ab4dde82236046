"""A progress bar where a call runs inside a notebook; elsewhere nothing is shown."""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING, Any

from milr.runs.events import Event, Listener, RunFinished, StepFinished

if TYPE_CHECKING:
    from milr.workflows.searcher import RunPlan


def progress_bars(prepared: RunPlan) -> tuple[Listener, ...]:
    """The listener that moves the bar of a notebook; none elsewhere."""
    display = _notebook_display()
    return () if display is None else (_Bar(display, prepared),)


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

    def __init__(self, display: Any, prepared: RunPlan) -> None:
        self._most, self._drawn, self._last = prepared.pictures, 0, ""
        self._handle = display(_Html(self._content()), display_id=True)

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepFinished):
            self._drawn += 1
            score = event.step.score.value
            shown = "unscored" if score is None else f"{score:.2f}"
            self._last = f"{event.prompt.text}: step {event.step.index}, score {shown}"
            self._show()
        elif isinstance(event, RunFinished):
            self._show(closed=True)

    def _show(self, closed: bool = False) -> None:
        if self._handle is not None:
            self._handle.update(_Html(self._content(closed)))

    def _content(self, closed: bool = False) -> str:
        words = f"{self._drawn} pictures" if closed else f"{self._drawn} of at most {self._most} pictures; {self._last}"
        bar = "" if closed else f'<progress max="{self._most}" value="{self._drawn}"></progress> '
        return f"<p>{bar}{html.escape(words)}</p>"
