"""Trains the held-out judge on endless renderings in hands of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from milr.shapes.held_out import HeldOutJudge
from milr.shapes.training.variations import UNTOLD, Sheets, sheets
from milr.shapes.training.vq import to_pixels

Report = Callable[[str], None]


def judge_loss(network: HeldOutJudge, batch: Sheets, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of what the cells hold, and the share of cells whose shape class is right."""
    logits = network(to_pixels(batch.pictures).to(device))
    told = [torch.from_numpy(one).to(device) for one in (batch.shapes, batch.colours, batch.sizes, batch.fills)]
    loss = sum(
        F.cross_entropy(rows.flatten(0, 1).float(), wanted.flatten(), ignore_index=UNTOLD, reduction="sum")
        / (wanted != UNTOLD).sum().clamp_min(1)
        for rows, wanted in zip(logits, told, strict=True)
    )
    assert isinstance(loss, Tensor)
    return loss, (logits[0].argmax(-1) == told[0]).float().mean()


def train_judge(network: HeldOutJudge, *, steps: int, batch: int, seed: int, rate: float, device: str,
                report: Report) -> None:  # fmt: skip
    """Train in place, with a rate that falls to nothing."""
    rng = np.random.default_rng(seed)
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    seen = torch.zeros(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.autocast(device, torch.bfloat16):
            loss, right = judge_loss(network, sheets(rng, batch, seed), device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        now = torch.stack([loss, right]).detach().float().cpu()
        seen = now if step == 0 else seen.lerp(now, 0.03)
        if step % 50 == 0 or step == steps - 1:
            report(f"held-out {step}/{steps} loss {seen[0]:.4f} right {seen[1]:.4f}")
    network.eval()
