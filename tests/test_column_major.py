"""Weights that lie otherwise in memory are the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from milr.models.decoding.column_major import laid_out, lay_out
from milr.models.janus import JanusModel


def test_only_the_order_in_memory_changes() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    laid = laid_out(matrix)
    assert torch.equal(laid, matrix) and laid.stride() == (1, 2)
    assert laid_out(matrix.bfloat16()).stride() == (3, 1)  # measured in fp32 alone


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_network_gives_the_same_and_trains_the_same(rows: int) -> None:
    torch.manual_seed(rows)
    network, inputs = (
        torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False)),
        torch.randn(rows, 5),
    )
    wanted = network(inputs)
    slopes = torch.autograd.grad(wanted.square().sum(), list(network.parameters()))
    lay_out(network)
    found = network(inputs)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), list(network.parameters())), slopes)


def test_what_is_no_plain_linear_layer_is_left_alone() -> None:
    class Packed(torch.nn.Linear):
        pass

    packed = Packed(2, 3)
    lay_out(torch.nn.Sequential(packed))
    assert packed.weight.stride() == (2, 1)


def test_a_laid_out_model_can_be_saved_and_loaded_again(tiny: JanusModel, tmp_path: Path) -> None:
    """Its projections are views of one matrix, column by column."""
    assert tiny.network.lm_head.weight.stride() != tiny.network.state_dict()["lm_head.weight"].stride()
    tiny.network.save_pretrained(tmp_path)
    save_model(tiny.network, str(tmp_path / "again.safetensors"))
    again = type(tiny.network).from_pretrained(tmp_path)
    for (name, one), other in zip(tiny.network.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
