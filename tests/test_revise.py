"""The method `revise` and its control: what the writer is told, and of which picture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from milr import catalog
from milr.engine.search import Budget, search
from milr.methods.revise import Revise, lacking, revise
from milr.models.janus import JanusModel
from milr.presets import resolve
from milr.rewards.function import FunctionReward
from milr.templates import MAX_QUOTED, Revision
from milr.types import Key, Outcome, Prompt, Score, UsageError
from scripted import Recording

PROMPT = Prompt("two blue circle")
Judge = Callable[..., Any]


def run(model: JanusModel, settings: Revise, score: Judge, pictures: int) -> tuple[Outcome, Recording]:
    """A search that never stops by itself, and its studio with all requests."""

    async def main() -> tuple[Outcome, Recording]:
        studio = Recording(model, FunctionReward(score, "test"))
        try:
            found = await search(studio, PROMPT, Key(3, PROMPT.text), revise(settings), threshold=None,
                                 budget=Budget(pictures=pictures))  # fmt: skip
            return found, studio
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(main(), 60))


def by(values: list[float | None]) -> Judge:
    scores: Iterator[float | None] = iter(values)

    def judge(picture: Any, prompt: Prompt) -> Any:
        value = next(scores)
        return (
            Score.unscored("asleep") if value is None else Score(value, {"is it blue ?": 0.2, "yes": 0.1, "two ?": 0.6})
        )

    return judge


def test_after_the_first_pictures_the_best_one_is_revised(tiny: JanusModel) -> None:
    outcome, studio = run(tiny, Revise(draws=2), by([0.1, 0.3, 0.2, 0.5, 0.4]), 5)
    first, second, *revisions = studio.reasons
    assert first.instruction is second.instruction is None and len(revisions) == 3
    assert [step.note for step in outcome.steps] == [
        "", "", *(f"visualisation of picture {best} revised" for best in (1, 1, 3))]  # fmt: skip
    for best, request in zip((1, 1, 3), revisions, strict=True):
        text = outcome.steps[best].rollout.visualisation
        assert text is not None and request.instruction is not None
        assert PROMPT.text in request.instruction and f"description: {text.text[:MAX_QUOTED]}\n" in request.instruction
        assert "the answer was no: is it blue ?\n" in request.instruction and "two ?" not in request.instruction
    assert revisions[0].instruction == revisions[1].instruction and revisions[0].key != revisions[1].key
    for step, request in zip(outcome.steps, studio.draws, strict=True):
        assert step.rollout.visualisation and request.text == f"{PROMPT.text}. {step.rollout.visualisation.text}"


def test_the_picture_is_described_once_and_that_is_paid_for(tiny: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = tiny.answer

    def counted(pictures: Any, questions: Any, **settings: Any) -> Any:
        asked.extend(questions)
        return answer(pictures, questions, **settings)

    monkeypatch.setattr(tiny, "answer", counted)
    outcome, _ = run(tiny, Revise(draws=1), by([0.5, 0.1, 0.1]), 3)
    assert len(asked) == 1 and PROMPT.text not in asked[0]
    assert all(step.cost.model_seconds > 0 for step in outcome.steps)


def test_the_control_is_told_nothing_of_the_picture_and_shares_the_first_ones(tiny: JanusModel) -> None:
    told, _ = run(tiny, Revise(draws=2), by([0.3, 0.1, 0.1, 0.1]), 4)
    blind, studio = run(tiny, Revise(told=False, draws=2), by([0.3, 0.1, 0.1, 0.1]), 4)
    ids = [[step.rollout.image.ids for step in outcome.steps] for outcome in (told, blind)]
    assert ids[0][:2] == ids[1][:2] and ids[0][2:] != ids[1][2:]
    instruction = studio.reasons[2].instruction
    assert instruction is not None and "answer was no" not in instruction and "shows" not in instruction


def test_a_judge_that_fails_leaves_nothing_to_revise(tiny: JanusModel) -> None:
    outcome, studio = run(tiny, Revise(draws=1), by([None, None, None]), 3)
    assert outcome.stop == "judge_failed" and all(request.instruction is None for request in studio.reasons)


def test_a_supplied_visualisation_is_drawn_first_and_then_revised(tiny: JanusModel) -> None:
    outcome, studio = run(tiny, Revise(draws=2, visualisation="blue circle left"), by([0.1, 0.2, 0.1]), 3)
    assert [request.text for request in studio.draws[:2]] == [f"{PROMPT.text}. blue circle left"] * 2
    (request,) = studio.reasons
    assert request.instruction and "blue circle left" in request.instruction
    assert outcome.steps[2].text_changed


def test_what_is_quoted_has_a_limit_and_braces_stay() -> None:
    text = Revision("a {found} star", "{prompt}" + "x" * 5000, "{description}" + "y" * 5000, ("is it ?",) * 50).text()
    assert all(braces in text for braces in ("a {found} star", "{prompt}x", "{description}y"))
    assert len(text) < 4 * MAX_QUOTED + 500


def test_what_lacks_are_questions_answered_with_no() -> None:
    assert lacking(Score(0.1, {"Is it red?": 0.4, "Is it a star?": 0.5, "seen": 0.0})) == ("Is it red?",)
    assert lacking(Score(None)) == ()


def test_a_model_that_takes_no_instructions_is_refused_before_it_draws() -> None:
    nano: Any = catalog.make_model("nano", device="cpu")
    for name in ("revise", "revise_blind"):
        method = catalog.make_method(name, resolve("default", 64, {}))

        async def first(method: Any = method) -> None:
            studio = Recording(nano, FunctionReward(by([0.1]), "test"))
            try:
                with pytest.raises(UsageError, match="nano takes no instructions: choose redraw_sampled"):
                    await anext(method(studio, PROMPT, Key(1, "")))
                assert studio.reasons == []
            finally:
                studio.close()

        asyncio.run(first())
