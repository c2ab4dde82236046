"""The benchmark of `milr serve`: whoever has no turn stands still, and a ratio is that of the sums."""

from __future__ import annotations

import multiprocessing
import sys
import time
from typing import Any

import pytest
from benchmarks.serve import Side, ratio, take_turns

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def count_up(count: Any) -> None:
    while True:
        count.value += 1
        time.sleep(0.001)


def test_a_side_stands_still_while_the_other_has_its_turn() -> None:
    context = multiprocessing.get_context("spawn")
    counts = [context.RawValue("i"), context.RawValue("i")]
    processes = [context.Process(target=count_up, args=(count,), daemon=True) for count in counts]
    for process in processes:
        process.start()
    sides = [Side(process.pid or 0, lambda count=count: float(count.value))  # type: ignore[misc]
             for process, count in zip(processes, counts, strict=True)]  # fmt: skip
    try:
        take_turns(sides, 0.1, 3, warm=5)
        stopped = [count.value for count in counts]
        time.sleep(0.1)
        assert [count.value for count in counts] == stopped
        made = [sum(pictures for pictures, _, _ in side.turns) for side in sides]
        assert all(0 < each < count for each, count in zip(made, stopped, strict=True))
    finally:
        for side, process in zip(sides, processes, strict=True):
            side.resume()
            process.kill()


def test_a_ratio_is_that_of_the_sums() -> None:
    first = Side(0, lambda: 0.0, [(4.0, 1.0, 2.0), (2.0, 2.0, 1.0)])
    second = Side(0, lambda: 0.0, [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0)])
    assert ratio(first, second, 1).startswith("2.00 against 1.00, ratio 2.00 [1.00, 4.00]")
    assert ratio(first, second, 2).startswith("2.00 against 1.00, ratio 2.00 [2.00, 2.00]")
