"""The probability that a model's answer says yes, from the logits of its yes and no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from milr.templates import Verdict

MIN_COMPARISONS = 2  # of an answer made aloud: at least one comparison and the verdict


@dataclass(frozen=True)
class YesOrNo:
    """Where an answer says yes or no, and how likely the yes is.

    `verdict` "first": at its first token. "every": the answer compares the parts of the picture aloud, and says yes
    where all of its comparisons do.
    """

    yes_ids: Sequence[int]
    no_ids: Sequence[int]
    verdict: Verdict
    end_token_id: int

    def positions(self, token_ids: Sequence[int]) -> list[int] | None:
        """The positions of the answer that count; None where it came to no verdict: cut off, or nothing compared."""
        if self.verdict == "first":
            return [0]
        words = {*self.yes_ids, *self.no_ids}
        positions = [position for position, token_id in enumerate(token_ids) if token_id in words]
        is_whole = len(positions) >= MIN_COMPARISONS and token_ids[-1] == self.end_token_id
        return positions if is_whole else None

    def probability(self, logits: Tensor) -> float:
        """The product of P(yes) / (P(yes) + P(no)) over the positions' logits (n, V)."""
        yes, no = (logits[:, list(ids)].logsumexp(-1) for ids in (self.yes_ids, self.no_ids))
        return float(torch.sigmoid(yes - no).prod())
