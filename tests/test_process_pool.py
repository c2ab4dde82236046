"""A pool of processes gives what the model gives in this process, whatever becomes of the processes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

import tiny_janus
from milr.engine.process_pool import MIN_PICTURES, ModelProcessPool, _reply, _WorkerEndedError, pool_if_faster
from milr.models.janus import JanusModel
from milr.types import Answer, DrawRequest, Key, ReasonRequest

PROMPTS = ("a red star", "a blue circle", "a big green square")


def draws() -> list[DrawRequest]:
    return [DrawRequest(text, Key(0, text), 5.0, num_latents=2) for text in PROMPTS]


def reasons(**settings: Any) -> list[ReasonRequest]:
    settings = {"max_new_tokens": 12, "num_latents": None} | settings
    return [ReasonRequest(text, Key(0, text), **settings) for text in PROMPTS]


@pytest.fixture(scope="module")
def pool(tiny: JanusModel) -> Iterator[ModelProcessPool]:
    new_pool = ModelProcessPool(tiny, 2)
    first = new_pool.draw(draws())
    assert not any(worker._ready for worker in new_pool.workers), "torch is still being loaded there"
    assert [trace.ids for trace in first] == [trace.ids for trace in tiny.draw(draws())]
    new_pool.wait_until_ready()
    yield new_pool
    new_pool.close()
    new_pool.close()


def cpu_ticks(pool: ModelProcessPool) -> list[int]:
    """The ticks of CPU time that each worker has had."""
    stats = [Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split() for worker in pool.workers]
    return [int(fields[11]) + int(fields[12]) for fields in stats]


def test_it_gives_what_the_model_gives(pool: ModelProcessPool, tiny: JanusModel) -> None:
    for one, other in zip(pool.reason(reasons()), tiny.reason(reasons()), strict=True):
        assert (one.text, one.ids) == (other.text, other.ids)
        torch.testing.assert_close(one.latents, other.latents, atol=1e-5, rtol=1e-5)
    drawn = pool.draw(draws())
    assert [trace.ids for trace in drawn] == [trace.ids for trace in tiny.draw(draws())]
    pictures = pool.render([trace.ids for trace in drawn])
    assert [one.tobytes() for one in pictures] == [one.tobytes() for one in tiny.render([one.ids for one in drawn])]
    questions = [tiny.question(text) for text in PROMPTS]
    for said, wanted in zip(pool.answer(pictures, questions), tiny.answer(pictures, questions), strict=True):
        assert isinstance(said, Answer) and said.text == wanted.text and said.yes == pytest.approx(wanted.yes, abs=1e-5)
    assert pool.name == "tiny" and pool.image_tokens == tiny.image_tokens and pool.identity() == tiny.identity()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_work_is_done_there(pool: ModelProcessPool) -> None:
    before = cpu_ticks(pool)
    for _ in range(30):
        pool.draw(draws())
    assert max(now - then for now, then in zip(cpu_ticks(pool), before, strict=True)) > 3
    assert pool.memory_bytes() > 10_000_000


def test_what_is_raised_there_is_raised_here(pool: ModelProcessPool, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exception) as there:
        pool.render([[99, 99]])
    with pytest.raises(Exception) as here:
        cast(Any, pool._model).render([[99, 99]])
    assert type(there.value) is type(here.value) and str(there.value) == str(here.value)
    assert not caplog.messages and len(pool.draw(draws())) == 3, "the process goes on"


def test_an_error_that_cannot_be_pickled_is_a_runtime_error() -> None:
    class LocalError(Exception):
        pass

    def breaks() -> None:
        raise LocalError("too far")

    result, error = _reply(SimpleNamespace(breaks=breaks), "breaks", ())
    assert result is None and type(error) is RuntimeError and str(error) == "LocalError: too far"


def test_a_batch_goes_to_the_worker_that_had_its_prompts_if_it_is_idle() -> None:
    class Idle(SimpleNamespace):
        __hash__ = object.__hash__

        def try_acquire(self) -> bool:
            return bool(self.lock.acquire(blocking=False))

    pool = object.__new__(ModelProcessPool)
    one, other = Idle(lock=Lock()), Idle(lock=Lock())
    pool.workers, pool._last_worker, pool._lock = cast(Any, [one, other]), {}, Lock()
    assert pool._acquire(["a", "b", "c"]) is one and pool._acquire(["d", "e"]) is other and pool._acquire(["a"]) is None
    one.lock.release()
    other.lock.release()
    assert pool._acquire(["a", "d", "e"]) is other, "two of its three"
    assert pool._acquire(["d"]) is one, "the worker that had it is busy"


def test_a_pool_is_used_for_many_pictures_of_several_searches(tiny: JanusModel) -> None:
    model = cast(Any, SimpleNamespace(num_workers=2, load_arguments={}))
    assert pool_if_faster(model, 8, MIN_PICTURES - 1) is model and pool_if_faster(model, 1, MIN_PICTURES) is model
    one_worker = cast(Any, SimpleNamespace(num_workers=1, load_arguments={}))
    assert pool_if_faster(one_worker, 8, MIN_PICTURES) is one_worker
    not_loadable = cast(Any, SimpleNamespace(num_workers=2))
    assert pool_if_faster(not_loadable, 8, MIN_PICTURES) is not_loadable
    assert pool_if_faster(tiny, 8, MIN_PICTURES) is tiny, "the tests have one thread"


def test_the_work_of_a_process_that_was_killed_is_done_here(tiny: JanusModel, caplog: pytest.LogCaptureFixture) -> None:
    pool = ModelProcessPool(tiny, 1)
    try:
        pool.wait_until_ready()
        wanted = [trace.ids for trace in pool.draw(draws())]
        pool.workers[0]._process.kill()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert [trace.ids for trace in pool.draw(draws())] == wanted
        pool.free_memory()
    finally:
        pool.close()
    assert caplog.messages == ["tiny: a process has ended (-9), and its work is done by this one"]


def test_a_process_with_another_model_is_not_used(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights that have changed since the folder was read are nowhere but here."""
    trained = JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")
    with torch.no_grad():
        trained.network.lm_head.weight.mul_(-1)
    pool = ModelProcessPool(trained, 1)
    try:
        with caplog.at_level(logging.WARNING):
            pool.wait_until_ready()
        assert pool._acquire(PROMPTS) is None
        assert [one.ids for one in pool.reason(reasons())] == [one.ids for one in trained.reason(reasons())]
    finally:
        pool.close()
    assert len(caplog.messages) == 1 and "it found another model" in caplog.messages[0]


