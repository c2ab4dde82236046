"""The plain loop of the speed benchmark makes the tokens that JanusModel makes, step by step, near ties aside."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import torch

from milr.engine.search import search
from milr.engine.studio import Studio
from milr.latent.schedules import SCHEDULES
from milr.methods.latent_reasoning import Settings, latent_reasoning
from milr.models.janus import JanusModel
from milr.types import DrawRequest, ImageTrace, Key, Outcome, Prompt, ReasonRequest, TextTrace
from same_tokens import first_difference
from scripted import Scripted

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from plain_loop import PlainLoop  # noqa: E402

PROMPTS = ("a red star", "a big blue square under a small green circle", "two star")
SCORES = (0.0, 0.25, 0.5)
TOKENS = 24
SETTINGS = Settings(SCHEDULES["joint"], steps=len(SCORES), image_ratio=0.2, learning_rate=0.3, guidance_scale=2.0,
                    temperature=0.9)  # fmt: skip


def assert_same(ours: TextTrace | ImageTrace, plain: TextTrace | ImageTrace, *, kept: int | None = None) -> None:
    """Equal tokens, or a near tie where they part; equal latents wherever both kept them."""
    parted = first_difference(ours.ids, plain.ids)
    assert parted is None or parted in (*ours.near_ties, *plain.near_ties), (ours.ids, plain.ids)
    if kept is not None and parted is None:
        assert ours.latents is not None and plain.latents is not None
        assert ours.latents.shape == plain.latents.shape and len(ours.latents) == kept
        assert torch.allclose(ours.latents, plain.latents, atol=1e-4)


@pytest.mark.parametrize("text", PROMPTS)
def test_a_free_text(tiny: JanusModel, text: str) -> None:
    (ours,) = tiny.reason([ReasonRequest(text, Key(0, text), max_new_tokens=TOKENS, num_latents=None)])
    plain = PlainLoop(tiny, TOKENS).write(text)
    assert_same(ours, plain, kept=len(ours.ids))
    assert plain.text == ours.text and plain.num_decoded == len(plain.ids)


@pytest.mark.parametrize("length", [1, 3, TOKENS])
def test_a_text_with_a_forced_prefix(tiny: JanusModel, length: int) -> None:
    prefix = tiny.encode_text(" ".join(["blue circle below a plan"] * 5))[:length]
    (ours,) = tiny.reason([ReasonRequest(PROMPTS[0], Key(0, "p"), prefix, max_new_tokens=TOKENS, num_latents=None)])
    plain = PlainLoop(tiny, TOKENS).write(PROMPTS[0], prefix)
    assert plain.ids[:length] == prefix and plain.num_decoded == len(plain.ids) - length
    assert_same(ours, plain, kept=len(ours.ids))


def test_an_end_of_text_inside_the_prefix_ends_the_text(tiny: JanusModel) -> None:
    word, end = tiny.encode_text("blue")[0], tiny.end_of_text
    plain = PlainLoop(tiny, TOKENS).write(PROMPTS[0], (word, end, word))
    assert plain.ids == (word, end) and plain.latents is not None and len(plain.latents) == 2


@pytest.mark.parametrize("text", PROMPTS)
@pytest.mark.parametrize("length", [0, 5, 16])
def test_a_picture_free_and_with_a_forced_prefix(tiny: JanusModel, text: str, length: int) -> None:
    key, prefix = Key(7, text), tuple(range(3, 3 + length))
    request = DrawRequest(text, key, 2.0, prefix=prefix, num_latents=None, temperature=0.9)
    (ours,) = tiny.draw([request])
    plain = PlainLoop(tiny).draw(text, key, SETTINGS, prefix)
    assert plain.ids[:length] == prefix and plain.num_decoded == 16 - length
    assert_same(ours, plain, kept=16)


def test_a_rendered_picture(tiny: JanusModel) -> None:
    ids = tuple(range(16))
    assert PlainLoop(tiny).render(ids).tobytes() == tiny.render([ids])[0].tobytes()


def searched(model: JanusModel) -> list[Outcome]:
    """All prompts in flight together, through the studio, without a stop."""
    studio = Studio(model, Scripted(*SCORES, 0.0))

    async def go() -> list[Outcome]:
        method = latent_reasoning(SETTINGS)
        prompts = [Prompt(text) for text in PROMPTS]
        return await asyncio.gather(
            *(search(studio, prompt, Key(3, prompt.text), method, threshold=None) for prompt in prompts)
        )

    try:
        return asyncio.run(asyncio.wait_for(go(), 60))
    finally:
        studio.close()


def test_every_step_of_milr_has_the_tokens_of_the_studio(tiny: JanusModel) -> None:
    changed, whole = 0, 0
    for text, outcome in zip(PROMPTS, searched(tiny), strict=True):
        plain = PlainLoop(tiny).search(text, Key(3, text), SETTINGS, SCORES)
        assert len(plain) == len(outcome.steps) == 1 + len(SCORES)
        changed += sum(step.text_changed for step in outcome.steps)
        for step, other in zip(outcome.steps, plain, strict=True):
            assert step.rollout.visualisation is not None
            assert_same(step.rollout.visualisation, other.text)
            if step.rollout.visualisation.ids != other.text.ids:
                break  # parted at a near tie
            assert_same(step.rollout.image, other.image)
            if step.rollout.image.ids != other.image.ids:
                break
            assert step.rollout.picture.tobytes() == other.picture.tobytes()
            whole += 1
    assert changed >= 3, "the texts must change for the comparison to say anything"
    assert whole >= 2 * (1 + len(SCORES)), "near ties may part one search, not two"


def test_seconds_gather_by_kind_of_work(tiny: JanusModel) -> None:
    loop = PlainLoop(tiny)
    steps = loop.search(PROMPTS[0], Key(3, "p"), SETTINGS, SCORES[:1])
    assert 0 < steps[0].seconds < steps[1].seconds
    assert all(spent > 0 for spent in loop.seconds.values())
    assert sum(loop.seconds.values()) <= steps[-1].seconds
