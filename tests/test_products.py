"""Products by other kernels are the same products."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from milr.models import products
from milr.models.products import by_product, product


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 8, 9])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("large", [0, 2**30])
def test_equal_to_linear(rows: int, biased: bool, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", large)
    noise = torch.Generator().manual_seed(rows)
    inputs = torch.randn(rows, 1, 5, generator=noise, requires_grad=True)
    weight, bias = torch.randn(7, 5, generator=noise), torch.randn(7, generator=noise) if biased else None
    found, wanted = product(inputs, weight, bias), linear(inputs, weight, bias)
    assert found.shape == (rows, 1, 7)
    torch.testing.assert_close(found, wanted)
    slopes = [torch.autograd.grad(one.square().sum(), inputs)[0] for one in (found, wanted)]
    torch.testing.assert_close(*slopes)


def test_a_module_of_another_kind_is_called() -> None:
    doubling = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert by_product(doubling) is doubling
    plain = torch.nn.Linear(2, 3)
    torch.testing.assert_close(by_product(plain)(torch.ones(1, 2)), plain(torch.ones(1, 2)))
