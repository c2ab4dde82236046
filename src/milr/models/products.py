"""Weights that lie in memory as a CPU's products with few rows like them.

torch keeps the matrix of a linear layer, (m, n), row by row. Column by column, up to 64 rows are multiplied with it in
half to nine tenths of the time (docs/log.md). Only the order in memory changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


def laid_out(weight: Tensor) -> Tensor:
    """The same matrix (m, n): column by column in a CPU's fp32, as it was elsewhere."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return weight
    return weight.t().contiguous().t()


def by_product(module: nn.Module) -> Callable[[Tensor], Any]:
    """The same as calling `module`. A plain linear one is laid out; other kinds (quantised) are left alone."""
    if type(module) is not nn.Linear:
        return module
    module.weight.data = laid_out(module.weight.data)
    return lambda inputs: linear(inputs, module.weight, module.bias)
