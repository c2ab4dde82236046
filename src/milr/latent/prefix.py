"""The prefix of a sequence whose latents are free, and the tokens that its latents give."""

from __future__ import annotations

import torch
from torch import Tensor

from milr.randomness import NEAR_TIE, NoiseStream, sample_tokens
from milr.types import Key

Prefix = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids, and the positions of near ties among them."""


def greedy_prefix(logits: Tensor, end_of_text: int, *, before: Tensor, executed: Tensor) -> Prefix:
    """(n, V) text logits to ids: argmax, up to and with an end of text inside the prefix.

    `before` (n, V) are the logits that stood before the move and `executed` (m <= n,) the tokens used then: a token
    stays as long as its argmax does, so latents that do not move leave a supplied text alone, too.
    """
    tokens, leads = sample_tokens(logits, torch.zeros(len(logits), device=logits.device))
    still = tokens[: len(executed)] == before[: len(executed)].argmax(-1)
    ids: list[int] = torch.cat(
        [torch.where(still, executed, tokens[: len(executed)]), tokens[len(executed) :]]
    ).tolist()
    return _prefix(ids[: ids.index(end_of_text) + 1] if end_of_text in ids else ids, leads)


def sampled_prefix(logits: Tensor, key: Key, temperature: float) -> Prefix:
    """(n, V) guided image logits to ids, drawn with the noise that the request's own first n positions would use."""
    rows = NoiseStream(key, "image", logits.shape[-1]).first(len(logits)).to(logits.device)
    temperatures = torch.full((len(logits),), temperature, device=logits.device)
    tokens, leads = sample_tokens(logits, temperatures, rows)
    return _prefix(tokens.tolist(), leads)


def _prefix(ids: list[int], leads: Tensor) -> Prefix:
    ties = [position for position, lead in enumerate(leads[: len(ids)].tolist()) if lead < NEAR_TIE]
    return tuple(ids), tuple(ties)
