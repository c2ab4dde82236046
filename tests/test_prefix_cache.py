"""The prefix cache: the longest prefix is matched, its bytes are counted, the least recently used goes first."""

from __future__ import annotations

import torch

from milr.models.decoding.prefix_cache import PrefixCache

BYTES = 2 * 2 * 3 * 4 * 4  # of one position: two layers, keys and values, three heads of head dim 4, four bytes each


def keys_and_values(*ids: int) -> torch.Tensor:
    """Keys and values that are the ids."""
    return torch.tensor(ids, dtype=torch.float).view(1, 1, 1, -1, 1).expand(2, 2, 3, -1, 4).clone()


def test_the_longest_cached_prefix_is_matched() -> None:
    cache = PrefixCache(100 * BYTES)
    for ids in ((1, 2, 3, 4), (1, 2, 9), (7,)):
        cache.insert(ids, keys_and_values(*ids))
    for token_ids, max_tokens, length in (
        ((1, 2, 3, 5), 4, 3), ((1, 2, 3, 4, 5), 5, 4), ((1, 2, 3, 4), 3, 3), ((1, 2, 9, 9), 4, 3), ((1, 5), 2, 1),
        ((7, 7), 2, 1),
    ):  # fmt: skip
        match = cache.match(token_ids, max_tokens)
        assert match is not None and torch.equal(match, keys_and_values(*token_ids[:length])), token_ids
    assert cache.match((2, 3), 2) is None and cache.match((1, 2), 0) is None and cache.match((), 0) is None


def test_negative_ids_are_other_ids() -> None:
    cache = PrefixCache(100 * BYTES)
    cache.insert((1, -2), keys_and_values(1, -2))
    match = cache.match((1, -1), 2)
    assert match is not None and match.shape[3] == 1, "hash(-1) is hash(-2), and they are two ids"


def test_the_least_recently_used_is_evicted_first() -> None:
    cache = PrefixCache(6 * BYTES)
    cache.insert((1, 1), keys_and_values(1, 1))
    cache.insert((2, 2), keys_and_values(2, 2))
    cache.insert((3, 3), keys_and_values(3, 3))
    cache.match((1, 1), 2)  # used
    cache.insert((4, 4), keys_and_values(4, 4))
    assert [(token_id, token_id) in cache for token_id in (1, 2, 3, 4)] == [True, False, True, True]
    assert cache.match((2, 2), 2) is None and cache.match((3, 3), 2) is not None


def test_a_sequence_larger_than_the_cache_is_not_inserted_and_evicts_nothing() -> None:
    cache = PrefixCache(2 * BYTES)
    cache.insert((1, 1), keys_and_values(1, 1))
    cache.insert((2, 2, 2), keys_and_values(2, 2, 2))
    assert (1, 1) in cache and (2, 2, 2) not in cache


def test_clear() -> None:
    cache = PrefixCache(100 * BYTES)
    cache.insert((1,), keys_and_values(1))
    cache.clear()
    assert cache.match((1,), 1) is None and (1,) not in cache
    cache.insert((1,), keys_and_values(5))
    match = cache.match((1,), 1)
    assert match is not None and match.unique().item() == 5
