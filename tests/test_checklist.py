"""The reward `checklist`: who writes the questions, which are read, and what the answers come to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from chat_server import ChatServer, fails, on_loopback, says, serving
from milr import catalog
from milr.engine.studio import Studio
from milr.models.janus import JanusModel
from milr.models.nano import load_nano
from milr.options import Options
from milr.rewards.checklist import ChecklistReward, ModelWriter
from milr.rules.checklist import MAX_QUESTIONS, read_questions
from milr.shapes.world import ShapesWorld
from milr.types import Answer, DrawRequest, Key, Prompt, Score, TextTrace, UsageError

PICTURE = Image.new("RGB", (32, 32))
STAR = Prompt("a red star left of a blue circle")


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("1. Is there a star?\n2) Is the star red?\n- Is it left of a circle?", 3),
        ("Here are the questions:\n\n**Q1:** Is there a star?\n* _Is the star red?_\nIs it left of a circle?\n", 3),
        ("Is there a star?\nis there a star?\nHow many stars are there?\nWhat colour is it?", 1),
        ("There is a star.\nYes.\n?", 0),
        ("", 0),
        ("Is there " + "a very " * 40 + "red star?", 0),
        ("\n".join(f"Is there a {number} star?" for number in range(50)), MAX_QUESTIONS),
    ],
)
def test_which_questions_are_read(text: str, questions: int) -> None:
    read = read_questions(text)
    assert len(read) == questions and all(question[0] == "I" for question in read)
    assert questions < 3 or questions > 3 or read == ("Is there a star?", "Is the star red?", "Is it left of a circle?")


class Scripted:
    """Services that write a list, and answer each question by a table."""

    def __init__(self, text: str, answers: Mapping[str, float | None]) -> None:
        self.text, self.answers = text, answers
        self.written: list[str] = []
        self.asked: list[str] = []

    async def write(self, instruction: str, max_new_tokens: int) -> TextTrace:
        self.written.append(instruction)
        await asyncio.sleep(0)
        return TextTrace(self.text, (), seconds=2.0)

    async def answer(self, picture: Any, question: str, max_new_tokens: int | None = None) -> Answer:
        self.asked.append(question)
        return Answer("hm", self.answers[question.removesuffix(" Answer with yes or no.")], seconds=0.5)


def judged(services: Scripted, *prompts: Prompt) -> list[Score]:
    reward = ChecklistReward(ModelWriter())
    return asyncio.run(reward.score([PICTURE] * len(prompts), prompts, services))  # type: ignore[arg-type]


def test_the_score_is_the_geometric_mean_of_the_answers() -> None:
    services = Scripted("Is there a star?\nIs it red?", {"Is there a star?": 0.9, "Is it red?": 0.4})
    (score,) = judged(services, STAR)
    assert score.value == pytest.approx(0.6) and score.parts == {"Is there a star?": 0.9, "Is it red?": 0.4}
    assert (score.calls, score.seconds) == (2, 3.0) and score.reason == "the model said no to 'Is it red?'"
    assert STAR.text in services.written[0] and services.asked[1] == "Is it red? Answer with yes or no."


def test_the_questions_of_a_prompt_are_written_once() -> None:
    services = Scripted("Is there a star?", {"Is there a star?": 1.0})
    scores = judged(services, STAR, Prompt("a star"), STAR, STAR)
    assert len(services.written) == 2 and [score.seconds for score in scores] == [2.5, 2.5, 0.5, 0.5]


def test_an_unusable_list_and_an_answer_without_a_verdict_are_unscored() -> None:
    first, second = judged(Scripted("A star, red.", {}), STAR, STAR)
    assert first.value is second.value is None and "no yes or no questions: 'A star, red.'" in first.reason
    services = Scripted("Is there a star?\nIs it red?", {"Is there a star?": 0.9, "Is it red?": None})
    (score,) = judged(services, STAR)
    assert score.value is None and "'Is it red?' with 'hm', which is no yes or no" in score.reason
    assert score.parts == {"Is there a star?": 0.9}


@pytest.mark.parametrize(
    ("prompt", "claims"),
    [
        ("a photo of a small red star left of two blue circles",
         ("a small red star", "two blue circles", "a star left of two circles")),
        ("a red star and an orange heart", ("a red star", "an orange heart")),
        ("three hearts", ("three hearts",)),
        ("the shape with three sides in the colour of grass", ("the shape with three sides in the colour of grass",)),
        ("a cat", ("a cat",)),
    ],
)  # fmt: skip
def test_the_claims_of_a_prompt_of_the_world(prompt: str, claims: tuple[str, ...]) -> None:
    world = ShapesWorld()
    assert world.claims(prompt) == claims
    assert len(claims) == 1 or all(world.read(claim) for claim in claims)


def drawn_and_judged(model: JanusModel, reward: ChecklistReward, together: bool) -> list[Score]:
    """A picture of each of two prompts, judged at once or one after the other."""

    async def one(studio: Studio, text: str) -> Score:
        async with studio.method():
            image = await studio.draw(DrawRequest(text, Key(3, text), model.guidance_scale))
            return await studio.score(await studio.render(image), Prompt(text))

    async def go() -> list[Score]:
        studio = Studio(model, reward)
        try:
            searches = [one(studio, text) for text in (STAR.text, "a red star", STAR.text)]
            return list(await asyncio.gather(*searches)) if together else [await search for search in searches]
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 60))


def test_nano_answers_the_claims_of_its_world_alone_as_in_batches() -> None:
    nano = load_nano(device="cpu")
    nano.world = ShapesWorld()
    batched, single = (drawn_and_judged(nano, catalog.make_reward("checklist", nano, Options()), together)  # type: ignore[arg-type]
                       for together in (True, False))  # fmt: skip
    for one, other in zip(batched, single, strict=True):
        assert one.value == pytest.approx(other.value, abs=2e-5) and one.reason == other.reason
    assert list(batched[0].parts) == ["a red star", "a blue circle", "a star left of a circle"]
    assert batched[1].calls == 1


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[ChatServer], Options]:
    on_loopback(monkeypatch, tmp_path)
    monkeypatch.setenv("MILR_CACHE", str(tmp_path))
    return lambda server: Options(judge_url=server.url, judge_model="writer")


def test_an_endpoint_writes_the_questions_once_and_sees_no_picture(tiny: JanusModel, endpoint: Any) -> None:
    with serving(says("<think>What?</think>1. Is there a star?\n2. Is the star red?")) as server:
        options = endpoint(server)
        reward = catalog.make_reward("checklist:judge", tiny, options)
        batched = drawn_and_judged(tiny, reward, True)  # type: ignore[arg-type]
        assert len(server.requests) == 2
        again = drawn_and_judged(tiny, catalog.make_reward("checklist:judge", tiny, options), False)  # type: ignore[arg-type]
        assert len(server.requests) == 2  # the answers are on disk
        parts = [part["type"] for request in server.requests for part in request["messages"][0]["content"]]
        assert parts == ["text", "text"] and STAR.text in str(server.requests)
    assert [list(score.parts) for score in batched] == [["Is there a star?", "Is the star red?"]] * 3
    assert sorted(score.calls for score in batched) == [2, 3, 3], "the first picture of a prompt pays for its questions"
    assert [score.value for score in batched] == pytest.approx([score.value for score in again], abs=2e-5)


@pytest.mark.parametrize(("reply", "reason"), [(says("No."), "could not be read"), (fails(401), "failed")])
def test_an_endpoint_that_writes_no_questions(tiny: JanusModel, endpoint: Any, reply: Any, reason: str) -> None:
    with serving(reply) as server:
        score = drawn_and_judged(tiny, catalog.make_reward("checklist:judge", tiny, endpoint(server)), True)[0]  # type: ignore[arg-type]
    assert score.value is None and reason in score.reason


def test_a_model_that_takes_no_instructions_is_refused() -> None:
    deaf: Any = SimpleNamespace(name="deaf", world=None)
    with pytest.raises(UsageError, match="deaf takes no instructions: choose checklist:judge"):
        catalog.make_reward("checklist", deaf, Options())
    with pytest.raises(UsageError, match="there is no checklist:all"):
        catalog.make_reward("checklist:all", deaf, Options())


def test_an_instruction_replaces_the_template_and_has_a_limit(tiny: JanusModel) -> None:
    from milr.types import ReasonRequest

    request = ReasonRequest("a red star", Key(1, ""), max_new_tokens=6, instruction="plan the picture : a red star")
    (plain,) = tiny.reason([ReasonRequest("a red star", Key(1, ""), max_new_tokens=6)])
    assert tiny.reason([request])[0].ids == plain.ids  # the template of this model says the same
    with pytest.raises(UsageError, match="at most 256: use a shorter prompt"):
        tiny.reason([ReasonRequest("", Key(1, ""), instruction="a red star " * 90)])
