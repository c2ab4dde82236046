"""A pool of processes for a small model on a CPU, one for each worker, so that Python's lock holds up none of them.

Each process loads the model from the same folder, shows by its fingerprint that it has the same weights and wording,
and runs one batch at a time. Its prefix and draft caches are its own, so a batch goes to the process that had its
prompts before, if that one is idle. Until the processes are ready, and in place of one that has ended, batches run in
this process: the results are the same, near ties aside.
"""

from __future__ import annotations

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

from milr.outside.logs import logger
from milr.types import Answer, DrawRequest, ImageTrace, ReasonRequest, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import UnifiedModel

MIN_PICTURES = 3000  # that searches may draw; they draw a third. With fewer, the start takes longer than it saves
PROGRAM = "from milr.engine.process_pool import serve; serve()"


def pool_if_faster(model: UnifiedModel, searches: int, pictures: int) -> UnifiedModel:
    """A `ModelProcessPool` of the model where that is faster, else the model."""
    if not is_pool_faster(model, searches, pictures):
        return model
    return cast("UnifiedModel", ModelProcessPool(model, _num_workers(model, searches)))


def is_pool_faster(model: UnifiedModel, searches: int, pictures: int) -> bool:
    """Whether the model has several workers and can be loaded again, and several searches make many pictures."""
    is_loadable = getattr(model, "load_arguments", None) is not None and type(model).__module__.startswith("milr.")
    return _num_workers(model, searches) > 1 and pictures >= MIN_PICTURES and is_loadable


def _num_workers(model: UnifiedModel, searches: int) -> int:
    return min(getattr(model, "num_workers", 1), searches)


class ModelProcessPool:
    """A `UnifiedModel` whose batches run in worker processes. Everything else is asked of the model in this process."""

    def __init__(self, model: UnifiedModel, num_workers: int) -> None:
        self._model = model
        self._closing = False
        self.workers: list[_WorkerProcess] = []
        try:
            self.workers += [_WorkerProcess(model, num_workers) for _ in range(num_workers)]
        except OSError as error:  # no more processes may be started
            logger(__name__).warning("%s: processes of its own do not start (%s)", model.name, error)
        self._last_worker: dict[str, _WorkerProcess] = {}  # of each prompt: the one whose caches know it
        self._lock = Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """As the model does."""
        return self._call([request.prompt for request in requests], "reason", requests)  # type: ignore[no-any-return]

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """As the model does."""
        return self._call([request.key.prompt for request in requests], "draw", requests)  # type: ignore[no-any-return]

    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """As the model does."""
        return self._call([], "render", image_ids)  # type: ignore[no-any-return]

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
               ) -> list[Answer]:  # fmt: skip
        """As the model does."""
        return self._call([], "answer", pictures, questions, max_new_tokens)  # type: ignore[no-any-return]

    def free_memory(self) -> None:
        """Free the caches here and in the workers that are idle."""
        self._model.free_memory()  # type: ignore[attr-defined]
        for worker in filter(_WorkerProcess.try_acquire, self.workers):
            try:
                with suppress(_WorkerEndedError):
                    worker.call("free_memory")
            finally:
                worker.lock.release()

    def wait_until_ready(self) -> None:
        """Block until every worker is ready, or has ended."""
        for worker in self.workers:
            worker.started.wait()

    def memory_bytes(self) -> int:
        """The bytes that the workers share with no other process."""
        return sum(private_bytes(worker.pid) for worker in self.workers)

    def close(self) -> None:
        """End the workers, whatever they are doing; no more batches run."""
        self._closing = True
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.close()

    def _call(self, prompts: Sequence[str], method: str, *arguments: Any) -> Any:
        if worker := self._acquire(prompts):
            try:
                return worker.call(method, *arguments)
            except _WorkerEndedError:
                pass
            finally:
                worker.lock.release()
        if self._closing:
            raise _WorkerEndedError
        return getattr(self._model, method)(*arguments)

    def _acquire(self, prompts: Sequence[str]) -> _WorkerProcess | None:
        """Acquire the idle worker that had most of these prompts before; None where none is idle."""
        with self._lock:
            num_known = Counter(self._last_worker.get(prompt) for prompt in prompts)
            by_preference = sorted(self.workers, key=lambda worker: -num_known[worker])
            acquired = next((worker for worker in by_preference if worker.try_acquire()), None)
            if acquired:
                self._last_worker |= dict.fromkeys(prompts, acquired)
            return acquired


