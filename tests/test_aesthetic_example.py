"""examples/aesthetic_reward.py with random weights: the original's names, its mark, and what it says without a file."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from milr.base import Reward
from milr.types import MissingError, Prompt

FILE = Path(__file__).parents[1] / "examples" / "aesthetic_reward.py"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("aesthetic_reward", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Encoder:
    def embed_picture(self, picture: Image.Image) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.arange(768.0) + picture.getpixel((0, 0))[0], dim=0)  # type: ignore[index]


def test_the_mark_is_that_of_the_layers_under_their_own_names(example: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    numbers, sizes = (0, 2, 4, 6, 7), example.SIZES  # two dropouts, two more, none before the last two layers
    weights = {
        f"layers.{n}.weight": torch.randn(sizes[i + 1], sizes[i]) / sizes[i] ** 0.5 for i, n in enumerate(numbers)
    }
    weights |= {f"layers.{n}.bias": torch.full((sizes[i + 1],), 1.0) for i, n in enumerate(numbers)}
    save_file(weights, tmp_path / "aesthetic.safetensors")
    reward = example.AestheticReward(Encoder(), example.load_head(tmp_path / "aesthetic.safetensors"), "digest")
    assert isinstance(reward, Reward)
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    (score,) = asyncio.run(reward.score([red], [Prompt("anything")], None))
    state = Encoder().embed_picture(red)
    for number in numbers:
        state = weights[f"layers.{number}.weight"] @ state + weights[f"layers.{number}.bias"]
    assert score.value == pytest.approx(min(max(float(state) / 10, 0), 1), abs=1e-6) and "of 10" in score.reason


def test_without_weights_it_says_what_to_do(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AESTHETIC_WEIGHTS", raising=False)
    with pytest.raises(MissingError, match="set AESTHETIC_WEIGHTS"):
        example.aesthetic()
