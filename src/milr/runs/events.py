"""What happens in a run, told to whoever listens: progress on a terminal or in a notebook, a server, trackers.

A listener is a function of one event. It is called on the event loop of the run, so it should be quick, and it cannot
break the run: where it raises, that is told once, it hears no more, and the run goes on. The one thing it may decide is
to end a search early, by `StopSearch`.

    RunStarted, then for each sample SearchFound (its record is there already)
    or SearchStarted, StepFinished ..., SearchFinished or SearchFailed; at last RunFinished
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from milr.outside.logs import logger
from milr.types import Cost, Key, Outcome, Prompt, Step

if TYPE_CHECKING:
    from milr.runs.config import RunConfig

LOG = logger(__name__)


class StopSearch(Exception):
    """Raised by a listener at a `StepFinished`: this search ends with that step, and keeps the best so far."""


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on: what is run, how many samples it has, and its folder (None: it is not stored)."""

    config: RunConfig
    total: int
    folder: Path | None


@dataclass(frozen=True)
class SearchFound:
    """A sample's record was on disk already. `done` of `total` samples are finished, here and in all other events."""

    prompt: Prompt
    sample: int
    done: int
    total: int


@dataclass(frozen=True)
class SearchStarted:
    """The search for a sample begins. One that was interrupted tells of its earlier steps again."""

    prompt: Prompt
    sample: int
    done: int
    total: int


@dataclass(frozen=True)
class StepFinished:
    """A picture was made and judged; `cost` is the ledger of its search so far."""

    prompt: Prompt
    key: Key
    step: Step
    cost: Cost


@dataclass(frozen=True)
class SearchFinished:
    """A search has ended, and in a run folder its record is written."""

    outcome: Outcome
    done: int
    total: int


@dataclass(frozen=True)
class SearchFailed:
    """A search has failed, so that no further one begins."""

    prompt: Prompt
    sample: int
    error: Exception
    done: int
    total: int


@dataclass(frozen=True)
class RunFinished:
    """The run has ended: whole, or because it failed or was interrupted (`done` is less than `total`)."""

    done: int
    total: int
    folder: Path | None


Event = RunStarted | SearchFound | SearchStarted | StepFinished | SearchFinished | SearchFailed | RunFinished
Listener = Callable[[Event], None]


class Listeners:
    """Several listeners as one, which breaks nothing.

    `failures` holds a sentence for each listener that raised, which `on_failure` is given at once (None: it is logged).
    StopSearch is passed on when all have heard; what ends a program (KeyboardInterrupt, SystemExit) is not held back.
    """

    def __init__(self, *listeners: Listener, on_failure: Callable[[str], None] | None = None) -> None:
        self._listeners: Sequence[Listener] = listeners
        self._on_failure = on_failure or LOG.warning
        self.failures: list[str] = []

    def __call__(self, event: Event) -> None:
        """Tell all of them."""
        stop: StopSearch | None = None
        for listener in self._listeners:
            try:
                listener(event)
            except StopSearch as error:
                stop = error
            except Exception as error:
                self._listeners = tuple(each for each in self._listeners if each is not listener)
                self.failures.append(_describe(listener, error))
                self._on_failure(self.failures[-1])
        if stop and isinstance(event, StepFinished):
            raise stop


def all_listeners(listener: Listener | Sequence[Listener] | None) -> tuple[Listener, ...]:
    """One listener, several, or none, as a tuple."""
    return (listener,) if callable(listener) else tuple(listener or ())


def _describe(listener: Listener, error: Exception) -> str:
    name = getattr(listener, "__name__", type(listener).__name__)
    words = " ".join(str(error).split())
    return (f"the listener {name} failed ({type(error).__name__}{f': {words}' if words else ''}) and hears no more; "
            "the run goes on without it.")  # fmt: skip
