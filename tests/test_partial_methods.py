"""Fills of partial pictures, and the methods that judge them: what is kept, what is overwritten, what it costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from milr.engine.search import Budget, search
from milr.engine.studio import Studio
from milr.fills import FILLS, fill_tokens, paint_undrawn
from milr.methods.partial_pictures import PARM, REJECT_EARLY, PartialPictures, partial_pictures
from milr.models.janus import JanusModel
from milr.rewards.function import FunctionReward
from milr.types import Key, Outcome, Prompt, Score

PROMPT = Prompt("two blue circles")


def run(model: JanusModel, settings: PartialPictures, score: Any, pictures: int) -> Outcome:
    """A search that never stops by itself."""

    async def main() -> Outcome:
        studio = Studio(model, FunctionReward(score, "test"))
        try:
            return await search(studio, PROMPT, Key(3, PROMPT.text), partial_pictures(settings), threshold=None,
                                budget=Budget(pictures=pictures))  # fmt: skip
        finally:
            studio.close()

    return asyncio.run(main())


def scored(*values: float | None) -> Any:
    """A judge that gives these scores one after the other, then 0."""
    scores = iter(values)

    def score(picture: Image.Image, prompt: Prompt) -> Score | float:
        value = next(scores, 0.0)
        return Score.unscored("no") if value is None else value

    return score


def ids(outcome: Outcome) -> list[tuple[int, ...]]:
    return [step.rollout.image.ids for step in outcome.steps]


def whole(model: JanusModel, number: int, temperature: float = 1.0) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Text and image tokens of picture `number`, drawn without looking."""
    outcome = run(
        model,
        replace(PARM, looks=False, group=number + 1, kept=number + 1, temperature=temperature),
        scored(),
        number + 1,
    )
    step = outcome.steps[number]
    assert step.rollout.visualisation is not None
    return step.rollout.visualisation.ids, step.rollout.image.ids


def test_fills_keep_what_is_drawn_and_fill_the_rest() -> None:
    assert fill_tokens((1, 2, 3), 8, "repeat") == (1, 2, 3, 1, 2, 3, 1, 2)
    assert fill_tokens((1, 2, 3), 5, "draft", (9, 9, 9, 7, 8)) == (1, 2, 3, 7, 8)
    for fill in ("mean", "zeros", "grey"):
        assert fill_tokens((1, 2, 3), 5, fill) == (1, 2, 3, 3, 3)
    with pytest.raises(ValueError, match="5 tokens"):
        fill_tokens((1, 2, 3), 5, "draft", (9,))


@pytest.mark.parametrize("fill", FILLS)
def test_painting_leaves_the_drawn_rows_alone(fill: Any) -> None:
    pixels = np.zeros((8, 4, 3), np.uint8)
    pixels[:2], pixels[2:4], pixels[4:] = 100, 200, 7
    painted = np.asarray(paint_undrawn(Image.fromarray(pixels), 0.5, fill))
    assert (painted[:4] == pixels[:4]).all()
    below = {"repeat": 7, "draft": 7, "mean": 150, "zeros": 0, "grey": 128}[fill]
    assert (painted[4:] == below).all()
    assert (np.asarray(paint_undrawn(Image.fromarray(pixels), 1.0, fill)) == pixels).all()


def test_parm_finishes_the_best_halves_as_they_were_begun(tiny: JanusModel) -> None:
    settings = replace(PARM, group=4, kept=2)
    outcome = run(tiny, settings, scored(0.1, 0.9, None, 0.5, 0.2, 0.3), pictures=2)
    assert ids(outcome) == [whole(tiny, 1)[1], whole(tiny, 3)[1]]
    assert [step.score.value for step in outcome.steps] == [0.2, 0.3]
    texts = [step.rollout.visualisation.ids for step in outcome.steps if step.rollout.visualisation]
    assert texts == [whole(tiny, 1)[0], whole(tiny, 3)[0]]
    all_texts = sum(len(whole(tiny, number)[0]) for number in range(4))
    total = outcome.cost
    assert total.token_steps == 4 * tiny.image_tokens // 2 + 2 * tiny.image_tokens // 2 + all_texts
    assert total.reward_calls == 4 + 2 and total.pictures == 2


def test_the_blind_control_of_parm_draws_as_much_and_judges_what_is_finished_only(tiny: JanusModel) -> None:
    outcome = run(tiny, replace(PARM, group=4, kept=2, looks=False), scored(0.2, 0.3), pictures=2)
    assert ids(outcome) == [whole(tiny, 0)[1], whole(tiny, 1)[1]]
    assert outcome.cost.reward_calls == 2
    looking = run(tiny, replace(PARM, group=4, kept=2), scored(0.9, 0.8, 0.1, 0.1), pictures=2)
    assert looking.cost.token_steps == outcome.cost.token_steps


def test_worse_beginnings_are_overwritten_and_go_on_with_their_own_noise(tiny: JanusModel) -> None:
    settings = replace(REJECT_EARLY, shares=(0.5,), group=2, temperature=3.0)
    outcome = run(tiny, settings, scored(0.1, 0.9), pictures=2)
    half = tiny.image_tokens // 2
    best = whole(tiny, 1, 3.0)[1]
    assert ids(outcome)[0] == best
    fork = ids(outcome)[1]
    assert fork[:half] == best[:half] and fork[half:] not in (best[half:], whole(tiny, 0, 3.0)[1][half:])
    assert outcome.steps[1].rollout.visualisation == outcome.steps[0].rollout.visualisation
    assert outcome.cost.reward_calls == 2 + 2


def test_the_next_group_has_other_pictures(tiny: JanusModel) -> None:
    outcome = run(tiny, replace(PARM, group=2, kept=1), scored(), pictures=3)
    assert len(set(ids(outcome))) == 3
    assert [step.index for step in outcome.steps] == [0, 1, 2]


@pytest.mark.parametrize("fill", FILLS)
def test_every_fill_searches_and_a_draft_costs_its_tokens(tiny: JanusModel, fill: Any) -> None:
    outcome = run(tiny, replace(PARM, group=2, kept=1, fill=fill), scored(), pictures=1)
    texts = sum(len(whole(tiny, number)[0]) for number in range(2))
    drafts = 2 * tiny.image_tokens // 2 if fill == "draft" else 0
    assert outcome.cost.token_steps == 2 * tiny.image_tokens // 2 + tiny.image_tokens // 2 + drafts + texts


def test_partial_pictures_are_judged_at_all_shares(tiny: JanusModel) -> None:
    seen: list[np.ndarray] = []

    def look(picture: Image.Image, prompt: Prompt) -> float:
        seen.append(np.asarray(picture))
        return 0.5

    run(tiny, replace(REJECT_EARLY, group=1, fill="zeros"), look, pictures=1)
    black_rows = [sum(not row.any() for row in picture) / len(picture) for picture in seen]
    assert black_rows == pytest.approx([0.75, 0.5, 0.0], abs=0.01)
