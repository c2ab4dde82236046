"""Products with weights that lie otherwise are the same products."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from milr.models.products import by_product, laid_out


@pytest.mark.parametrize("rows", [0, 1, 2, 9])
@pytest.mark.parametrize("biased", [True, False])
def test_equal_to_linear(rows: int, biased: bool) -> None:
    torch.manual_seed(rows)
    inputs, module = torch.randn(rows, 1, 5, requires_grad=True), torch.nn.Linear(5, 7, bias=biased)
    wanted = linear(inputs, module.weight.detach().clone(), module.bias)
    found = by_product(module)(inputs)
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(one.square().sum(), inputs)[0] for one in (found, wanted)]
    torch.testing.assert_close(*slopes)


def test_only_the_order_in_memory_changes() -> None:
    weight = torch.arange(6.0).view(2, 3)
    laid = laid_out(weight)
    assert torch.equal(laid, weight) and laid.stride() == (1, 2)
    assert laid_out(weight.bfloat16()).stride() == (3, 1)  # measured in fp32 alone


def test_a_module_of_another_kind_is_called() -> None:
    doubling = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert by_product(doubling) is doubling
