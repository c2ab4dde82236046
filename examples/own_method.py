"""A method of one's own: the greedy plan, drawn again and again at a rising temperature.

A method is about one prompt. It yields a Step for each picture and has no budget and no stop: those are the run loop's.
"""

import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import milr
from milr.base import Method, StudioFace
from milr.methods.rollout import draw_and_score, make_step
from milr.templates import drawing
from milr.types import DrawRequest, Key, Prompt, ReasonRequest, Step


def rising_temperature(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    """The factory, as `--method examples/own_method.py:rising_temperature` calls it with a user's settings."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        text = await studio.reason(ReasonRequest(prompt.text, key))  # greedy: the default temperature of a text is 0
        for index in itertools.count():
            request = DrawRequest(
                drawing(prompt.text, text.text), key.at(index), studio.model.guidance_scale,
                temperature=settings["temperature"] + 0.2 * index,
            )  # fmt: skip
            rollout, score = await draw_and_score(studio, prompt, text, request)
            yield make_step(index, rollout, score, written=text if index == 0 else None)

    return method


if __name__ == "__main__":
    prompt = "a photo of a large striped blue star left of a small outlined red heart"
    outcome = milr.generate(prompt, method=rising_temperature, pictures=6, seed=9)
    print([step.score.value for step in outcome.steps], outcome.stop)
