"""What the hardware can do, measured here and now, and what a decode with a cache must at least move and compute.

* A decode step reads every weight of the layers and of its head once, and the cache of every stream once.
* It multiplies: 2 x parameters for every stream of every row. Reading the prompt and attention itself are left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from speed_clock import wait

Modality = Literal["text", "image"]
STREAMS: dict[Modality, int] = {"text": 1, "image": 2}
_SECONDS = 0.5


@dataclass(frozen=True)
class Limits:
    """Bytes a second of a large copy (read and written bytes both counted), and operations a second of a matmul."""

    bandwidth: float
    arithmetic: float


@dataclass(frozen=True)
class Work:
    """What a decode needs: bytes streamed and arithmetic operations."""

    streamed: float
    operations: float

    def shares(self, seconds: float, limits: Limits) -> dict[str, float]:
        """The share of `seconds` that each limit alone would take."""
        return {"streaming": self.streamed / limits.bandwidth / seconds,
                "arithmetic": self.operations / limits.arithmetic / seconds}  # fmt: skip


def measure(device: torch.device, dtype: torch.dtype) -> Limits:
    """Both limits, each the best of repeated tries; under a second each."""
    large = 2**30 if device.type == "cuda" else 2**28
    source = torch.zeros(large // dtype.itemsize, dtype=dtype, device=device)
    target = torch.zeros_like(source)
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    return Limits(
        bandwidth=2 * large / _best(lambda: target.copy_(source), device),
        arithmetic=2 * side**3 / _best(lambda: left @ right, device),
    )


def work(network: Any, modality: Modality, prompts: Sequence[int], tokens: Sequence[int]) -> Work:
    """A decode of `tokens[i]` tokens after `prompts[i]` prompt tokens for each row i, all rows in one batch."""
    head = network.lm_head if modality == "text" else network.model.generation_head
    weights = [*network.model.language_model.layers.parameters(), *head.parameters()]
    held = sum(weight.numel() * weight.element_size() for weight in weights)
    streams = STREAMS[modality]
    places = sum(count * (prompt + count / 2) for prompt, count in zip(prompts, tokens, strict=True))
    return Work(
        streamed=held * max(tokens) + cache_bytes(network) * streams * places,
        operations=2 * sum(weight.numel() for weight in weights) * streams * sum(tokens),
    )


def cache_bytes(network: Any) -> int:
    """Bytes of keys and values that one token of one stream leaves in the cache."""
    config = network.config.text_config
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * network.dtype.itemsize


def _best(function: Callable[[], Any], device: torch.device) -> float:
    """The quickest of as many tries as fit into half a second, at least three."""
    function()
    wait(device)
    times: list[float] = []
    while len(times) < 3 or sum(times) < _SECONDS:
        began = time.perf_counter()
        function()
        wait(device)
        times.append(time.perf_counter() - began)
    return min(times)
