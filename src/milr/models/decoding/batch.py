"""A batch of sequences over one key-value cache, padded on the left, so that all end at the same cache position.

A prefix that is cached is copied from the `PrefixCache`; the rest is prefilled in groups of sequences of like length,
one forward each. Sequences are sorted by how many tokens have to be computed; `Batch` knows which request owns which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from milr.models.decoding.cpu_step import CpuStep, can_step
from milr.models.decoding.cuda_graphs import CudaGraphRunner
from milr.models.decoding.kv_cache import KVCache
from milr.models.decoding.llama import LlamaDecoder
from milr.models.decoding.prefix_cache import PrefixCache, TokenIds

SMALL_GROWTH = 16  # cache positions by which a full contiguous cache grows
GROWTH = 128  # cache positions by which any other full cache grows
GRAPH_CAPACITY_STEP = 128  # the capacity of a cache for CUDA graphs is rounded up to a multiple of this
# The number of sequences is rounded up to one of these.
GRAPH_BATCH_SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128)
MAX_BATCHED_TOKENS = 2**13  # of one prefill forward: conditional and unconditional sequences need not share one
MAX_CONTIGUOUS_BYTES = 2**30  # larger caches do not grow in small steps


@dataclass(frozen=True)
class PromptSequence:
    """One sequence to prefill: embeddings (L, d), and its `token_ids` (L,) where its prefix may be shared.

    The hidden states of the last `num_outputs` inputs, at least one, are returned. `cached` holds the keys and values
    of its first tokens, where the caller has them.
    """

    inputs_embeds: Tensor
    token_ids: TokenIds | None
    num_outputs: int
    cached: Tensor | None = None


@dataclass(frozen=True)
class _BatchedSequence:
    """A sequence in the batch: its request, its branch of the guidance pair, and its cached prefix."""

    request: int
    branch: int
    prompt: PromptSequence
    cached: Tensor | None

    @property
    def seq_len(self) -> int:
        return len(self.prompt.inputs_embeds)

    @property
    def num_uncached(self) -> int:
        return self.seq_len - (0 if self.cached is None else self.cached.shape[3])


class Batch:
    """B requests of G sequences each. `sequence_indices` (B, G) are the positions of their sequences in the cache.

    With `graph_runner`, decode steps run as CUDA graphs: shapes are rounded up, so that few graphs are enough, and the
    sequences of requests that are removed stay as idle ones.
    """

    def __init__(self, decoder: LlamaDecoder, prefix_cache: PrefixCache, prompts: Sequence[Sequence[PromptSequence]],
                 max_new_tokens: int, graph_runner: CudaGraphRunner | None = None) -> None:  # fmt: skip
        sequences = [_BatchedSequence(request, branch, prompt, _cached_prefix(prefix_cache, prompt))
                     for request, pair in enumerate(prompts) for branch, prompt in enumerate(pair)]  # fmt: skip
        self._sequences = sorted(sequences, key=lambda sequence: -sequence.num_uncached)
        self._decoder, self._prefix_cache, self._graph_runner = decoder, prefix_cache, graph_runner
        self._prompt_len = self._seq_len = max(sequence.seq_len for sequence in sequences)
        num_bytes = len(sequences) * (self._prompt_len + max_new_tokens) * decoder.cache_bytes_per_token
        is_cpu = sequences[0].prompt.inputs_embeds.device.type == "cpu"
        # A CPU multiplies fastest with the whole cache, so a small cache has little more capacity than it needs.
        self._contiguous = is_cpu and graph_runner is None and num_bytes < MAX_CONTIGUOUS_BYTES
        self._steps_on_cpu = self._contiguous and can_step(decoder)
        capacity = self._prompt_len + (min(max_new_tokens, SMALL_GROWTH) if self._contiguous else max_new_tokens)
        capacity = capacity if graph_runner is None else _round_up(capacity, GRAPH_CAPACITY_STEP)
        self._cache = decoder.allocate_cache(self._padded_batch_size(len(sequences)), capacity)
        self._sum = torch.zeros((), device=self._cache.values.device)  # not finite once a hidden state is not
        self._assign_indices(list(range(len(prompts))))

    def _padded_batch_size(self, num_sequences: int) -> int:
        """The number of sequences to allocate the cache for."""
        if self._graph_runner is None:
            return num_sequences
        return next((size for size in GRAPH_BATCH_SIZES if size >= num_sequences), _round_up(num_sequences, 64))

    def _assign_indices(self, requests: Sequence[int]) -> None:
        """Set who owns which sequence, for `requests` in this order; idle sequences are fed as the first request is."""
        indices = {(sequence.request, sequence.branch): index for index, sequence in enumerate(self._sequences)}
        branches = range(1 + max(sequence.branch for sequence in self._sequences))
        device, num_idle = self._cache.values.device, self._cache.batch_size - len(self._sequences)
        self._requests = list(requests)
        self.sequence_indices = torch.tensor(
            [[indices[request, branch] for branch in branches] for request in requests], device=device
        )
        rank = {request: index for index, request in enumerate(requests)}
        owners = [rank.get(sequence.request, 0) for sequence in self._sequences]
        lengths = [sequence.seq_len for sequence in self._sequences]
        self._owners = torch.tensor([*owners, *[0] * num_idle], device=device)
        self._padding = self._prompt_len - torch.tensor([*lengths, *[0] * num_idle], device=device)
        self._bias: Tensor | None = None
        self._cpu_step: CpuStep | None = None

    def prefill(self) -> list[Tensor]:
        """Forward all prompts; for each request the hidden states of its last `num_outputs` inputs, (G, n, d)."""
        outputs: dict[tuple[int, int], Tensor] = {}
        for first, last in self._prefill_groups():
            hidden_states = self._prefill_group(first, last)
            for sequence, states in zip(self._sequences[first:last], hidden_states, strict=True):
                outputs[sequence.request, sequence.branch] = states[-sequence.prompt.num_outputs :]
        self._sequences = [replace(sequence, cached=None, prompt=replace(sequence.prompt, cached=None))
                           for sequence in self._sequences]  # fmt: skip
        branches = range(self.sequence_indices.shape[1])
        return [torch.stack([outputs[request, branch] for branch in branches]) for request in self._requests]

    def _prefill_groups(self) -> Iterator[tuple[int, int]]:
        """Ranges of sequences of which none has less than half as many uncached tokens as the first, and that have at
        most MAX_BATCHED_TOKENS together."""
        first = 0
        for index, sequence in enumerate(self._sequences):
            longest = self._sequences[first].num_uncached
            num_tokens = (index - first + 1) * longest
            if 2 * sequence.num_uncached < longest or num_tokens > max(MAX_BATCHED_TOKENS, longest):
                yield first, index
                first = index
        yield first, len(self._sequences)

    def _prefill_group(self, first: int, last: int) -> Tensor:
        """One forward over a group: as many inputs of each sequence as the first has uncached. -> (S, L, d)"""
        group = self._sequences[first:last]
        length, longest = group[0].num_uncached, max(sequence.seq_len for sequence in group)
        start = self._prompt_len - longest
        cache = self._cache.view(first, last, start)
        for index, sequence in enumerate(group):
            _insert_cached(cache, index, sequence, longest, sequence.seq_len - length)
        inputs_embeds = torch.stack([
            pad(sequence.prompt.inputs_embeds[-length:], (0, 0, max(0, length - sequence.seq_len), 0))
            for sequence in group
        ])  # fmt: skip
        columns = torch.arange(longest - length, longest, device=inputs_embeds.device)
        padding = (self._padding[first:last] - start)[:, None]
        position_ids = (columns - padding).clamp(min=0)
        bias = None
        if longest > length or any(sequence.seq_len < length for sequence in group):
            bias = _prefill_bias(padding, columns, longest, inputs_embeds.dtype)
        hidden_states = self._decoder(inputs_embeds, position_ids, cache, longest - length, bias)
        self._sum = self._sum + hidden_states.sum(dtype=torch.float32)
        return hidden_states

    def decode_step(self, inputs_embeds: Tensor) -> Tensor:
        """Feed one input to all sequences of each request. (B, d) -> hidden states (B, G, d)"""
        if self._seq_len == self._cache.capacity:
            self._grow_cache()
        if self._steps_on_cpu:
            return self._decode_on_cpu(inputs_embeds)
        if self._bias is None:
            self._bias = self._decode_bias()
        self._bias[..., self._seq_len] = 0.0
        position_ids, inputs_embeds = (self._seq_len - self._padding)[:, None], inputs_embeds[self._owners][:, None]
        if self._graph_runner:
            hidden_states = self._graph_runner(inputs_embeds, position_ids, self._cache, self._seq_len, self._bias)
        else:
            bias = self._bias if self._contiguous else self._bias[..., : self._seq_len + 1]
            hidden_states = self._decoder(inputs_embeds, position_ids, self._cache, self._seq_len, bias)
        self._seq_len += 1
        self._sum = self._sum + hidden_states.sum(dtype=torch.float32)
        return hidden_states[:, 0][self.sequence_indices]

    def _decode_on_cpu(self, inputs_embeds: Tensor) -> Tensor:
        """(B, d) -> (B, G, d)"""
        if self._cpu_step is None:
            self._cpu_step = CpuStep(self._decoder, self._cache, self._padding, self._decode_bias())
        hidden_states = self._cpu_step(inputs_embeds.index_select(0, self._owners), self._seq_len)
        self._seq_len += 1
        self._sum += hidden_states.sum()
        return hidden_states[self.sequence_indices]

    def _decode_bias(self) -> Tensor:
        """0 at the written cache positions of each sequence, -inf at padding and after them. (S, 1, 1, capacity)"""
        columns = torch.arange(self._cache.capacity, device=self._padding.device)
        masked = (columns < self._padding[:, None]) | (columns >= self._seq_len)
        bias = torch.zeros(masked.shape, dtype=self._cache.values.dtype, device=masked.device)
        return bias.masked_fill(masked, -torch.inf)[:, None, None]

    def _grow_cache(self) -> None:
        growth = SMALL_GROWTH if self._contiguous else GROWTH
        cache = self._decoder.allocate_cache(self._cache.batch_size, self._seq_len + growth)
        cache.copy_from(self._cache)
        self._free_cache()
        self._cache, self._bias, self._cpu_step = cache, None, None

    def close(self) -> None:
        """Free the cache; nothing is decoded any more."""
        self._free_cache()

    def _free_cache(self) -> None:
        """Give the cache's memory back, unless a hidden state that was not finite may have left such values in it."""
        if bool(self._sum.isfinite()):
            self._decoder.free_cache(self._cache)

    def select(self, requests: Sequence[int]) -> None:
        """Keep these requests, given by their current indices, and remove the others."""
        requests = [self._requests[index] for index in requests]
        if self._graph_runner is None:
            indices = [index for index, sequence in enumerate(self._sequences) if sequence.request in requests]
            cache = self._decoder.allocate_cache(len(indices), self._cache.capacity)
            cache.copy_from(self._cache, torch.tensor(indices, device=cache.values.device))
            self._free_cache()
            self._cache = cache
            self._sequences = [self._sequences[index] for index in indices]
        self._assign_indices(requests)

    def extract(self, request: int, num_tokens: int) -> tuple[Tensor, ...]:
        """A copy of the keys and values of the first `num_tokens` tokens of each sequence of a request."""
        starts = [(index, self._prompt_len - self._sequences[index].seq_len)
                  for index in self.sequence_indices[request].tolist()]  # fmt: skip
        return tuple(self._cache.extract(index, start, start + num_tokens) for index, start in starts)

    def cache_prefix(self, request: int, new_token_ids: TokenIds = ()) -> None:
        """Let later batches share a request's sequences: the prompt, and `new_token_ids` that were fed since."""
        for index in self.sequence_indices[request].tolist():
            sequence = self._sequences[index]
            prompt_ids = sequence.prompt.token_ids
            if prompt_ids is None or (token_ids := prompt_ids + new_token_ids) in self._prefix_cache:
                continue
            start = self._prompt_len - sequence.seq_len
            self._prefix_cache.insert(token_ids, self._cache.extract(index, start, start + len(token_ids)))


