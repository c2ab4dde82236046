"""Trains the VQ tokenizer of nano: transformers' JanusVQVAE over the world's own patches.

The meaning of every code is fixed (patches.py), so nothing has to be discovered: the codebook and the decoder learn to
draw a grid of codes, the encoder learns to name the codes of a picture. Codes are unit vectors, as `decode` expects.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import JanusVQVAE, JanusVQVAEConfig

from milr.shapes.scenes import GRID, Item, Scene
from milr.shapes.training.patches import codebook, holds_object, looks, mosaic, scene_tokens

Report = Callable[[str], None]
SHARPNESS = 20.0  # of the encoder's softmax over cosines


def vq_config() -> JanusVQVAEConfig:
    """64 x 64 pixels to 8 x 8 tokens; one code of dimension 16 for every patch of the world."""
    return JanusVQVAEConfig(embed_dim=16, num_embeddings=len(codebook()[0]), latent_channels=64, base_channels=32,
                            channel_multiplier=[1, 1, 2, 3], num_res_blocks=1, num_patches=8, dropout=0.0)  # fmt: skip


def to_pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) to float (B, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def crowd(rng: np.random.Generator) -> Scene:
    """A scene of 1 to 16 random objects: more to learn from in each picture than the prompts would give."""
    cells = rng.permutation(GRID * GRID)[: rng.integers(1, 5) if rng.random() < 0.4 else 16]
    every = looks()
    return Scene(tuple((Item(every[rng.integers(len(every))], int(cell)),) for cell in cells))


def token_batch(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, 64) tokens: crowds, and in every second picture some objects' tokens replaced by any others."""
    tokens = np.stack([scene_tokens(crowd(rng)) for _ in range(size)])
    mixed = holds_object(tokens) & (rng.random(tokens.shape) < 0.3) & (np.arange(size)[:, None] % 2 == 1)
    tokens[mixed] = rng.integers(0, len(codebook()[0]), mixed.sum())
    return tokens


def first_codes(size: int) -> Tensor:
    """(V, size) codes to start from: principal components of the patches, and one constant to keep their strength."""
    patches = torch.from_numpy(codebook()[0]).flatten(1).float() / 127.5 - 1
    offset = patches - patches[0]
    components = offset @ torch.linalg.svd(offset, full_matrices=False).Vh[: size - 1].T
    constant = torch.full((len(patches), 1), float(components.norm(dim=-1).mean()) / 2)
    return F.normalize(torch.cat([components, constant], 1), dim=-1)


def encode(vq: JanusVQVAE, pixels: Tensor) -> Tensor:
    """Unit vectors (B, 64, embed_dim), row by row."""
    return F.normalize(vq.quant_conv(vq.encoder(pixels)).float(), dim=1).flatten(2).transpose(1, 2)


def units(vq: JanusVQVAE) -> Tensor:
    """The codebook (V, embed_dim) with rows of length one."""
    return F.normalize(vq.quantize.embedding.weight, dim=-1)


def nearest(vq: JanusVQVAE, encoded: Tensor) -> Tensor:
    """Closest codes of (..., embed_dim)."""
    return (encoded @ units(vq).T).argmax(-1)


def quicken(vq: JanusVQVAE) -> None:
    """Normalise groups through layer_norm: the same numbers, and a backward pass that uses every core."""

    def forward(norm: nn.GroupNorm, x: Tensor) -> Tensor:
        grouped = x.reshape(len(x), norm.num_groups, -1)
        normal = F.layer_norm(grouped, grouped.shape[2:], eps=norm.eps).view_as(x)
        return normal * norm.weight[:, None, None].to(x.dtype) + norm.bias[:, None, None].to(x.dtype)

    for module in vq.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(forward, module)  # type: ignore[method-assign]


@cache
def code_weights() -> Tensor:
    """(V,) how much a code's pixels count: the ground 1, objects the more, the less they stand out from it.

    By plain error the shapes of pink and white objects, close to the ground's colour, would count least.
    """
    patches = torch.from_numpy(codebook()[0]).float().flatten(1, 2)
    contrast = (patches - patches[0]).norm(dim=-1).amax(-1)
    return torch.where(contrast > 0, 1 + 2 * (200 / contrast.clamp_min(1)).clamp(0.7, 2.5), torch.ones(()))


def vq_losses(vq: JanusVQVAE, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drawing error, naming loss, and the share of object tokens that the encoder names right."""
    codes = units(vq)[tokens].view(len(tokens), 8, 8, -1).permute(0, 3, 1, 2)
    drawn = vq.decoder(vq.post_quant_conv(codes)).float()
    weight = code_weights().to(tokens.device)[tokens].view(-1, 1, 8, 8)
    weight = weight.repeat_interleave(8, 2).repeat_interleave(8, 3)
    difference = (drawn - pixels).abs()
    drawing = (weight * (difference + 2 * difference.square())).mean()
    cosines = encode(vq, pixels) @ units(vq).detach().T
    objects = (code_weights().to(tokens.device)[tokens] > 1).flatten()
    naming = F.cross_entropy(SHARPNESS * cosines.flatten(0, 1), tokens.flatten(), reduction="none")
    right = (cosines.argmax(-1) == tokens).flatten()[objects].float().mean()
    return drawing, (naming * (0.1 + objects)).mean(), right


def make_vq(seed: int) -> JanusVQVAE:
    """An untrained tokenizer whose codes already resemble their patches."""
    torch.manual_seed(seed)
    vq = JanusVQVAE(vq_config())
    vq.quantize.embedding.weight.data.copy_(first_codes(vq.config.embed_dim))
    return vq


def train_vq(vq: JanusVQVAE, *, steps: int, batch: int, seed: int, rate: float, device: str,
             report: Report) -> None:  # fmt: skip
    """Train in place, with a rate that falls to nothing."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    patches = torch.from_numpy(codebook()[0])
    vq.to(device).train()
    quicken(vq)
    optimiser = torch.optim.AdamW(vq.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=1e-4)
    averages = torch.zeros(3)
    for step in range(steps):
        warm = min(1, (step + 1) / 50)
        for group in optimiser.param_groups:
            group["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        tokens = torch.from_numpy(token_batch(rng, batch))
        pixels = to_pixels(mosaic(patches[tokens].numpy())).to(device)
        with torch.autocast(device, torch.bfloat16):
            drawing, naming, right = vq_losses(vq, tokens.to(device), pixels)
        optimiser.zero_grad(set_to_none=True)
        (5 * drawing + 0.2 * naming).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vq.parameters(), 1.0)
        optimiser.step()
        seen = torch.stack([drawing, naming, right]).detach().cpu()
        averages = seen if step == 0 else averages.lerp(seen, 0.05)
        if step % 50 == 0 or step == steps - 1:
            report(f"vq {step}/{steps} drawing {averages[0]:.4f} naming {averages[1]:.3f} named {averages[2]:.3f}")
    finish(vq)


@torch.no_grad()
def finish(vq: JanusVQVAE) -> None:
    """Store the codebook with unit rows, and give the norms their own forward back."""
    vq.quantize.embedding.weight.copy_(units(vq))
    for module in vq.modules():
        if isinstance(module, nn.GroupNorm):
            vars(module).pop("forward", None)
    vq.eval()
