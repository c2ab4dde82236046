"""The method `repair`: force the likeliest other token of the best picture, and draw the rest of it again.

    1  draw `draws` pictures, each from a newly sampled visualisation, the very first from the greedy one; image
       temperature from 0.3 up to `temperature`
    2  `repairs` times:
    3      best <- the picture that the judge likes best; p <- the model's p(token | tokens before) along its tokens
    4      (position, token) <- the likeliest pair that best does not have and that was not tried on it
    5      draw: best's tokens before the position, then that token, then the rest at temperature 0.3
    6  go to 1

A drawing error that a plan is right about survives any number of new samples, because each of them is likeliest to make
it again; the token that would have drawn the plan is often the second likeliest (docs/results.md). The search's
threshold decides when a picture is right; this method never asks for it. Works on logits and tokens alone, so on every
model whose pictures are `ImageTrace`s.

`Repair.how` names the method or one of its controls, which make the same pictures in phase 1 and replace step 5:
"unforced" draws on from the same position without forcing a token, "same_text" draws a whole new picture of the best
one's visualisation at temperature 0.7, and "new_text" goes on with phase 1.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from milr.base import Method, StudioFace
from milr.latent.released import Quirks
from milr.methods.rollout import draw_and_score, make_step
from milr.types import Cost, DrawRequest, ImageTrace, Key, Prompt, Step, TextTrace

How = Literal["forced", "unforced", "same_text", "new_text"]
COOL = 0.3  # temperature of a repair, and of the first picture
WARMING = 8  # pictures after which new pictures have the full temperature
WHOLE_PICTURE = 0.7  # temperature of the control that draws the same visualisation again


@dataclass(frozen=True)
class Repair:
    """The method's settings. `temperature` is that of a picture's tokens after the first `WARMING` pictures."""

    how: How = "forced"
    draws: int = 4
    repairs: int = 18
    temperature: float = 1.0
    guidance_scale: float | None = None
    visualisation: str | None = None
    quirks: Quirks = Quirks()


def repair(settings: Repair) -> Method:
    """The method with its settings bound."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        best: _Candidate | None = None
        text: TextTrace | None = None
        for index in itertools.count():
            phase = index % (settings.draws + settings.repairs)
            if phase < settings.draws or best is None or settings.how == "new_text":
                step = await _new_picture(settings, studio, prompt, key, index)
            else:
                step = await _repaired(settings, studio, prompt, key.at(index), best, index)
            new_text = step.rollout.visualisation
            step = replace(step, text_changed=text is not None and new_text is not None and new_text.ids != text.ids)
            text = new_text
            if step.score.value is not None and (best is None or _rank(step) > _rank(best.step)):
                best = _Candidate(step)
            yield step

    return method


class Alternative(NamedTuple):
    """A token that a picture does not have at a position, and its log-probability after the tokens before it."""

    position: int
    token: int
    log_prob: float

    def forced_into(self, image: ImageTrace) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
        """The tokens up to and with this one, and their log-probabilities (None: those of `image` are not known)."""
        known = image.log_probs and (*image.log_probs[: self.position], self.log_prob)
        return (*image.ids[: self.position], self.token), known


@dataclass
class _Candidate:
    """The best picture so far; `untried` are what may be forced next, the likeliest last, after `num_tried`."""

    step: Step
    num_tried: int = 0
    untried: list[Alternative] = field(default_factory=list)

    async def next_alternative(self, studio: StudioFace, request: DrawRequest, count: int
                               ) -> tuple[Alternative, float]:  # fmt: skip
        """The likeliest alternative that was not tried, and the model's seconds."""
        seconds = 0.0
        if not self.untried:
            ids, num_pairs = self.step.rollout.image.ids, self.num_tried + count
            log_probs, seconds = await studio.image_log_probs(request, ids)
            pairs = await studio.compute(lambda: likeliest_alternatives(log_probs, ids, num_pairs))
            self.untried = (pairs[self.num_tried :] or pairs)[::-1]
        self.num_tried += 1
        return self.untried.pop(), seconds


def likeliest_alternatives(log_probs: Tensor, ids: tuple[int, ...], count: int) -> list[Alternative]:
    """The `count` likeliest with another token than `ids` (N,) has, from log_probs (N, V)."""
    others = log_probs.clone()
    others[torch.arange(len(ids)), torch.tensor(ids, device=others.device)] = -torch.inf
    top = others.flatten().topk(min(count, others.numel() - len(ids)))
    pairs = [divmod(index, log_probs.shape[1]) for index in top.indices.tolist()]
    return [Alternative(position, token, log_prob)
            for (position, token), log_prob in zip(pairs, top.values.tolist(), strict=True)]  # fmt: skip


async def _new_picture(settings: Repair, studio: StudioFace, prompt: Prompt, key: Key, index: int) -> Step:
    """A picture of a newly sampled visualisation; the first of the greedy one (or of the one that was supplied)."""
    written: TextTrace | None = None
    if settings.visualisation is None:
        temperature = 0.0 if index == 0 else 1.0
        written = await studio.reason(
            settings.quirks.reason_request(prompt.text, key.at(index), temperature=temperature)
        )
    text = written or TextTrace(settings.visualisation or "", ())
    scale = studio.model.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    request = settings.quirks.draw_request(prompt.text, text.text, key.at(index), scale,
                                           temperature=warming(settings.temperature, index))  # fmt: skip
    return make_step(index, *await draw_and_score(studio, prompt, text, request), written=written)


def warming(temperature: float, index: int) -> float:
    """The temperature of new picture `index`: from COOL of `temperature` linearly up to all of it."""
    return temperature * min(1.0, COOL + (1 - COOL) * index / WARMING)


async def _repaired(settings: Repair, studio: StudioFace, prompt: Prompt, key: Key, best: _Candidate, index: int
                    ) -> Step:  # fmt: skip
    """A picture made from the best one, as `settings.how` says."""
    rollout, seconds = best.step.rollout, 0.0
    origin = rollout.image.request
    assert origin is not None, "the studio gives each picture its request"
    request = replace(origin, prefix=(), prefix_log_probs=None, key=key,
                      temperature=WHOLE_PICTURE * settings.temperature)  # fmt: skip
    note = f"picture {best.step.index} drawn again"
    if settings.how != "same_text":
        likeliest, seconds = await best.next_alternative(studio, replace(origin, prefix=()), settings.repairs)
        ids, log_probs = likeliest.forced_into(rollout.image)
        note = f"picture {best.step.index} with image token {likeliest.position} forced"
        if settings.how == "unforced":
            ids, log_probs = ids[:-1], log_probs and log_probs[:-1]
            note = f"picture {best.step.index} with image token {likeliest.position} drawn again"
        request = replace(request, prefix=ids, prefix_log_probs=log_probs, temperature=COOL * settings.temperature)
    step = make_step(index, *await draw_and_score(studio, prompt, rollout.visualisation, request))
    return replace(step, note=note, cost=step.cost + Cost(model_seconds=seconds))


def _rank(step: Step) -> tuple[float, float]:
    """What pictures are compared by: the score, and among equal ones the mean of its parts."""
    parts = step.score.parts.values()
    return (step.score.value or 0.0, sum(parts) / len(parts) if parts else 0.0)
