"""The reward `self`: the generating model says whether its picture shows the prompt (SelfReward, the paper's Table 6).

Where this departs from MILR: the paper's SelfReward is 1 or 0 from a parsed JSON verdict (that is `self:json`). By
default we take the probability of the model's "yes", which says how sure it is. nano first lists what it sees and
compares it part by part, as the paper asks of Janus; Janus answers at once. `form="verdict"` gives 1 or 0.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from milr.base import Services
from milr.types import Answer, Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Form = Literal["probability", "verdict"]


class SelfReward:
    """P(yes) in [0, 1], or 1.0 where P(yes) > 0.5 and else 0.0; needs no metadata and no other weights.

    `question` makes the yes/no question of the prompt's text.
    """

    name = "self"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "that of the generating model"

    def __init__(self, question: Callable[[str], str], form: Form = "probability") -> None:
        if form not in ("probability", "verdict"):
            raise UsageError(f"the form of the self reward is 'probability' or 'verdict', not {form!r}.")
        self.question, self.form = question, form

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; unscored where the model failed or came to no yes or no."""
        pairs = zip(pictures, prompts, strict=True)
        return [await score_answer(self._ask(services, *pair), self._parse) for pair in pairs]

    async def _ask(self, services: Services, picture: Image, prompt: Prompt) -> Answer:
        return await services.answer(picture, self.question(prompt.text))

    def _parse(self, answer: Answer) -> Score:
        if answer.yes is None:
            return Score.unscored(f"the model came to no yes or no: {answer.text!r}")
        value = answer.yes if self.form == "probability" else float(answer.yes > 0.5)
        return Score(value, {"yes": answer.yes}, f"the model answered {answer.text!r}")


async def score_answer(answer: Awaitable[Answer], parse: Callable[[Answer], Score]) -> Score:
    """The score that `parse` makes of the generating model's answer; unscored where the model failed."""
    start = time.perf_counter()
    try:
        finished = await answer
    except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
        seconds = time.perf_counter() - start
        return Score.unscored(f"the model could not judge: {type(error).__name__}: {error}", seconds=seconds)
    return replace(parse(finished), seconds=finished.seconds)
