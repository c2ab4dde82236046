"""The reward `likelihood`: how likely the generating model finds its finished picture.

The picture's tokens are read once more under the bare prompt without guidance, and under the text and guidance that
they were drawn with; the judgement is the sum of both log-likelihoods. `likelihood:contrast` takes half of the
unconditional log-likelihood off the first, so that a picture does not win by being bland.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from milr.base import LogLikelihood, Services
from milr.rewards.of_the_model import RewardOfTheModel, identity_of
from milr.rules.calibration import Calibration, calibrated
from milr.templates import drawing
from milr.types import DrawRequest, ImageTrace, Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

NOT_DRAWN = "the picture's tokens are not at hand: it was not drawn in this session"
CONTRAST = 0.5  # share of the unconditional log-likelihood; all of it rewards odd pictures


@dataclass(frozen=True)
class Likelihoods:
    """The log-likelihoods of one picture: under the bare prompt, as it was drawn, and (contrast) without a prompt."""

    bare: LogLikelihood
    guided: LogLikelihood
    unconditional: LogLikelihood | None = None

    @property
    def total(self) -> float:
        """What pictures of one prompt are compared by, in nats."""
        contrast = CONTRAST * self.unconditional.total if self.unconditional else 0.0
        return self.bare.total + self.guided.total - contrast

    @property
    def parts(self) -> dict[str, float]:
        """The geometric means of the tokens' probabilities, in [0, 1]."""
        return {"bare": self.bare.per_token, "guided": self.guided.per_token}

    @property
    def seconds(self) -> float:
        """Of the model, for all of them."""
        return sum(each.seconds for each in (self.bare, self.guided, self.unconditional) if each)


class LikelihoodReward(RewardOfTheModel):
    """P(right) by the picture's log-likelihood where there is a calibration, else a mean per token.

    Without a calibration the score is the geometric mean of the token probabilities of both readings; with the
    contrast, the logistic of the mean per token in nats. Unscored for a picture that was not drawn in this session.
    Untested on large models, whose likelihood may favour plain pictures.
    """

    def __init__(self, calibration: Calibration | None = None, *, contrast: bool = False) -> None:
        self.calibration, self.contrast = calibration, contrast
        self.name = "likelihood:contrast" if contrast else "likelihood"

    def identity(self) -> dict[str, object]:
        """The calibration, and whether there is a contrast."""
        return {"calibration": identity_of(self.calibration), "contrast": self.contrast}

    async def score_picture(self, services: Services, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture."""
        likelihoods = await likelihoods_of(services, picture, prompt, contrast=self.contrast)
        if likelihoods is None:
            return Score.unscored(NOT_DRAWN)
        return Score(self._value(likelihoods), likelihoods.parts, seconds=likelihoods.seconds)

    def _value(self, likelihoods: Likelihoods) -> float:
        per_token = likelihoods.total / (2 * likelihoods.bare.num_tokens)
        if self.calibration:
            return self.calibration.score(likelihoods.total, math.exp(per_token))
        if self.contrast:  # no probability: it may lie above one
            return calibrated(per_token, (1.0, 0.0))
        return min(1.0, math.exp(per_token))


async def likelihoods_of(services: Services, picture: Image, prompt: Prompt, *, contrast: bool = False
                         ) -> Likelihoods | None:  # fmt: skip
    """The picture's log-likelihoods; None where it was not drawn in this session."""
    image = services.image_of(picture)
    if image is None or image.request is None:
        return None
    bare = replace(image.request, text=drawing(prompt.text), guidance_scale=1.0)
    likelihoods = [services.image_log_likelihood(bare, image.ids), _as_drawn(services, image, image.request)]
    if contrast:
        likelihoods.append(services.image_log_likelihood(replace(bare, guidance_scale=0.0), image.ids))
    return Likelihoods(*await asyncio.gather(*likelihoods))


async def _as_drawn(services: Services, image: ImageTrace, request: DrawRequest) -> LogLikelihood:
    """The log-likelihood under the text and guidance of the drawing: read again only where that did not tell it."""
    if image.log_probs is None:
        return await services.image_log_likelihood(request, image.ids)
    return LogLikelihood(math.fsum(image.log_probs), len(image.ids), 0.0)
