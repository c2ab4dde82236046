"""The reward `own`: all that the generating model can say about its picture, in one judgement.

In nats: the log-likelihood of what it sees as a visualisation of the prompt (`seen`), log (P(yes) + 0.01) of its yes or
no (`self`), and the picture's log-likelihoods (`likelihood`).
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from milr.base import Services, UnifiedModel
from milr.rewards.likelihood import NOT_DRAWN, Likelihoods, likelihoods_of
from milr.rewards.of_the_model import RewardOfTheModel, identity_of
from milr.rewards.seen import Describer, Seen
from milr.rules.calibration import Calibration, geometric_mean
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_YES = 0.01  # added to P(yes), so that one confident no is worth about five nats at most


class OwnReward(RewardOfTheModel):
    """P(right) where there is a calibration, else the geometric mean of the parts.

    The parts are `seen`, `yes`, `bare` and `guided`, each in [0, 1]. Unscored where the model came to no yes or no, and
    for a picture that was not drawn in this session.
    """

    name = "own"
    threshold = 0.95  # chosen on development prompts (docs/log.md)

    def __init__(self, model: UnifiedModel, calibration: Calibration | None = None) -> None:
        self.question, self.describer, self.calibration = model.question, Describer(model), calibration

    def identity(self) -> dict[str, object]:
        """The questions and the calibration."""
        return {"question": self.describer.question, "calibration": identity_of(self.calibration)}

    async def score_picture(self, services: Services, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture."""
        answer, seen, likelihoods = await asyncio.gather(
            services.answer(picture, self.question(prompt.text)),
            self.describer.see(services, picture, prompt),
            likelihoods_of(services, picture, prompt),
        )
        if likelihoods is None:
            return Score.unscored(NOT_DRAWN)
        seconds = answer.seconds + seen.seconds + likelihoods.seconds
        if answer.yes is None:
            return Score.unscored(f"the model came to no yes or no: {answer.text!r}", seconds=seconds)
        reason = f"the model sees {seen.description.text!r} and answered {answer.text!r}"
        parts = {"seen": seen.per_token, "yes": answer.yes, **likelihoods.parts}
        return Score(self._value(seen, answer.yes, likelihoods), parts, reason, seconds=seconds)

    def _value(self, seen: Seen, yes: float, likelihoods: Likelihoods) -> float:
        least_yes = (yes + LEAST_YES) / (1 + LEAST_YES)
        uncalibrated = geometric_mean([seen.per_token, least_yes, *likelihoods.parts.values()])
        if self.calibration is None:
            return uncalibrated
        return self.calibration.score(seen.total + math.log(yes + LEAST_YES) + likelihoods.total, uncalibrated)
