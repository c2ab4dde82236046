"""Trains nano's vision tower before it meets the transformer, as Janus starts from a trained SigLIP tower.

Every 8 x 8 patch has to tell which shape, colour, size and fill it belongs to; the head that reads this off is thrown
away. Untrained towers beside the transformer collapsed to a constant (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.janus.modeling_janus import JanusVisionModel

from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES
from milr.shapes.training.patches import codebook, mosaic
from milr.shapes.training.vq import to_pixels, token_batch

Report = Callable[[str], None]
NAMES = (("nothing", *SHAPES), tuple(COLOURS), tuple(SIZES), FILLS)
UNTOLD = -100


@lru_cache(maxsize=1)
def meanings() -> Tensor:
    """(V, 4) what each code belongs to: indices into NAMES; the ground is "nothing" and has no other.

    A code that several looks share is that of the first.
    """
    patches, codes = codebook()
    told = np.full((len(patches), len(NAMES)), UNTOLD)
    told[:, 0] = 0
    for look, ids in reversed(codes.items()):
        words = (look.shape, look.colour, look.size, look.fill)
        told[ids[ids > 0]] = [names.index(word) for names, word in zip(NAMES, words, strict=True)]
    return torch.from_numpy(told)


def eye_loss(tower: JanusVisionModel, head: nn.Linear, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy of the four attributes of every patch, and the share of objects' patches named right."""
    noisy = (pixels + 0.05 * torch.randn_like(pixels)).clamp(-1, 1)
    logits = head(tower(noisy).last_hidden_state).float().split([len(names) for names in NAMES], -1)
    told = meanings().to(tokens.device)[tokens]  # (B, 64, 4)
    loss = sum(F.cross_entropy(part.flatten(0, 1), told[..., at].flatten(), ignore_index=UNTOLD)
               for at, part in enumerate(logits))  # fmt: skip
    assert isinstance(loss, Tensor)
    right = torch.stack([part.argmax(-1) == told[..., at] for at, part in enumerate(logits)]).all(0)
    return loss, right[told[..., 0] > 0].float().mean()


def train_eyes(tower: JanusVisionModel, *, steps: int, batch: int, seed: int, rate: float, device: str,
               report: Report) -> None:  # fmt: skip
    """Train in place, with a rate that falls to nothing."""
    torch.manual_seed(seed)
    rng, patches = np.random.default_rng(seed), codebook()[0]
    head = nn.Linear(tower.config.hidden_size, sum(len(names) for names in NAMES)).to(device)
    tower.to(device).train()
    optimiser = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=rate, betas=(0.9, 0.98))
    seen = torch.zeros(2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        tokens = token_batch(rng, batch)
        pixels = to_pixels(mosaic(patches[tokens])).to(device)
        with torch.autocast(device, torch.bfloat16):
            loss, right = eye_loss(tower, head, torch.from_numpy(tokens).to(device), pixels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimiser.step()
        now = torch.stack([loss, right]).detach().float().cpu()
        seen = now if step == 0 else seen.lerp(now, 0.05)
        if step % 50 == 0 or step == steps - 1:
            report(f"eyes {step}/{steps} loss {seen[0]:.4f} named {seen[1]:.3f}")
    tower.eval()
