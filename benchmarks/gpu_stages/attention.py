"""Stage 1: which attention kernels there are for one query a stream, how quick and how exact; and new shapes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import random_janus
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from gpu_stages.finding import Card, Finding

CHOICES = {-1: "error", 0: "math", 1: "flash", 2: "efficient", 3: "cudnn", 4: "overrideable"}
BACKENDS = {"math": SDPBackend.MATH, "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}  # fmt: skip
MOST_ERROR = 0.01  # relative, of bfloat16
MOST_FIRST_CALL = 0.005  # seconds, of a shape that is new
Attention = Callable[[], Tensor]


def attention(card: Card) -> Iterator[Finding]:
    """Decode steps in each kernel that takes a mask, flash without one for comparison; then ten new prefill shapes."""
    streams, lengths = ((2, 16, 64), (256, 640, 896)) if card.is_cuda else ((2, 4), (16, 24))
    for count in streams:
        for length in lengths:
            yield _step(card, count, length)
    yield from _new_shapes(card)


def _step(card: Card, streams: int, length: int) -> Finding:
    size = random_janus.SIZES[card.size]
    head_dim = size.width // size.heads
    generator = torch.Generator(card.device).manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=torch.bfloat16, device=card.device).normal_(generator=generator)

    queries, keys, values = (normal(streams, size.heads, count, head_dim) for count in (1, length, length))
    bias = torch.zeros(streams, 1, 1, length, dtype=torch.bfloat16, device=card.device)
    bias[: streams // 2, ..., : length // 4] = -torch.inf  # padding on the left
    exact = scaled_dot_product_attention(queries.float(), keys.float(), values.float(), attn_mask=bias.float())
    choice = torch._fused_sdp_choice(queries, keys, values, attn_mask=bias)
    chosen = CHOICES.get(choice, str(choice))
    found: dict[str, dict[str, float]] = {}
    for name, work in _kernels(queries, keys, values, bias).items():
        try:
            out = work()
        except RuntimeError:
            continue  # not for this card, or not with a mask
        seconds = card.best_seconds(work)
        found[name] = {"us": 1e6 * seconds, "gb_per_second": 2 * keys.numel() * 2 / seconds / 1e9}
        if name != "flash":  # which sees no mask here
            found[name]["error"] = float((out.float() - exact).norm() / exact.norm())
    passed = found["chosen"]["error"] < MOST_ERROR and not (card.is_cuda and chosen == "math")
    return Finding(f"attention of {streams} streams over {length}", passed, {"chosen": chosen, "kernels": found})


def _kernels(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> dict[str, Attention]:
    def by(backend: SDPBackend, mask: Tensor | None) -> Attention:
        def work() -> Tensor:
            with sdpa_kernel(backend):
                return scaled_dot_product_attention(queries, keys, values, attn_mask=mask)

        return work

    kernels: dict[str, Attention] = {
        "chosen": lambda: scaled_dot_product_attention(queries, keys, values, attn_mask=bias),
        "products": lambda: _products(queries, keys, values, bias),
    }
    return kernels | {name: by(each, None if name == "flash" else bias) for name, each in BACKENDS.items()}


def _products(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Attention as two batched products, as the CPU has it."""
    head_bias = bias.expand(-1, keys.shape[1], -1, -1).flatten(0, 1)
    logits = torch.baddbmm(head_bias, queries.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2),
                           alpha=queries.shape[-1] ** -0.5)  # fmt: skip
    return torch.bmm(logits.softmax(-1), values.flatten(0, 1)).view(queries.shape)


def _new_shapes(card: Card) -> Iterator[Finding]:
    """The first call of ten prefill shapes that were never seen, without cuDNN's attention and with it."""
    ways = {"without cuDNN": False} | ({"with cuDNN": True} if card.is_cuda else {})
    for index, (way, enabled) in enumerate(ways.items()):
        torch.backends.cuda.enable_cudnn_sdp(enabled)
        try:
            times = [_first_call(card, length) for length in range(190 + index, 190 + index + 7 * 11, 7)][1:]
        finally:
            torch.backends.cuda.enable_cudnn_sdp(False)
        middle = statistics.median(times)
        passed = None if enabled or not card.is_cuda else middle < MOST_FIRST_CALL
        yield Finding(f"the first call of ten new shapes, {way}", passed,
                      {"median_ms": 1e3 * middle, "all_ms": 1e3 * sum(times)})  # fmt: skip


def _first_call(card: Card, length: int) -> float:
    size = random_janus.SIZES[card.size]
    shape = (2, size.heads, length, size.width // size.heads)
    queries, keys, values = (torch.ones(shape, dtype=torch.bfloat16, device=card.device) for _ in range(3))
    bias = torch.zeros(2, 1, length, length, dtype=torch.bfloat16, device=card.device)
    return card.seconds(lambda: scaled_dot_product_attention(queries, keys, values, attn_mask=bias))