def _cached_prefix(prefix_cache: PrefixCache, prompt: PromptSequence) -> Tensor | None:
    if prompt.cached is not None or prompt.token_ids is None:
        return prompt.cached
    return prefix_cache.match(prompt.token_ids, len(prompt.token_ids) - prompt.num_outputs)


def _insert_cached(cache: KVCache, index: int, sequence: _BatchedSequence, longest: int, num_tokens: int) -> None:
    """Write the first `num_tokens` cached tokens of a sequence into a cache whose sequences end at `longest`."""
    if num_tokens > 0 and sequence.cached is not None:
        cache.insert(index, longest - sequence.seq_len, sequence.cached[:, :, :, :num_tokens])


def _prefill_bias(padding: Tensor, columns: Tensor, seq_len: int, dtype: torch.dtype) -> Tensor:
    """0 where the input at a column may attend, -inf elsewhere: not ahead of it and not at padding.

    Padding attends to itself, or its attention would not be finite. (S, 1), (L,) -> (S, 1, L, seq_len)
    """
    attended = torch.arange(seq_len, device=columns.device)
    allowed = (attended <= columns[:, None]) & (attended >= padding[:, None])
    allowed = allowed | (attended == columns[:, None])
    bias = torch.zeros(allowed.shape, dtype=dtype, device=columns.device)
    return bias.masked_fill(~allowed, -torch.inf)[:, None]


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