class _WorkerEndedError(Exception):
    """The process has ended before it replied."""


class _WorkerProcess:
    """One process and the pipes to and from it. It ends when its pipe does, so also when this process is killed."""

    def __init__(self, model: Any, num_workers: int) -> None:
        self.lock, self.started = Lock(), Event()
        self._ready = self._closing = False
        self._name = model.name
        paths = [path or os.getcwd() for path in sys.path if isinstance(path, str)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip
        Thread(target=self._load, args=(model, num_workers), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def try_acquire(self) -> bool:
        """Acquire its lock, if it is ready and idle."""
        return self._ready and self.lock.acquire(blocking=False)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of its model; errors that it raises there are raised here."""
        result, error = self._exchange((method, arguments))
        if error is not None:
            raise error
        return result

    def kill(self) -> None:
        """End it; a call that waits for it raises `_WorkerEndedError`."""
        self._closing, self._ready = True, False
        self._process.kill()

    def close(self) -> None:
        """Wait for its end and close the pipes."""
        self._process.wait()
        self.started.wait()
        with self.lock, suppress(OSError):
            cast(BinaryIO, self._process.stdout).close()
            cast(BinaryIO, self._process.stdin).close()

    def _load(self, model: Any, num_workers: int) -> None:
        """Let it load the model, and wait until it is ready with the same one."""
        try:
            fingerprint = self._exchange((type(model), model.load_arguments, (num_workers, model.cache_bytes)))
            if fingerprint != model.fingerprint():
                self._end("it found another model: weights or wording have changed since this one was loaded")
            else:
                self._ready = not self._closing
        except _WorkerEndedError:
            pass
        except Exception as error:  # arguments that cannot be pickled
            self._end(str(error))
        finally:
            self.started.set()

    def _exchange(self, message: Any) -> Any:
        """Send a message and wait for the reply."""
        try:
            _send(cast(BinaryIO, self._process.stdin), message)
            return pickle.load(cast(BinaryIO, self._process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            self._end()
            raise _WorkerEndedError from error

    def _end(self, reason: str = "") -> None:
        """Use it no more, and log a warning."""
        self._ready = False
        if not self._closing:
            with suppress(subprocess.TimeoutExpired):  # it may end of itself, with an exit code to report
                self._process.wait(timeout=1)
            self._process.kill()
            logger(__name__).warning("%s: a process has ended (%s), and its work is done by this one",
                                                self._name, reason or self._process.wait())  # fmt: skip


def serve() -> None:
    """The program of a worker process: load the model, then run one batch after the other until the pipe ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what any library prints goes to stderr, not among the replies
    try:
        model_type, load_arguments, share = pickle.load(requests)
        model = model_type.load(**load_arguments)
        model.init_worker_process(*share)
        _send(replies, model.fingerprint())
        while True:
            method, arguments = pickle.load(requests)
            _send(replies, _reply(model, method, arguments))
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):
        os._exit(0)


def _reply(model: Any, method: str, arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """(result, None), or (None, error)."""
    try:
        return getattr(model, method)(*arguments), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error that cannot be pickled
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _send(pipe: BinaryIO, message: Any) -> None:
    pipe.write(pickle.dumps(message))
    pipe.flush()


def private_bytes(pid: int) -> int:
    """The bytes in memory that a process shares with no other and no file, from Linux's /proc; 0 elsewhere.

    `smaps_rollup` would add the pages of files that no other process has, and takes milliseconds.
    """
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
