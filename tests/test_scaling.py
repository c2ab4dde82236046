"""The simulation of many workers: what must hold of it whatever its numbers are."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from scaling import SHARE, Queue, Setting, simulate  # noqa: E402

SEARCHES = [1, 1, 2, 21, 1, 3, 1, 1, 5, 1, 1, 21]
ALONE = Setting(picture=2.0, load=10.0, in_flight=1, write=0.0)


def test_one_worker_with_one_search_takes_the_sum() -> None:
    assert simulate(SEARCHES, 1, ALONE).seconds == pytest.approx(10 + 2 * sum(SEARCHES))
    written = simulate(SEARCHES, 1, replace(ALONE, write=0.5))
    assert written.seconds == pytest.approx(10 + 2 * sum(SEARCHES) + 0.5 * len(SEARCHES))
    assert written.writer == pytest.approx(0.5 * len(SEARCHES) / written.seconds)


def test_the_longest_search_bounds_any_number_of_workers() -> None:
    assert simulate(SEARCHES, 1000, ALONE).seconds == pytest.approx(10 + 2 * 21)
    assert simulate(SEARCHES, 12, replace(ALONE, shards=True)).seconds == pytest.approx(10 + 2 * 21)


def test_a_judge_and_a_writer_that_all_share_bound_the_rest() -> None:
    assert simulate(SEARCHES, 1000, replace(ALONE, rate=0.1)).seconds >= sum(SEARCHES) / 0.1
    assert simulate(SEARCHES, 1000, replace(ALONE, write=100.0)).seconds >= 100 * len(SEARCHES)


def test_searches_in_flight_slow_each_other() -> None:
    assert simulate([1, 1], 1, replace(ALONE, in_flight=2)).seconds == pytest.approx(10 + 2 * (1 + SHARE))


def test_every_search_is_taken_once_by_pulling_and_by_shards() -> None:
    for shards in (False, True):
        queue = Queue(SEARCHES, 5, replace(ALONE, shards=shards))
        taken = [number for worker in [*range(5)] * 20 if (number := queue.take(worker))]
        assert sorted(taken) == sorted(SEARCHES)
    assert Queue(SEARCHES, 5, replace(ALONE, longest_first=True)).take(3) == 21
