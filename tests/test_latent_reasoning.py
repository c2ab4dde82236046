"""MILR step by step on a small random Janus with scripted rewards: what moves, what is forced, what is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from milr.base import StudioFace
from milr.engine.search import search
from milr.latent.schedules import SCHEDULES
from milr.latent.update import policy_gradient
from milr.methods.latent_reasoning import Settings, _Run, _State, latent_reasoning
from milr.methods.redraw import redraw
from milr.models.janus import JanusModel
from milr.policy import surprise
from milr.randomness import generator
from milr.templates import drawing
from milr.types import Cost, DrawRequest, Key, Modality, Outcome, Prompt, ReasonRequest, Step
from scripted import Recording, Scripted

PROMPT = Prompt("a red star")
KEY = Key(seed=5, prompt=PROMPT.text)
LEARNING_RATE = 0.3  # large enough that tokens flip within a few steps
SCALE = 2.0


def settings(schedule: str = "joint", **changes: Any) -> Settings:
    known: dict[str, Any] = dict(
        steps=4, text_ratio=0.2, image_ratio=0.2, learning_rate=LEARNING_RATE, guidance_scale=SCALE
    )
    return Settings(SCHEDULES[schedule], **(known | changes))


@dataclass
class Walk:
    """Every state and step of one run, and what the studio was asked for."""

    states: list[_State]
    steps: list[Step]
    studio: Recording

    def latents(self, modality: Modality) -> list[Tensor]:
        return [state.free[modality].latents for state in self.states]

    def texts(self) -> list[tuple[int, ...]]:
        return [step.rollout.visualisation.ids for step in self.steps if step.rollout.visualisation]

    def images(self) -> list[tuple[int, ...]]:
        return [step.rollout.image.ids for step in self.steps]


def walk(model: JanusModel, chosen: Settings, *scores: float | None, prompt: Prompt = PROMPT, key: Key = KEY) -> Walk:
    """Run first() and every step, without a stop rule."""
    studio = Recording(model, Scripted(*(scores or (0.0,))))
    made = Walk([], [], studio)

    async def go() -> None:
        run = _Run(cast(StudioFace, studio), prompt, key, chosen)
        async with studio.method():
            state, step = await run.first()
            made.states.append(state)
            made.steps.append(step)
            for index in range(1, chosen.steps + 1):
                state, step = await run.step(state, index)
                made.states.append(state)
                made.steps.append(step)

    try:
        asyncio.run(asyncio.wait_for(go(), 60))
    finally:
        studio.close()
    return made


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
    made = walk(tiny, settings(schedule), 0.25)
    assert [step.moved for step in made.steps] == [(), *MOVED[schedule]]
    for modality in SCHEDULES[schedule].modalities:
        latents = made.latents(modality)
        for index, moved in enumerate(MOVED[schedule], 1):
            same = torch.equal(latents[index], latents[index - 1])
            assert same == (modality not in moved), (schedule, modality, index)
            assert (modality in made.steps[index].info) == (modality in moved)


@pytest.mark.parametrize("schedule", MOVED)
def test_only_modalities_of_the_schedule_are_free(tiny: JanusModel, schedule: str) -> None:
    made = walk(tiny, settings(schedule, steps=1), 0.25)
    assert set(made.states[0].free) == set(SCHEDULES[schedule].modalities)


def test_the_free_latents_are_the_prefix_of_the_first_rollout(tiny: JanusModel) -> None:
    made = walk(tiny, settings(steps=3), 0.25)
    text, image = made.steps[0].rollout.visualisation, made.steps[0].rollout.image
    assert text is not None and len(text.ids) == 35  # of this model and prompt
    assert len(made.latents("text")[0]) == 7 == made.steps[1].info["text"].free_tokens
    assert made.latents("image")[0].shape == (3, 2, tiny_width(tiny))
    assert made.states[0].free["text"].tokens.tolist() == list(text.ids[:7])
    assert made.states[0].free["image"].tokens.tolist() == list(image.ids[:3])
    for state in made.states:  # never refreshed from later decodes
        assert torch.equal(state.free["text"].initial, made.latents("text")[0])
        assert torch.equal(state.free["image"].initial, made.latents("image")[0])


def tiny_width(model: JanusModel) -> int:
    return int(model.network.config.text_config.hidden_size)


# The text


def changed_steps(made: Walk) -> list[int]:
    return [index for index, step in enumerate(made.steps) if step.text_changed]


def test_the_text_prefix_is_the_argmax_of_the_moved_latents_and_the_rest_follows_from_it(tiny: JanusModel) -> None:
    made = walk(tiny, settings("text"), 0.25)
    assert changed_steps(made)
    for index in changed_steps(made):
        argmax = tiny.text_logits(made.states[0].text, made.latents("text")[index]).argmax(-1).tolist()
        prefix = up_to_end(argmax, tiny.end_of_text)
        (again,) = tiny.reason([ReasonRequest(PROMPT.text, KEY, prefix=prefix)])
        assert made.texts()[index][: len(prefix)] == prefix
        assert made.texts()[index] == again.ids


def up_to_end(ids: Sequence[int], end: int) -> tuple[int, ...]:
    return tuple(ids[: list(ids).index(end) + 1] if end in ids else ids)


def test_text_changed_is_told_exactly_where_it_changed(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint"), 0.25)
    texts = made.texts()
    assert changed_steps(made) == [i for i in range(1, len(texts)) if texts[i] != texts[i - 1]]
    assert made.steps[changed_steps(made)[0]].info["text"].tokens_changed > 0


def test_an_unchanged_prefix_is_not_decoded_again(tiny: JanusModel) -> None:
    made = walk(tiny, settings("text", learning_rate=1e-6), 0.25)
    assert len(made.studio.reasons) == 1
    assert [step.cost.token_steps for step in made.steps[1:]] == [16] * 4
    assert not changed_steps(made)


def test_the_drawing_content_is_rebuilt_from_the_new_text(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint"), 0.25)
    assert changed_steps(made)
    for step, draw in zip(made.steps, made.studio.draws, strict=True):
        assert step.rollout.visualisation is not None
        said = step.rollout.visualisation.text
        assert draw.text == (f"{PROMPT.text}. {said}" if said else PROMPT.text)
    assert len({draw.text for draw in made.studio.draws}) > 1


def test_an_end_of_text_inside_the_prefix_ends_the_text_there(tiny: JanusModel, monkeypatch: Any) -> None:
    """Place 1 of the prefix speaks the end once its latents have moved, and nothing else afterwards."""
    logits = tiny.text_logits
    start: list[Tensor] = []

    def ending(trace: Any, latents: Tensor) -> Tensor:
        start.append(latents.detach().clone())
        found = logits(trace, latents)
        bonus = torch.zeros_like(found)
        bonus[1, tiny.end_of_text] = 0.0 if torch.equal(latents, start[0]) else 1000.0
        return found + bonus

    monkeypatch.setattr(tiny, "text_logits", ending)
    made = walk(tiny, settings("joint", learning_rate=1e-6, steps=2), 0.25)
    first, ended, again = made.texts()
    assert ended == (first[0], tiny.end_of_text)
    assert made.states[1].free["text"].tokens.tolist() == list(ended)
    assert again == ended  # and a step from there is still possible
    assert len(made.latents("text")[2]) == 7
    assert made.steps[1].info["text"].tokens_changed == 6  # one differs, five are gone
    assert made.steps[2].info["text"].tokens_changed == 0
    assert made.steps[1].cost.token_steps == 16 - 3  # every token of the text was forced


def test_the_continuation_is_written_for_the_new_prefix_even_when_it_has_the_old_length(tiny: JanusModel) -> None:
    made = walk(tiny, settings("text"), 0.25)
    forced = [request.prefix for request in made.studio.reasons[1:]]
    assert forced and all(len(prefix) == 7 or prefix[-1] == tiny.end_of_text for prefix in forced)
    assert all(request.temperature == 0 for request in made.studio.reasons)


# The picture


@pytest.mark.parametrize("schedule", ["joint", "alt", "t2v", "image"])
def test_the_image_prefix_is_sampled_from_its_latents_with_the_noise_of_its_step(
    tiny: JanusModel, schedule: str
) -> None:
    made = walk(tiny, settings(schedule, temperature=1.3), 0.25)
    for index in range(1, len(made.steps)):
        logits = tiny.image_logits(made.states[0].image, made.latents("image")[index], SCALE)
        prefix = drawn(logits / 1.3, KEY.at(index))
        assert made.studio.draws[index].prefix == prefix
        assert made.images()[index][:3] == prefix
        assert made.states[index].free["image"].tokens.tolist() == list(prefix)


def drawn(logits: Tensor, key: Key) -> tuple[int, ...]:
    """What torch's own multinomial draws from the request's generator."""
    stream = generator(key, "image")
    return tuple(int(torch.multinomial(row.softmax(-1), 1, generator=stream)) for row in logits)


def test_the_whole_picture_is_what_the_model_draws_from_that_prefix_at_that_key(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint"), 0.25)
    for index, step in enumerate(made.steps):
        assert step.rollout.visualisation is not None
        request = DrawRequest(drawing(PROMPT.text, step.rollout.visualisation.text), KEY.at(index), SCALE,
                              prefix=made.images()[index][:3] if index else ())  # fmt: skip
        assert tiny.draw([request])[0].ids == made.images()[index]


def test_near_ties_of_the_prefix_are_on_record(tiny: JanusModel, monkeypatch: Any) -> None:
    """Everything of the prefix is a tie when a lead must be huge."""
    monkeypatch.setattr("milr.latent.prefix.NEAR_TIE", 1e9)
    made = walk(tiny, settings("joint"), 0.25)
    for index in changed_steps(made):
        assert made.steps[index].rollout.image.near_ties[:3] == (0, 1, 2)
        visualisation = made.steps[index].rollout.visualisation
        count = len(made.states[index].free["text"].tokens)
        assert visualisation is not None and visualisation.near_ties[:count] == tuple(range(count))


def test_alt_forces_an_image_prefix_from_unchanged_latents_where_only_the_text_moved(tiny: JanusModel) -> None:
    made = walk(tiny, settings("alt"), 0.25)
    assert made.steps[1].moved == ("text",)
    assert torch.equal(made.latents("image")[1], made.latents("image")[0])
    logits = tiny.image_logits(made.states[0].image, made.latents("image")[0], SCALE)
    assert made.studio.draws[1].prefix == drawn(logits, KEY.at(1))


def test_text_only_forces_no_image_prefix(tiny: JanusModel) -> None:
    made = walk(tiny, settings("text"), 0.25)
    assert [draw.prefix for draw in made.studio.draws] == [()] * 5
    assert [draw.num_latents for draw in made.studio.draws] == [0] * 5


def test_image_only_keeps_the_first_text(tiny: JanusModel) -> None:
    made = walk(tiny, settings("image"), 0.25)
    assert len(made.studio.reasons) == 1 and len(set(made.texts())) == 1
    assert len(set(made.images())) > 1


def test_frozen_latents_draw_another_picture_at_every_step(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint", learning_rate=0.0, guidance_scale=1.0), 0.25)
    assert len(set(made.texts())) == 1 and not changed_steps(made)
    assert len(set(made.images())) == 5
    for modality in ("text", "image"):
        assert all(torch.equal(latents, made.latents(modality)[0]) for latents in made.latents(modality))
        assert all(step.info[modality].update_norm == 0 for step in made.steps[1:])


@pytest.mark.parametrize("schedule", MOVED)
def test_the_first_rollout_is_that_of_text_enhanced(tiny: JanusModel, schedule: str) -> None:
    made = walk(tiny, settings(schedule, steps=0), 0.25)
    other = outcome_of_redraw(tiny)
    assert made.images() == [other.rollout.image.ids]
    assert other.rollout.visualisation is not None
    assert made.texts() == [other.rollout.visualisation.ids]
    assert made.steps[0].rollout.picture.tobytes() == other.rollout.picture.tobytes()


def outcome_of_redraw(model: JanusModel, **changes: Any) -> Step:
    async def first() -> Step:
        studio = Recording(model, Scripted(0.25))
        try:
            method = redraw(visualise="greedy", guidance_scale=SCALE, **changes)
            async with studio.method():
                walked = method(cast(StudioFace, studio), PROMPT, KEY)
                step = await anext(walked)
                await walked.aclose()  # type: ignore[attr-defined]
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

    walk(tiny, settings("joint", steps=3, rule=spy), 0.25, 0.5, 0.75, 1.0)
    assert rewards == [(2, -0.75), (3, -0.75), (2, -0.5), (3, -0.5), (2, -0.25), (3, -0.25)]


def test_the_credit_goes_to_the_tokens_of_the_picture_before(tiny: JanusModel) -> None:
    executed: list[tuple[int, ...]] = []
    real = policy_gradient

    def spy(state: Any, logits: Any, reward: float, **rest: Any) -> Any:
        if state.latents.ndim == 3:
            executed.append(tuple(state.tokens.tolist()))
        return real(state, logits, reward, **rest)

    made = walk(tiny, settings("joint", guidance_scale=1.0, rule=spy), 0.25)
    assert executed == [image[:3] for image in made.images()[:-1]]
    assert len(set(executed)) > 1


def test_a_perfect_first_picture_gives_no_gradient(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint", steps=1), 1.0)
    for modality in ("text", "image"):
        assert made.steps[1].info[modality].gradient_norm == 0
        assert torch.equal(made.latents(modality)[1], made.latents(modality)[0])


def test_after_an_unscored_picture_nothing_moves_and_it_is_drawn_again(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint", steps=3, guidance_scale=1.0), 0.25, None, None, 0.25)
    assert [step.moved for step in made.steps] == [(), ("text", "image"), (), ()]
    for modality in ("text", "image"):
        latents = made.latents(modality)
        assert torch.equal(latents[1], latents[2]) and torch.equal(latents[2], latents[3])
        assert made.states[3].free[modality].count == 1
    assert made.texts()[1] == made.texts()[2] == made.texts()[3]
    assert len(set(made.images()[1:])) == 3  # other noise at every step
    assert not made.steps[2].info and not made.steps[2].text_changed


def test_the_first_picture_unscored(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint", steps=2), None, 0.25)
    assert [step.moved for step in made.steps] == [(), (), ("text", "image")]


# What is supplied, and what it costs


def test_a_supplied_visualisation_is_forced_and_its_prefix_is_free(tiny: JanusModel) -> None:
    said = "two blue circle above a small green star"
    made = walk(tiny, settings("joint", visualisation=said, steps=2), 0.25)
    ids = (*tiny.encode_text(said), tiny.end_of_text)
    assert made.texts()[0] == ids
    assert made.studio.draws[0].text == f"{PROMPT.text}. {said}"
    assert made.states[0].free["text"].tokens.tolist() == list(ids[:1])  # floor(0.2 * 9)
    assert made.steps[0].cost.token_steps == 16  # nothing was written
    same = outcome_of_redraw(tiny, visualisation=said)
    assert same.rollout.image.ids == made.images()[0]


def test_costs_count_what_was_decoded(tiny: JanusModel) -> None:
    made = walk(tiny, settings("joint"), 0.25)
    asked = iter(made.studio.reasons[1:])
    for index, step in enumerate(made.steps):
        text = made.texts()[index]
        written = 35 if index == 0 else len(text) - len(next(asked).prefix) if step.text_changed else 0
        image = 16 - (3 if index else 0)
        assert step.cost.token_steps == written + image, index
        assert (step.cost.pictures, step.cost.reward_calls) == (1, 1)
        assert step.cost.model_seconds > 0
    total = outcome(tiny, latent_reasoning(settings("joint")), 0.25).cost
    added = sum((step.cost for step in made.steps), Cost())
    assert (total.pictures, total.token_steps, total.reward_calls) == (5, added.token_steps, 5)


def test_steps_zero_is_one_picture(tiny: JanusModel) -> None:
    found = outcome(tiny, latent_reasoning(settings(steps=0)), 0.25)
    assert (len(found.steps), found.stop) == (1, "steps")


def test_latents_in_the_dtype_of_the_weights_or_bfloat16(tiny: JanusModel) -> None:
    assert walk(tiny, settings(steps=1, dtype="model"), 0.25).latents("text")[1].dtype == torch.float32
    made = walk(tiny, settings(steps=1, dtype="bfloat16", credit="argmax", epsilon={"text": 1e-8, "image": 0.0}), 0.25)
    for modality in ("text", "image"):
        state = made.states[1].free[modality]
        assert state.latents.dtype == state.moments[0].dtype == torch.bfloat16
        assert made.steps[1].info[modality].update_norm > 0


# The same, written again slowly


class Slow:
    """JOINT in plain torch: no studio, no cache, no batch, and torch's own Adam and multinomial."""

    def __init__(self, model: JanusModel) -> None:
        self.model, self.network = model, model.network

    def hidden(self, inputs: Tensor) -> Tensor:
        """(1, L, d) inputs to the last latent (d,)."""
        output = self.network.model.language_model(inputs_embeds=inputs, use_cache=False)
        return cast(Tensor, output.last_hidden_state[0, -1])

    def embed(self, ids: Sequence[int]) -> Tensor:
        return cast(Tensor, self.network.get_input_embeddings()(torch.tensor([list(ids)])))

    def text(self, prefix: Sequence[int] = ()) -> tuple[list[int], Tensor]:
        """Greedy text after `prefix`, and all latents."""
        prompt = self.model.tokenizer.encode(self.model.templates.reason(PROMPT.text), add_special_tokens=False)
        ids: list[int] = []
        latents = []
        while len(ids) < 120 and (not ids or ids[-1] != self.model.ids.end):
            latents.append(self.hidden(self.embed([self.model.ids.begin, *prompt, *ids])))
            chosen = int(self.network.lm_head(latents[-1]).argmax())
            ids.append(prefix[len(ids)] if len(ids) < len(prefix) else chosen)
        return ids, torch.stack(latents)

    def image(self, text: Sequence[int], step: int, prefix: Sequence[int] = ()) -> tuple[list[int], Tensor]:
        """Sampled image after `prefix` under guidance, and all pairs of latents."""
        words = self.model.tokenizer.decode(list(text), skip_special_tokens=True)
        turn = self.model.templates.draw(f"{PROMPT.text}. {words.strip()}" if words.strip() else PROMPT.text)
        inner = self.model.tokenizer.encode(turn, add_special_tokens=False)
        special = self.model.ids
        streams = [[special.begin, *inner, special.begin_image],
                   [special.begin, *[special.pad] * len(inner), special.begin_image]]  # fmt: skip
        noise, ids, latents = generator(KEY.at(step), "image"), list[int](), []
        for place in range(16):
            drawn_so_far = [self.embed(stream) for stream in streams]
            if ids:
                tail = self.network.prepare_embeddings_for_image_generation(torch.tensor([ids]))
                drawn_so_far = [torch.cat([start, tail], dim=1) for start in drawn_so_far]
            latents.append(torch.stack([self.hidden(inputs) for inputs in drawn_so_far]))
            chosen = int(torch.multinomial(self.guided(latents[-1][None])[0].softmax(-1), 1, generator=noise))
            ids.append(prefix[place] if place < len(prefix) else chosen)
        return ids, torch.stack(latents)

    def guided(self, latents: Tensor) -> Tensor:
        conditional, unconditional = self.network.model.generation_head(latents).unbind(1)
        return cast(Tensor, (1 - SCALE) * unconditional + SCALE * conditional)

    @torch.no_grad()
    def run(self, scores: Sequence[float], free: tuple[int, int]) -> list[tuple[list[int], list[int]]]:
        """Text and image tokens of the first rollout and of one JOINT step for each further score."""
        text, all_text = self.text()
        image, all_image = self.image(text, 0)
        z_text, z_image = all_text[: free[0]].clone(), all_image[: free[1]].clone()
        optimisers = [torch.optim.Adam([z.requires_grad_()], lr=LEARNING_RATE) for z in (z_text, z_image)]
        heads = (self.network.lm_head, self.guided)
        rollouts = [(text, image)]
        for step, score in enumerate(scores, 1):
            for z, ids, head, optimiser in zip((z_text, z_image), (text, image), heads, optimisers, strict=True):
                with torch.enable_grad():
                    chosen = torch.tensor(ids[: len(z)])
                    log_p = head(z)[: len(chosen)].log_softmax(-1)[torch.arange(len(chosen)), chosen]
                    optimiser.zero_grad()
                    (-(score - 1) * log_p.sum()).backward()
                optimiser.step()
            forced = up_to_end(self.network.lm_head(z_text).argmax(-1).tolist(), self.model.ids.end)
            text, _ = self.text(forced)
            image, _ = self.image(text, step, drawn(self.guided(z_image), KEY.at(step)))
            rollouts.append((text, image))
        return rollouts


