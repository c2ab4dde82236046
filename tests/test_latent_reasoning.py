"""MILR step by step on a small random Janus with scripted rewards: what moves, what is forced, what is drawn."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from algorithm import KEY, PROMPT, SCALE, Slow, Trajectory, drawn, settings, trajectory, up_to_end
from milr.base import StudioFace
from milr.engine.search import search
from milr.latent.released import Quirks
from milr.latent.schedules import SCHEDULES
from milr.latent.update import policy_gradient
from milr.methods.latent_reasoning import latent_reasoning
from milr.methods.random_walk import random_update
from milr.methods.redraw import redraw
from milr.models.janus import JanusModel
from milr.policy import surprise
from milr.presets import PRESETS
from milr.templates import drawing
from milr.types import Cost, DrawRequest, Key, Modality, Outcome, Prompt, ReasonRequest, Step
from scripted import Recording, Scripted

RELEASE = Quirks(**PRESETS["released"]["quirks"])


def outcome(model: JanusModel, method: Any, *scores: float | None, prompt: Prompt = PROMPT, key: Key = KEY) -> Outcome:
    studio = Recording(model, Scripted(*scores))
    try:
        return asyncio.run(asyncio.wait_for(search(studio, prompt, key, method, threshold=None), 60))
    finally:
        studio.close()


# What moves


TEXT: tuple[Modality, ...] = ("text",)
IMAGE: tuple[Modality, ...] = ("image",)
MOVED = {
    "joint": [TEXT + IMAGE] * 4,
    "alt": [TEXT, IMAGE] * 2,
    "t2v": [TEXT] * 2 + [IMAGE] * 2,
    "text": [TEXT] * 4,
    "image": [IMAGE] * 4,
}


@pytest.mark.parametrize("schedule", MOVED)
def test_only_what_the_schedule_names_moves_and_the_rest_is_bit_identical(tiny: JanusModel, schedule: str) -> None:
    result = trajectory(tiny, settings(schedule), 0.25)
    assert [step.moved for step in result.steps] == [(), *MOVED[schedule]]
    for modality in SCHEDULES[schedule].modalities:
        latents = result.latents(modality)
        for index, moved in enumerate(MOVED[schedule], 1):
            same = torch.equal(latents[index], latents[index - 1])
            assert same == (modality not in moved), (schedule, modality, index)
            assert (modality in result.steps[index].info) == (modality in moved)


@pytest.mark.parametrize("schedule", MOVED)
def test_only_modalities_of_the_schedule_are_free(tiny: JanusModel, schedule: str) -> None:
    result = trajectory(tiny, settings(schedule, steps=1), 0.25)
    assert set(result.states[0].free) == set(SCHEDULES[schedule].modalities)


def test_the_free_latents_are_the_prefix_of_the_first_rollout(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings(steps=3), 0.25)
    text, image = result.steps[0].rollout.visualisation, result.steps[0].rollout.image
    assert text is not None and len(text.ids) == 35  # of this model and prompt
    assert len(result.latents("text")[0]) == 7 == result.steps[1].info["text"].free_tokens
    assert result.latents("image")[0].shape == (3, 2, tiny_width(tiny))
    assert result.states[0].free["text"].tokens.tolist() == list(text.ids[:7])
    assert result.states[0].free["image"].tokens.tolist() == list(image.ids[:3])
    for state in result.states:  # never refreshed from later decodes
        assert torch.equal(state.free["text"].initial, result.latents("text")[0])
        assert torch.equal(state.free["image"].initial, result.latents("image")[0])


def tiny_width(model: JanusModel) -> int:
    return int(model.network.config.text_config.hidden_size)


# The text


def changed_steps(result: Trajectory) -> list[int]:
    return [index for index, step in enumerate(result.steps) if step.text_changed]


def test_the_text_prefix_is_the_argmax_of_the_moved_latents_and_the_rest_follows_from_it(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("text"), 0.25)
    assert changed_steps(result)
    for index in changed_steps(result):
        argmax = tiny.text_logits(result.states[0].text, result.latents("text")[index]).argmax(-1).tolist()
        prefix = up_to_end(argmax, tiny.end_of_text)
        (again,) = tiny.reason([ReasonRequest(PROMPT.text, KEY, prefix=prefix)])
        assert result.texts()[index][: len(prefix)] == prefix
        assert result.texts()[index] == again.ids


def test_text_changed_is_true_exactly_where_it_changed(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint"), 0.25)
    texts = result.texts()
    assert changed_steps(result) == [i for i in range(1, len(texts)) if texts[i] != texts[i - 1]]
    assert result.steps[changed_steps(result)[0]].info["text"].tokens_changed > 0


def test_an_unchanged_prefix_is_not_decoded_again(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("text", learning_rate=1e-6), 0.25)
    assert len(result.studio.reasons) == 1
    assert [step.cost.token_steps for step in result.steps[1:]] == [16] * 4
    assert not changed_steps(result)


def test_the_drawing_content_is_rebuilt_from_the_new_text(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint"), 0.25)
    assert changed_steps(result)
    for step, draw in zip(result.steps, result.studio.draws, strict=True):
        assert step.rollout.visualisation is not None
        written = step.rollout.visualisation.text
        assert draw.text == (f"{PROMPT.text}. {written}" if written else PROMPT.text)
    assert len({draw.text for draw in result.studio.draws}) > 1


def end_at_position_1(tiny: JanusModel, monkeypatch: Any) -> None:
    """Position 1 of the prefix speaks the end once its latents have moved, and nothing else afterwards."""
    logits = tiny.text_logits
    start: list[Tensor] = []

    def ending(trace: Any, latents: Tensor) -> Tensor:
        start.append(latents.detach().clone())
        scores = logits(trace, latents)
        bonus = torch.zeros_like(scores)
        bonus[1, tiny.end_of_text] = 0.0 if torch.equal(latents, start[0]) else 1000.0
        return scores + bonus

    monkeypatch.setattr(tiny, "text_logits", ending)


def test_an_end_of_text_inside_the_prefix_ends_the_text_there(tiny: JanusModel, monkeypatch: Any) -> None:
    end_at_position_1(tiny, monkeypatch)
    result = trajectory(tiny, settings("joint", learning_rate=1e-6, steps=2), 0.25)
    first, ended, again = result.texts()
    assert ended == (first[0], tiny.end_of_text)
    assert result.states[1].free["text"].tokens.tolist() == list(ended)
    assert again == ended  # and a step from there is still possible
    assert len(result.latents("text")[2]) == 7
    assert result.steps[1].info["text"].tokens_changed == 6  # one differs, five are gone
    assert result.steps[2].info["text"].tokens_changed == 0
    assert result.steps[1].cost.token_steps == 16 - 3  # every token of the text was forced


def test_the_continuation_is_written_for_the_new_prefix_even_when_it_has_the_old_length(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("text"), 0.25)
    forced = [request.prefix for request in result.studio.reasons[1:]]
    assert forced and all(len(prefix) == 7 or prefix[-1] == tiny.end_of_text for prefix in forced)
    assert all(request.temperature == 0 for request in result.studio.reasons)


# The picture


@pytest.mark.parametrize("schedule", ["joint", "alt", "t2v", "image"])
def test_the_image_prefix_is_sampled_from_its_latents_with_the_noise_of_its_step(
    tiny: JanusModel, schedule: str
) -> None:
    result = trajectory(tiny, settings(schedule, temperature=1.3), 0.25)
    for index in range(1, len(result.steps)):
        logits = tiny.image_logits(result.states[0].image, result.latents("image")[index], SCALE)
        prefix = drawn(logits / 1.3, KEY.at(index))
        assert result.studio.draws[index].prefix == prefix
        assert result.images()[index][:3] == prefix
        assert result.states[index].free["image"].tokens.tolist() == list(prefix)


def test_the_whole_picture_is_what_the_model_draws_from_that_prefix_at_that_key(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint"), 0.25)
    for index, step in enumerate(result.steps):
        assert step.rollout.visualisation is not None
        request = DrawRequest(drawing(PROMPT.text, step.rollout.visualisation.text), KEY.at(index), SCALE,
                              prefix=result.images()[index][:3] if index else ())  # fmt: skip
        assert tiny.draw([request])[0].ids == result.images()[index]


def test_near_ties_of_the_prefix_are_on_record(tiny: JanusModel, monkeypatch: Any) -> None:
    """Everything of the prefix is a tie when a lead must be huge."""
    monkeypatch.setattr("milr.latent.prefix.NEAR_TIE", 1e9)
    result = trajectory(tiny, settings("joint"), 0.25)
    for index in changed_steps(result):
        assert result.steps[index].rollout.image.near_ties[:3] == (0, 1, 2)
        visualisation = result.steps[index].rollout.visualisation
        count = len(result.states[index].free["text"].tokens)
        assert visualisation is not None and visualisation.near_ties[:count] == tuple(range(count))


def test_alt_forces_an_image_prefix_from_unchanged_latents_where_only_the_text_moved(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("alt"), 0.25)
    assert result.steps[1].moved == ("text",)
    assert torch.equal(result.latents("image")[1], result.latents("image")[0])
    logits = tiny.image_logits(result.states[0].image, result.latents("image")[0], SCALE)
    assert result.studio.draws[1].prefix == drawn(logits, KEY.at(1))


def test_text_only_forces_no_image_prefix(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("text"), 0.25)
    assert [draw.prefix for draw in result.studio.draws] == [()] * 5
    assert [draw.num_latents for draw in result.studio.draws] == [0] * 5


def test_image_only_keeps_the_first_text(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("image"), 0.25)
    assert len(result.studio.reasons) == 1 and len(set(result.texts())) == 1
    assert len(set(result.images())) > 1


def test_frozen_latents_draw_another_picture_at_every_step(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint", learning_rate=0.0, guidance_scale=1.0), 0.25)
    assert len(set(result.texts())) == 1 and not changed_steps(result)
    assert len(set(result.images())) == 5
    for modality in ("text", "image"):
        assert all(torch.equal(latents, result.latents(modality)[0]) for latents in result.latents(modality))
        assert all(step.info[modality].update_norm == 0 for step in result.steps[1:])


@pytest.mark.parametrize("schedule", MOVED)
def test_the_first_rollout_is_that_of_text_enhanced(tiny: JanusModel, schedule: str) -> None:
    result = trajectory(tiny, settings(schedule, steps=0), 0.25)
    other = outcome_of_redraw(tiny)
    assert result.images() == [other.rollout.image.ids]
    assert other.rollout.visualisation is not None
    assert result.texts() == [other.rollout.visualisation.ids]
    assert result.steps[0].rollout.picture.tobytes() == other.rollout.picture.tobytes()


def outcome_of_redraw(model: JanusModel, **changes: Any) -> Step:
    async def first() -> Step:
        studio = Recording(model, Scripted(0.25))
        try:
            method = redraw(visualise="greedy", guidance_scale=SCALE, **changes)
            async with studio.method():
                steps = method(cast(StudioFace, studio), PROMPT, KEY)
                step = await anext(steps)
                await steps.aclose()  # type: ignore[attr-defined]
            return step
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(first(), 60))


# The reward


def test_an_update_uses_the_reward_of_the_picture_before_it(tiny: JanusModel) -> None:
    rewards: list[tuple[int, float]] = []
    real = policy_gradient

    def spy(state: Any, logits: Any, reward: float, **rest: Any) -> Any:
        rewards.append((state.latents.ndim, reward))
        return real(state, logits, reward, **rest)

    trajectory(tiny, settings("joint", steps=3, rule=spy), 0.25, 0.5, 0.75, 1.0)
    assert rewards == [(2, -0.75), (3, -0.75), (2, -0.5), (3, -0.5), (2, -0.25), (3, -0.25)]


def test_the_credit_goes_to_the_tokens_of_the_picture_before(tiny: JanusModel) -> None:
    executed: list[tuple[int, ...]] = []
    real = policy_gradient

    def spy(state: Any, logits: Any, reward: float, **rest: Any) -> Any:
        if state.latents.ndim == 3:
            executed.append(tuple(state.tokens.tolist()))
        return real(state, logits, reward, **rest)

    result = trajectory(tiny, settings("joint", guidance_scale=1.0, rule=spy), 0.25)
    assert executed == [image[:3] for image in result.images()[:-1]]
    assert len(set(executed)) > 1


def test_a_perfect_first_picture_gives_no_gradient(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint", steps=1), 1.0)
    for modality in ("text", "image"):
        assert result.steps[1].info[modality].gradient_norm == 0
        assert torch.equal(result.latents(modality)[1], result.latents(modality)[0])


def test_after_an_unscored_picture_nothing_moves_and_it_is_drawn_again(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint", steps=3, guidance_scale=1.0), 0.25, None, None, 0.25)
    assert [step.moved for step in result.steps] == [(), ("text", "image"), (), ()]
    for modality in ("text", "image"):
        latents = result.latents(modality)
        assert torch.equal(latents[1], latents[2]) and torch.equal(latents[2], latents[3])
        assert result.states[3].free[modality].updates == 1
    assert result.texts()[1] == result.texts()[2] == result.texts()[3]
    assert len(set(result.images()[1:])) == 3  # other noise at every step
    assert not result.steps[2].info and not result.steps[2].text_changed


def test_the_first_picture_unscored(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint", steps=2), None, 0.25)
    assert [step.moved for step in result.steps] == [(), (), ("text", "image")]


# What is supplied, and what it costs


def test_a_supplied_visualisation_is_forced_and_its_prefix_is_free(tiny: JanusModel) -> None:
    supplied = "two blue circle above a small green star"
    result = trajectory(tiny, settings("joint", visualisation=supplied, steps=2), 0.25)
    ids = (*tiny.encode_text(supplied), tiny.end_of_text)
    assert result.texts()[0] == ids
    assert result.studio.draws[0].text == f"{PROMPT.text}. {supplied}"
    assert result.states[0].free["text"].tokens.tolist() == list(ids[:1])  # floor(0.2 * 9)
    assert result.steps[0].cost.token_steps == 16  # nothing was written
    same = outcome_of_redraw(tiny, visualisation=supplied)
    assert same.rollout.image.ids == result.images()[0]


def test_costs_count_what_was_decoded(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint"), 0.25)
    asked = iter(result.studio.reasons[1:])
    for index, step in enumerate(result.steps):
        text = result.texts()[index]
        written = 35 if index == 0 else len(text) - len(next(asked).prefix) if step.text_changed else 0
        image = 16 - (3 if index else 0)
        assert step.cost.token_steps == written + image, index
        assert (step.cost.pictures, step.cost.reward_calls) == (1, 1)
        assert step.cost.model_seconds > 0
    total = outcome(tiny, latent_reasoning(settings("joint")), 0.25).cost
    added = sum((step.cost for step in result.steps), Cost())
    assert (total.pictures, total.token_steps, total.reward_calls) == (5, added.token_steps, 5)


def test_steps_zero_is_one_picture(tiny: JanusModel) -> None:
    result = outcome(tiny, latent_reasoning(settings(steps=0)), 0.25)
    assert (len(result.steps), result.stop) == (1, "steps")


def test_latents_in_the_dtype_of_the_weights_or_bfloat16(tiny: JanusModel) -> None:
    assert trajectory(tiny, settings(steps=1, dtype="model"), 0.25).latents("text")[1].dtype == torch.float32
    result = trajectory(
        tiny, settings(steps=1, dtype="bfloat16", credit="argmax", epsilon={"text": 1e-8, "image": 0.0}), 0.25
    )
    for modality in ("text", "image"):
        state = result.states[1].free[modality]
        assert state.latents.dtype == state.moments[0].dtype == torch.bfloat16
        assert result.steps[1].info[modality].update_norm > 0


def test_joint_steps_give_the_tokens_of_a_slow_independent_loop(tiny: JanusModel) -> None:
    scores = (0.25, 0.5, 0.0, 0.75)
    result = trajectory(tiny, settings("joint"), *scores)
    expected = Slow(tiny).run(scores, free=(7, 3))
    assert len({tuple(text) for text, _ in expected}) > 1  # the text does change on the way
    for index, (text, image) in enumerate(expected):
        assert list(result.texts()[index]) == text, index
        assert list(result.images()[index]) == image, index


def test_another_seed_draws_other_pictures_and_the_same_one_the_same(tiny: JanusModel) -> None:
    chosen = settings("joint", steps=2, guidance_scale=1.0)
    first, again = trajectory(tiny, chosen, 0.25), trajectory(tiny, chosen, 0.25)
    other = trajectory(tiny, chosen, 0.25, key=replace(KEY, seed=6))
    assert first.images() == again.images() and first.texts() == again.texts()
    assert first.images()[0] != other.images()[0]


@pytest.mark.parametrize("modality", ["text", "image"])
def test_surprise_is_that_of_the_new_tokens_under_the_untouched_latents(tiny: JanusModel, modality: Modality) -> None:
    result = trajectory(tiny, settings(modality, steps=2, learning_rate=2.0))
    first, last = result.steps[0].rollout, result.steps[2]
    state = result.states[0].free[modality]
    ids = torch.tensor((result.texts() if modality == "text" else result.images())[2][: len(state.latents)])
    if modality == "text":
        assert first.visualisation is not None
        logits = tiny.text_logits(first.visualisation, state.initial)[: len(ids)]
    else:
        logits = tiny.image_logits(first.image, state.initial, SCALE)
    expected = surprise(logits, ids, state.tokens)
    assert last.info[modality].surprise == pytest.approx(expected, abs=1e-4) and expected > 0.1


def test_a_supplied_text_that_stays_is_no_surprise(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("text", steps=1, learning_rate=0.0, visualisation="blue circle moon"))
    assert result.steps[1].info["text"].surprise == 0


# How many tokens the updates changed


def differences(before: tuple[int, ...], after: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(before, after, strict=False)) + abs(len(before) - len(after))


def counts_by_comparison(moved: Trajectory, frozen: Trajectory) -> list[dict[Modality, int]]:
    """The same counts from the tokens of two runs: of the first text, and of the frozen run's picture of each step."""
    counts: list[dict[Modality, int]] = [{}]
    for index in range(1, len(moved.steps)):
        found: dict[Modality, int] = {}
        for modality, state in moved.states[0].free.items():
            free = len(state.latents)
            tokens = Trajectory.texts if modality == "text" else Trajectory.images
            found[modality] = differences(tokens(frozen)[index][:free], tokens(moved)[index][:free])
        counts.append(found)
    return counts


