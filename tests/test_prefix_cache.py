"""What is remembered of earlier sequences: the longest beginning, its bytes, and who goes first."""

from __future__ import annotations

import torch

from milr.models.decoding.prefix_cache import Prefixes

BYTES = 2 * 2 * 3 * 4 * 4  # of one place: two layers, keys and values, three heads of width 4, four bytes each


def held(*ids: int) -> torch.Tensor:
    """Keys and values that say which id they are of."""
    return torch.tensor(ids, dtype=torch.float).view(1, 1, 1, -1, 1).expand(2, 2, 3, -1, 4).clone()


def test_the_longest_known_beginning_is_found() -> None:
    known = Prefixes(100 * BYTES)
    for ids in ((1, 2, 3, 4), (1, 2, 9), (7,)):
        known.keep(ids, held(*ids))
    for sequence, most, length in (
        ((1, 2, 3, 5), 4, 3), ((1, 2, 3, 4, 5), 5, 4), ((1, 2, 3, 4), 3, 3), ((1, 2, 9, 9), 4, 3), ((1, 5), 2, 1),
        ((7, 7), 2, 1),
    ):  # fmt: skip
        found = known.longest(sequence, most)
        assert found is not None and torch.equal(found, held(*sequence[:length])), sequence
    assert known.longest((2, 3), 2) is None and known.longest((1, 2), 0) is None and known.longest((), 0) is None


def test_negative_ids_are_other_ids() -> None:
    known = Prefixes(100 * BYTES)
    known.keep((1, -2), held(1, -2))
    found = known.longest((1, -1), 2)
    assert found is not None and found.shape[3] == 1, "hash(-1) is hash(-2), and they are two ids"


def test_the_one_longest_unused_goes_first() -> None:
    known = Prefixes(6 * BYTES)
    known.keep((1, 1), held(1, 1))
    known.keep((2, 2), held(2, 2))
    known.keep((3, 3), held(3, 3))
    known.longest((1, 1), 2)  # used
    known.keep((4, 4), held(4, 4))
    assert [known.knows((one, one)) for one in (1, 2, 3, 4)] == [True, False, True, True]
    assert known.longest((2, 2), 2) is None and known.longest((3, 3), 2) is not None


def test_what_does_not_fit_at_all_is_not_kept_and_drives_nobody_out() -> None:
    known = Prefixes(2 * BYTES)
    known.keep((1, 1), held(1, 1))
    known.keep((2, 2, 2), held(2, 2, 2))
    assert known.knows((1, 1)) and not known.knows((2, 2, 2))


def test_forgetting() -> None:
    known = Prefixes(100 * BYTES)
    known.keep((1,), held(1))
    known.clear()
    assert known.longest((1,), 1) is None and not known.knows((1,))
    known.keep((1,), held(5))
    found = known.longest((1,), 1)
    assert found is not None and found.unique().item() == 5