def test_joint_steps_give_the_tokens_of_a_slow_independent_loop(tiny: JanusModel) -> None:
    scores = (0.25, 0.5, 0.0, 0.75)
    made = walk(tiny, settings("joint"), *scores)
    expected = Slow(tiny).run(scores, free=(7, 3))
    assert len({tuple(text) for text, _ in expected}) > 1  # the text does change on the way
    for index, (text, image) in enumerate(expected):
        assert list(made.texts()[index]) == text, index
        assert list(made.images()[index]) == image, index


def test_another_seed_draws_other_pictures_and_the_same_one_the_same(tiny: JanusModel) -> None:
    chosen = settings("joint", steps=2, guidance_scale=1.0)
    first, again = walk(tiny, chosen, 0.25), walk(tiny, chosen, 0.25)
    other = walk(tiny, chosen, 0.25, key=replace(KEY, seed=6))
    assert first.images() == again.images() and first.texts() == again.texts()
    assert first.images()[0] != other.images()[0]


@pytest.mark.parametrize("modality", ["text", "image"])
def test_surprise_is_that_of_the_new_tokens_under_the_untouched_latents(tiny: JanusModel, modality: Modality) -> None:
    made = walk(tiny, settings(modality, steps=2, learning_rate=2.0))
    first, last = made.steps[0].rollout, made.steps[2]
    state = made.states[0].free[modality]
    ids = torch.tensor((made.texts() if modality == "text" else made.images())[2][: len(state.latents)])
    if modality == "text":
        assert first.visualisation is not None
        logits = tiny.text_logits(first.visualisation, state.initial)[: len(ids)]
    else:
        logits = tiny.image_logits(first.image, state.initial, SCALE)
    expected = surprise(logits, ids, state.tokens)
    assert last.info[modality].surprise == pytest.approx(expected, abs=1e-4) and expected > 0.1


def test_a_supplied_text_that_stays_is_no_surprise(tiny: JanusModel) -> None:
    made = walk(tiny, settings("text", steps=1, learning_rate=0.0, visualisation="blue circle moon"))
    assert made.steps[1].info["text"].surprise == 0