def counts_of(result: Trajectory) -> list[dict[Modality, int]]:
    return [dict(step.tokens_by_updates) for step in result.steps]


@pytest.mark.parametrize("schedule", MOVED)
def test_every_step_counts_what_the_updates_changed_in_each_free_modality(tiny: JanusModel, schedule: str) -> None:
    moved = trajectory(tiny, settings(schedule, learning_rate=2.0, text_ratio=0.5), 0.25)
    frozen = trajectory(tiny, settings(schedule, learning_rate=0.0, text_ratio=0.5), 0.25)
    counts = counts_of(moved)
    assert counts == counts_by_comparison(moved, frozen)
    for modality in SCHEDULES[schedule].modalities:
        assert any(count.get(modality) for count in counts), modality
        assert all(count[modality] == 0 for count in counts_of(frozen)[1:])
    if schedule == "image":  # its prefix was sampled again all the same
        assert any(step.info["image"].tokens_changed for step in frozen.steps[1:])


@pytest.mark.parametrize(
    "changes", [{"rule": random_update, "learning_rate": 20.0}, {"quirks": RELEASE, "credit": "argmax"}],
    ids=["random_walk", "released"],
)  # fmt: skip
@pytest.mark.parametrize("schedule", ["joint", "alt"])
def test_other_rules_count_alike(tiny: JanusModel, schedule: str, changes: dict[str, Any]) -> None:
    chosen = settings(schedule, **{"learning_rate": 2.0, "text_ratio": 0.5, **changes})
    moved, frozen = trajectory(tiny, chosen, 0.25), trajectory(tiny, replace(chosen, learning_rate=0.0), 0.25)
    counts = counts_of(moved)
    assert counts == counts_by_comparison(moved, frozen)
    assert all(any(count.get(modality) for count in counts) for modality in ("text", "image"))
    assert counts_of(frozen)[1:] == [{"text": 0, "image": 0}] * 4


