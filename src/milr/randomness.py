"""Randomness that belongs to a request: keyed generators, and the race that turns their noise into tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


def exponentials(generator: torch.Generator, *shape: int) -> Tensor:
    """Independent Exp(1) draws, bit for bit those of `Tensor.exponential_`, in a third of its time."""
    return _from_uniform(torch.empty(shape, dtype=torch.float64).uniform_(generator=generator))


def _from_uniform(uniform: Tensor) -> Tensor:
    return torch.log1p(uniform.neg_()).neg_().float()


class NoiseStream:
    """The noise of one request: position i gets its i-th draw, whether or not earlier positions were drawn or forced.

    `override` (n, V) replaces the draws of the first n positions. Positions must be asked for in rising order.
    """

    def __init__(self, key: Key, role: str, vocab: int, *, override: Tensor | None = None) -> None:
        self._generator = generator(key, role)
        self._vocab = vocab
        self._override = override
        self._drawn = 0

    def at(self, position: int) -> Tensor:
        """(V,) noise of `position`."""
        return noise_of([(self, position)], self._vocab)[0]

    def first(self, count: int) -> Tensor:
        """(count, V) noise of the first positions."""
        return noise_of([(self, position) for position in range(count)], self._vocab)

    def overridden(self, position: int) -> Tensor | None:
        """What was given for `position`, if anything was."""
        given = self._override is not None and position < len(self._override)
        return self._override[position] if given and self._override is not None else None

    def uniform(self, position: int, out: Tensor) -> None:
        """Draw what the noise of `position` is made from, (V,) in double precision."""
        if position < self._drawn:
            raise ValueError(f"position {position} of this stream was already drawn")
        for _ in range(position - self._drawn + 1):
            out.uniform_(generator=self._generator)
        self._drawn = position + 1


def noise_of(asked: Sequence[tuple[NoiseStream | None, int]], vocab: int) -> Tensor:
    """Each stream's noise at its position, ones where there is no stream. (B, V)"""
    uniform = torch.empty(len(asked), vocab, dtype=torch.float64)
    given = [stream.overridden(position) if stream else torch.ones(vocab) for stream, position in asked]
    for (stream, position), replaced, row in zip(asked, given, uniform, strict=True):
        if stream and replaced is None:
            stream.uniform(position, row)
        else:
            row.zero_()
    noise = _from_uniform(uniform)
    for replaced, row in zip(given, noise, strict=True):
        if replaced is not None:
            row.copy_(replaced)
    return noise


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
        scores = torch.where(greedy[:, None], logits, probabilities.div_(noise))
    best, winner = scores.max(-1, keepdim=True)
    second = scores.scatter(-1, winner, -torch.inf).amax(-1)
    best = best[:, 0]
    return winner[:, 0], torch.where(greedy, best - second, best.log() - second.log())
