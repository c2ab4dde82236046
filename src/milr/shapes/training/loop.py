"""The training loop of the parts that are trained on their own: vision tower, VQ tokenizer and held-out judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

Report = Callable[[str], None]
IGNORED = -100  # a label that does not count: torch's `ignore_index`
WARM_UP = 50  # steps in which the learning rate rises
REPORT_EVERY = 50  # steps


@dataclass(frozen=True)
class Training:
    """How a part is trained: `steps` of `batch` examples at learning rate `rate`, from `seed`, on `device`."""

    steps: int
    batch: int
    rate: float
    seed: int = 0
    device: str = "cpu"


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def cosine_rate(step: int, training: Training, floor: float = 0.0) -> float:
    """The learning rate of a step: a linear warm-up, and a cosine from `rate` down to the share `floor` of it."""
    warm_up = min(1, (step + 1) / WARM_UP)
    falling = 0.5 * (1 + math.cos(math.pi * step / training.steps))
    return training.rate * warm_up * (floor + (1 - floor) * falling)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameter groups the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def optimise(name: str, training: Training, optimiser: torch.optim.Optimizer, *,
             losses: Callable[[], tuple[Tensor, dict[str, Tensor]]], report: Report,
             clipped: Iterable[nn.Parameter] = (), floor: float = 0.0, smoothing: float = 0.05) -> None:  # fmt: skip
    """Minimise in bfloat16 autocast; `losses` makes a batch and returns its loss and the metrics to report.

    The gradient norm of the parameters `clipped` is limited to 1. Reported are running means over about
    1 / `smoothing` steps.
    """
    parameters, means = list(clipped), torch.empty(0)
    for step in range(training.steps):
        set_rate(optimiser, cosine_rate(step, training, floor))
        with torch.autocast(training.device, torch.bfloat16):
            loss, metrics = losses()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if parameters:
            nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        values = torch.stack(list(metrics.values())).detach().float().cpu()
        means = values if step == 0 else means.lerp(values, smoothing)
        if step % REPORT_EVERY == 0 or step == training.steps - 1:
            text = " ".join(f"{metric} {mean:.4f}" for metric, mean in zip(metrics, means.tolist(), strict=True))
            report(f"{name} {step}/{training.steps} {text}")
