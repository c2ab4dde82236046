"""The tokens of a prefix whose latents are free: argmax for text, sampled for images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from milr.randomness import NEAR_TIE, NoiseStream, sample_tokens
from milr.types import Key


class Prefix(NamedTuple):
    """Forced token ids, and the positions of those that won by a near tie."""

    ids: tuple[int, ...]
    near_ties: tuple[int, ...]


NO_PREFIX = Prefix((), ())


def greedy_prefix(logits: Tensor, end_of_text: int | None, *, before: Tensor, executed: Tensor) -> Prefix:
    """The argmax of text logits (n, V), cut after an end of text (None: never cut).

    `before` (n, V) are the logits before the update, and `executed` (m <= n,) the tokens of the rollout before it. A
    token changes only where the argmax does, so that a supplied text stays as long as its latents do.
    """
    tokens, margins = sample_tokens(logits, torch.zeros(len(logits), device=logits.device))
    unchanged = tokens[: len(executed)] == before[: len(executed)].argmax(-1)
    ids: list[int] = torch.cat(
        [torch.where(unchanged, executed, tokens[: len(executed)]), tokens[len(executed) :]]
    ).tolist()
    return _with_ties(ids[: ids.index(end_of_text) + 1] if end_of_text in ids else ids, margins)


def open_prefix(logits: Tensor, *, before: Tensor, executed: Tensor) -> Prefix:
    """`greedy_prefix` as in the release: never cut, and the argmax is that of probabilities in the dtype of the logits.

    In bfloat16 close logits have equal probabilities, and the first of them wins.
    """
    log_p, log_p_before = (torch.softmax(scores, dim=-1).float().log() for scores in (logits, before))
    return greedy_prefix(log_p, None, before=log_p_before, executed=executed)


def sampled_prefix(logits: Tensor, key: Key, temperature: float) -> Prefix:
    """Tokens sampled from guided image logits (n, V), with the noise of the first n positions of the picture `key`."""
    noise = NoiseStream(key, "image", logits.shape[-1]).first(len(logits)).to(logits.device)
    temperatures = torch.full((len(logits),), temperature, device=logits.device)
    tokens, margins = sample_tokens(logits, temperatures, noise)
    return _with_ties(tokens.tolist(), margins)


def _with_ties(ids: list[int], margins: Tensor) -> Prefix:
    near_ties = [position for position, margin in enumerate(margins[: len(ids)].tolist()) if margin < NEAR_TIE]
    return Prefix(tuple(ids), tuple(near_ties))
