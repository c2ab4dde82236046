"""The batched decode loop, once for both modalities.

A row is one request. It has one stream (text) or a guidance pair of streams (image: conditional, unconditional) that
read different prompts and are fed the same tokens. Rows are padded on the left, so all of them end, and go on, at the
same place; forced tokens are read together with the prompt in one forward. A finished row leaves the batch. On the
accelerator an image is decoded without waiting for the device; text waits once a step, to see which rows have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from milr.randomness import NEAR_TIE, NoiseStream, choose


@dataclass(frozen=True)
class Head:
    """How one modality reads latents and is fed tokens.

    `embed` maps ids (n,) to inputs (n, d); `logits` maps fp32 latents (B, G, d) of G streams and the rows' guidance
    scales (B,) to fp32 logits (B, V); `end` is the id that finishes a row before its count, if there is one.
    """

    embed: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor, Tensor], Tensor]
    end: int | None = None


@dataclass(frozen=True)
class Row:
    """One request: the embedded prompt of each stream (G, L, d), and how to go on after it.

    `prefix` is forced; the row ends with `count` tokens, prefix included; the first `keep` latents are returned.
    Temperature 0 is greedy and needs no noise.
    """

    prompt: Tensor
    count: int
    prefix: tuple[int, ...] = ()
    keep: int = 0
    temperature: float = 0.0
    guidance_scale: float = 1.0
    noise: NoiseStream | None = None


@dataclass(frozen=True)
class Decoded:
    """A finished row: all ids, fp32 latents (kept, G, d) that predict the first of them, and what was not certain."""

    ids: tuple[int, ...]
    latents: Tensor | None
    near_ties: tuple[int, ...]
    decoded: int


@torch.no_grad()
def decode(transformer: Any, head: Head, rows: Sequence[Row]) -> list[Decoded]:
    """Decode all rows in one batch over one key-value cache; each row's result is its own."""
    progress = [_Progress(row, head.end) for row in rows]
    work = [row for row in progress if row.keep or not row.done]
    if work:
        _run(transformer, head, work)
    return [row.result() for row in progress]


def _run(transformer: Any, head: Head, work: list[_Progress]) -> None:
    sequences = [_sequence(head, row) for row in work]
    batch = _Batch(transformer, sequences)
    hidden = batch.read(sequences)  # (B, G, W, d)
    for row, states in zip(work, hidden, strict=True):
        row.keep_forced(states)
    work, latents = _unfinished(batch, work, hidden[:, :, -1].float())
    while work:
        tokens = _extend(head, work, latents)
        work, tokens = _unfinished(batch, work, tokens)
        if work:
            latents = batch.step(head.embed(tokens)).float()


def _sequence(head: Head, row: _Progress) -> Tensor:
    """Prompt and forced tokens of each stream, embedded. (G, L + n, d)"""
    prompt = row.row.prompt
    if not row.forced:
        return prompt
    forced = head.embed(torch.tensor(row.forced, device=prompt.device))
    return torch.cat([prompt, forced.to(prompt.dtype).expand(len(prompt), -1, -1)], dim=1)


def _extend(head: Head, work: Sequence[_Progress], latents: Tensor) -> Tensor:
    """Choose the next token of every row and write it down. (B, G, d) -> (B,)"""
    guidance = torch.tensor([row.row.guidance_scale for row in work], device=latents.device)
    temperatures = torch.tensor([row.row.temperature for row in work], device=latents.device)
    logits = head.logits(latents, guidance)
    tokens, leads = choose(logits, temperatures, _noise(work, logits))
    ended = [False] * len(work) if head.end is None else (tokens == head.end).tolist()
    for index, row in enumerate(work):
        row.add(tokens[index], leads[index], latents[index], ended=ended[index])
    return tokens


def _noise(work: Sequence[_Progress], logits: Tensor) -> Tensor | None:
    """The rows' noise at their own positions (B, V); rows without any get ones. None when no row has any."""
    if all(row.row.noise is None for row in work):
        return None
    silence = torch.ones(logits.shape[-1])
    drawn = [row.row.noise.at(row.length) if row.row.noise else silence for row in work]
    return torch.stack(drawn).to(logits.device)


