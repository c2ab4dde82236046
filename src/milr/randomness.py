"""Randomness that belongs to a request: keyed generators, and sampling tokens with their noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from hashlib import blake2b

import torch
from torch import Tensor

from milr.types import Key

NEAR_TIE = 1e-4
"""A smaller margin is not to be trusted: batched and single fp32 logits differ by 1e-6, and guidance amplifies it."""
ROUNDING_UNITS = 1.0  # in the last place, between two logits of a 16-bit network


def seed_of(key: Key, role: str) -> int:
    """The 63-bit seed of one request; another field or role gives an unrelated one."""
    named = json.dumps([*astuple(key), role]).encode()
    return int.from_bytes(blake2b(named, digest_size=8).digest(), "big") >> 1


def generator(key: Key, role: str) -> torch.Generator:
    """The CPU generator of one request; another field or role gives an unrelated stream."""
    return torch.Generator().manual_seed(seed_of(key, role))


def exponentials(generator: torch.Generator, *shape: int) -> Tensor:
    """Independent Exp(1) draws, bit for bit those of `Tensor.exponential_`, in a third of its time."""
    return _from_uniform(torch.empty(shape, dtype=torch.float64).uniform_(generator=generator))


def _from_uniform(uniform: Tensor, out: Tensor | None = None) -> Tensor:
    noise = torch.log1p(uniform.neg_()) if out is None else uniform.neg_().log1p_()
    return noise.neg_().float() if out is None else out.copy_(noise.neg_())


class NoiseStream:
    """The noise of one request: position i gets its i-th draw, whether or not earlier positions were drawn or forced.

    `override` (n, V) replaces the draws of the first n positions. Positions must be asked for in rising order.
    """

    def __init__(self, key: Key, role: str, vocab_size: int, *, override: Tensor | None = None) -> None:
        self._generator = generator(key, role)
        self._vocab_size = vocab_size
        self._override = override
        self._num_drawn = 0

    def at(self, position: int) -> Tensor:
        """(V,) noise of `position`."""
        return batch_noise([(self, position)], self._vocab_size)[0]

    def first(self, num_positions: int) -> Tensor:
        """(num_positions, V) noise of the first positions."""
        return batch_noise([(self, position) for position in range(num_positions)], self._vocab_size)

    def overridden(self, position: int) -> Tensor | None:
        """The noise (V,) that replaces the draw of `position`, if any does."""
        if self._override is None or position >= len(self._override):
            return None
        return self._override[position]

    def draw_uniform(self, position: int, out: Tensor) -> None:
        """Fill `out` (V,), in double precision, with the uniform draws that the noise of `position` is computed from.

        ValueError when the position was drawn before.
        """
        if position < self._num_drawn:
            raise ValueError(f"position {position} of this stream was already drawn")
        for _ in range(position - self._num_drawn + 1):
            out.uniform_(generator=self._generator)
        self._num_drawn = position + 1


def batch_noise(positions: Sequence[tuple[NoiseStream | None, int]], vocab_size: int, *,
                uniform: Tensor | None = None, out: Tensor | None = None) -> Tensor:  # fmt: skip
    """Each stream's noise at its position, ones where there is no stream. (B, V)

    `uniform`, in double precision, and `out` are buffers (B, V) to use; without them new ones are.
    """
    uniform = torch.empty(len(positions), vocab_size, dtype=torch.float64) if uniform is None else uniform
    overrides = [stream.overridden(position) if stream else torch.ones(vocab_size) for stream, position in positions]
    for (stream, position), override, row in zip(positions, overrides, uniform, strict=True):
        if stream and override is None:
            stream.draw_uniform(position, row)
        else:
            row.zero_()
    noise = _from_uniform(uniform, out)
    for override, row in zip(overrides, noise, strict=True):
        if override is not None:
            row.copy_(override)
    return noise


def exponential_race(probabilities: Tensor, noise: Tensor) -> Tensor:
    """The first arrival of each row, argmax p / E: what torch.multinomial draws from the same noise.

    (B, V), (B, V) -> (B,)
    """
    return (probabilities / noise).argmax(-1)


def sample_tokens(logits: Tensor, temperatures: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One token a row and its margin over the second best; temperature 0 is greedy. (B, V), (B,), (B, V) -> (B,), (B,)

    The margin is a difference of logits for greedy rows, and of log (p / E) for sampled rows.
    """
    greedy = temperatures == 0
    scores = logits
    if noise is not None:
        scaled = (logits / temperatures.masked_fill(greedy, 1.0)[:, None]).to(logits.dtype)
        probabilities = torch.softmax(scaled, dim=-1)
        probabilities = probabilities.to(torch.promote_types(probabilities.dtype, noise.dtype))
        scores = torch.where(greedy[:, None], logits, probabilities.div_(noise))
    best, tokens = scores.max(-1, keepdim=True)
    second = scores.scatter(-1, tokens, -torch.inf).amax(-1)
    best = best[:, 0]
    return tokens[:, 0], torch.where(greedy, best - second, best.log() - second.log())


def log_probs_of(tokens: Tensor, logits: Tensor) -> Tensor:
    """The log-probability of one token a row, at temperature 1. (B,), (B, V) -> (B,)"""
    logits = logits.float()
    return logits.gather(-1, tokens[:, None])[:, 0] - logits.logsumexp(-1)


def comparable_margins(margins: Tensor, logits: Tensor, dtype: torch.dtype, guidance_scales: Tensor,
                       temperatures: Tensor) -> Tensor:  # fmt: skip
    """The margins of tokens that logits of a network in `dtype` chose, scaled so that NEAR_TIE is their limit, too.

    In 16 bits a difference of logits is known to about a unit in the last place of the largest one, which guidance
    multiplies by 2 w - 1 at most and sampling divides by the temperature. In float32 margins stay as they are.
    (B,), (B, V), (B,), (B,) -> (B,)
    """
    if dtype.itemsize > 2:
        return margins
    largest = logits.float().amax(-1).abs().clamp(min=1.0)
    limits = ROUNDING_UNITS * torch.finfo(dtype).eps * largest * (2 * guidance_scales - 1).clamp(min=1.0)
    return margins * (NEAR_TIE * torch.where(temperatures == 0, 1.0, temperatures) / limits)
