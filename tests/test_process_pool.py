"""A model in processes of its own gives what it gives here, whatever becomes of the processes."""

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
from milr.engine.process_pool import MANY, Apart, _EndedError, _reply, apart
from milr.models.janus import JanusModel
from milr.types import Answer, DrawRequest, Key, ReasonRequest

PROMPTS = ("a red star", "a blue circle", "a big green square")


def draws() -> list[DrawRequest]:
    return [DrawRequest(text, Key(0, text), 5.0, keep=2) for text in PROMPTS]


def reasons(**settings: Any) -> list[ReasonRequest]:
    return [ReasonRequest(text, Key(0, text), **{"max_tokens": 12, "keep": None, **settings}) for text in PROMPTS]


@pytest.fixture(scope="module")
def crew(tiny: JanusModel) -> Iterator[Apart]:
    made = Apart(tiny, 2)
    early = made.draw(draws())
    assert not any(process._ready for process in made.processes), "torch is still being loaded there"
    assert [trace.ids for trace in early] == [trace.ids for trace in tiny.draw(draws())]
    made.wait()
    yield made
    made.close()
    made.close()


def work_of(crew: Apart) -> list[int]:
    """The processor's ticks that each process has had."""
    told = [Path(f"/proc/{each.number}/stat").read_text().rpartition(")")[2].split() for each in crew.processes]
    return [int(each[11]) + int(each[12]) for each in told]


def test_it_gives_what_the_model_gives(crew: Apart, tiny: JanusModel) -> None:
    for one, other in zip(crew.reason(reasons()), tiny.reason(reasons()), strict=True):
        assert (one.text, one.ids) == (other.text, other.ids)
        torch.testing.assert_close(one.latents, other.latents, atol=1e-5, rtol=1e-5)
    drawn = crew.draw(draws())
    assert [trace.ids for trace in drawn] == [trace.ids for trace in tiny.draw(draws())]
    pictures = crew.render([trace.ids for trace in drawn])
    assert [one.tobytes() for one in pictures] == [one.tobytes() for one in tiny.render([one.ids for one in drawn])]
    questions = [tiny.question(text) for text in PROMPTS]
    for said, wanted in zip(crew.answer(pictures, questions), tiny.answer(pictures, questions), strict=True):
        assert isinstance(said, Answer) and said.text == wanted.text and said.yes == pytest.approx(wanted.yes, abs=1e-5)
    assert crew.name == "tiny" and crew.image_tokens == tiny.image_tokens and crew.identity() == tiny.identity()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_work_is_done_there(crew: Apart) -> None:
    before = work_of(crew)
    for _ in range(30):
        crew.draw(draws())
    assert max(now - then for now, then in zip(work_of(crew), before, strict=True)) > 3
    assert crew.memory() > 10_000_000


def test_what_is_raised_there_is_raised_here(crew: Apart, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Exception) as there:
        crew.render([[99, 99]])
    with pytest.raises(Exception) as here:
        cast(Any, crew._model).render([[99, 99]])
    assert type(there.value) is type(here.value) and str(there.value) == str(here.value)
    assert not caplog.messages and len(crew.draw(draws())) == 3, "the process goes on"


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    class LocalError(Exception):
        pass

    def breaks() -> None:
        raise LocalError("too far")

    found, error = _reply(SimpleNamespace(breaks=breaks), "breaks", ())
    assert found is None and type(error) is RuntimeError and str(error) == "LocalError: too far"


def test_a_batch_goes_to_who_had_its_prompts_if_that_one_is_free() -> None:
    class Idle(SimpleNamespace):
        __hash__ = object.__hash__

        def take(self) -> bool:
            return bool(self.lock.acquire(blocking=False))

    crew = object.__new__(Apart)
    one, other = Idle(lock=Lock()), Idle(lock=Lock())
    crew.processes, crew._owners, crew._lock = cast(Any, [one, other]), {}, Lock()
    assert crew._free(["a", "b", "c"]) is one and crew._free(["d", "e"]) is other and crew._free(["a"]) is None
    one.lock.release()
    other.lock.release()
    assert crew._free(["a", "d", "e"]) is other, "two of its three"
    assert crew._free(["d"]) is one, "who had it is busy"


def test_it_pays_for_many_pictures_of_several_searches(tiny: JanusModel) -> None:
    model = cast(Any, SimpleNamespace(workers=2, recipe={}))
    assert apart(model, 8, MANY - 1) is model and apart(model, 1, MANY) is model
    one_worker, unknown = cast(Any, SimpleNamespace(workers=1, recipe={})), cast(Any, SimpleNamespace(workers=2))
    assert apart(one_worker, 8, MANY) is one_worker and apart(unknown, 8, MANY) is unknown
    assert apart(tiny, 8, MANY) is tiny, "the tests have one thread"


def test_the_work_of_a_process_that_was_killed_is_done_here(tiny: JanusModel, caplog: pytest.LogCaptureFixture) -> None:
    crew = Apart(tiny, 1)
    try:
        crew.wait()
        wanted = [trace.ids for trace in crew.draw(draws())]
        crew.processes[0]._process.kill()
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert [trace.ids for trace in crew.draw(draws())] == wanted
        crew.free_memory()
    finally:
        crew.close()
    assert caplog.messages == ["tiny: a process has ended (-9), and its work is done by this one"]


def test_another_model_is_not_asked(tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights that have changed since the folder was read are nowhere but here."""
    trained = JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")
    with torch.no_grad():
        trained.network.lm_head.weight.mul_(-1)
    crew = Apart(trained, 1)
    try:
        with caplog.at_level(logging.WARNING):
            crew.wait()
        assert crew._free(PROMPTS) is None
        assert [one.ids for one in crew.reason(reasons())] == [one.ids for one in trained.reason(reasons())]
    finally:
        crew.close()
    assert len(caplog.messages) == 1 and "it found another model" in caplog.messages[0]


def test_a_recipe_that_cannot_travel_leaves_the_work_here(tiny_folder: Path) -> None:
    model = JanusModel.load(tiny_folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")
    model.recipe = {"folder_or_hub_name": lambda: None}
    crew = Apart(model, 1)
    crew.wait()
    assert len(crew.draw(draws())) == 3
    crew.close()
    with pytest.raises(_EndedError):
        crew.draw(draws())


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_processes_end_when_this_one_is_killed(tiny_folder: Path) -> None:
    program = (
        "import sys, time, tiny_janus\n"
        "from milr.engine.process_pool import Apart\n"
        "from milr.models.janus import JanusModel\n"
        "crew = Apart(JanusModel.load(sys.argv[1], device='cpu', templates=tiny_janus.TEMPLATES, name='tiny'), 2)\n"
        "crew.wait()\n"
        "print(*(each.number for each in crew.processes), flush=True)\n"
        "time.sleep(60)\n"
    )
    paths = os.pathsep.join([str(Path(tiny_janus.__file__).parent), *filter(None, sys.path)])
    parent = subprocess.Popen([sys.executable, "-c", program, str(tiny_folder)], stdout=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": paths})  # fmt: skip
    assert parent.stdout is not None
    children = [int(number) for number in parent.stdout.readline().split()]
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
    told = Path(f"/proc/{process}/stat")
    return told.exists() and told.read_text().rpartition(")")[2].split()[0] != "Z"
