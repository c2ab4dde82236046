"""A reward for a network that transformers has no class for: LAION's aesthetic predictor over CLIP's embedding.

Its weights (sac+logos+ava1-l14-linearMSE of christophschuhmann/improved-aesthetic-predictor) are a pickle, which milr
does not load. Write them once as safetensors, where you trust the file:

    safetensors.torch.save_file(torch.load("sac+logos+ava1-l14-linearMSE.pth", weights_only=True), "aesthetic.safetensors")

    AESTHETIC_WEIGHTS=aesthetic.safetensors milr score list pictures.jsonl --reward examples/aesthetic_reward.py:aesthetic

It has been tried with random weights alone. HPSv2 (a CLIP ViT-H/14), ImageReward (a BLIP with a head) and HPSv3 (a
Qwen2-VL with a head) can be brought in the same way: load the network, and return a number in [0, 1].
"""  # noqa: E501

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.rewards.vision.local_reward import LocalReward
from milr.types import MissingError, Prompt, Score

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import UnifiedModel
    from milr.rewards.vision.clip import ClipEncoder

SIZES = (768, 1024, 128, 64, 16, 1)  # of the layers, between which there was dropout and nothing else
HIGHEST = 10.0  # the predictor's scale is 1 to 10


class AestheticReward(LocalReward):
    """A tenth of the predicted mark, in [0, 1]; the prompt is not looked at."""

    name = "aesthetic"
    threshold = 0.65  # a mark of 6.5, a guess
    licence = "Apache-2.0 (the predictor), MIT (CLIP)"

    def __init__(self, encoder: ClipEncoder, head: Any, digest: str) -> None:
        super().__init__()
        self.encoder, self.head, self.digest = encoder, head, digest

    def identity(self) -> dict[str, Any]:
        """The weights' hash."""
        return {"weights": self.digest}

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The score of one picture."""
        mark = float(self.head(self.encoder.embed_picture(picture).cpu()))
        return Score(min(max(mark / HIGHEST, 0.0), 1.0), reason=f"aesthetic mark {mark:.2f} of 10")


def load_head(file: Path) -> Any:
    """The layers with the weights of a safetensors file, under the names of the original (layers.0.weight, ...)."""
    import torch
    from safetensors.torch import load_file

    layers: list[torch.nn.Module] = []
    for inside, outside in zip(SIZES, SIZES[1:], strict=False):
        layers += [torch.nn.Linear(inside, outside), torch.nn.Identity()]  # where the dropout was
    head = torch.nn.Sequential(*layers[:-1])
    weights = {name.removeprefix("layers."): tensor for name, tensor in load_file(file).items()}
    renumbered = {f"{2 * place}.{kind}": weights[f"{number}.{kind}"]
                  for place, number in enumerate(sorted({int(name.partition(".")[0]) for name in weights}))
                  for kind in ("weight", "bias")}  # fmt: skip
    head.load_state_dict(renumbered)
    return head.eval().requires_grad_(False)


def aesthetic(model: UnifiedModel | None = None) -> AestheticReward:
    """The reward with CLIP ViT-L/14 and the weights that AESTHETIC_WEIGHTS names."""
    from milr.rewards.vision.clip import ClipEncoder
    from milr.rewards.vision.pinned import CLIP_L14

    file = Path(os.environ.get("AESTHETIC_WEIGHTS", ""))
    if not file.is_file():
        raise MissingError(
            "set AESTHETIC_WEIGHTS to the predictor's safetensors file (see this example's first lines)."
        )
    return AestheticReward(ClipEncoder.load(CLIP_L14), load_head(file), hashlib.sha256(file.read_bytes()).hexdigest())
