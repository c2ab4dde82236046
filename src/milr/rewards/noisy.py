"""A judge that errs at a known rate: what is left of a search whose reward is wrong so and so often?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from milr.base import Reward, Services
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class NoisyJudge:
    """`judge`, but right pictures (a score of 1) are called wrong at the rate `miss`, wrong ones right at `pass_`.

    The draw is keyed by the picture's pixels, the prompt and the seed: asking again gives the same answer. A flipped
    right picture scores 0, a flipped wrong one 1; what is not flipped, a graded score too, stays as it is.
    """

    range = (0.0, 1.0)

    def __init__(self, judge: Reward, miss: float, pass_: float, seed: int) -> None:
        for rate in (miss, pass_):
            if not 0 <= rate <= 1:
                raise UsageError(f"the rates of a noisy judge lie in [0, 1], not {rate:g}; write noisy:0.1,0.2.")
        self.judge, self.miss, self.pass_, self.seed = judge, miss, pass_, seed
        self.name = f"noisy:{miss:g},{pass_:g}"
        self.threshold, self.needs, self.licence = judge.threshold, judge.needs, judge.licence

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """The judge's scores with their mistakes; unscored stays unscored."""
        scores = await self.judge.score(pictures, prompts, services)
        return [self._flipped(*row) for row in zip(scores, pictures, prompts, strict=True)]

    def _flipped(self, score: Score, picture: Image, prompt: Prompt) -> Score:
        if score.value is None:
            return score
        right = score.value == 1
        if chance(picture, prompt, self.seed) >= (self.miss if right else self.pass_):
            return score
        return replace(score, value=float(not right), reason=f"mistaken on purpose ({score.reason or 'right'})")


def chance(picture: Image, prompt: Prompt, seed: int) -> float:
    """A number in [0, 1) that belongs to this picture, prompt and seed."""
    mark = blake2b(f"{seed}\0{prompt.text}\0{picture.size}{picture.mode}\0".encode(), digest_size=8)
    mark.update(picture.tobytes())
    return int.from_bytes(mark.digest(), "big") / 2**64


def parse(name: str) -> tuple[float, float]:
    """ "noisy:P,Q" to its rates; UsageError for anything else."""
    try:
        miss, pass_ = map(float, name.removeprefix("noisy:").split(","))
    except ValueError:
        raise UsageError(f"{name!r} is no noisy judge; write noisy:P,Q, such as noisy:0.1,0.2.") from None
    return miss, pass_
