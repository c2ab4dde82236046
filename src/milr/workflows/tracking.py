"""Trackers: listeners that write a run for a viewer of experiments, below the run's folder and nowhere else.

Each search is a run of the tracker, named as its record: scores and costs by step, the first and the returned picture,
and the steps as a table to read. What is written depends on the records alone: a search that goes on is written anew,
and one that is written already is left as it is, so that resuming writes nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from milr import catalog
from milr.runs.events import Listener, RunFinished, RunStarted, SearchFound
from milr.types import MissingError

PACKAGES = {"tensorboard": ("tensorboardX", "milr[track]"), "trackio": ("trackio", "milr[trackio]")}


def check_tracker(name: str | None) -> None:
    """UsageError for an unknown tracker, MissingError where its package is missing; None is none."""
    if name is None:
        return
    catalog.one_of("tracker", name, list(PACKAGES))
    package, extra = PACKAGES[name]
    if find_spec(package) is None:
        raise MissingError(f"--track {name} needs the package {package}: pip install '{extra}'.")


def make_tracker(name: str) -> Listener:
    """A listener for one run at a time, into its folder: "tensorboard" or "trackio". MilrError where it cannot be."""
    check_tracker(name)
    make: dict[str, Callable[[], Listener]] = {"tensorboard": _tensorboard, "trackio": _trackio}
    return make[name]()


def _tensorboard() -> Listener:
    from milr.workflows.track_tensorboard import TensorBoardTracker

    return TensorBoardTracker()


def _trackio() -> Listener:
    from milr.workflows.track_trackio import TrackioTracker

    return TrackioTracker()


def tell_of_finished(folder: Path, listener: Listener) -> None:
    """Tell a listener of a run that is finished: all its samples are found."""
    from milr.runs.store import RunStore

    store = RunStore(folder)
    records, config = store.records(tokens=False), store.run().config
    listener(RunStarted(config, len(records), folder))
    for done, record in enumerate(records, 1):
        listener(SearchFound(record.prompt, record.sample, done, len(records)))
    listener(RunFinished(len(records), len(records), folder))
