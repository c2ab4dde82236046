"""`--shard 2/4`: the second of four parts of a run's samples, so that machines which share nothing can divide a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from milr.types import UsageError

Item = TypeVar("Item")
MOST = 1_000_000  # parts


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts, counted from 1. Which samples a part has depends on these two numbers alone."""

    index: int
    count: int

    @staticmethod
    def parse(text: str) -> Shard:
        """The shard that "2/4" names; UsageError where a text names none."""
        match = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text.strip())
        index, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= index <= count <= MOST:
            raise UsageError(f"a shard is i/n, the i-th of n parts counted from 1, such as 2/4; {text[:40]!r} is not.")
        return Shard(index, count)

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This part of the items: every `count`-th, so that each part has some of every category."""
        return list(items[self.index - 1 :: self.count])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
