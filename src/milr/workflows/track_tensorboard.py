"""The tracker for TensorBoard: a folder of event files for each search, below `track/tensorboard` of the run's folder.

Written with tensorboardX, which needs protobuf and numpy alone. A search's folder is deleted when it begins, and holds
the file `complete` when it has ended: event files can only grow, and a search that goes on tells of its steps again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.runs.events import (
    Event,
    RunFinished,
    RunStarted,
    SearchFailed,
    SearchFinished,
    SearchFound,
    SearchStarted,
    StepFinished,
)
from milr.runs.record_files import name_of, read_record
from milr.types import Cost, Outcome, Step
from milr.workflows.stored import restore
from milr.workflows.track_contents import describe_run, describe_search, tracking_folder

if TYPE_CHECKING:
    from PIL.Image import Image

COMPLETE = "complete"
RUN = "run"  # the folder that says what is run


class TensorBoardTracker:
    """A listener for one run at a time."""

    def __init__(self) -> None:
        self._folder = self._run = Path()
        self._searches: dict[str, _Search] = {}

    def __call__(self, event: Event) -> None:
        """Write what happened."""
        match event:
            case RunStarted():
                self._begin(event)
            case SearchFound():
                self._add_finished(name_of(event.prompt, event.sample))
            case SearchStarted():
                self._search(name_of(event.prompt, event.sample), anew=True)
            case StepFinished():
                self._search(name_of(event.prompt, event.key.sample)).add(event.step, event.cost)
            case SearchFinished(outcome=outcome):
                self._search(name := name_of(outcome.prompt, outcome.key.sample)).finish(outcome)
                del self._searches[name]
            case SearchFailed():
                self._search(name := name_of(event.prompt, event.sample)).close()
                del self._searches[name]
            case RunFinished():
                for search in self._searches.values():
                    search.close()
                self._searches.clear()

    def _begin(self, event: RunStarted) -> None:
        self._folder, self._run = tracking_folder(event, "tensorboard"), event.folder or Path()
        if not (self._folder / RUN / COMPLETE).exists():
            about = _Search(self._folder / RUN)
            about.write_text("run", describe_run(event.config))
            about.complete()

    def _search(self, name: str, anew: bool = False) -> _Search:
        if anew or name not in self._searches:
            self._searches[name] = _Search(self._folder / name)
        return self._searches[name]

    def _add_finished(self, name: str) -> None:
        """Write a search that ended before this tracker listened."""
        if (self._folder / name / COMPLETE).exists():
            return
        outcome = restore(read_record(self._run / "records" / f"{name}.json"), self._run)
        _Search(self._folder / name).finish(outcome)


class _Search:
    """The event files of one search, in a new folder."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._writer: Any = SummaryWriter(str(folder), flush_secs=5)
        self._best: float | None = None
        self._num_steps = 0

    def add(self, step: Step, spent: Cost) -> None:
        """A step, and what its search has spent so far."""
        self._num_steps += 1
        value = step.score.value
        numbers = {"score/parts/" + name: part for name, part in step.score.parts.items()}
        if value is not None:  # unscored is no zero, but a missing point
            self._best = value if self._best is None else max(self._best, value)
            numbers |= {"score": value, "score/best_so_far": self._best}
        numbers |= {"cost/token_steps": spent.token_steps, "cost/reward_calls": spent.reward_calls,
                    "cost/seconds": spent.model_seconds + spent.reward_seconds}  # fmt: skip
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, step.index)
        if step.index == 0:
            self._add_picture("first", step.rollout.picture, 0)

    def finish(self, outcome: Outcome) -> None:
        """The end of the search, and the steps of it that were not told: those of a search that was only judged now."""
        spent = Cost()
        for position, step in enumerate(outcome.steps):
            spent += step.cost
            if position >= self._num_steps:
                self.add(step, spent)
        returned = outcome.steps[outcome.returned]
        self._add_picture("returned", returned.rollout.picture, returned.index)
        for index, score in outcome.judged.items():
            if score.value is not None:
                self._writer.add_scalar("judged", score.value, outcome.steps[index].index)
        self.write_text("search", describe_search(outcome))
        self.complete()

    def write_text(self, name: str, markdown: str) -> None:
        """A text to read."""
        self._writer.add_text(name, markdown, 0)

    def complete(self) -> None:
        """Close, and mark it as whole."""
        self.close()
        (self._folder / COMPLETE).touch()

    def close(self) -> None:
        """Close what is open."""
        self._writer.close()

    def _add_picture(self, name: str, picture: Image, step: int) -> None:
        import numpy as np

        self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")
