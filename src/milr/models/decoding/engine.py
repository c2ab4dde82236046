"""The decode engine: batched generation with one transformer, once for both modalities.

Forced tokens are prefilled together with the prompt in one forward, and a prefix that an earlier request had is not
computed again. The text that was generated last after a prompt is a draft of what a greedy text will be. A finished
request leaves the batch. On an accelerator an image is decoded without waiting for the device; text waits once a step,
to see which requests have ended, and for its drafts.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from threading import Lock
from typing import Any

import torch

from milr.models.decoding.batch import GROWTH, Batch, PromptSequence
from milr.models.decoding.cuda_graphs import CudaGraphRunner, GraphCapture
from milr.models.decoding.decode_loop import DecodeLoop
from milr.models.decoding.draft_cache import DraftCache
from milr.models.decoding.llama import LlamaDecoder
from milr.models.decoding.noise_buffers import NoiseBuffers
from milr.models.decoding.prefix_cache import PrefixCache
from milr.models.decoding.request import DecodeRequest, DecodeResult, Head
from milr.models.decoding.request_state import RequestState
from milr.models.devices import free_bytes

CACHE_BYTES = 2**30  # of cached prefixes, by default


class DecodeEngine:
    """Generates with one transformer (transformers' `LlamaModel`) and caches `cache_bytes` of keys and values.

    Several threads may generate at once, on CUDA one after the other. Weights that change in place are noticed where
    torch counts it; after other changes (`.data`, fused optimisers) call `free_memory`.
    """

    def __init__(self, transformer: Any, cache_bytes: int = CACHE_BYTES) -> None:
        self.decoder = LlamaDecoder(transformer)
        self._graph_runner, self._device = None, transformer.device
        self._noise_buffers: NoiseBuffers | None = None
        if self._device.type == "cuda":
            self._graph_runner = CudaGraphRunner(self.decoder, GraphCapture(self._device))
            self._noise_buffers = NoiseBuffers(self._device)
        self._lock = Lock()
        self._weights = list(transformer.parameters())
        self._prefix_cache, self._weights_version = PrefixCache(cache_bytes), -1
        self._draft_cache = DraftCache()
        self._noise_thread: ThreadPoolExecutor | None = None

    def generate(self, head: Head, requests: Sequence[DecodeRequest]) -> list[DecodeResult]:
        """Decode all requests in one batch over one key-value cache; each request has its own result."""
        if self._graph_runner is None and self._device.type != "cuda":
            results = self._generate(head, requests)
        else:
            with self._lock, torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
                results = self._generate(head, requests)
        return [result if result.latents is None else replace(result, latents=result.latents.clone())
                for result in results]  # tensors of inference mode cannot be trained  # fmt: skip

    @torch.inference_mode()
    def _generate(self, head: Head, requests: Sequence[DecodeRequest]) -> list[DecodeResult]:
        states = [RequestState(request, head.end_token_id) for request in requests]
        pending = [state for state in states if state.needs_forward]
        if pending:
            self._clear_if_weights_changed()
            pending = self._verify_drafts(head, pending)
        if pending:
            batch = self._batch(head, pending, self._num_allocated(head, pending), self._graph_runner)
            for state in pending:
                state.cached = ()
            DecodeLoop(head, batch, pending, self._noise_thread, self._noise_buffers).run()
            batch.close()
        results = [state.result() for state in states]
        for request, result in zip(requests, results, strict=True):
            if request.is_draftable(head):
                self._draft_cache.put(request.prompt_ids[0], result.token_ids)
        return results

    def _verify_drafts(self, head: Head, states: list[RequestState]) -> list[RequestState]:
        """Speculative decoding of greedy texts: accept what is right in their drafts. -> the states left to decode"""
        for state in states:
            if not state.is_finished and state.request.is_draftable(head):
                state.expected_ids = self._draft_cache.get(state.request.prompt_ids[0])
        while drafted := [state for state in states if not state.is_finished and state.draft_ids]:
            batch = self._batch(head, drafted, max_new_tokens=0)
            for index, (state, hidden_states) in enumerate(zip(drafted, batch.prefill(), strict=True)):
                state.verify_draft(head, hidden_states)
                token_ids = state.request.prompt_ids[0] + head.cache_ids(state.known_ids[:-1])
                state.cached = batch.extract(index, len(token_ids))
                if state.is_finished:
                    self._prefix_cache.insert(token_ids, state.cached[0])
            batch.close()
        return [state for state in states if state.needs_forward]

    def _num_allocated(self, head: Head, states: Sequence[RequestState]) -> int:
        """For how many new tokens a batch's cache has memory: for all, where none ends early or a GPU has plenty."""
        longest = max(state.request.max_new_tokens for state in states)
        if head.end_token_id is None:
            return longest
        if self._device.type == "cuda":  # a cache that grows there is captured anew, and holds old and new at once
            num_tokens = sum(embeds.shape[0] * (embeds.shape[1] + longest)
                             for embeds in (state.request.prompt_embeds for state in states))  # fmt: skip
            if num_tokens * self.decoder.cache_bytes_per_token < free_bytes(self._device) // 2:
                return longest
        return min(longest, GROWTH)

    def _batch(self, head: Head, states: Sequence[RequestState], max_new_tokens: int,
               graph_runner: CudaGraphRunner | None = None) -> Batch:  # fmt: skip
        prompts = [_prompt_sequences(head, state) for state in states]
        return Batch(self.decoder, self._prefix_cache, prompts, max_new_tokens, graph_runner)

    def prefetch_noise(self, enabled: bool) -> None:
        """Draw the next step's noise while a step is computed, on a thread that needs a core of its own."""
        self._noise_thread = ThreadPoolExecutor(1, thread_name_prefix="milr-noise") if enabled else None

    def without_graphs(self) -> None:
        """Run every step eagerly from now on."""
        self._graph_runner = None

    @property
    def num_captures(self) -> int:
        """How many CUDA graphs were captured so far."""
        return self._graph_runner.num_captures if self._graph_runner else 0

    def set_cache_bytes(self, cache_bytes: int) -> None:
        """Cache at most `cache_bytes` of keys and values, beginning with none."""
        self._prefix_cache = PrefixCache(cache_bytes)

    def free_memory(self) -> None:
        """Remove all cached keys and values, drafts and graphs."""
        self._prefix_cache.clear()
        self._draft_cache.clear()
        self.decoder.free_memory()
        if self._graph_runner:
            self._graph_runner.clear()

    def _clear_if_weights_changed(self) -> None:
        """Weights that were trained since the last call give other keys and values."""
        version = sum(weight._version for weight in self._weights)
        if version != self._weights_version:
            self._prefix_cache.clear()
            self._weights_version = version


def _prompt_sequences(head: Head, state: RequestState) -> list[PromptSequence]:
    """Each sequence's prompt, its tokens so far and its draft."""
    prompt_embeds, new_ids = state.request.prompt_embeds, (*state.known_ids, *state.draft_ids)
    new_embeds = None
    if new_ids:
        new_embeds = head.embed(torch.tensor(new_ids, device=prompt_embeds.device)).to(prompt_embeds.dtype)
    wants_prefix_latents = state.num_latents and not state.has_latents
    num_outputs = 1 + len(state.draft_ids) + (len(state.forced_ids) if wants_prefix_latents else 0)
    all_prompt_ids = state.request.prompt_ids or (None,) * len(prompt_embeds)
    cached = state.cached or (None,) * len(prompt_embeds)
    return [PromptSequence(embeds if new_embeds is None else torch.cat([embeds, new_embeds]),
                           None if prompt_ids is None else prompt_ids + head.cache_ids(new_ids), num_outputs, tensor)
            for embeds, prompt_ids, tensor in zip(prompt_embeds, all_prompt_ids, cached, strict=True)]  # fmt: skip
