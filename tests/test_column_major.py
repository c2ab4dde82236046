"""Weights that are stored column-major are the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from milr.models.decoding.column_major import column_major, use_column_major
from milr.models.janus import JanusModel


def test_only_the_order_in_memory_changes() -> None:
    matrix = torch.arange(6.0).view(2, 3)
    stored = column_major(matrix)
    assert torch.equal(stored, matrix) and stored.stride() == (1, 2)
    assert column_major(matrix.bfloat16()).stride() == (3, 1)  # measured in fp32 alone


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_network_gives_the_same_and_trains_the_same(rows: int) -> None:
    torch.manual_seed(rows)
    network, inputs = (
        torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3, bias=False)),
        torch.randn(rows, 5),
    )
    expected = network(inputs)
    gradients = torch.autograd.grad(expected.square().sum(), list(network.parameters()))
    use_column_major(network)
    outputs = network(inputs)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(torch.autograd.grad(outputs.square().sum(), list(network.parameters())), gradients)


def test_other_layers_than_plain_linear_ones_are_left_alone() -> None:
    class Packed(torch.nn.Linear):
        pass

    packed = Packed(2, 3)
    use_column_major(torch.nn.Sequential(packed))
    assert packed.weight.stride() == (2, 1)


def test_a_column_major_model_can_be_saved_and_loaded_again(tiny: JanusModel, tmp_path: Path) -> None:
    """Its projections are views of one column-major matrix."""
    assert tiny.network.lm_head.weight.stride() != tiny.network.state_dict()["lm_head.weight"].stride()
    tiny.network.save_pretrained(tmp_path)
    save_model(tiny.network, str(tmp_path / "again.safetensors"))
    again = type(tiny.network).from_pretrained(tmp_path)
    for (name, one), other in zip(tiny.network.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name
