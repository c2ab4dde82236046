"""The reward `seen`: the generating model describes its picture, and its text path says whether that shows the prompt.

1. The model answers a neutral question about the picture, which does not name the prompt.
2. The model's world rewrites the description as visualisations; without a world the description stays as it is.
3. The judgement is the log-likelihood of that text as a visualisation of the prompt (the largest, of several).
PRIS (a caption, then entailment) is the same idea with outside models.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from milr.base import LogLikelihood, Services, UnifiedModel
from milr.rewards.of_the_model import RewardOfTheModel, identity_of
from milr.rules.calibration import Calibration
from milr.templates import DESCRIPTION_QUESTION
from milr.types import Answer, Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

UNREADABLE = -60.0  # nats: the log-likelihood of a description that the model's world cannot read
MAX_DESCRIPTION_TOKENS = 96


@dataclass(frozen=True)
class Seen:
    """The description of a picture, and its log-likelihood as a visualisation of the prompt (None: unreadable)."""

    description: Answer
    likelihood: LogLikelihood | None
    seconds: float

    @property
    def total(self) -> float:
        """What pictures are compared by, in nats."""
        return self.likelihood.total if self.likelihood else UNREADABLE

    @property
    def per_token(self) -> float:
        """The geometric mean of the tokens' probabilities, in [0, 1]; 0 where the description is unreadable."""
        return self.likelihood.per_token if self.likelihood else 0.0


class Describer:
    """Describes pictures and verifies the descriptions, with the words of the model's world where it has one."""

    def __init__(self, model: UnifiedModel) -> None:
        self.world = getattr(model, "world", None)
        self.question = self.world.description_question if self.world else DESCRIPTION_QUESTION

    async def see(self, services: Services, picture: Image, prompt: Prompt) -> Seen:
        """What the model sees, and how likely it is a visualisation of the prompt."""
        description = await services.answer(picture, self.question, MAX_DESCRIPTION_TOKENS)
        texts = self.world.visualisations(description.text) if self.world else (description.text,)
        likelihoods = await asyncio.gather(*(services.text_log_likelihood(prompt.text, text) for text in texts))
        seconds = description.seconds + sum(likelihood.seconds for likelihood in likelihoods)
        best = max(likelihoods, key=lambda likelihood: likelihood.total, default=None)
        return Seen(description, best, seconds)


class SeenReward(RewardOfTheModel):
    """P(right) by the description's log-likelihood where there is a calibration, else a mean per token."""

    name = "seen"

    def __init__(self, model: UnifiedModel, calibration: Calibration | None = None) -> None:
        self.describer, self.calibration = Describer(model), calibration

    def identity(self) -> dict[str, object]:
        """The question and the calibration."""
        return {"question": self.describer.question, "calibration": identity_of(self.calibration)}

    async def score_picture(self, services: Services, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture."""
        seen = await self.describer.see(services, picture, prompt)
        value = self.calibration.score(seen.total, seen.per_token) if self.calibration else seen.per_token
        reason = f"the model sees {seen.description.text!r}"
        return Score(value, {"seen": seen.per_token}, reason, seconds=seen.seconds)
