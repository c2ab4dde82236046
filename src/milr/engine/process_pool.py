"""A small model on a CPU in processes of its own, one for each worker, so that Python's lock holds up none of them.

Each process loads the model from the same folder, shows that it has the same weights and wording, and works off one
batch at a time. It remembers prefixes and drafts of its own, so a batch goes to the process that had its prompts
before, if that one is free. Until the processes are there, and where one has ended, batches are worked off here: what
comes out is the same, near ties aside.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from milr.types import Answer, DrawRequest, ImageTrace, ReasonRequest, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import UnifiedModel

MANY = 3000  # pictures at most, a third of which searches draw: for fewer the start takes longer than it saves
PROGRAM = "from milr.engine.process_pool import serve; serve()"


def apart(model: UnifiedModel, searches: int, pictures: int) -> UnifiedModel:
    """The model in processes of its own, where that pays: it has several workers and can be loaded again, several
    searches go on at once, and they make many pictures. Else the model."""
    workers = min(getattr(model, "workers", 1), searches)
    return cast("UnifiedModel", Apart(model, workers)) if pays(model, searches, pictures) else model


def pays(model: UnifiedModel, searches: int, pictures: int) -> bool:
    """Whether processes are worth their start."""
    known = getattr(model, "recipe", None) is not None and type(model).__module__.startswith("milr.")
    return min(getattr(model, "workers", 1), searches) > 1 and pictures >= MANY and known


class Apart:
    """A `UnifiedModel` whose batches are worked off by processes. What is no batch is asked of the model here."""

    def __init__(self, model: UnifiedModel, workers: int) -> None:
        self._model = model
        self._closing = False
        self.processes: list[_Process] = []
        try:
            self.processes += [_Process(model, workers) for _ in range(workers)]
        except OSError as error:  # no more processes may be started
            logging.getLogger(__name__).warning("%s: processes of its own do not start (%s)", model.name, error)
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
        """Let go of what is only held to be quick, here and in processes that are at nothing."""
        self._model.free_memory()  # type: ignore[attr-defined]
        for process in filter(_Process.take, self.processes):
            try:
                with suppress(_EndedError):
                    process.ask("free_memory")
            finally:
                process.lock.release()

    def wait(self) -> None:
        """Until every process is there, or has ended."""
        for process in self.processes:
            process.settled.wait()

    def memory(self) -> int:
        """Bytes that the processes hold alone."""
        return sum(own_bytes(process.number) for process in self.processes)

    def close(self) -> None:
        """End the processes, whatever they are at; no more batches are worked off."""
        self._closing = True
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.close()

    def _ask(self, prompts: Sequence[str], name: str, *arguments: Any) -> Any:
        if process := self._free(prompts):
            try:
                return process.ask(name, *arguments)
            except _EndedError:
                pass
            finally:
                process.lock.release()
        if self._closing:
            raise _EndedError
        return getattr(self._model, name)(*arguments)

    def _free(self, prompts: Sequence[str]) -> _Process | None:
        """Of the processes that are free the one that had most of these prompts, taken; None where none is."""
        with self._lock:
            had = Counter(self._owners.get(prompt) for prompt in prompts)
            liked = sorted(self.processes, key=lambda process: -had[process])
            chosen = next((process for process in liked if process.take()), None)
            if chosen:
                self._owners |= dict.fromkeys(prompts, chosen)
            return chosen


class _EndedError(Exception):
    """The process has ended before its time."""


class _Process:
    """One process, and the lines to and from it. It ends when its line does, so also when this process is killed."""

    def __init__(self, model: Any, workers: int) -> None:
        self.lock, self.settled = Lock(), Event()
        self._ready = self._closing = False
        self._name = model.name
        paths = [path or os.getcwd() for path in sys.path if isinstance(path, str)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
        Thread(target=self._greet, args=(model, workers), daemon=True).start()

    @property
    def number(self) -> int:
        """Its id."""
        return self._process.pid

    def take(self) -> bool:
        """Take its lock, if it is there and at nothing."""
        return self._ready and self.lock.acquire(blocking=False)

    def ask(self, name: str, *arguments: Any) -> Any:
        """What the model's method gives there; what it raises there is raised here."""
        found, error = self._exchange((name, arguments))
        if error is not None:
            raise error
        return found

    def kill(self) -> None:
        """End it; whoever waits for it hears that it has ended."""
        self._closing, self._ready = True, False
        self._process.kill()

    def close(self) -> None:
        """Let go of what is left of it."""
        self._process.wait()
        self.settled.wait()
        with self.lock, suppress(OSError):
            cast(BinaryIO, self._process.stdout).close()
            cast(BinaryIO, self._process.stdin).close()

    def _greet(self, model: Any, workers: int) -> None:
        """Tell it what to load, and wait until it is there with the same model."""
        try:
            found = self._exchange((type(model), model.recipe, workers))
            if found != model.fingerprint():
                self._end("it found another model: weights or wording have changed since this one was loaded")
            else:
                self._ready = not self._closing
        except _EndedError:
            pass
        except Exception as error:  # a recipe that cannot travel
            self._end(str(error))
        finally:
            self.settled.set()

    def _exchange(self, message: Any) -> Any:
        try:
            _send(cast(BinaryIO, self._process.stdin), message)
            return pickle.load(cast(BinaryIO, self._process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            self._end()
            raise _EndedError from error

    def _end(self, why: str = "") -> None:
        """It is of no use any more; that is told."""
        self._ready = False
        if not self._closing:
            with suppress(subprocess.TimeoutExpired):  # of itself, or it says what it should not
                self._process.wait(timeout=1)
            self._process.kill()
            logging.getLogger(__name__).warning("%s: a process has ended (%s), and its work is done by this one",
                                                self._name, why or self._process.wait())  # fmt: skip


def serve() -> None:
    """The process: loads the model, and works off one batch after the other until its line ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is no reply
    try:
        kind, recipe, workers = pickle.load(requests)
        model = kind.load(**recipe)
        model.work_apart(workers)
        _send(replies, model.fingerprint())
        while True:
            name, arguments = pickle.load(requests)
            _send(replies, _reply(model, name, arguments))
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        os._exit(0)


def _reply(model: Any, name: str, arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """(result, None), or (None, error)."""
    try:
        return getattr(model, name)(*arguments), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error that cannot travel
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _send(line: BinaryIO, message: Any) -> None:
    line.write(pickle.dumps(message))
    line.flush()


def own_bytes(process: int) -> int:
    """What a process holds alone, as Linux tells it."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
