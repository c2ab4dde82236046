"""What the rewards that ask a judge in words share: a wording, somebody to ask, and an answer to read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from milr.base import Services
from milr.rewards.endpoint.wording import Wording
from milr.rules.judgements import spoken
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

Read = Callable[[str], Score | None]  # an answer to a score; None where it says nothing that can be read


class Asker(Protocol):
    """Whoever can be asked in words about a picture."""

    def identity(self) -> Mapping[str, Any]:
        """What makes two askers the same judge."""

    async def judge(self, picture: Image, question: str, read: Read) -> Score:
        """The score that `read` makes of the answer; unscored, with the reason, where there is none."""


class AskedReward:
    """Asks `asker` one question about every picture; a subclass says which question, and reads the answer."""

    name: str
    range = (0.0, 1.0)
    threshold: float
    needs: tuple[str, ...] = ("judge",)
    licence: str

    def __init__(self, asker: Asker, wording: Wording) -> None:
        self.asker, self.wording = asker, wording

    def identity(self) -> dict[str, Any]:
        """What makes two runs' judges the same: the wording's mark, and who was asked how."""
        return {"wording": self.wording.mark, **self.asker.identity()}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, all asked for at once; unscored, with the reason, where the judge failed."""
        questions = [self.question(prompt) for prompt in prompts]
        rows = zip(pictures, questions, strict=True)
        return await asyncio.gather(*(self.asker.judge(*row, lambda answer: self.read(spoken(answer))) for row in rows))

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that cannot be asked about."""
        self.question(prompt)

    def question(self, prompt: Prompt) -> str:
        """What the judge is asked about a picture of `prompt`."""
        return self.wording.fill(prompt=prompt.text)

    def read(self, answer: str) -> Score | None:
        """The answer as a score; None where it cannot be read."""
        raise NotImplementedError


def told(value: float | None, answer: str, **parts: float) -> Score | None:
    """A score that keeps the judge's words as its reason; None for no value."""
    return None if value is None else Score(value, parts, f"the judge answered {answer.strip()!r}")
