"""A search that is killed again and again goes on, asks nothing twice, and ends as one that nobody disturbed."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from milr import catalog
from milr.engine.replay import resumable
from milr.engine.search import Budget, search
from milr.engine.studio import Studio
from milr.latent.schedules import SCHEDULES
from milr.methods.repair import Repair, repair
from milr.models.janus import JanusModel
from milr.options import Options
from milr.presets import resolve
from milr.runs import unfinished as module
from milr.runs.events import Listeners
from milr.runs.unfinished import AnsweredRequest, UnfinishedSearch
from milr.types import Answer, DrawRequest, ImageTrace, Key, Outcome, Prompt, ReasonRequest, Score, Step, TextTrace
from milr.workflows.prepare import prepare
from outcomes import picture
from scripted import Brightness

PROMPT = Prompt("a red star")
KEY = Key(3, PROMPT.text)
BUDGET = Budget(pictures=5)


class Kill(BaseException):
    """Ends a search without a word, as SIGKILL does: nothing that it would like to write is written."""


class MortalStudio(Studio):
    """Counts the requests of each kind, and dies at request number `lifetime`. Its process begins without caches."""

    def __init__(self, model: JanusModel, lifetime: int | None = None) -> None:
        model.free_memory()
        super().__init__(model, Brightness())
        self.lifetime, self.asked = lifetime, Counter[str]()

    async def _submit(self, kind: str, request: Any) -> Any:
        if kind != "compute":
            self.count(kind)
        return await super()._submit(kind, request)

    async def score(self, picture: Any, prompt: Prompt, reward: Any = None) -> Score:
        self.count("score")
        return await super().score(picture, prompt, reward)

    def count(self, kind: str) -> None:
        if self.lifetime is not None and self.asked.total() >= self.lifetime:
            raise Kill
        self.asked[kind] += 1


def run(studio: Studio, method: Any, threshold: float | None = None) -> Outcome:
    try:
        return asyncio.run(search(studio, PROMPT, KEY, method, threshold=threshold, budget=BUDGET))
    finally:
        studio.close()


def run_killed(model: JanusModel, method: Any, folder: Path, lifetime: int) -> tuple[Outcome, Counter[str], int]:
    """The outcome of a search that is killed after every `lifetime` requests, all its requests, and the kills."""
    asked, kills = Counter[str](), 0
    while True:
        studio = MortalStudio(model, lifetime)
        try:
            outcome = run(studio, resumable(method, UnfinishedSearch(folder)))
        except Kill:
            kills += 1
            assert kills < 100, "it does not get on"
        else:
            return outcome, asked + studio.asked, kills
        asked += studio.asked


def without_seconds(step: Step) -> Any:
    """A step's every field that is not a time or a tensor."""
    text = step.rollout.visualisation
    return (step.index, step.score.value, step.score.parts, text and (text.text, text.ids, text.near_ties),
            step.rollout.image.ids, step.rollout.image.near_ties, step.rollout.picture.tobytes(), step.moved,
            step.info, step.text_changed, step.repetition, step.tokens_by_updates, step.cost.token_steps,
            step.cost.pictures, step.cost.reward_calls)  # fmt: skip


def assert_identical(one: Outcome, other: Outcome) -> None:
    assert list(map(without_seconds, one.steps)) == list(map(without_seconds, other.steps))
    assert (one.best, one.returned, one.stop) == (other.best, other.returned, other.stop)


@pytest.fixture(autouse=True)
def save_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 0.0)


def method_of(model: JanusModel, name: str, preset: str = "default", **overrides: Any) -> Any:
    settings = resolve(preset, model.image_tokens, {"steps": 4, "learning_rate": 0.5} | overrides)
    return catalog.make_method(name, settings)


CASES = [
    ("latent_reasoning", {}, 1),
    *((name, {}, 3) for name in catalog.METHODS if name not in catalog.SINGLE_DRAW),
    *(("latent_reasoning", {"schedule": schedule}, 4) for schedule in SCHEDULES),
    *(("latent_reasoning", {"preset": "released", "schedule": schedule}, 4) for schedule in SCHEDULES),
]  # fmt: skip


@pytest.mark.parametrize(("name", "overrides", "lifetime"), CASES)
def test_a_search_killed_more_often_than_it_lasts_ends_as_if_undisturbed(
    tiny: JanusModel, tmp_path: Path, name: str, overrides: dict[str, Any], lifetime: int
) -> None:
    method = method_of(tiny, name, **overrides)
    undisturbed = MortalStudio(tiny)
    expected = run(undisturbed, method)
    outcome, asked, kills = run_killed(tiny, method, tmp_path, lifetime)
    assert_identical(outcome, expected)
    assert asked == undisturbed.asked, "no request is run twice, and none is left out"
    assert kills == (undisturbed.asked.total() - 1) // lifetime, "every kill but the last was inside the search"


