"""Trains the VQ tokenizer of nano: transformers' JanusVQVAE over the world's own patches.

The meaning of every code is fixed (patches.py): the codebook and the decoder learn to render a grid of codes, the
encoder learns to classify the code of each patch. Codes are unit vectors, as `decode` expects.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import JanusVQVAE, JanusVQVAEConfig

from milr.shapes.scenes import GRID, Item, Scene
from milr.shapes.training.loop import Report, Training, optimise, to_pixels
from milr.shapes.training.patches import all_appearances, codebook, holds_object, mosaic, scene_tokens

SHARPNESS = 20.0  # of the encoder's softmax over cosines


def vq_config() -> JanusVQVAEConfig:
    """64 x 64 pixels to 8 x 8 tokens; one code of dimension 16 for every patch of the world."""
    return JanusVQVAEConfig(embed_dim=16, num_embeddings=len(codebook()[0]), latent_channels=64, base_channels=32,
                            channel_multiplier=[1, 1, 2, 3], num_res_blocks=1, num_patches=8, dropout=0.0)  # fmt: skip


def crowded_scene(rng: np.random.Generator) -> Scene:
    """1 to 16 random objects: more to learn from in each picture than scenes of prompts hold."""
    cells = rng.permutation(GRID * GRID)[: rng.integers(1, 5) if rng.random() < 0.4 else 16]
    appearances = all_appearances()
    return Scene(tuple((Item(appearances[rng.integers(len(appearances))], int(cell)),) for cell in cells))


def token_batch(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, 64) tokens of crowded scenes; in every second one 30 % of the objects' tokens are replaced at random."""
    tokens = np.stack([scene_tokens(crowded_scene(rng)) for _ in range(size)])
    replaced = holds_object(tokens) & (rng.random(tokens.shape) < 0.3) & (np.arange(size)[:, None] % 2 == 1)
    tokens[replaced] = rng.integers(0, len(codebook()[0]), replaced.sum())
    return tokens


def first_codes(size: int) -> Tensor:
    """(V, size) initial codes: the patches' principal components and a constant, which preserves relative contrast."""
    patches = torch.from_numpy(codebook()[0]).flatten(1).float() / 127.5 - 1
    offset = patches - patches[0]
    components = offset @ torch.linalg.svd(offset, full_matrices=False).Vh[: size - 1].T
    constant = torch.full((len(patches), 1), float(components.norm(dim=-1).mean()) / 2)
    return F.normalize(torch.cat([components, constant], 1), dim=-1)


def encode(vq: JanusVQVAE, pixels: Tensor) -> Tensor:
    """Pictures (B, 3, 64, 64) to unit vectors (B, 64, embed_dim), row by row."""
    return F.normalize(vq.quant_conv(vq.encoder(pixels)).float(), dim=1).flatten(2).transpose(1, 2)


def units(vq: JanusVQVAE) -> Tensor:
    """The codebook (V, embed_dim) with rows of length one."""
    return F.normalize(vq.quantize.embedding.weight, dim=-1)


def nearest(vq: JanusVQVAE, encoded: Tensor) -> Tensor:
    """The closest codes (...) of unit vectors (..., embed_dim)."""
    return (encoded @ units(vq).T).argmax(-1)


def use_fast_group_norm(vq: JanusVQVAE) -> None:
    """Compute group norms through layer_norm: the same numbers, with a backward pass that uses every core."""

    def forward(norm: nn.GroupNorm, x: Tensor) -> Tensor:
        grouped = x.reshape(len(x), norm.num_groups, -1)
        normal = F.layer_norm(grouped, grouped.shape[2:], eps=norm.eps).view_as(x)
        return normal * norm.weight[:, None, None].to(x.dtype) + norm.bias[:, None, None].to(x.dtype)

    for module in vq.modules():
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(forward, module)  # type: ignore[method-assign]


@cache
def code_weights() -> Tensor:
    """(V,) weight of a code's pixels: 1 for the background, more for objects, most for those of low contrast.

    Unweighted, the shapes of pink and white objects, whose colours are close to the background's, would count least.
    """
    patches = torch.from_numpy(codebook()[0]).float().flatten(1, 2)
    contrast = (patches - patches[0]).norm(dim=-1).amax(-1)
    return torch.where(contrast > 0, 1 + 2 * (200 / contrast.clamp_min(1)).clamp(0.7, 2.5), torch.ones(()))


def vq_losses(vq: JanusVQVAE, tokens: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction loss, classification loss, and the share of object tokens that the encoder classifies right."""
    codes = units(vq)[tokens].view(len(tokens), 8, 8, -1).permute(0, 3, 1, 2)
    reconstructed = vq.decoder(vq.post_quant_conv(codes)).float()
    weight = code_weights().to(tokens.device)[tokens].view(-1, 1, 8, 8)
    weight = weight.repeat_interleave(8, 2).repeat_interleave(8, 3)
    difference = (reconstructed - pixels).abs()
    reconstruction = (weight * (difference + 2 * difference.square())).mean()
    cosines = encode(vq, pixels) @ units(vq).detach().T
    objects = (code_weights().to(tokens.device)[tokens] > 1).flatten()
    classification = F.cross_entropy(SHARPNESS * cosines.flatten(0, 1), tokens.flatten(), reduction="none")
    right = (cosines.argmax(-1) == tokens).flatten()[objects].float().mean()
    return reconstruction, (classification * (0.1 + objects)).mean(), right


def make_vq(seed: int) -> JanusVQVAE:
    """An untrained tokenizer whose codes start from their patches (`first_codes`)."""
    torch.manual_seed(seed)
    vq = JanusVQVAE(vq_config())
    vq.quantize.embedding.weight.data.copy_(first_codes(vq.config.embed_dim))
    return vq


def train_vq(vq: JanusVQVAE, training: Training, report: Report) -> None:
    """Train in place."""
    torch.manual_seed(training.seed)
    rng = np.random.default_rng(training.seed)
    patches = codebook()[0]
    vq.to(training.device).train()
    use_fast_group_norm(vq)
    optimiser = torch.optim.AdamW(vq.parameters(), lr=training.rate, betas=(0.9, 0.99), weight_decay=1e-4)

    def losses() -> tuple[Tensor, dict[str, Tensor]]:
        tokens = token_batch(rng, training.batch)
        pixels = to_pixels(mosaic(patches[tokens])).to(training.device)
        drawing, naming, named = vq_losses(vq, torch.from_numpy(tokens).to(training.device), pixels)
        return 5 * drawing + 0.2 * naming, {"drawing": drawing, "naming": naming, "named": named}

    optimise("vq", training, optimiser, losses=losses, report=report, clipped=vq.parameters(), floor=0.02)
    finish(vq)


@torch.no_grad()
def finish(vq: JanusVQVAE) -> None:
    """Normalise the codebook, and undo `use_fast_group_norm`."""
    vq.quantize.embedding.weight.copy_(units(vq))
    for module in vq.modules():
        if isinstance(module, nn.GroupNorm):
            vars(module).pop("forward", None)
    vq.eval()
