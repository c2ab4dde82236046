"""Trains the held-out judge on random renderings in styles of its own (variations.py)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from milr.shapes.held_out import HeldOutJudge
from milr.shapes.training.loop import IGNORED, Report, Training, optimise, to_pixels
from milr.shapes.training.variations import LabelledPictures, labelled_pictures


def judge_loss(network: HeldOutJudge, batch: LabelledPictures, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the four attributes, each a mean over its labelled cells; the share of shapes right."""
    logits = network(to_pixels(batch.pictures).to(device))
    labels = [torch.from_numpy(attribute).to(device)
              for attribute in (batch.shapes, batch.colours, batch.sizes, batch.fills)]  # fmt: skip
    loss = sum(
        F.cross_entropy(attribute.flatten(0, 1).float(), label.flatten(), ignore_index=IGNORED, reduction="sum")
        / (label != IGNORED).sum().clamp_min(1)
        for attribute, label in zip(logits, labels, strict=True)
    )
    assert isinstance(loss, Tensor)
    return loss, (logits[0].argmax(-1) == labels[0]).float().mean()


def train_judge(network: HeldOutJudge, training: Training, report: Report) -> None:
    """Train in place."""
    rng = np.random.default_rng(training.seed)
    network.to(training.device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=0.01)

    def losses() -> tuple[Tensor, dict[str, Tensor]]:
        batch = labelled_pictures(rng, training.batch, training.seed)
        loss, right = judge_loss(network, batch, training.device)
        return loss, {"loss": loss, "right": right}

    optimise("held-out", training, optimiser, losses=losses, report=report, smoothing=0.03)
    network.eval()
