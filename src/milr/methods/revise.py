"""The method `revise`: what the best picture lacks is told to the writer of the visualisation.

    1  draw `draws` pictures, each from a newly sampled visualisation
    2  again and again:
    3      best <- the picture that the judge likes best
    4      seen <- the model's description of best, in answer to a question that does not name the prompt
    5      text <- the visualisation of best written anew, by the model, which is told the prompt, that visualisation,
               `seen`, and the judge's questions that were answered with no (the parts of `checklist`)
    6      draw a picture from text

PRIS rewrites prompts by what pictures lack in the same way, with outside models. Works only with a model that
`follows_instructions`; nano does not, and for others nothing was measured yet.

`Revise.told` False is the control: step 5 gets the prompt and the visualisation alone. `redraw_sampled` is another one,
in which step 5 writes a visualisation of the prompt as step 1 does. All of them share the pictures of step 1.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from milr.base import Method, StudioFace, follows_instructions
from milr.latent.released import Quirks
from milr.methods.rollout import draw_and_score, make_step
from milr.templates import DESCRIPTION_QUESTION, Revision
from milr.types import Answer, Cost, Key, Prompt, ReasonRequest, Score, Step, TextTrace, UsageError

MAX_DESCRIPTION_TOKENS = 96
NO = 0.5  # P(yes) below which a question was answered with no


@dataclass(frozen=True)
class Revise:
    """The method's settings; `told` False is its control."""

    told: bool = True
    draws: int = 4
    temperature: float = 1.0
    guidance_scale: float | None = None
    visualisation: str | None = None
    quirks: Quirks = Quirks()


def revise(settings: Revise) -> Method:
    """The method with its settings bound. It raises UsageError for a model that takes no instructions."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        if not follows_instructions(studio.model):
            raise UsageError(f"the method revise tells the model what to write, and {studio.model.name} takes no "
                             "instructions: choose redraw_sampled.")  # fmt: skip
        best: _Best | None = None
        before: TextTrace | None = None
        for index in itertools.count():
            request = settings.quirks.reason_request(prompt.text, key.at(index), temperature=1.0)
            seconds, note = 0.0, ""
            if index >= settings.draws and best is not None:
                instruction, seconds = await best.instruction(studio, prompt, told=settings.told)
                request = replace(request, instruction=instruction)
                note = f"visualisation of picture {best.step.index} revised"
            step = await _picture(settings, studio, prompt, request, index)
            text = step.rollout.visualisation
            changed = before is not None and text is not None and text.ids != before.ids
            step = replace(step, note=note, text_changed=changed, cost=step.cost + Cost(model_seconds=seconds))
            before = text
            if step.score.value is not None and (best is None or step.score.value > (best.step.score.value or 0.0)):
                best = _Best(step)
            yield step

    return method


@dataclass
class _Best:
    """The best picture so far, described once."""

    step: Step
    seen: Answer | None = None

    async def instruction(self, studio: StudioFace, prompt: Prompt, *, told: bool) -> tuple[str, float]:
        """What the writer is told, and the model's seconds for it."""
        text, seconds = self.step.rollout.visualisation, 0.0
        revision = Revision(prompt.text, text.text if text else "")
        if told:
            if self.seen is None:
                self.seen = await studio.answer(self.step.rollout.picture, DESCRIPTION_QUESTION, MAX_DESCRIPTION_TOKENS)
                seconds = self.seen.seconds
            revision = replace(revision, seen=self.seen.text, lacking=lacking(self.step.score))
        return revision.text(), seconds


def lacking(score: Score) -> tuple[str, ...]:
    """The questions among the parts of a score that were answered with no."""
    return tuple(name for name, yes in score.parts.items() if name.endswith("?") and yes < NO)


async def _picture(settings: Revise, studio: StudioFace, prompt: Prompt, request: ReasonRequest, index: int) -> Step:
    """A picture of the visualisation that the request asks for (or, while none is revised, of the supplied one)."""
    written: TextTrace | None = None
    if settings.visualisation is None or request.instruction is not None:
        written = await studio.reason(request)
    text = written or TextTrace(settings.visualisation or "", ())
    scale = studio.model.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    draw = settings.quirks.draw_request(prompt.text, text.text, request.key, scale, temperature=settings.temperature)
    return make_step(index, *await draw_and_score(studio, prompt, text, draw), written=written)
