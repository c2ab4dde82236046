"""The generating model's own judges: likelihood, seen, own. Batched equals single; what nano sees is read as a plan."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from milr import catalog
from milr.base import UnifiedModel
from milr.engine.services import StudioServices
from milr.engine.studio import Studio
from milr.models.janus import JanusModel
from milr.models.nano import load_nano
from milr.options import Options
from milr.rules.calibration import calibrated, geometric_mean
from milr.shapes.listing import visualisations_of_listing
from milr.shapes.world import ShapesWorld
from milr.types import DrawRequest, ImageTrace, Key, Prompt, ReasonRequest, Score

PROMPTS = [Prompt(text) for text in ("a red star", "three green hearts", "a small blue circle above a star")]
JUDGES = ("likelihood", "likelihood:contrast", "seen", "own")
TOLERANCE = 2e-5


@pytest.fixture(params=["tiny", "nano"])
def model(request: pytest.FixtureRequest, tiny: JanusModel) -> UnifiedModel:
    if request.param == "tiny":
        return tiny
    nano = load_nano(device="cpu")
    nano.world = ShapesWorld()
    return nano


def scores(model: UnifiedModel, name: str, *, together: bool) -> list[Score]:
    """Each prompt's picture by the judge: all searches at once, or one after the other."""

    async def one(studio: Studio, prompt: Prompt) -> Score:
        async with studio.method():
            request = DrawRequest(prompt.text, Key(3, prompt.text), model.guidance_scale)
            return await studio.score(await studio.render(await studio.draw(request)), prompt)

    async def go() -> list[Score]:
        studio = Studio(model, catalog.make_reward(name, model, Options()))
        try:
            if together:
                return list(await asyncio.gather(*(one(studio, prompt) for prompt in PROMPTS)))
            return [await one(studio, prompt) for prompt in PROMPTS]
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 60))


@pytest.mark.parametrize("name", JUDGES)
def test_batched_equals_single(model: UnifiedModel, name: str) -> None:
    batched, single = scores(model, name, together=True), scores(model, name, together=False)
    for first, second in zip(batched, single, strict=True):
        assert first.value is not None and second.value is not None, (first.reason, second.reason)
        assert first.value == pytest.approx(second.value, abs=TOLERANCE, rel=1e-3)
        assert first.parts == pytest.approx(second.parts, abs=TOLERANCE)
        assert first.reason == second.reason and first.seconds > 0


def test_the_likelihoods_are_those_of_the_draw_and_of_the_written_text(model: UnifiedModel) -> None:
    prompt, key = "a red star", Key(5, "a red star")

    async def go() -> tuple[ImageTrace, Sequence[float], Sequence[float]]:
        studio = Studio(model, catalog.make_reward("self", model, Options()))
        services = StudioServices(studio)
        try:
            async with studio.method():
                request = DrawRequest(prompt, key, model.guidance_scale, num_latents=None)
                image = await studio.draw(request)
                text = await studio.reason(ReasonRequest(prompt, key, num_latents=None, max_new_tokens=60))
                read = await services.image_log_likelihood(replace(request, num_latents=0), image.ids)
                written = await services.text_log_likelihood(prompt, text.text)
        finally:
            studio.close()
        assert image.latents is not None and text.latents is not None
        drawn = model.image_logits(image, image.latents, model.guidance_scale).log_softmax(-1)
        drawn_total = float(sum(drawn[position, token] for position, token in enumerate(image.ids)))
        logits = model.text_logits(text, text.latents).log_softmax(-1)
        text_total = float(sum(logits[position, token] for position, token in enumerate(text.ids)))
        ends = text.ids[-1] == model.end_of_text and text.ids[:-1] == model.encode_text(text.text)
        return image, (read.total, drawn_total), (written.total, text_total if ends else written.total)

    image, images, texts = asyncio.run(asyncio.wait_for(go(), 60))
    assert len(image.ids) == model.image_tokens
    assert images[0] == pytest.approx(images[1], abs=1e-2, rel=1e-4)
    assert texts[0] == pytest.approx(texts[1], abs=1e-2, rel=1e-4)


def test_a_picture_that_the_studio_did_not_draw_is_unscored(tiny: JanusModel) -> None:
    async def go() -> Score:
        studio = Studio(tiny, catalog.make_reward("likelihood", tiny, Options()))
        try:
            image = await studio.draw(DrawRequest("a red star", Key(1, ""), 5.0))
            return await studio.score((await studio.render(image)).copy(), PROMPTS[0])
        finally:
            studio.close()

    score = asyncio.run(asyncio.wait_for(go(), 60))
    assert score.value is None and "was not drawn in this session" in score.reason


def test_a_listing_becomes_the_plans_of_its_scene() -> None:
    plans = visualisations_of_listing("star red solid large b1 , heart blue striped small a2 , star red solid large a4")
    assert plans == (
        "a4 red star , b1 red star , a2 blue heart : the red stars are large and solid , the blue heart is small and "
        "striped ; three objects in all , plain grey ground .",
        "a2 blue heart , a4 red star , b1 red star : the blue heart is small and striped , the red stars are large and "
        "solid ; three objects in all , plain grey ground .",
    )


@pytest.mark.parametrize("listing", [
    "", "nothing", "star red solid large", "star red solid large b1 , star blue solid large b1",
    " , ".join(f"star red solid large a{column}" for column in (1, 2, 3, 4)) + " , star red solid large b1",
])  # fmt: skip
def test_an_unreadable_listing_has_no_plan(listing: str) -> None:
    assert visualisations_of_listing(listing) == ()


def test_calibration_is_a_logistic_without_overflow() -> None:
    assert calibrated(0.0, (1.0, 0.0)) == 0.5
    assert calibrated(-1e6, (1.0, 0.0)) == 0.0 and calibrated(1e6, (1.0, 0.0)) == 1.0
    assert calibrated(-8.0, (0.5, 10.0)) == pytest.approx(1 / (1 + math.exp(-6)))
    assert geometric_mean([0.25, 1.0]) == pytest.approx(0.5) and geometric_mean([0.0, 1.0]) == 0.0
