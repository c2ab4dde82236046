"""The controls of the gradient: random steps of equal length, and no steps at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch

from milr import catalog
from milr.engine.search import Budget, search
from milr.engine.studio import Studio
from milr.latent.update import start, update
from milr.methods.random_walk import random_update
from milr.models.janus import JanusModel
from milr.presets import resolve
from milr.rewards.function import FunctionReward
from milr.types import Key, Outcome, Prompt

KEY = Key(3, "a red star")
HEAD = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))


def logits(latents: torch.Tensor) -> torch.Tensor:
    """(n, d) or (n, 2, d) to (n, V)"""
    flat = latents if latents.ndim == 2 else latents[:, 1] + 2 * (latents[:, 0] - latents[:, 1])
    return flat @ HEAD.T


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 6)])
def test_a_random_step_is_as_long_as_the_gradients_for_every_latent(shape: tuple[int, ...]) -> None:
    state = start(torch.randn(shape, generator=torch.Generator().manual_seed(1)), (1, 2, 3, 4))
    gradient, _ = update(state, logits, -1.0, learning_rate=0.1)
    random, info = random_update(state, logits, -1.0, key=KEY, modality="text", learning_rate=0.1)
    lengths = [(moved.latents - state.latents).norm(dim=-1) for moved in (gradient, random)]
    assert torch.allclose(lengths[0], lengths[1], rtol=1e-5) and lengths[0].min() > 0.01
    cosine = torch.nn.functional.cosine_similarity(
        gradient.latents - state.latents, random.latents - state.latents, dim=-1
    )
    assert cosine.abs().max() < 0.999
    assert info.distance == pytest.approx(float((random.latents - state.initial).square().mean().sqrt()))
    assert torch.equal(random.moments[0], gradient.moments[0]) and random.updates == 1


def test_directions_are_uniform_and_belong_to_seed_step_and_modality() -> None:
    state = start(torch.zeros(4, 6), (1, 2, 3, 4))

    def step(key: Key, modality: Any = "text") -> torch.Tensor:
        return random_update(state, logits, -1.0, key=key, modality=modality, learning_rate=0.1)[0].latents

    assert torch.equal(step(KEY), step(KEY))
    for other in (step(Key(4, "a red star")), step(KEY.at(1)), step(KEY, "image")):
        assert not torch.allclose(step(KEY), other)
    many = torch.cat([torch.nn.functional.normalize(step(KEY.at(index)), dim=-1) for index in range(500)])
    assert many.mean(0).abs().max() < 5 / (6 * len(many)) ** 0.5
    assert torch.allclose(many.T @ many / len(many), torch.eye(6) / 6, atol=0.03)


def searched(tiny: JanusModel, name: str, **changes: Any) -> Outcome:
    settings = resolve("default", tiny.image_tokens, {"steps": 3, "guidance_scale": 1.0, "temperature": 3.0, **changes})

    async def go() -> Outcome:
        studio = Studio(tiny, FunctionReward(lambda picture, prompt: 0.25, "quarter"))
        try:
            method = catalog.make_method(name, settings)
            return await search(studio, Prompt(KEY.prompt), KEY, method, threshold=0.9, budget=Budget(pictures=4))
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 60))


def tokens(outcome: Outcome) -> list[tuple[int, ...]]:
    return [step.rollout.image.ids for step in outcome.steps]


def test_frozen_is_latent_reasoning_at_learning_rate_zero(tiny: JanusModel) -> None:
    frozen, unmoved = searched(tiny, "frozen"), searched(tiny, "latent_reasoning", learning_rate=0.0)
    assert tokens(frozen) == tokens(unmoved) and len(set(tokens(frozen))) == 4
    assert not any(step.text_changed for step in frozen.steps)


def test_random_walk_shares_the_first_picture_and_no_other(tiny: JanusModel) -> None:
    random, reasoning = (
        searched(tiny, "random_walk", learning_rate=1.0),
        searched(tiny, "latent_reasoning", learning_rate=1.0),
    )
    assert tokens(random)[0] == tokens(reasoning)[0]
    assert tokens(random)[1:] != tokens(reasoning)[1:]
    assert tokens(random) == tokens(searched(tiny, "random_walk", learning_rate=1.0))
    norms = [[step.info["image"].update_norm for step in one.steps[1:2]] for one in (random, reasoning)]
    assert norms[0] == pytest.approx(norms[1])