@pytest.mark.parametrize(("schedule", "index"), [("alt", 2), ("t2v", 3)])
def test_a_changed_text_counts_at_steps_that_move_the_image_alone(tiny: JanusModel, schedule: str, index: int) -> None:
    steps = trajectory(tiny, settings(schedule, learning_rate=2.0), 0.25).steps
    assert steps[index].moved == ("image",) and "text" not in steps[index].info
    assert steps[index].tokens_by_updates["text"] == steps[index - 1].tokens_by_updates["text"] > 0
    assert steps[1].moved == ("text",) and steps[1].tokens_by_updates["image"] == 0  # no update of the image yet


def test_an_image_that_moved_before_counts_at_a_step_that_moves_the_text_alone(tiny: JanusModel) -> None:
    moved, frozen = (trajectory(tiny, settings("alt", learning_rate=rate), 0.25) for rate in (4.0, 0.0))
    assert moved.steps[3].moved == ("text",)
    assert moved.steps[3].tokens_by_updates["image"] == counts_by_comparison(moved, frozen)[3]["image"] > 0


def test_after_an_unscored_picture_the_counts_are_those_of_the_latents_as_they_are(tiny: JanusModel) -> None:
    chosen = settings("joint", steps=4, learning_rate=4.0, image_ratio=0.5)
    moved = trajectory(tiny, chosen, 0.25, None, None, 0.25)
    frozen = trajectory(tiny, replace(chosen, learning_rate=0.0), 0.25)
    assert [step.moved for step in moved.steps[1:4]] == [("text", "image"), (), ()]
    counts = counts_of(moved)
    assert counts == counts_by_comparison(moved, frozen)
    assert counts[1]["text"] == counts[2]["text"] == counts[3]["text"] > 0
    assert counts[2]["image"] > 0 and counts[3]["image"] > 0


def test_before_any_update_nothing_is_counted(tiny: JanusModel) -> None:
    result = trajectory(tiny, settings("joint", steps=2, learning_rate=2.0), None, None, 0.25)
    assert counts_of(result) == [{}, {"text": 0, "image": 0}, {"text": 0, "image": 0}]


def test_a_text_that_ends_inside_its_prefix_counts_what_it_lost(tiny: JanusModel, monkeypatch: Any) -> None:
    end_at_position_1(tiny, monkeypatch)
    steps = trajectory(tiny, settings("alt", learning_rate=1e-6, steps=3), 0.25).steps
    assert [step.tokens_by_updates["text"] for step in steps[1:]] == [6, 6, 6]  # one differs, five are gone
    assert steps[3].info["text"].tokens_changed == 0


def test_a_step_sums_its_counts(tiny: JanusModel) -> None:
    step = replace(trajectory(tiny, settings(steps=1), 0.25).steps[1], tokens_by_updates={"text": 2, "image": 3})
    assert step.num_tokens_by_updates == 5 and "5 tokens changed by updates" in repr(step)
    assert "changed" not in repr(replace(step, tokens_by_updates={"text": 0}))
