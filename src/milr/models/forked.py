"""A small model on a CPU in a process for each worker, so that Python's lock holds up none of them.

The processes are forked from this one: they share its weights, and start in milliseconds. Each remembers prefixes and
drafts of its own, so a batch goes to the process that had its prompts before, if that one is free.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from milr.types import Answer, DrawRequest, ImageTrace, JudgeError, ReasonRequest, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import UnifiedModel


def apart(model: UnifiedModel, searches: int) -> UnifiedModel:
    """The model in processes of its own, where that pays and the system knows how: it has several workers, and several
    searches go on at once. Else the model."""
    workers = min(getattr(model, "workers", 1), searches)
    able = sys.platform == "linux" and callable(getattr(model, "on_fork", None))
    return cast("UnifiedModel", Forked(model, workers)) if workers > 1 and able else model


class Forked:
    """A `UnifiedModel` whose batches are worked off by processes, one batch by each at a time.

    What is no batch is asked of the model here.
    """

    def __init__(self, model: UnifiedModel, workers: int) -> None:
        self._model = model
        self._processes: list[_Process] = []
        for _ in range(workers):
            self._processes.append(_Process(model, workers, [other.connection for other in self._processes]))
        self._owners: dict[str, _Process] = {}  # of every prompt, who had it last
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """As the model does."""
        return self._ask([request.prompt for request in requests], "reason", requests)  # type: ignore[no-any-return]

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """As the model does."""
        return self._ask([request.key.prompt for request in requests], "draw", requests)  # type: ignore[no-any-return]

    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """As the model does."""
        return self._ask([], "render", image_ids)  # type: ignore[no-any-return]

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], room: int | None = None) -> list[Answer]:
        """As the model does."""
        return self._ask([], "answer", pictures, questions, room)  # type: ignore[no-any-return]

    def free_memory(self) -> None:
        """Let go of what is only held to be quick, everywhere."""
        for process in self._processes:
            with process.lock:
                process.ask("free_memory")

    def processes(self) -> list[int]:
        """Their ids."""
        return [process.number for process in self._processes]

    def memory(self) -> int:
        """Bytes that the processes hold beside what they share with this one."""
        return sum(map(_own_bytes, self.processes()))

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.close()

    def _ask(self, prompts: Sequence[str], name: str, *arguments: Any) -> Any:
        process = self._free(prompts)
        try:
            return process.ask(name, *arguments)
        finally:
            process.lock.release()

    def _free(self, prompts: Sequence[str]) -> _Process:
        """A process with its lock, of those that are free the one that had most of these prompts; waits for one."""
        with self._lock:
            had = Counter(self._owners.get(prompt) for prompt in prompts)
            liked = sorted(self._processes, key=lambda process: -had[process])
            chosen = next((process for process in liked if process.lock.acquire(blocking=False)), None)
        if chosen is None:
            chosen = liked[0]
            chosen.lock.acquire()
        with self._lock:
            self._owners |= dict.fromkeys(prompts, chosen)
        return chosen


class _Process:
    """One process, and the line to it. It ends when its line does, so also when this process is killed."""

    def __init__(self, model: UnifiedModel, workers: int, others: Sequence[Connection]) -> None:
        context = multiprocessing.get_context("fork")
        self.connection, theirs = context.Pipe()
        self.lock = Lock()
        self._process = context.Process(target=_serve, args=(model, workers, theirs, [self.connection, *others]),
                                        name="milr-model", daemon=True)  # fmt: skip
        with warnings.catch_warnings():  # other threads of this process hold nothing that a process needs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the model's method gives there; what it raises there is raised here."""
        try:
            self.connection.send_bytes(pickle.dumps((name, arguments)))
            found, error = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            raise JudgeError("a process of the model has ended, killed by the system perhaps: the same command goes on "
                             "from here; with --threads 1 there are none.") from None  # fmt: skip
        if error is not None:
            raise error
        return found

    @property
    def number(self) -> int:
        """Its id."""
        return self._process.pid or 0

    def close(self) -> None:
        """End it; whoever waits for it hears that it has ended."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(model: Any, workers: int, line: Connection, inherited: Sequence[Connection]) -> None:
    """In the process: one batch after the other, until the line ends."""
    for other in inherited:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other side ends what was interrupted
    model.on_fork(workers)
    while True:
        try:
            name, arguments = pickle.loads(line.recv_bytes())
        except EOFError:
            os._exit(0)
        try:
            told = pickle.dumps((getattr(model, name)(*arguments), None))
        except Exception as error:
            told = pickle.dumps((None, _sendable(error)))
        try:
            line.send_bytes(told)
        except OSError:
            os._exit(0)


def _sendable(error: Exception) -> Exception:
    """The error, or one that says the same, where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _own_bytes(process: int) -> int:
    """What a process holds alone, as Linux tells it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
