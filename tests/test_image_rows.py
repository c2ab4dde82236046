"""The grid of image tokens: how many rows a model has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from milr.base import image_rows


@pytest.mark.parametrize(("attributes", "rows"), [
    ({"image_tokens": 64}, 8), ({"image_tokens": 20, "image_rows": 4}, 4), ({"image_tokens": 0}, 0), ({}, 0),
    ({"image_tokens": 0, "image_rows": 3}, 0),
])  # fmt: skip
def test_rows_are_those_the_model_says_or_a_squares(attributes: dict[str, int], rows: int) -> None:
    assert image_rows(SimpleNamespace(**attributes)) == rows  # type: ignore[arg-type]
