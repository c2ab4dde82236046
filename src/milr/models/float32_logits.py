"""Logits in float32 of heads in 16 bits, without a rounding that nothing needs.

A product of 16-bit numbers is summed in float32 and rounded to 16 bits at its end. Then 3.3 % of the greedy choices of
a random bfloat16 network are exact ties (CPU), and guidance 5 multiplies the error. CUDA has a product that gives its
sum as it is; where torch has none, the rounded logits are converted.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


def float32_logits(linear: Any, inputs: Tensor) -> Tensor:
    """The last layer of a head in float32, differentiable in its inputs. (..., d) -> (..., V)"""
    is_plain = type(linear) is nn.Linear and not (linear.weight.requires_grad and torch.is_grad_enabled())
    if not is_plain or not has_float32_products(inputs):
        return linear(inputs).float()
    logits: Tensor = _Float32Product.apply(inputs.flatten(0, -2), linear.weight)  # type: ignore[no-untyped-call]
    logits = logits if linear.bias is None else logits + linear.bias.float()
    return logits.view(*inputs.shape[:-1], -1)


def float32_image_logits(head: Any, latents: Tensor) -> Tensor:
    """The same of Janus's image head (`JanusVQVAEHead`), which has a layer before the last."""
    return float32_logits(head.vision_head, head.activation_fn(head.proj_out(latents)))


def has_float32_products(inputs: Tensor) -> bool:
    """Whether torch multiplies such inputs into float32."""
    is_short = inputs.dtype in (torch.bfloat16, torch.float16)
    return inputs.device.type == "cuda" and is_short and _tried(inputs.device, inputs.dtype)


@cache
def _tried(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a small product into float32 works with this torch and device."""
    ones = torch.ones(16, 16, dtype=dtype, device=device)
    try:
        torch.mm(ones, ones, out_dtype=torch.float32)  # type: ignore[call-overload]
    except (RuntimeError, TypeError):
        return False
    return True


class _Float32Product(torch.autograd.Function):
    """inputs (n, d) times the transpose of frozen weights (V, d), in float32."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(weight)
        return torch.mm(inputs, weight.t(), out_dtype=torch.float32)  # type: ignore[call-overload, no-any-return]

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (weight,) = context.saved_tensors
        return gradient.to(weight.dtype) @ weight, None
