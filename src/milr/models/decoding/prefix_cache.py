"""What the cache held of earlier sequences, so that whoever begins alike does not compute it again.

A sequence is a tuple of ids; its keys and values at a place depend on the ids up to that place alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock

from torch import Tensor

Key = tuple[int, ...]


class Prefixes:
    """Keys and values by sequence, at most `room` bytes of them; the one longest unused goes first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._held = 0
        self._kept: OrderedDict[Key, Tensor] = OrderedDict()
        self._owners: dict[int, Key] = {}  # of every beginning, by its hash
        self._lock = Lock()

    def longest(self, sequence: Key, most: int) -> Tensor | None:
        """Keys and values (layers, 2, heads, n, head width) of the longest known beginning, n <= `most`; or None."""
        beginnings = list(_hashes(sequence[:most]))
        with self._lock:
            for length in range(len(beginnings), 0, -1):
                owner = self._owners.get(beginnings[length - 1])
                if owner is not None and owner[:length] == sequence[:length]:
                    self._kept.move_to_end(owner)
                    return self._kept[owner][:, :, :, :length]
        return None

    def keep(self, sequence: Key, held: Tensor) -> None:
        """Keep the keys and values of a whole sequence, (layers, 2, heads, len(sequence), head width)."""
        size = held.numel() * held.element_size()
        with self._lock:
            if sequence in self._kept or size > self._room:
                return
            self._held += size
            self._kept[sequence] = held
            self._owners |= dict.fromkeys(_hashes(sequence), sequence)
            while self._held > self._room:
                self._drop_oldest()

    def knows(self, sequence: Key) -> bool:
        """Whether the whole sequence is kept."""
        return sequence in self._kept

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()
            self._owners.clear()
            self._held = 0

    def _drop_oldest(self) -> None:
        sequence, held = self._kept.popitem(last=False)
        self._held -= held.numel() * held.element_size()
        for name in _hashes(sequence):
            if self._owners.get(name) == sequence:
                del self._owners[name]


def _hashes(sequence: Sequence[int]) -> Iterator[int]:
    """A name for each beginning of the sequence, one id longer each time."""
    name = 0
    for one in sequence:
        name = hash((name, one))
        yield name
