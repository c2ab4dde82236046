"""The model as its own judge: it is asked whether its picture shows the prompt (SelfReward, Table 6 of the paper).

What departs from MILR: the paper's SelfReward is 1 or 0 from a parsed JSON verdict. By default we take the
probability of its "yes" (nano lists what it sees and compares it part by part, as the paper asks of Janus; Janus
answers at once), which says how sure the model is; `form="verdict"` gives 1 or 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from milr.base import Services
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

Form = Literal["probability", "verdict"]


class SelfJudge:
    """Asks `question(prompt text)` about every picture; needs no metadata and no other weights."""

    name = "self"
    range = (0.0, 1.0)
    threshold = 0.9
    needs: tuple[str, ...] = ()
    licence = "that of the generating model"

    def __init__(self, question: Callable[[str], str], form: Form = "probability") -> None:
        if form not in ("probability", "verdict"):
            raise UsageError(f"the self judge answers by 'probability' or 'verdict', not {form!r}.")
        self.question, self.form = question, form

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """P(yes) of each picture, or 1.0 where "yes" is likelier than "no"; unscored where the model failed."""
        return [await self._one(*pair, services) for pair in zip(pictures, prompts, strict=True)]

    async def _one(self, picture: Image, prompt: Prompt, services: Services) -> Score:
        start = time.perf_counter()
        try:
            answer = await services.answer(picture, self.question(prompt.text))
        except Exception as error:  # a judgement that could not be made is no zero, whatever went wrong
            spent = time.perf_counter() - start
            return Score.unscored(f"the model could not judge: {type(error).__name__}: {error}", seconds=spent)
        if answer.yes is None:
            return Score.unscored(f"the model came to no yes or no: {answer.text!r}", seconds=answer.seconds)
        value = answer.yes if self.form == "probability" else float(answer.yes > 0.5)
        return Score(value, {"yes": answer.yes}, f"the model answered {answer.text!r}", seconds=answer.seconds)
