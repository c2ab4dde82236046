"""Weights that lie in memory as a CPU's kernels like them. Only their order there changes; measured in docs/log.md."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def lay_out(network: nn.Module) -> None:
    """Lay out the matrices of all linear layers, where they are a CPU's fp32; quantised ones are another kind.

    The network's `state_dict` goes on to give them row by row, as files want them.
    """
    network.register_state_dict_post_hook(_row_by_row)  # type: ignore[no-untyped-call]
    for module in network.modules():
        if type(module) is nn.Linear:
            module.weight.data = laid_out(module.weight.data)


def laid_out(matrix: Tensor) -> Tensor:
    """The same matrix (m, n), column by column in a CPU's fp32: with up to 64 rows it is multiplied in half to nine
    tenths of the time that torch's own order takes, row by row."""
    if matrix.device.type != "cpu" or matrix.dtype != torch.float32:
        return matrix
    return matrix.t().contiguous().t()


def _row_by_row(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for name, value in state.items():
        if isinstance(value, Tensor):
            state[name] = value.contiguous()
