"""Trains nano's vision tower before it is joined to the transformer, as Janus starts from a trained SigLIP tower.

The task: for every 8 x 8 patch name the shape, colour, size and fill of the object that it belongs to. The
classification head is thrown away afterwards. Towers trained from nothing together with the transformer collapsed to a
constant (docs/log.md).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.janus.modeling_janus import JanusVisionModel

from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES
from milr.shapes.training.loop import IGNORED, Report, Training, optimise, to_pixels
from milr.shapes.training.patches import codebook, mosaic
from milr.shapes.training.vq import token_batch

CLASSES = (("nothing", *SHAPES), tuple(COLOURS), tuple(SIZES), FILLS)


@lru_cache(maxsize=1)
def code_labels() -> Tensor:
    """(V, 4) shape, colour, size and fill of each code, as indices into CLASSES.

    Codes of the background have the shape "nothing", and IGNORED for the rest. A code that several appearances share
    has the labels of the first of them.
    """
    patches, codes = codebook()
    labels = np.full((len(patches), len(CLASSES)), IGNORED)
    labels[:, 0] = 0
    for appearance, ids in reversed(codes.items()):
        words = (appearance.shape, appearance.colour, appearance.size, appearance.fill)
        labels[ids[ids > 0]] = [names.index(word) for names, word in zip(CLASSES, words, strict=True)]
    return torch.from_numpy(labels)


def make_head(tower: JanusVisionModel) -> nn.Linear:
    """The classification head: one logit for each class of each attribute."""
    return nn.Linear(tower.config.hidden_size, sum(len(names) for names in CLASSES))


def add_pixel_noise(pixels: Tensor) -> Tensor:
    """Pictures in [-1, 1] with a little noise, as drawn ones have."""
    return (pixels + 0.05 * torch.randn_like(pixels)).clamp(-1, 1)


def vision_loss(tower: JanusVisionModel, head: nn.Linear, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the four attributes, and the share of objects' patches with all four right.

    `tokens` (B, 64) are the image tokens of the pictures `pixels` (B, 3, 64, 64).
    """
    hidden = tower(add_pixel_noise(pixels)).last_hidden_state
    logits = head(hidden).float().split([len(names) for names in CLASSES], -1)
    labels = code_labels().to(tokens.device)[tokens]  # (B, 64, 4)
    loss = sum(F.cross_entropy(attribute.flatten(0, 1), labels[..., index].flatten(), ignore_index=IGNORED)
               for index, attribute in enumerate(logits))  # fmt: skip
    assert isinstance(loss, Tensor)
    right = torch.stack([attribute.argmax(-1) == labels[..., index] for index, attribute in enumerate(logits)]).all(0)
    return loss, right[labels[..., 0] > 0].float().mean()


def train_vision_tower(tower: JanusVisionModel, training: Training, report: Report) -> None:
    """Train in place."""
    torch.manual_seed(training.seed)
    rng, patches = np.random.default_rng(training.seed), codebook()[0]
    head = make_head(tower).to(training.device)
    tower.to(training.device).train()
    optimiser = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=training.rate, betas=(0.9, 0.98))

    def losses() -> tuple[Tensor, dict[str, Tensor]]:
        tokens = token_batch(rng, training.batch)
        pixels = to_pixels(mosaic(patches[tokens])).to(training.device)
        loss, named = vision_loss(tower, head, torch.from_numpy(tokens).to(training.device), pixels)
        return loss, {"loss": loss, "named": named}

    optimise("eyes", training, optimiser, losses=losses, report=report, clipped=tower.parameters())
    tower.eval()
