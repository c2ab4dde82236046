"""The reward `noisy:P,Q`: a judge that errs at known rates, to measure what a wrong reward costs a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from milr.base import Reward, Services
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image


class NoisyReward:
    """`judge`, with some scores flipped: right pictures (score 1) to 0 at the rate P, all others to 1 at the rate Q.

    P is `miss_rate` and Q `false_pass_rate`, both in [0, 1]. The draw is keyed by the picture's pixels, the prompt and
    the seed, so asking again gives the same score. A score that is not flipped, graded or not, stays as it is. No score
    has the parts or the reason of `judge`: they would tell a method the truth about a flipped one.
    """

    range = (0.0, 1.0)

    def __init__(self, judge: Reward, miss_rate: float, false_pass_rate: float, *, seed: int) -> None:
        for rate in (miss_rate, false_pass_rate):
            if not 0 <= rate <= 1:
                raise UsageError(f"the rates of a noisy judge lie in [0, 1], not {rate:g}; write noisy:0.1,0.2.")
        self.judge, self.miss_rate, self.false_pass_rate, self.seed = judge, miss_rate, false_pass_rate, seed
        self.name = f"noisy:{miss_rate:g},{false_pass_rate:g}"
        self.threshold, self.needs, self.licence = judge.threshold, judge.needs, judge.licence

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that the judge cannot judge."""
        if callable(check := getattr(self.judge, "check", None)):
            check(prompt)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """The judge's scores with mistakes; unscored stays unscored."""
        scores = await self.judge.score(pictures, prompts, services)
        return [self._perhaps_flip(*row) for row in zip(scores, pictures, prompts, strict=True)]

    def _perhaps_flip(self, score: Score, picture: Image, prompt: Prompt) -> Score:
        if score.value is None:
            return score
        score = replace(score, parts={}, reason="")
        right = score.value == 1
        if keyed_uniform(picture, prompt, self.seed) >= (self.miss_rate if right else self.false_pass_rate):
            return score
        return replace(score, value=float(not right))


def keyed_uniform(picture: Image, prompt: Prompt, seed: int) -> float:
    """A uniform random number in [0, 1), the same for the same picture, prompt and seed."""
    digest = blake2b(f"{seed}\0{prompt.text}\0{picture.size}{picture.mode}\0".encode(), digest_size=8)
    digest.update(picture.tobytes())
    return int.from_bytes(digest.digest(), "big") / 2**64


def parse(name: str) -> tuple[float, float]:
    """The rates (P, Q) of "noisy:P,Q"; UsageError for anything else."""
    try:
        miss_rate, false_pass_rate = map(float, name.removeprefix("noisy:").split(","))
    except ValueError:
        raise UsageError(f"{name!r} is not a noisy judge; write noisy:P,Q, such as noisy:0.1,0.2.") from None
    return miss_rate, false_pass_rate
