"""The key-value cache: keys and values of all layers for a batch of sequences, written in place.

Sequences are padded on the left, so a cache position is not a sequence's own position: it counts from the first column
of the cache, padding included.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class KVCache:
    """Keys and values of S sequences at `capacity` cache positions, (layers, S, KV heads, capacity, head dim) each.

    `memory` is the flat buffer that both are views of, so that it can be used again (None: a view of another cache).
    """

    def __init__(self, keys: Tensor, values: Tensor, memory: Tensor | None = None) -> None:
        self.keys, self.values, self.memory = keys, values, memory

    @classmethod
    def from_memory(cls, memory: Tensor, shape: tuple[int, ...]) -> KVCache:
        """A cache of this shape at the beginning of a flat buffer.

        In fp32 on a CPU, keys are stored with the positions innermost: products of one query with all keys are fastest
        so.
        """
        size, transposed = math.prod(shape), memory.device.type == "cpu" and memory.dtype == torch.float32
        keys, values = memory[: 2 * size].view(2, size)
        keys = keys.view(*shape[:3], shape[4], shape[3]).transpose(3, 4) if transposed else keys.view(shape)
        return cls(keys, values.view(shape), memory)

    @property
    def batch_size(self) -> int:
        """S, the number of sequences."""
        return self.values.shape[1]

    @property
    def capacity(self) -> int:
        """How many cache positions each sequence has."""
        return self.values.shape[3]

    def view(self, first: int, last: int, start: int = 0) -> KVCache:
        """Sequences `first` up to `last` from cache position `start` on; writing to the view writes to this cache."""
        return KVCache(self.keys[:, first:last, :, start:], self.values[:, first:last, :, start:])

    def update(self, layer: int, cache_position: int | Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values (S, KV heads, L, head dim) of one layer from `cache_position` on.

        A `cache_position` on the device is a tensor (1,), and L is 1.
        """
        if isinstance(cache_position, Tensor):
            self.keys[layer].index_copy_(2, cache_position, keys)
            self.values[layer].index_copy_(2, cache_position, values)
            return
        end = cache_position + keys.shape[2]
        self.keys[layer, :, :, cache_position:end] = keys
        self.values[layer, :, :, cache_position:end] = values

    def layer(self, layer: int, seq_len: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer at the first `seq_len` cache positions."""
        return self.keys[layer, :, :, :seq_len], self.values[layer, :, :, :seq_len]

    def extract(self, sequence: int, start: int, end: int) -> Tensor:
        """A copy of a sequence's keys and values from `start` to `end`. (layers, 2, KV heads, n, head dim)"""
        return torch.stack([part[:, sequence, :, start:end] for part in (self.keys, self.values)], 1)

    def insert(self, sequence: int, start: int, extracted: Tensor) -> None:
        """Write what `extract` gave for one sequence from cache position `start` on."""
        end = start + extracted.shape[3]
        self.keys[:, sequence, :, start:end] = extracted[:, 0]
        self.values[:, sequence, :, start:end] = extracted[:, 1]

    def copy_from(self, other: KVCache, sequences: Tensor | None = None) -> None:
        """Copy another cache to the beginning of this one: these of its sequences (None: all)."""
        for target, source in ((self.keys, other.keys), (self.values, other.values)):
            target[:, :, :, : other.capacity] = source if sequences is None else source.index_select(1, sequences)
