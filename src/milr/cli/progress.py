"""Live progress on a terminal: every step of a single search, or a bar over many."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from milr.cli.console import FINISHED, format_score
from milr.report.changes import count_free, describe_step
from milr.runs.events import Event, Listener, SearchFinished, SearchFound, StepFinished
from milr.types import Modality, Step

if TYPE_CHECKING:
    from milr.workflows.searcher import RunPlan


class Progress:
    """A listener of a run that shows how it goes, and a context manager."""

    def __init__(self, console: Console, prepared: RunPlan, title: str = "") -> None:
        self.console, self.title = console, title or "searching"
        self.total = len(prepared.jobs)
        self.single = self.total == 1 and not title
        self._last_text: str | None = None
        self._num_free: dict[Modality, int] = {}
        self._pictures = 0
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                        TimeRemainingColumn(), console=console, disable=self.single)  # fmt: skip
        self._task = self._bar.add_task(self.title, total=self.total)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show a picture that was made; count a sample that finished now, or that the folder already held."""
        if isinstance(event, StepFinished):
            self._show(event.step)
        elif isinstance(event, (SearchFound, SearchFinished)):
            self._bar.update(self._task, completed=event.done)
            if isinstance(event, SearchFound) and self.single:
                self.console.print(FINISHED)

    def _show(self, step: Step) -> None:
        """Its score, what changed, and the words of its visualisation."""
        self._pictures += 1
        if not self.single:
            self._bar.update(self._task, description=f"{self.title} ({self._pictures} pictures)")
            return
        text = step.rollout.visualisation.text if step.rollout.visualisation else ""
        self._num_free |= count_free([step])
        change = describe_step(step, self._num_free)
        self.console.print(f"step {step.index:2d}  score {format_score(step.score)}  {change}")
        if text and text != self._last_text:
            self.console.print(f"         {changed_words(self._last_text, text)}", soft_wrap=True, markup=True)
        if step.score.reason:
            self.console.print(f"         [dim]{escape(step.score.reason)}[/dim]", soft_wrap=True,
                               markup=True)  # fmt: skip
        self._last_text = text


class QueueProgress:
    """A bar for each of several runs that go on at once, and one for all; a context manager.

    `bars` are their listeners, in order.
    """

    def __init__(self, console: Console, runs: Sequence[RunPlan], titles: Sequence[str]) -> None:
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                        TimeRemainingColumn(), console=console)  # fmt: skip
        self._numbers = [0] * len(runs)
        self.bars: list[Listener] = []
        for place, (run, title) in enumerate(zip(runs, titles, strict=True)):
            self.bars.append(partial(self._count, place, self._bar.add_task(escape(title), total=len(run.jobs))))
        self._all = self._bar.add_task("all rows", total=sum(len(run.jobs) for run in runs))

    def __enter__(self) -> QueueProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._bar.stop()

    def _count(self, place: int, task: TaskID, event: Event) -> None:
        """A run's sample was made, or found in its folder; the bar of a run that is done goes away."""
        if isinstance(event, (SearchFound, SearchFinished)):
            self._numbers[place] = event.done
            self._bar.update(task, completed=event.done, visible=event.done < event.total)
            self._bar.update(self._all, completed=sum(self._numbers))


def changed_words(before: str | None, after: str) -> str:
    """`after` as markup, with the words that are new in bold."""
    new = after.split()
    if before is None:
        return escape(after)
    pieces = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, before.split(), new, autojunk=False).get_opcodes():
        words = escape(" ".join(new[start:end]))
        if words:
            pieces.append(words if kind == "equal" else f"[bold]{words}[/bold]")
    return " ".join(pieces)


@contextmanager
def folder_progress(console: Console) -> Iterator[tuple[Callable[[int, int], None], Listener]]:
    """Two bars: a callback for pictures read, as (done, total), and a listener for pictures judged."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Bar(*columns, console=console) as bar:
        reading, judging = (bar.add_task(name, total=None) for name in ("reading pictures", "judging"))

        def listen(event: Event) -> None:
            if isinstance(event, (SearchFound, SearchFinished)):
                bar.update(judging, completed=event.done, total=event.total)

        yield lambda done, total: bar.update(reading, completed=done, total=total), listen


@contextmanager
def count_progress(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    """One bar, and a callback for it, as (done, total)."""
    with Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