def test_a_search_killed_while_it_repairs_finds_the_same_alternatives(tiny: JanusModel, tmp_path: Path) -> None:
    method = repair(Repair(draws=2, repairs=3))
    undisturbed = MortalStudio(tiny)
    expected = run(undisturbed, method)
    assert [bool(step.note) for step in expected.steps] == [False, False, True, True, True]
    outcome, asked, _ = run_killed(tiny, method, tmp_path, 3)
    assert_identical(outcome, expected)
    assert asked == undisturbed.asked, "what the likeliest other tokens are is not asked twice"


def test_a_third_partys_method_goes_on_too(tiny: JanusModel, tmp_path: Path) -> None:
    async def best_of_two(studio: Any, prompt: Prompt, key: Key) -> Any:
        """Two candidates at a time, asked together, and a question about each."""
        for index in range(3):
            requests = [DrawRequest(prompt.text, key.at(index, candidate), 5.0) for candidate in (0, 1)]
            images = await asyncio.gather(*map(studio.draw, requests))
            pictures = [await studio.render(image) for image in images]
            answers = [await studio.answer(picture, "is it red?") for picture in pictures]
            image, drawn, _ = max(zip(images, pictures, answers, strict=True), key=lambda row: row[2].yes or 0.0)
            yield Step(index, module_rollout(image, drawn), await studio.score(drawn, prompt))

    undisturbed = MortalStudio(tiny)
    expected = run(undisturbed, best_of_two)
    outcome, asked, kills = run_killed(tiny, best_of_two, tmp_path, 4)
    assert_identical(outcome, expected)
    assert kills >= 4 and asked["answer"] == 6 and asked["score"] == 3


def module_rollout(image: ImageTrace, drawn: Image.Image) -> Any:
    from milr.types import Rollout

    return Rollout(None, image, drawn)


def test_a_cancelled_search_writes_what_is_not_written_yet(tiny: JanusModel, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 3600.0)
    studio = MortalStudio(tiny)
    original = studio.count

    def cancel_at(kind: str) -> None:
        original(kind)
        if studio.asked.total() == 9:
            raise asyncio.CancelledError

    studio.count = cancel_at  # type: ignore[method-assign]
    method = method_of(tiny, "latent_reasoning")
    with pytest.raises(asyncio.CancelledError):
        run(studio, resumable(method, UnfinishedSearch(tmp_path)))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    rest = MortalStudio(tiny)
    outcome = run(rest, resumable(method, UnfinishedSearch(tmp_path)))
    whole = MortalStudio(tiny)
    assert_identical(outcome, run(whole, method))
    assert rest.asked.total() == whole.asked.total() - 8


def test_a_search_that_was_to_be_judged_when_the_run_ended_is_not_made_again(
    tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 3600.0)

    class Cancelled(Brightness):
        async def score(self, *arguments: Any) -> list[Score]:
            raise asyncio.CancelledError

    def search_one(metric: Brightness) -> tuple[Outcome, Counter[str]]:
        rewards = {"mine": Brightness(), "metric": metric}
        options = Options(reward="mine", metric="metric", method="redraw_plain", pictures=2, stop=False)
        prepared = prepare([PROMPT], options, model=tiny, make_reward=lambda name, *rest: rewards[name])
        studio = MortalStudio(tiny)
        return asyncio.run(
            prepared.search_one(studio, PROMPT, 0, Listeners(), UnfinishedSearch(tmp_path))
        ), studio.asked

    with pytest.raises(asyncio.CancelledError):
        search_one(Cancelled())
    outcome, asked = search_one(Brightness())
    assert asked.keys() == {"score"} and asked["score"] == len(outcome.judged), "the report metric alone was asked"


