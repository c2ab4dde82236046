"""Judges that say how likely the first token of their answer is: on this machine, or behind an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

GREEDY = "greedy"  # the part of a score that is 1 where the likeliest first token is one of the variants, else 0


class FirstTokenJudge(Protocol):
    """Asks a judge model a question that one word answers.

    It is a vision-language model on this machine (`LocalQwen3`) or behind an endpoint that gives log-probabilities
    (`EndpointFirstToken`). `deviations` says how its probabilities differ from the official judge's.
    """

    deviations: tuple[str, ...]

    def identity(self) -> Mapping[str, Any]:
        """What tells two judge models apart, as plain data."""

    async def first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        """The probability in [0, 1] that the answer begins as one of `variants`, with the part GREEDY."""
