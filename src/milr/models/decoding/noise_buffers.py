"""Noise for CUDA: drawn by several threads into pinned buffers that are used again, and copied without waiting.

The bits are those of `batch_noise`: each row is drawn by its own stream, whichever thread does it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import torch
from torch import Tensor

from milr.randomness import NoiseStream, batch_noise

NUM_BUFFERS = 3  # one is filled while another is copied and a third is read
MAX_THREADS = 4
ROWS_PER_THREAD = 4  # fewer are not worth a thread


class Event(Protocol):
    """A point in the work of a device."""

    def record(self) -> None:
        """Set it after all that the device was given so far."""

    def synchronize(self) -> None:
        """Wait for it; at once where it was never set."""


class _CudaEvent:
    """An event on the current stream of one device, whatever device is current on the thread."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._event = device, torch.cuda.Event()  # type: ignore[no-untyped-call]

    def record(self) -> None:
        self._event.record(torch.cuda.current_stream(self._device))

    def synchronize(self) -> None:
        self._event.synchronize()


@dataclass
class _Buffer:
    values: Tensor
    copied: Event


class NoiseBuffers:
    """Draws noise (B, V) for one device. `allocate` and `event` make pinned memory and events (tests: others)."""

    def __init__(self, device: torch.device, *, num_threads: int = MAX_THREADS,
                 allocate: Callable[[int], Tensor] | None = None,
                 event: Callable[[], Any] | None = None) -> None:  # fmt: skip
        self._device = device
        self._allocate = allocate or (lambda size: torch.empty(size, pin_memory=True))
        self._event = event or (lambda: _CudaEvent(device))
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="milr-noise-rows")
        self._num_threads, self._num_draws = num_threads, 0
        self._buffers: list[_Buffer] = []
        self._uniform = torch.empty(0, dtype=torch.float64)
        self._lock = Lock()  # the noise that a text which ended early left behind may still be being drawn

    def draw(self, positions: Sequence[tuple[NoiseStream | None, int]], vocab_size: int) -> Tensor:
        """`batch_noise` on the device. The streams are different ones."""
        with self._lock, torch.inference_mode():
            return self._draw(positions, vocab_size)

    def _draw(self, positions: Sequence[tuple[NoiseStream | None, int]], vocab_size: int) -> Tensor:
        buffer = self._next_buffer(len(positions) * vocab_size)
        noise = buffer.values[: len(positions) * vocab_size].view(len(positions), vocab_size)
        if self._uniform.numel() < noise.numel():
            self._uniform = torch.empty(noise.numel(), dtype=torch.float64)
        uniform = self._uniform[: noise.numel()].view(noise.shape)
        num_parts = max(1, min(self._num_threads, len(positions) // ROWS_PER_THREAD))
        starts = [part * len(positions) // num_parts for part in range(num_parts + 1)]
        parts = [slice(first, last) for first, last in zip(starts, starts[1:], strict=False)]

        @torch.inference_mode()  # of a thread; buffers that were made in it can be written in it only
        def draw_rows(rows: slice) -> None:
            batch_noise(positions[rows], vocab_size, uniform=uniform[rows], out=noise[rows])

        list(self._threads.map(draw_rows, parts))
        on_device = noise.to(self._device, non_blocking=True)
        buffer.copied.record()
        return on_device

    def _next_buffer(self, size: int) -> _Buffer:
        """The buffer that was filled the longest ago, when its copy is done."""
        index = self._num_draws % NUM_BUFFERS
        self._num_draws += 1
        if len(self._buffers) <= index:
            self._buffers.append(_Buffer(self._allocate(size), self._event()))
        buffer = self._buffers[index]
        buffer.copied.synchronize()
        if buffer.values.numel() < size:
            buffer.values = self._allocate(size)
        return buffer
