"""From a visualisation to a scored step: what every method does with the studio."""

from __future__ import annotations

from collections.abc import Mapping

from milr.base import StudioFace
from milr.policy import repetition
from milr.types import Cost, DrawRequest, Modality, ModalityInfo, Prompt, Rollout, Score, Step, TextTrace


async def draw_and_score(
    studio: StudioFace, prompt: Prompt, text: TextTrace | None, request: DrawRequest
) -> tuple[Rollout, Score]:
    """Draw, render and judge one picture."""
    image = await studio.draw(request)
    picture = await studio.render(image)
    return Rollout(text, image, picture), await studio.score(picture, prompt)


def make_step(index: int, rollout: Rollout, score: Score, *, written: TextTrace | None = None,
              moved: tuple[Modality, ...] = (), info: Mapping[Modality, ModalityInfo] | None = None,
              text_changed: bool = False, tokens_by_updates: Mapping[Modality, int] | None = None,
              ) -> Step:  # fmt: skip
    """A step with its cost; `written` is the visualisation decoded at this step, if one was."""
    text, image = rollout.visualisation, rollout.image
    cost = Cost(
        pictures=1,
        token_steps=image.num_decoded + (written.num_decoded if written else 0),
        reward_calls=score.calls,
        model_seconds=image.seconds + (written.seconds if written else 0.0),
        reward_seconds=score.seconds,
    )
    repeated = repetition(text.ids) if text else 0.0
    return Step(index, rollout, score, moved, info or {}, text_changed, repeated, cost, tokens_by_updates or {})