def test_a_short_search_writes_nothing(tiny: JanusModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_SAVES", 60.0)
    run(MortalStudio(tiny), resumable(method_of(tiny, "latent_reasoning"), UnfinishedSearch(tmp_path / "new")))
    assert not (tmp_path / "new").exists()


def test_costs_are_those_of_the_requests_whenever_they_were_run(tiny: JanusModel, tmp_path: Path) -> None:
    method = method_of(tiny, "redraw_plain")
    first = run(MortalStudio(tiny), resumable(method, UnfinishedSearch(tmp_path)))
    again = run(MortalStudio(tiny, 0), resumable(method, UnfinishedSearch(tmp_path)))  # a replay alone: no request
    assert again.cost == first.cost and again.cost.model_seconds > 0


def test_what_was_unscored_is_judged_again(tiny: JanusModel, tmp_path: Path) -> None:
    method = method_of(tiny, "redraw_plain")
    studio = MortalStudio(tiny)

    async def give_up(picture: Any, prompt: Prompt, reward: Any = None) -> Score:
        return Score.unscored("the judge is away")

    studio.score = give_up  # type: ignore[method-assign]
    assert run(studio, resumable(method, UnfinishedSearch(tmp_path))).stop == "judge_failed"
    rest = MortalStudio(tiny)
    assert_identical(run(rest, resumable(method, UnfinishedSearch(tmp_path))), run(MortalStudio(tiny), method))
    assert rest.asked["score"] == 5 and rest.asked["draw"] == 2, "the pictures are there, their scores were not"


# Files


@pytest.fixture
def answers() -> list[AnsweredRequest]:
    """One of each kind."""
    latents = torch.randn(3, 2, 8)
    text = TextTrace("a star", (5, 6, 7), latents=latents[:, 0].to(torch.bfloat16), near_ties=(1,), num_decoded=3,
                     seconds=0.1, context="float32")  # fmt: skip
    return [
        AnsweredRequest("reason", "a", text),
        AnsweredRequest("draw", "b", ImageTrace((1, 2), latents=latents, seconds=1 / 3)),
        AnsweredRequest("draw", "c", ImageTrace((1, 2))),
        AnsweredRequest("render", "d", picture(7), 0.25),
        AnsweredRequest("score", "e", Score(0.1 + 0.2, {"colour": 1 / 3}, "\ud800 \u2014", 2, 0.5)),
        AnsweredRequest("answer", "f", Answer("no", None, 0.5)),
    ]


def saved(folder: Path, answers: list[AnsweredRequest]) -> Path:
    search = UnfinishedSearch(folder)
    for answer in answers:
        search.add(answer)
    search.save()
    return next(iter(folder.glob("*.safetensors")))


def taken(folder: Path, answers: list[AnsweredRequest]) -> Iterator[Any]:
    search = UnfinishedSearch(folder)
    for answer in answers:
        again = search.take(answer.kind, answer.request)
        assert search.take(answer.kind, answer.request) is None, "an answer is given once"
        yield again


def test_answers_come_back_bit_for_bit(tmp_path: Path, answers: list[AnsweredRequest]) -> None:
    saved(tmp_path, answers)
    for before, after in zip(answers, taken(tmp_path, answers), strict=True):
        one, other = before.result, after.result
        assert type(one) is type(other) or isinstance(other, Image.Image)
        assert before.seconds == after.seconds
        if isinstance(one, Image.Image):
            assert one.tobytes() == other.tobytes() and (one.mode, one.size) == (other.mode, other.size)
            continue
        for field in dataclasses.fields(one):
            left, right = getattr(one, field.name), getattr(other, field.name)
            if isinstance(left, torch.Tensor):
                assert left.dtype == right.dtype and torch.equal(left, right)
            else:
                assert left == right and type(left) is type(right), field.name


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "rename"])
def test_a_damaged_file_is_left_out(tmp_path: Path, answers: list[AnsweredRequest], damage: str) -> None:
    path = saved(tmp_path, answers)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-5])
    elif damage == "flip":
        content[-20] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.rename(path.with_name("000.safetensors"))
    assert list(taken(tmp_path, answers)) == [None] * len(answers)
    saved(tmp_path, answers)
    assert None not in taken(tmp_path, answers), "what is written afterwards is read"


def test_files_of_another_version_are_left_out(tmp_path: Path, answers: list[AnsweredRequest],
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(module, "VERSION", 2)
    saved(tmp_path, answers)
    monkeypatch.undo()
    assert list(taken(tmp_path, answers)) == [None] * len(answers)


def test_what_cannot_be_written_down_is_asked_again(tmp_path: Path) -> None:
    foreign = AnsweredRequest("draw", "a", ImageTrace((1, 2), context={"layers": [1]}))
    plain = AnsweredRequest("score", "b", Score(0.5))
    saved(tmp_path, [foreign, plain])
    assert [answer is None for answer in taken(tmp_path, [foreign, plain])] == [True, False]


def test_a_full_disk_ends_no_search(tmp_path: Path, answers: list[AnsweredRequest], caplog: Any,
                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("milr.runs.files.os.replace", full)
    search = UnfinishedSearch(tmp_path)
    search.add(answers[0])
    with caplog.at_level(logging.WARNING):
        search.save()
    assert "No space left on device" in caplog.text and not list(tmp_path.iterdir())


def test_requests_with_noise_of_their_own_are_not_remembered(tiny: JanusModel, tmp_path: Path) -> None:
    noise = torch.ones(tiny.image_tokens, 1)

    async def method(studio: Any, prompt: Prompt, key: Key) -> Any:
        for request in (ReasonRequest(prompt.text, key, max_new_tokens=3), DrawRequest(prompt.text, key, 5.0)):
            asking = studio.reason if isinstance(request, ReasonRequest) else studio.draw
            await asking(dataclasses.replace(request, noise=noise))
        image = await studio.draw(DrawRequest(prompt.text, key, 5.0))
        drawn = await studio.render(image)
        yield Step(0, module_rollout(image, drawn), await studio.score(drawn, prompt))

    class Deaf(MortalStudio):
        async def _submit(self, kind: str, request: Any) -> Any:
            return await super()._submit(kind, dataclasses.replace(request, noise=None)
                                         if kind in ("reason", "draw") else request)  # fmt: skip

    for expected in (3, 2):
        studio = Deaf(tiny)
        run(studio, resumable(method, UnfinishedSearch(tmp_path)))
        assert studio.asked["reason"] + studio.asked["draw"] == expected
