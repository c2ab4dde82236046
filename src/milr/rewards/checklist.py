"""The reward `checklist`: the prompt is turned into yes/no questions once, and the generating model answers each.

1. A writer turns the prompt into questions: the model's world where it has one, else the model itself, which is told
   to; for `checklist:judge` the model at an endpoint. They are kept for the next picture of the same prompt.
2. The generating model answers each question about the picture; its judgement is P(yes).
3. The score is their geometric mean, so that one thing that is missing costs the picture its score.
TIFA and DSG ask a language model for questions and another model for answers in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from milr.base import Services, UnifiedModel, World, follows_instructions
from milr.rewards.endpoint.client import EndpointClient
from milr.rewards.of_the_model import RewardOfTheModel
from milr.rules.calibration import geometric_mean
from milr.rules.checklist import read_questions
from milr.templates import CHECKLIST, YES_OR_NO, fill
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_CHECKLIST_TOKENS = 256
QUOTED = 200  # letters of an unusable list


@dataclass(frozen=True)
class Checklist:
    """Questions by name, each as the model is asked; `problem` says why there are none.

    Writing them took `seconds` of the model and `calls` of an endpoint.
    """

    questions: dict[str, str]
    problem: str = ""
    seconds: float = 0.0
    calls: int = 0


class Writer(Protocol):
    """Turns a prompt into a checklist."""

    async def write(self, services: Services, prompt: Prompt) -> Checklist:
        """The checklist of a prompt."""

    def identity(self) -> dict[str, object]:
        """What tells two writers apart."""


class WorldWriter:
    """The world of the model says what a picture of a prompt must show; the model asks about each as about a prompt."""

    def __init__(self, world: World, question: Callable[[str], str]) -> None:
        self._world, self._question = world, question

    async def write(self, services: Services, prompt: Prompt) -> Checklist:
        """The checklist of a prompt."""
        return Checklist({claim: self._question(claim) for claim in self._world.claims(prompt.text)})

    def identity(self) -> dict[str, object]:
        """The world, and how the model asks."""
        return {"writer": self._world.name, "question": self._question("{prompt}")}


class ModelWriter:
    """The generating model writes the questions by its text path, greedily."""

    async def write(self, services: Services, prompt: Prompt) -> Checklist:
        """The checklist of a prompt."""
        written = await services.write(fill(CHECKLIST, prompt.text), MAX_CHECKLIST_TOKENS)
        questions = read_questions(written.text)
        problem = "" if questions else f"the model wrote no yes or no questions: {written.text[:QUOTED]!r}"
        return Checklist(_to_ask(questions), problem, written.seconds)

    def identity(self) -> dict[str, object]:
        """How the model is told to write, and how it is asked."""
        return {"writer": CHECKLIST, "question": YES_OR_NO}


class EndpointWriter:
    """The model at an endpoint writes the questions, without seeing a picture."""

    def __init__(self, client: EndpointClient) -> None:
        self._client = client

    async def write(self, services: Services, prompt: Prompt) -> Checklist:
        """The checklist of a prompt."""
        written = await self._client.write(fill(CHECKLIST, prompt.text), lambda text: read_questions(text) or None)
        return Checklist(_to_ask(written.value or ()), written.problem, calls=written.tries)

    def identity(self) -> dict[str, object]:
        """How the model is told to write, how the generating model is asked, and the endpoint."""
        return {"writer": CHECKLIST, "question": YES_OR_NO, **self._client.identity()}


def writer_of(model: UnifiedModel) -> Writer:
    """Who writes the questions for a model alone; UsageError where nobody can."""
    if world := getattr(model, "world", None):
        return WorldWriter(world, model.question)
    if follows_instructions(model):
        return ModelWriter()
    raise UsageError(f"the reward checklist has the model write questions, and {model.name} takes no instructions: "
                     "choose checklist:judge, which has an endpoint write them.")  # fmt: skip


class ChecklistReward(RewardOfTheModel):
    """The geometric mean of P(yes) over the questions, which are the parts.

    Each answer counts as a call, and so does each request to an endpoint that writes the questions.

    Unscored where the writer made no question of the prompt, and where the model came to no yes or no.
    """

    def __init__(self, writer: Writer, *, at_endpoint: bool = False) -> None:
        self.name = "checklist:judge" if at_endpoint else "checklist"
        self.needs = ("judge",) if at_endpoint else ()
        self.writer = writer
        self._checklists: dict[str, Checklist] = {}
        self._writing: dict[str, asyncio.Lock] = {}

    def identity(self) -> dict[str, object]:
        """That of the writer."""
        return self.writer.identity()

    async def score_picture(self, services: Services, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture; the first of a prompt pays for the questions."""
        checklist = await self._checklist(services, prompt)
        seconds, calls = checklist.seconds, checklist.calls
        if not checklist.questions:
            problem = checklist.problem or "the prompt gave no questions"
            return Score.unscored(problem, calls=max(calls, 1), seconds=seconds)
        answers = await asyncio.gather(*(services.answer(picture, each) for each in checklist.questions.values()))
        seconds += sum(answer.seconds for answer in answers)
        said = dict(zip(checklist.questions, answers, strict=True))
        parts = {name: answer.yes for name, answer in said.items() if answer.yes is not None}
        calls += len(answers)
        if unanswered := [f"{name!r} with {answer.text!r}" for name, answer in said.items() if answer.yes is None]:
            reason = f"the model answered {'; '.join(unanswered)}, which is no yes or no"
            return Score.unscored(reason, parts=parts, calls=calls, seconds=seconds)
        lacking = [repr(name) for name, yes in parts.items() if yes < 0.5]
        reason = f"the model said no to {', '.join(lacking)}" if lacking else "the model said yes to all questions"
        return Score(geometric_mean(list(parts.values())), parts, reason, calls, seconds)

    async def _checklist(self, services: Services, prompt: Prompt) -> Checklist:
        """The questions about a prompt, with what writing them took now."""
        known = self._checklists.get(prompt.text)
        lock = nullcontext() if known else self._writing.setdefault(prompt.text, asyncio.Lock())
        async with lock:
            if known := self._checklists.get(prompt.text):
                return replace(known, seconds=0.0, calls=0)
            try:
                checklist = await self.writer.write(services, prompt)
            finally:
                self._writing.pop(prompt.text, None)
            if checklist.questions:
                self._checklists[prompt.text] = checklist
            return checklist


def _to_ask(questions: Sequence[str]) -> dict[str, str]:
    return {question: YES_OR_NO.replace("{question}", question) for question in questions}