def _unfinished(batch: _Batch, work: list[_Progress], tensor: Tensor) -> tuple[list[_Progress], Tensor]:
    """Drop finished rows from the work, the cache and `tensor` (B, ...)."""
    live = [index for index, row in enumerate(work) if not row.done]
    if len(live) < len(work):
        batch.select(live)
        tensor = tensor[live]
    return [work[index] for index in live], tensor


class _Progress:
    """What one row has so far. Drawn tokens stay on the device until the row's result is asked for."""

    def __init__(self, row: Row, end: int | None) -> None:
        forced = row.prefix[: row.count]
        ended = end in forced
        self.row = row
        self.forced = forced[: forced.index(end) + 1] if ended and end is not None else forced
        self.done = ended or len(self.forced) >= row.count
        self.keep = min(row.keep, len(self.forced)) if self.done else min(row.keep, row.count)
        self._drawn: list[Tensor] = []
        self._leads: list[Tensor] = []
        self._latents: list[Tensor] = []

    @property
    def length(self) -> int:
        return len(self.forced) + len(self._drawn)

    def keep_forced(self, states: Tensor) -> None:
        """Keep the latents that predict the forced tokens. (G, W, d)"""
        count = len(self.forced)
        predicting = states[:, states.shape[1] - 1 - count : -1].transpose(0, 1)  # (n, G, d)
        self._latents.extend(predicting[: self.keep].float())

    def add(self, token: Tensor, lead: Tensor, latent: Tensor, *, ended: bool) -> None:
        if self.length < self.keep:
            self._latents.append(latent)
        self._drawn.append(token)
        self._leads.append(lead)
        self.done = ended or self.length >= self.row.count

    def result(self) -> Decoded:
        drawn = torch.stack(self._drawn).tolist() if self._drawn else []
        leads = torch.stack(self._leads).tolist() if self._leads else []
        first = len(self.forced)
        ties = tuple(first + index for index, lead in enumerate(leads) if lead < NEAR_TIE)
        latents = torch.stack(self._latents) if self._latents else None
        return Decoded((*self.forced, *drawn), latents, ties, len(drawn))


class _Batch:
    """The key-value cache of a batch. Streams lie in halves: stream g of row j is at g * rows + j."""

    def __init__(self, transformer: Any, sequences: Sequence[Tensor]) -> None:
        lengths = [sequence.shape[1] for sequence in sequences]
        self._transformer = transformer
        self._cache = DynamicCache(config=transformer.config)
        self._streams = len(sequences[0])
        self._rows = len(sequences)
        self._mask: Tensor | None = None
        if min(lengths) < max(lengths):
            real = torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]
            self._mask = real.long().repeat(self._streams, 1).to(sequences[0].device)

    def read(self, sequences: Sequence[Tensor]) -> Tensor:
        """Prefill: every row's sequence (G, L, d), padded on the left. -> (B, G, W, d)"""
        width = max(sequence.shape[1] for sequence in sequences)
        padded = [torch.nn.functional.pad(sequence, (0, 0, width - sequence.shape[1], 0)) for sequence in sequences]
        hidden = self._forward(torch.stack(padded, dim=1).flatten(0, 1))
        return hidden.view(self._streams, self._rows, width, -1).transpose(0, 1)

    def step(self, inputs: Tensor) -> Tensor:
        """Feed one token to every stream of every row. (B, d) -> (B, G, d)"""
        if self._mask is not None:
            self._mask = torch.nn.functional.pad(self._mask, (0, 1), value=1)
        hidden = self._forward(inputs.repeat(self._streams, 1)[:, None])[:, 0]
        return hidden.view(self._streams, self._rows, -1).transpose(0, 1)

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""
        if not rows:
            return
        kept = [stream * self._rows + row for stream in range(self._streams) for row in rows]
        self._cache.batch_select_indices(torch.tensor(kept, device=self._transformer.device))
        self._rows = len(rows)
        if self._mask is not None:
            self._mask = self._mask[kept]

    def _forward(self, inputs: Tensor) -> Tensor:
        """One pass; positions count real tokens only, so a row reads the same positions alone or padded."""
        positions = None
        if self._mask is not None:
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        output = self._transformer(
            inputs_embeds=inputs,
            attention_mask=self._mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        hidden: Tensor = output.last_hidden_state
        return hidden
