"""The prefix of a sequence whose latents are free, and the tokens that its latents give."""

from __future__ import annotations

import torch
from torch import Tensor

from milr.randomness import NoiseStream, choose
from milr.types import Key


def greedy_prefix(logits: Tensor, end_of_text: int) -> tuple[int, ...]:
    """(n, V) text logits to ids: argmax, up to and with an end of text inside the prefix."""
    ids: list[int] = logits.argmax(-1).tolist()
    return tuple(ids[: ids.index(end_of_text) + 1] if end_of_text in ids else ids)


def sampled_prefix(logits: Tensor, key: Key, temperature: float) -> tuple[int, ...]:
    """(n, V) guided image logits to ids, drawn with the noise that the request's own first n positions would use."""
    noise = NoiseStream(key, "image", logits.shape[-1])
    rows = torch.stack([noise.at(position) for position in range(len(logits))]).to(logits.device)
    temperatures = torch.full((len(logits),), temperature, device=logits.device)
    ids: list[int] = choose(logits, temperatures, rows)[0].tolist()
    return tuple(ids)
