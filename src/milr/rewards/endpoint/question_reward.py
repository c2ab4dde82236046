"""What the rewards share that ask a judge model in words: a wording, a client that asks, and an answer to parse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from milr.base import Services
from milr.rewards.endpoint.wording import Wording
from milr.rules.judgements import without_reasoning
from milr.types import Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

ParseAnswer = Callable[[str], Score | None]  # the score in an answer; None where the answer holds none


class JudgeClient(Protocol):
    """Asks a judge model about pictures: behind an endpoint (`EndpointClient`) or on this machine (`LocalQwen`)."""

    def identity(self) -> Mapping[str, Any]:
        """What tells two judge models apart, as plain data."""

    async def judge(self, picture: Image, question: str, parse: ParseAnswer) -> Score:
        """The score that `parse` makes of the answer; unscored, with the reason, where there is none."""


class QuestionReward:
    """Asks a judge model one question about every picture; the score is in [0, 1].

    A subclass sets `name`, `threshold` and `licence`, implements `parse`, and may override `question`.
    """

    name: str
    range = (0.0, 1.0)
    threshold: float
    needs: tuple[str, ...] = ("judge",)
    licence: str

    def __init__(self, client: JudgeClient, wording: Wording) -> None:
        self.client, self.wording = client, wording

    def identity(self) -> dict[str, Any]:
        """What tells two of these judges apart: the hash of the wording, and the client's identity."""
        return {"wording": self.wording.sha256, **self.client.identity()}

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture, all asked for at once; unscored, with the reason, where the judge failed."""
        questions = [self.question(prompt) for prompt in prompts]
        pairs = zip(pictures, questions, strict=True)
        return await asyncio.gather(*(self.client.judge(*pair, self._parse_final) for pair in pairs))

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt about which the question cannot be asked."""
        self.question(prompt)

    def question(self, prompt: Prompt) -> str:
        """The question about a picture of `prompt`."""
        return self.wording.fill(prompt=prompt.text)

    def parse(self, answer: str) -> Score | None:
        """The score in an answer (any reasoning before it is removed); None where the answer holds none."""
        raise NotImplementedError

    def _parse_final(self, answer: str) -> Score | None:
        return self.parse(without_reasoning(answer))


def quoting_score(value: float | None, answer: str, **parts: float) -> Score | None:
    """A score whose reason quotes the answer; None where `value` is None."""
    return None if value is None else Score(value, parts, f"the judge answered {answer.strip()!r}")
