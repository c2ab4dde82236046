"""Products with a weight matrix, by the kernel that is quickest for so many rows.

On a CPU, torch's `linear` of up to eight rows with a large matrix takes up to three times as long as the same product
turned round, and one row nearly twice as long as two (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEW = 8  # rows
LARGE = 2**18  # weights; smaller matrices stay in the cache, where `linear` is quicker


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What `torch.nn.functional.linear` gives, up to the order of sums. (..., n), (m, n), (m,) -> (..., m)"""
    rows = inputs.numel() // inputs.shape[-1]
    here = inputs.device.type == "cpu" and inputs.dtype == torch.float32
    if not here or not 0 < rows <= FEW or weight.numel() < LARGE:
        return linear(inputs, weight, bias)
    flat = inputs.reshape(rows, -1)
    turned = torch.mm(weight, (flat if rows > 1 else torch.cat([flat, flat])).t())
    found = turned.t()[:rows].reshape(*inputs.shape[:-1], -1)
    return found if bias is None else found + bias


def by_product(module: nn.Module) -> Callable[[Tensor], Any]:
    """The same as calling `module`, where it is a plain linear one; other kinds (quantised) are called."""
    if type(module) is not nn.Linear:
        return module
    return lambda inputs: product(inputs, module.weight, module.bias)
