"""Keys and values of sequences decoded before, so that a prefix that sequences share is computed once.

The keys and values at a position depend on the token ids up to that position alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock

from torch import Tensor

TokenIds = tuple[int, ...]


class PrefixCache:
    """Keys and values by token ids, at most `max_bytes` of them; the least recently used sequence is evicted first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._entries: OrderedDict[TokenIds, Tensor] = OrderedDict()
        self._by_hash: dict[int, TokenIds] = {}  # a sequence that has a prefix of this hash
        self._lock = Lock()

    def match(self, token_ids: TokenIds, max_tokens: int) -> Tensor | None:
        """Keys and values (layers, 2, KV heads, n, head dim) of the longest cached prefix; n <= `max_tokens`."""
        hashes = list(_prefix_hashes(token_ids[:max_tokens]))
        with self._lock:
            for length in range(len(hashes), 0, -1):
                entry = self._by_hash.get(hashes[length - 1])
                if entry is not None and entry[:length] == token_ids[:length]:
                    self._entries.move_to_end(entry)
                    return self._entries[entry][:, :, :, :length]
        return None

    def insert(self, token_ids: TokenIds, keys_and_values: Tensor) -> None:
        """Cache the keys and values of all of `token_ids`, (layers, 2, KV heads, len(token_ids), head dim)."""
        size = keys_and_values.numel() * keys_and_values.element_size()
        with self._lock:
            if token_ids in self._entries or size > self._max_bytes:
                return
            self._num_bytes += size
            self._entries[token_ids] = keys_and_values
            self._by_hash |= dict.fromkeys(_prefix_hashes(token_ids), token_ids)
            while self._num_bytes > self._max_bytes:
                self._evict_oldest()

    def __contains__(self, token_ids: TokenIds) -> bool:
        """Whether all of `token_ids` is an entry of its own."""
        return token_ids in self._entries

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            self._entries.clear()
            self._by_hash.clear()
            self._num_bytes = 0

    def _evict_oldest(self) -> None:
        token_ids, keys_and_values = self._entries.popitem(last=False)
        self._num_bytes -= keys_and_values.numel() * keys_and_values.element_size()
        for prefix_hash in _prefix_hashes(token_ids):
            if self._by_hash.get(prefix_hash) == token_ids:
                del self._by_hash[prefix_hash]


def _prefix_hashes(token_ids: TokenIds) -> Iterator[int]:
    """The hash of each prefix, one id longer each time."""
    prefix_hash = 0
    for token_id in token_ids:
        prefix_hash = hash((prefix_hash, token_id))
        yield prefix_hash
