"""The method `repair` and its controls: which tokens are forced, which are drawn anew, and what is kept."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from milr import catalog
from milr.engine.search import Budget, search
from milr.engine.studio import Studio
from milr.methods.repair import COOL, How, Repair, likeliest_alternatives, repair, warming
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.function import FunctionReward
from milr.types import Key, Outcome, Prompt, ReasonRequest, Score, UsageError
from milr.workflows.prepare import prepare

PROMPT = Prompt("two blue circles")


def run(model: JanusModel, settings: Repair, score: Any, pictures: int = 8, method: Any = None) -> Outcome:
    """A search that never stops by itself."""

    async def main() -> Outcome:
        studio = Studio(model, FunctionReward(score, "test"))
        try:
            return await search(studio, PROMPT, Key(3, PROMPT.text), method or repair(settings), threshold=None,
                                budget=Budget(pictures=pictures))  # fmt: skip
        finally:
            studio.close()

    return asyncio.run(main())


def decreasing() -> Any:
    """Each picture scores less than the one before, so that the first one stays the best."""
    scores = iter(range(100, 0, -1))
    return lambda picture, prompt: next(scores) / 100


def test_the_likeliest_alternatives_are_in_order_and_leave_out_what_was_drawn() -> None:
    probabilities = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.35, 0.45], [0.05, 0.9, 0.05]])
    likeliest = likeliest_alternatives(probabilities.log(), (0, 1, 1), 3)
    assert [(each.position, each.token) for each in likeliest] == [(1, 2), (0, 1), (1, 0)]
    assert [each.log_prob for each in likeliest] == pytest.approx([math.log(p) for p in (0.45, 0.3, 0.2)])
    assert len(likeliest_alternatives(probabilities.log(), (0, 1, 1), 100)) == 6  # all others, and none that was drawn


def test_repairs_keep_what_is_before_the_position_and_force_the_likeliest_other_token(tiny: JanusModel) -> None:
    outcome = run(tiny, Repair(draws=2, repairs=4), decreasing(), pictures=6)
    best = outcome.steps[0].rollout.image
    assert best.request is not None

    async def read() -> torch.Tensor:
        studio = Studio(tiny, FunctionReward(lambda picture, prompt: 0.0, "test"))
        log_probs, _ = await studio.image_log_probs(replace(best.request, prefix=()), best.ids)
        studio.close()
        return log_probs

    pairs = likeliest_alternatives(asyncio.run(read()), best.ids, 4)
    for step, (position, token, _) in zip(outcome.steps[2:], pairs, strict=True):
        image = step.rollout.image
        assert image.ids[:position] == best.ids[:position] and image.ids[position] == token != best.ids[position]
        assert image.request and image.request.temperature == COOL and len(image.request.prefix) == position + 1
        assert step.rollout.visualisation == outcome.steps[0].rollout.visualisation
        assert step.note == f"picture 0 with image token {position} forced"
        assert step.cost.token_steps == len(best.ids) - position - 1


@pytest.mark.parametrize("how", ["forced", "unforced", "same_text", "new_text"])
def test_every_picture_knows_the_log_probabilities_that_a_reading_gives(tiny: JanusModel, how: How) -> None:
    steps = run(tiny, Repair(how=how, draws=2, repairs=4), decreasing(), pictures=6).steps

    async def read() -> list[torch.Tensor]:
        studio = Studio(tiny, FunctionReward(lambda picture, prompt: 0.0, "test"))
        images = [step.rollout.image for step in steps]
        readings = [await studio.image_log_probs(replace(image.request, prefix=()), image.ids) for image in images]
        studio.close()
        return [log_probs for log_probs, _ in readings]

    for step, log_probs in zip(steps, asyncio.run(read()), strict=True):
        expected = log_probs[torch.arange(len(log_probs)), torch.tensor(step.rollout.image.ids)].tolist()
        assert step.rollout.image.log_probs == pytest.approx(expected, abs=1e-3)


def test_a_better_picture_becomes_the_one_that_is_repaired(tiny: JanusModel) -> None:
    scores = iter([0.1, 0.2, 0.3, 0.1, 0.1])
    outcome = run(tiny, Repair(draws=2, repairs=3), lambda picture, prompt: next(scores), pictures=5)
    assert [step.note.partition(" with")[0] for step in outcome.steps[2:]] == ["picture 1", "picture 2", "picture 2"]


def test_after_the_repairs_new_pictures_are_drawn_again_and_then_other_pairs_are_tried(tiny: JanusModel) -> None:
    outcome = run(tiny, Repair(draws=2, repairs=2), decreasing(), pictures=8)
    assert [bool(step.note) for step in outcome.steps] == [False, False, True, True] * 2
    assert len({step.note for step in outcome.steps if step.note}) == 4


def test_a_judge_that_fails_leaves_nothing_to_repair(tiny: JanusModel) -> None:
    outcome = run(tiny, Repair(draws=1, repairs=3), lambda picture, prompt: Score.unscored("asleep"), pictures=3)
    assert outcome.stop == "judge_failed" and not any(step.note for step in outcome.steps)


def test_controls_draw_the_same_first_pictures_and_force_nothing(tiny: JanusModel) -> None:
    runs = {how: run(tiny, Repair(how=how, draws=3, repairs=3), decreasing(), pictures=6)
            for how in ("forced", "unforced", "same_text", "new_text")}  # fmt: skip
    first = {how: [step.rollout.image.ids for step in outcome.steps[:3]] for how, outcome in runs.items()}
    assert len(set(map(str, first.values()))) == 1
    for forced, unforced in zip(runs["forced"].steps[3:], runs["unforced"].steps[3:], strict=True):
        position = len(unforced.rollout.image.request.prefix)  # type: ignore[union-attr]
        assert position + 1 == len(forced.rollout.image.request.prefix)  # type: ignore[union-attr]
        assert unforced.rollout.image.ids[:position] == forced.rollout.image.ids[:position]
    assert all(step.rollout.image.request.prefix == () for step in runs["same_text"].steps)  # type: ignore[union-attr]
    texts = [step.rollout.visualisation.ids for step in runs["new_text"].steps]  # type: ignore[union-attr]
    assert len(set(texts)) > 3


def test_first_pictures_are_cool_and_later_ones_have_the_whole_temperature() -> None:
    assert [round(warming(1.0, index), 4) for index in (0, 4, 8, 30)] == [0.3, 0.65, 1.0, 1.0]
    assert warming(0.5, 0) == pytest.approx(0.15)


def test_the_first_text_is_the_greedy_one_and_the_others_are_sampled(tiny: JanusModel) -> None:
    outcome = run(tiny, Repair(draws=3, repairs=1), decreasing(), pictures=5)
    (greedy,) = tiny.reason([ReasonRequest(PROMPT.text, Key(9, "any"))])
    texts = [step.rollout.visualisation.ids for step in outcome.steps if step.rollout.visualisation]
    assert texts[0] == texts[3] == greedy.ids  # the fourth picture is the first one, repaired
    assert greedy.ids not in (texts[1], texts[2], texts[4]) and len(set(texts)) == 4


def test_there_is_no_such_control() -> None:
    with pytest.raises(UsageError, match="repair_unforced"):
        catalog.make_method("repair_unforce", {})


def test_a_run_of_another_number_of_drawings_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(method: str) -> tuple[str, Any]:
        config = prepare(["three hearts"], Options(method=method)).config()
        return config.digest, config.settings.get("draws")

    before = digest("repair"), digest("redraw_sampled")
    monkeypatch.setattr(Repair, "draws", 5)
    after = digest("repair"), digest("redraw_sampled")
    assert (before[0][1], after[0][1]) == (4, 5) and before[0][0] != after[0][0]
    assert before[1] == after[1] and before[1][1] is None
