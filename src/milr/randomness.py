"""Randomness that belongs to a request: keyed generators, and the race that turns their noise into tokens."""

from __future__ import annotations

import json
from dataclasses import astuple
from hashlib import blake2b

import torch
from torch import Tensor

from milr.types import Key

NEAR_TIE = 1e-4
"""A lead below this is not to be trusted: batched and single fp32 logits differ by 1e-6, and guidance amplifies it."""


def generator(key: Key, role: str) -> torch.Generator:
    """The CPU generator of one request; another field or role gives an unrelated stream."""
    named = json.dumps([*astuple(key), role]).encode()
    seed = int.from_bytes(blake2b(named, digest_size=8).digest(), "big") >> 1
    return torch.Generator().manual_seed(seed)


def exponentials(generator: torch.Generator, vocab: int) -> Tensor:
    """One position's noise: (V,) independent Exp(1) draws."""
    return torch.empty(vocab).exponential_(generator=generator)


class NoiseStream:
    """The noise of one request: position i gets its i-th draw, whether or not earlier positions were drawn or forced.

    `override` (n, V) replaces the draws of the first n positions. Positions must be asked for in rising order.
    """

    def __init__(self, key: Key, role: str, vocab: int, *, override: Tensor | None = None) -> None:
        self._generator = generator(key, role)
        self._vocab = vocab
        self._override = override
        self._drawn = 0

    def at(self, position: int, *, out: Tensor | None = None) -> Tensor:
        """(V,) noise of `position`, written to `out` where that is given."""
        out = torch.empty(self._vocab) if out is None else out
        if self._override is not None and position < len(self._override):
            return out.copy_(self._override[position])
        if position < self._drawn:
            raise ValueError(f"position {position} of this stream was already drawn")
        for _ in range(position - self._drawn):
            exponentials(self._generator, self._vocab)
        self._drawn = position + 1
        return out.exponential_(generator=self._generator)


def race(probabilities: Tensor, noise: Tensor) -> Tensor:
    """The winner of each row, argmax p / E: what torch.multinomial draws from the same noise. (B, V), (B, V) -> (B,)"""
    return (probabilities / noise).argmax(-1)


def choose(logits: Tensor, temperatures: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One token a row and its lead over the second best; temperature 0 is greedy. (B, V), (B,), (B, V) -> (B,), (B,)

    The lead is a difference of logits for greedy rows, and of log (p / E) for rows that race.
    """
    greedy = temperatures == 0
    scores = logits
    if noise is not None:
        probabilities = torch.softmax(logits / temperatures.masked_fill(greedy, 1.0)[:, None], dim=-1)
        scores = torch.where(greedy[:, None], logits, probabilities / noise)
    winner = scores.argmax(-1, keepdim=True)
    best, second = scores.gather(-1, winner)[:, 0], scores.scatter(-1, winner, -torch.inf).amax(-1)
    return winner[:, 0], torch.where(greedy, best - second, best.log() - second.log())
