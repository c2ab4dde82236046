"""The methods `parm` and `reject_early`: partial pictures are judged, and what they leave is spent on the better ones.

    parm, in groups of `group`:
    1  draw the first `shares[-1]` of each picture, each from a newly sampled visualisation
    2  judge them, filled (`milr.fills`); keep the `kept` best
    3  finish and judge these; the search returns the best of all groups

    reject_early, in groups of `group`:
    1  for each of `shares`: draw each picture so far, and judge it, filled;
       the worse half is overwritten by the better half: the same tokens so far, drawn on with other noise
    2  finish and judge all of them

In the manner of PARM (Guo et al., 2025; is it clear enough to judge, has it potential, best of the survivors) and of
GridAR (arXiv 2511.21185); both ask a judge trained for it or a large one, and here it is the search's reward. A picture
that is not finished is no step and not returned: its tokens and judgements are in the cost of the next step, so methods
are compared at equal token-steps. One that could not be judged ranks behind those that were.

`looks` False is the control of both: the same drawing, kept and overwritten by order, without judging anything early.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from milr.base import Method, StudioFace, image_rows
from milr.fills import Fill, fill_tokens, paint_undrawn
from milr.latent.released import Quirks
from milr.methods.rollout import draw_and_score, make_step
from milr.types import Cost, DrawRequest, ImageTrace, Key, Prompt, Step, TextTrace, UsageError

Rule = Literal["finish_the_best", "overwrite_the_worse"]


@dataclass(frozen=True)
class PartialPictures:
    """The settings: pictures are judged after `shares` of their tokens; `parm` finishes `kept` of a `group`."""

    rule: Rule
    shares: tuple[float, ...]
    group: int = 4
    kept: int = 2
    fill: Fill = "repeat"
    looks: bool = True
    temperature: float = 1.0
    guidance_scale: float | None = None
    visualisation: str | None = None
    quirks: Quirks = Quirks()


PARM = PartialPictures("finish_the_best", shares=(0.5,), group=8, kept=2)
REJECT_EARLY = PartialPictures("overwrite_the_worse", shares=(0.25, 0.5))


@dataclass(frozen=True)
class _Candidate:
    """A picture that is drawn up to `image`, the request for all of it, and what it cost so far."""

    text: TextTrace
    request: DrawRequest
    image: ImageTrace = ImageTrace(())
    score: float | None = None
    cost: Cost = Cost()

    def continued(self) -> DrawRequest:
        """The request for all of the picture that keeps what is drawn."""
        return replace(self.request, prefix=self.image.ids, prefix_log_probs=self.image.log_probs or None)


def partial_pictures(settings: PartialPictures) -> Method:
    """The method with its settings bound."""

    async def method(studio: StudioFace, prompt: Prompt, key: Key) -> AsyncIterator[Step]:
        index = 0
        for first in itertools.count(0, settings.group):
            numbers = range(first, first + settings.group)
            group = [await _begun(settings, studio, prompt, key.at(number)) for number in numbers]
            group, spent = await _chosen(settings, studio, prompt, group)
            for candidate in group:
                yield await _finished(studio, prompt, replace(candidate, cost=candidate.cost + spent), index)
                index, spent = index + 1, Cost()

    return method


async def _begun(settings: PartialPictures, studio: StudioFace, prompt: Prompt, key: Key) -> _Candidate:
    """A picture of which nothing is drawn, with its visualisation."""
    text, cost = TextTrace(settings.visualisation or "", ()), Cost()
    if settings.visualisation is None:
        text = await studio.reason(settings.quirks.reason_request(prompt.text, key, temperature=1.0))
        cost = Cost(token_steps=text.num_decoded, model_seconds=text.seconds)
    scale = studio.model.guidance_scale if settings.guidance_scale is None else settings.guidance_scale
    request = settings.quirks.draw_request(prompt.text, text.text, key, scale, temperature=settings.temperature)
    return _Candidate(text, request, cost=cost)


async def _chosen(settings: PartialPictures, studio: StudioFace, prompt: Prompt, group: list[_Candidate]
                  ) -> tuple[list[_Candidate], Cost]:  # fmt: skip
    """Those that are to be finished, and what the others have cost."""
    for share in settings.shares:
        group = [await _drawn_to(settings, studio, prompt, candidate, share) for candidate in group]
        group = sorted(group, key=_rank, reverse=True)
        if settings.rule == "overwrite_the_worse":
            group = overwritten(group)
    if settings.rule == "overwrite_the_worse":
        return group, Cost()
    return group[: settings.kept], sum((candidate.cost for candidate in group[settings.kept :]), Cost())


async def _drawn_to(settings: PartialPictures, studio: StudioFace, prompt: Prompt, candidate: _Candidate, share: float
                    ) -> _Candidate:  # fmt: skip
    """The candidate drawn up to `share` of its tokens, in whole rows, and judged."""
    num_tokens = studio.model.image_tokens
    rows = image_rows(studio.model)
    if not rows:
        raise UsageError(f"{studio.model.name} draws no image tokens, so that no part of a picture can be judged; "
                         "choose another --method.")  # fmt: skip
    num_rows = min(rows, max(1, round(share * rows)))
    request = replace(candidate.continued(), max_new_tokens=num_rows * num_tokens // rows)
    image = await studio.draw(request)
    cost = candidate.cost + Cost(token_steps=image.num_decoded, model_seconds=image.seconds)
    if not settings.looks:
        return replace(candidate, image=image, score=None, cost=cost)
    draft: tuple[int, ...] = ()
    if settings.fill == "draft":
        whole = await studio.draw(replace(candidate.request, prefix=image.ids, temperature=0.0))
        draft, cost = whole.ids, cost + Cost(token_steps=whole.num_decoded, model_seconds=whole.seconds)
    filled = ImageTrace(fill_tokens(image.ids, num_tokens, settings.fill, draft), request=candidate.request)
    picture = paint_undrawn(await studio.render(filled), num_rows / rows, settings.fill)
    score = await studio.score(picture, prompt)
    cost = cost + Cost(reward_calls=score.calls, reward_seconds=score.seconds)
    return replace(candidate, image=image, score=score.value, cost=cost)


def overwritten(group: Sequence[_Candidate]) -> list[_Candidate]:
    """The group, best first, with its worse half replaced by the better half's beginnings under their own noise."""
    better = group[: (len(group) + 1) // 2]
    worse = group[len(better) :]
    forks = [replace(origin, request=replace(origin.request, key=place.request.key), cost=place.cost)
             for origin, place in zip(better, worse, strict=False)]  # fmt: skip
    return [*better, *forks]


async def _finished(studio: StudioFace, prompt: Prompt, candidate: _Candidate, index: int) -> Step:
    """The step of the whole picture, with all that it cost from its beginning."""
    rollout, score = await draw_and_score(studio, prompt, candidate.text, candidate.continued())
    step = make_step(index, rollout, score, text_changed=index > 0)
    drawn = len(candidate.image.ids)
    note = f"drawn on from {drawn} of {studio.model.image_tokens} image tokens"
    return replace(step, cost=step.cost + candidate.cost, note=note)


def _rank(candidate: _Candidate) -> float:
    """What is sorted by; without a judgement the order stays, behind those that have one."""
    return -1.0 if candidate.score is None else candidate.score
