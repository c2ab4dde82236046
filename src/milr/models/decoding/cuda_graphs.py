"""The decode step on CUDA, captured as a graph once for each shape and replayed: a step is then one launch.

A graph reads and writes the memory that it was captured with: the step's inputs are copied into buffers of the graph,
and the key-value cache is in memory that the `LlamaDecoder` does not free. The kernels, and so the numbers, are those
of the eager step.
"""

from __future__ import annotations

import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from milr.models.decoding.kv_cache import KVCache
from milr.models.decoding.llama import LlamaDecoder
from milr.outside.capture_gate import PROCESS_GATE, CaptureGate
from milr.outside.logs import logger

MAX_GRAPHS = 64  # the least recently used is evicted first
SEQ_LEN_STEP = 128  # a graph attends to a multiple of this many cache positions, masked
WARM_UP_RUNS = 3  # before a capture, so that the libraries have allocated what they need
CAPTURED_USE = 2  # of a shape: one that comes once is not worth a capture
STEPS_BETWEEN_WAITS, WAIT_SECONDS = 64, 1.0  # for judges at work: now and then a capture waits for them
MAX_FAILURES = 3  # captures that fail before no more are tried: one may fail because a judge used the GPU meanwhile


class Graph(Protocol):
    """Captured work."""

    def replay(self) -> None:
        """Run it again on the current contents of its buffers."""


class GraphCapture:
    """Captures work on one device as CUDA graphs that share a memory pool: nothing in it outlives a replay."""

    def __init__(self, device: torch.device) -> None:
        self._capture_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool: Any = None

    def __call__(self, work: Callable[[], None]) -> Graph:
        """Capture `work` after some warm-up runs."""
        stream = torch.cuda.current_stream()
        try:
            self._capture_stream.wait_stream(stream)
            with torch.cuda.stream(self._capture_stream):
                for _ in range(WARM_UP_RUNS):
                    work()
            stream.wait_stream(self._capture_stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._capture_stream,
                                  capture_error_mode="thread_local"):  # fmt: skip
                work()  # "thread_local": judges may use CUDA on other threads meanwhile
            self._pool = graph.pool()
            return graph
        except BaseException:
            self._pool = None  # what a broken capture has left in it is not used again
            raise
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves its own stream current


@dataclass(frozen=True)
class _Buffers:
    """The inputs and outputs of the graph of one shape."""

    inputs_embeds: Tensor
    position_ids: Tensor
    cache_position: Tensor
    attention_bias: Tensor
    hidden_states: Tensor


@dataclass(frozen=True)
class _Captured:
    """A graph with its buffers, and the memory of the cache that it reads and writes."""

    buffers: _Buffers
    graph: Graph
    memory: weakref.ref[Tensor]

    def is_valid(self) -> bool:
        """Whether that memory is still held."""
        return self.memory() is not None


class CudaGraphRunner:
    """Runs decode steps by graph. Where a capture fails, the step runs eagerly; after MAX_FAILURES all of them do.

    Then one warning is logged. A shape is captured at its second use, unless a judge is at work behind `gate`.
    """

    def __init__(self, decoder: LlamaDecoder, capture: Callable[[Callable[[], None]], Graph],
                 gate: CaptureGate = PROCESS_GATE) -> None:  # fmt: skip
        self._decoder, self._capture, self._gate = decoder, capture, gate
        self._graphs: OrderedDict[tuple[Any, ...], _Captured] = OrderedDict()
        self._num_uses: Counter[tuple[Any, ...]] = Counter()
        self._num_failures = self._num_postponed = self.num_captures = 0

    def __call__(self, inputs_embeds: Tensor, position_ids: Tensor, cache: KVCache, cache_position: int,
                 attention_bias: Tensor) -> Tensor:  # fmt: skip
        """The decoder's hidden states for one input a sequence, (S, 1, d) -> (S, 1, d); valid until the next call."""
        seq_len = min(cache.capacity, -(-(cache_position + 1) // SEQ_LEN_STEP) * SEQ_LEN_STEP)
        bias = attention_bias[..., :seq_len]
        given_up = self._num_failures >= MAX_FAILURES
        entry = None if given_up else self._graph(inputs_embeds, position_ids, cache, cache_position, bias)
        if entry is None:
            bias = attention_bias[..., : cache_position + 1]
            return self._decoder(inputs_embeds, position_ids, cache, cache_position, bias)
        buffers, graph = entry.buffers, entry.graph
        buffers.inputs_embeds.copy_(inputs_embeds)
        buffers.position_ids.copy_(position_ids)
        buffers.cache_position.fill_(cache_position)
        buffers.attention_bias.copy_(bias)
        graph.replay()
        return buffers.hidden_states

    def clear(self) -> None:
        """Remove all graphs."""
        self._graphs.clear()
        self._num_uses.clear()

    def _graph(self, inputs_embeds: Tensor, position_ids: Tensor, cache: KVCache, cache_position: int, bias: Tensor
               ) -> _Captured | None:  # fmt: skip
        """The graph of this shape, captured now if it is new; None where there is none (yet)."""
        shape = (cache.values.data_ptr(), tuple(cache.values.shape), bias.shape[-1])
        known = self._graphs.get(shape)
        if known is not None and known.is_valid():
            self._graphs.move_to_end(shape)
            return known
        self._num_uses[shape[1:]] += 1
        if self._num_uses[shape[1:]] < CAPTURED_USE:
            return None
        self._remove_dead()
        position = torch.full((1,), cache_position, device=inputs_embeds.device)
        buffers = _Buffers(inputs_embeds.clone(), position_ids.clone(), position, bias.clone(),
                           torch.empty_like(inputs_embeds))  # fmt: skip
        graph = self._try_capture(lambda: _run(self._decoder, cache, buffers))
        if graph is None:
            return None
        assert cache.memory is not None
        self._graphs[shape] = captured = _Captured(buffers, graph, weakref.ref(cache.memory))
        if len(self._graphs) > MAX_GRAPHS:
            self._graphs.popitem(last=False)
        return captured

    def _try_capture(self, work: Callable[[], None]) -> Graph | None:
        """The graph; None where a judge is at work, or where the capture fails."""
        is_time_to_wait = self._num_postponed % STEPS_BETWEEN_WAITS == STEPS_BETWEEN_WAITS - 1
        with self._gate.capturing(WAIT_SECONDS if is_time_to_wait else 0.0) as is_free:
            self._num_postponed = 0 if is_free else self._num_postponed + 1
            if not is_free:
                return None
            try:
                graph = self._capture(work)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # an older driver, a device without graphs
                self._note_failure(error)
                return None
        self.num_captures += 1
        return graph

    def _note_failure(self, error: RuntimeError) -> None:
        self._num_failures += 1
        if self._num_failures == MAX_FAILURES:
            reason = str(error).partition("\n")[0]
            logger(__name__).warning("CUDA graphs do not work here (%s): decoding goes on without them, slower",
                                     reason)  # fmt: skip

    def _remove_dead(self) -> None:
        """Remove the graphs whose cache's memory was freed: no later cache can be decoded by them."""
        for shape in [shape for shape, captured in self._graphs.items() if not captured.is_valid()]:
            del self._graphs[shape]


def _run(decoder: LlamaDecoder, cache: KVCache, buffers: _Buffers) -> None:
    buffers.hidden_states.copy_(decoder(buffers.inputs_embeds, buffers.position_ids, cache, buffers.cache_position,
                                        buffers.attention_bias))  # fmt: skip
