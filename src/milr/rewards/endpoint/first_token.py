"""The first token of an endpoint's answer: how likely it was to be one of several words.

The endpoint is asked for one token with the log-probabilities of the likeliest ones, as OpenAI and vLLM give them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milr.rewards.first_token import GREEDY
from milr.rules.geneval2 import soft_score
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.rewards.endpoint.client import EndpointClient

TOP = 20  # the most log-probabilities that OpenAI and, by default, vLLM give
FIELDS: dict[str, Any] = {"logprobs": True, "top_logprobs": TOP}  # of each request


class EndpointFirstToken:
    """A `FirstTokenJudge` over HTTP; its client's settings have `first_token`, and FIELDS among their extra fields."""

    deviations: tuple[str, ...] = (
        f"The judge is asked over HTTP, which gives the {TOP} likeliest first tokens: a variant that is none of them "
        "counts 0, and what a variant's first token is goes by its text.",
    )

    def __init__(self, client: EndpointClient) -> None:
        self.client = client

    def identity(self) -> dict[str, Any]:
        """That of the client, which has the extra fields."""
        return dict(self.client.identity())

    async def first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        """The probability in [0, 1] that the answer begins as one of `variants`; unscored where there is none."""
        return await self.client.judge(picture, question, lambda answer: score_of(answer, variants))


def score_of(answer: str, variants: Sequence[str]) -> Score | None:
    """The score of variants by the first tokens in an answer (`completion.first_tokens`); None where it has none.

    A variant's first token is the token of its text; that of a digit after a space is the space as well, as in Qwen's
    vocabulary.
    """
    try:
        tokens = {token: math.exp(log_probability) for token, log_probability in json.loads(answer)}
        greedy = max(tokens, key=tokens.__getitem__)
    except (ValueError, TypeError, OverflowError, RecursionError):  # no such JSON, no tokens, no numbers
        return None
    if not all(0 <= probability <= 1 for probability in tokens.values()):
        return None
    value = soft_score([tokens.get(first, 0.0) for variant in variants for first in _first_tokens(variant)])
    return Score(value, {GREEDY: float(greedy in variants)}, f"the judge's likeliest first token is {greedy!r}")


def _first_tokens(variant: str) -> tuple[str, ...]:
    return (variant, " ") if variant[0] == " " and variant[1:].isdigit() else (variant,)
