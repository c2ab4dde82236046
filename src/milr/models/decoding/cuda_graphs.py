"""The decode step on CUDA, captured once for each shape and replayed: Python's part of a step is one launch.

What a graph reads and writes stays where it was captured: the step's inputs are copied into buffers of its own, and the
cache lies in memory that the stack keeps. The kernels are those of the eager step, and so are the numbers.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from milr.models.decoding.llama import KeyValues, Stack

MOST = 64  # graphs held; the one longest unused goes first
STRETCH = 128  # places: a graph looks at whole stretches of the cache, masked


class Replay(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do it again, with what its buffers hold now."""


class Capture:
    """Captures work on one device as CUDA graphs, which share a pool of memory: nothing outlives a replay."""

    def __init__(self, device: torch.device) -> None:
        self._aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def __call__(self, work: Callable[[], None]) -> Replay:
        """Capture `work`, after it has run often enough for the libraries to have settled."""
        before = torch.cuda.current_stream()
        try:
            self._aside.wait_stream(before)
            with torch.cuda.stream(self._aside):
                for _ in range(3):
                    work()
            before.wait_stream(self._aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._aside, capture_error_mode="thread_local"):
                work()  # judges go on with theirs on other threads
            self._pool = graph.pool()
            return graph
        finally:
            torch.cuda.set_stream(before)  # a capture that fails leaves its own behind


@dataclass(frozen=True)
class _Buffers:
    """What the graph of one shape reads, and where it puts what it finds."""

    inputs: Tensor
    positions: Tensor
    place: Tensor
    bias: Tensor
    found: Tensor


class StepGraphs:
    """Decode steps of a stack by graph. Where that fails the steps are run as they are, and that is said once."""

    def __init__(self, stack: Stack, capture: Callable[[Callable[[], None]], Replay]) -> None:
        self._stack, self._capture = stack, capture
        self._steps: OrderedDict[tuple[Any, ...], tuple[_Buffers, Replay]] = OrderedDict()
        self._broken = False

    def __call__(self, inputs: Tensor, positions: Tensor, cache: KeyValues, place: int, bias: Tensor) -> Tensor:
        """What the stack gives for one input a stream, (S, 1, d) -> (S, 1, d); valid until the next call."""
        seen = min(cache.places, -(-(place + 1) // STRETCH) * STRETCH)
        known = None if self._broken else self._known(inputs, positions, cache, place, bias[..., :seen])
        if known is None:
            return self._stack(inputs, positions, cache, place, bias[..., : place + 1])
        own, graph = known
        own.inputs.copy_(inputs)
        own.positions.copy_(positions)
        own.place.fill_(place)
        own.bias.copy_(bias[..., :seen])
        graph.replay()
        return own.found

    def forget(self) -> None:
        """Let all graphs go."""
        self._steps.clear()

    def _known(self, inputs: Tensor, positions: Tensor, cache: KeyValues, place: int, bias: Tensor
               ) -> tuple[_Buffers, Replay] | None:  # fmt: skip
        """The graph of this shape, captured now if it is new; None where that fails."""
        shape = (cache.values.data_ptr(), tuple(cache.values.shape), bias.shape[-1])
        if shape in self._steps:
            self._steps.move_to_end(shape)
            return self._steps[shape]
        where = torch.full((1,), place, device=inputs.device)
        own = _Buffers(inputs.clone(), positions.clone(), where, bias.clone(), torch.empty_like(inputs))
        try:
            graph = self._capture(lambda: _run(self._stack, cache, own))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # an older driver, a device without them
            self._broken = True
            why = str(error).partition("\n")[0]
            logging.getLogger(__name__).warning("CUDA graphs do not work here (%s): decoding goes on without them, "
                                                "slower", why)  # fmt: skip
            return None
        self._steps[shape] = own, graph
        if len(self._steps) > MOST:
            self._steps.popitem(last=False)
        return own, graph


def _run(stack: Stack, cache: KeyValues, own: _Buffers) -> None:
    own.found.copy_(stack(own.inputs, own.positions, cache, own.place, own.bias))