def test_load_arguments_that_cannot_be_pickled_leave_the_work_here(tiny_folder: Path) -> None:
    model = JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")
    model.load_arguments = {"folder_or_hub_name": lambda: None}
    pool = ModelProcessPool(model, 1)
    pool.wait_until_ready()
    assert len(pool.draw(draws())) == 3
    pool.close()
    with pytest.raises(_WorkerEndedError):
        pool.draw(draws())


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processes_end_when_this_one_is_killed(tiny_folder: Path) -> None:
    program = (
        "import sys, time, tiny_janus\n"
        "from milr.engine.process_pool import ModelProcessPool\n"
        "from milr.models.janus import JanusModel\n"
        "model = JanusModel.load(sys.argv[1], device='cpu', templates=tiny_janus.TEMPLATES, name='tiny')\n"
        "pool = ModelProcessPool(model, 2)\n"
        "pool.wait_until_ready()\n"
        "print(*(worker.pid for worker in pool.workers), flush=True)\n"
        "time.sleep(60)\n"
    )
    paths = os.pathsep.join([str(Path(tiny_janus.__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, "-c", program, str(tiny_folder)], stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": paths})  # fmt: skip
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2 and all(map(runs, children))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(runs, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, children))


def runs(process: int) -> bool:
    """Whether it is there, and not only waits to be counted out by its parent."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_process_that_loads_nano_again_finds_the_same_model() -> None:
    from milr.models.nano import load_nano

    model = load_nano()
    assert model.load_arguments is not None
    assert type(model).load(**model.load_arguments).fingerprint() == model.fingerprint()
