"""Noise from buffers that are used again, with plain memory and recorded events in place of CUDA's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from milr.models.decoding.noise_buffers import NUM_BUFFERS, NoiseBuffers
from milr.randomness import NoiseStream, batch_noise
from milr.types import Key

VOCAB = 40


def streams(count: int) -> list[NoiseStream | None]:
    return [
        NoiseStream(Key(seed=index, prompt="a star"), "image", VOCAB) if index % 5 else None for index in range(count)
    ]


class Events:
    """Notes what was asked of events."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def record(self) -> None:
        self.calls.append("record")

    def synchronize(self) -> None:
        self.calls.append("wait")


def buffers(events: Events, sizes: list[int], num_threads: int = 3) -> NoiseBuffers:
    def allocate(size: int) -> torch.Tensor:
        sizes.append(size)
        return torch.empty(size)

    return NoiseBuffers(torch.device("cpu"), num_threads=num_threads, allocate=allocate, event=lambda: events)


@pytest.mark.parametrize("count", [1, 4, 13])
def test_the_bits_are_those_of_noise_drawn_at_once(count: int) -> None:
    events, sizes = Events(), list[int]()
    noise, expected, drawn = buffers(events, sizes), streams(count), streams(count)
    for position in range(2 * NUM_BUFFERS):
        whole = batch_noise([(stream, position) for stream in expected], VOCAB)
        with torch.inference_mode(position % 2 == 0):  # its first buffers are made by a model that decodes
            assert torch.equal(noise.draw([(stream, position) for stream in drawn], VOCAB), whole)
    assert sizes == [count * VOCAB] * NUM_BUFFERS, "buffers are used again"
    assert events.calls == ["wait", "record"] * (2 * NUM_BUFFERS), "none is filled before its copy is done"


def test_a_larger_batch_has_larger_buffers_and_a_smaller_one_the_same() -> None:
    sizes = list[int]()
    noise = buffers(Events(), sizes)
    for count in (2, 2, 2, 6, 3):
        assert noise.draw([(stream, 0) for stream in streams(count)], VOCAB).shape == (count, VOCAB)
    assert sizes == [2 * VOCAB] * 3 + [6 * VOCAB, 3 * VOCAB]


def test_two_draws_at_a_time_wait_for_each_other() -> None:
    noise = buffers(Events(), [])
    expected = batch_noise([(stream, 0) for stream in streams(8)], VOCAB)
    with ThreadPoolExecutor(2) as threads:
        drawn = threads.map(lambda _: noise.draw([(stream, 0) for stream in streams(8)], VOCAB).clone(), range(2))
        assert all(torch.equal(each, expected) for each in drawn)
