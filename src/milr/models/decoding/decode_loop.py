"""The decode loop over one batch: prefill once, then one token a step for every request until all are finished."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from milr.models.decoding.batch import Batch
from milr.models.decoding.noise_buffers import NoiseBuffers
from milr.models.decoding.request import Head
from milr.models.decoding.request_state import RequestState
from milr.randomness import NoiseStream, batch_noise, comparable_margins, log_probs_of, sample_tokens


class DecodeLoop:
    """The unfinished requests of one batch. What stays the same while no request finishes is computed once.

    `noise_thread` draws the noise of the next step while this one is computed (None: no thread does).
    """

    def __init__(self, head: Head, batch: Batch, states: list[RequestState],
                 noise_thread: ThreadPoolExecutor | None, noise_buffers: NoiseBuffers | None = None
                 ) -> None:  # fmt: skip
        self._head, self._batch, self._states, self._noise_thread = head, batch, states, noise_thread
        self._next_noise: Future[Tensor] | None = None
        self._noise_buffers = noise_buffers
        self._start_buffers()

    def run(self) -> None:
        """Decode until every request is finished."""
        last_states = []
        for index, (state, hidden_states) in enumerate(zip(self._states, self._batch.prefill(), strict=True)):
            state.add_prefix_latents(hidden_states)
            last_states.append(hidden_states[:, -1])
            if not self._head.is_text:
                self._batch.cache_prefix(index)
        latents = self._remove_finished(torch.stack(last_states).float())
        while self._states:
            tokens = self._remove_finished(self._sample(latents))
            if self._states:
                latents = self._batch.decode_step(self._head.embed(tokens)).float()

    def _sample(self, latents: Tensor) -> Tensor:
        """Sample the next token of every request and store it. (B, G, d) -> (B,)"""
        logits = self._head.logits(latents, self._guidance_scales)
        tokens, margins = sample_tokens(logits, self._temperatures, self._noise(logits))
        self._tokens.append(tokens)
        self._margins.append(
            comparable_margins(margins, logits, self._head.dtype, self._guidance_scales, self._temperatures)
        )
        if not self._head.is_text:
            self._log_probs.append(log_probs_of(tokens, logits))
        end_token_id = self._head.end_token_id
        is_end = [False] * len(self._states) if end_token_id is None else (tokens == end_token_id).tolist()
        for index, state in enumerate(self._states):
            state.append_token(latents, index, is_end=is_end[index])
        return tokens

    def _noise(self, logits: Tensor) -> Tensor | None:
        """Each request's noise at its own position, ones for a greedy request (B, V). None when all are greedy."""
        if all(state.request.noise is None for state in self._states):
            return None
        positions = [(state.request.noise, state.num_tokens) for state in self._states]
        noise = self._next_noise.result() if self._next_noise else self._draw(positions, logits)
        self._next_noise = None
        is_last = all(state.num_tokens + 1 >= state.request.max_new_tokens for state in self._states)
        if self._noise_thread and not is_last:
            following = [(stream, position + 1) for stream, position in positions]
            self._next_noise = self._noise_thread.submit(self._draw, following, logits)
        return noise

    def _draw(self, positions: Sequence[tuple[NoiseStream | None, int]], logits: Tensor) -> Tensor:
        """The noise on the logits' device (B, V); copying it from pinned buffers does not wait."""
        if self._noise_buffers:
            return self._noise_buffers.draw(positions, logits.shape[-1])
        return batch_noise(positions, logits.shape[-1]).to(logits.device)

    def _remove_finished(self, tensor: Tensor) -> Tensor:
        """Take finished requests out of the batch and out of `tensor` (B, ...)."""
        unfinished = [index for index, state in enumerate(self._states) if not state.is_finished]
        if len(unfinished) == len(self._states):
            return tensor
        self._hand_out_tokens()
        if unfinished:
            self._batch.select(unfinished)
            tensor = tensor[unfinished]
            self._next_noise = self._next_noise and _rows_of(self._next_noise, unfinished)
        self._states = [self._states[index] for index in unfinished]
        self._start_buffers()
        return tensor

    def _start_buffers(self) -> None:
        self._tokens: list[Tensor] = []
        self._margins: list[Tensor] = []
        self._log_probs: list[Tensor] = []
        requests = [state.request for state in self._states]
        device = self._batch.sequence_indices.device
        self._guidance_scales = torch.tensor([request.guidance_scale for request in requests], device=device)
        self._temperatures = torch.tensor([request.temperature for request in requests], device=device)

    def _hand_out_tokens(self) -> None:
        """Give every request the tokens sampled for it; later batches may share the texts that are finished."""
        if self._tokens:
            sampled = zip(self._states, torch.stack(self._tokens, 1), torch.stack(self._margins, 1), strict=True)
            for state, tokens, margins in sampled:
                state.tokens.append(tokens)
                state.margins.append(margins)
        if self._log_probs:
            for state, log_probs in zip(self._states, torch.stack(self._log_probs, 1), strict=True):
                state.log_probs.append(log_probs)
        for index, state in enumerate(self._states):
            if self._head.is_text and state.is_finished:
                new_ids = state.token_ids()[len(state.known_ids) : -1]
                self._batch.cache_prefix(index, self._head.cache_ids(new_ids))


def _rows_of(noise: Future[Tensor], indices: Sequence[int]) -> Future[Tensor]:
    """The noise of the requests that are left."""
    rows: Future[Tensor] = Future()
    rows.set_result(noise.result()[indices])
    return rows
