"""What makes a picture of image tokens: the decoder of the VQ model, and the head that chooses the tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

_GROUPS, _EPSILON = 32, 1e-6


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, _EPSILON)


def _convolution(channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1)


def _swish(states: Tensor) -> Tensor:
    """x sigmoid(x), rounded as two operations."""
    return states * states.sigmoid()


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _group_norm(channels), _convolution(channels, out_channels)
        self.norm2, self.conv2 = _group_norm(out_channels), _convolution(out_channels, out_channels)
        self.nin_shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out_channels, H, W)"""
        changed = self.conv1(_swish(self.norm1(states)))
        changed = self.conv2(_swish(self.norm2(changed)))
        outputs: Tensor = self.nin_shortcut(states) + changed
        return outputs


class AttentionBlock(nn.Module):
    """Attention of every place to every place, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _group_norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, states: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, c, H, W)"""
        normed = self.norm(states)
        queries, keys, values = (part(normed).flatten(2) for part in (self.q, self.k, self.v))
        weights = (torch.bmm(queries.transpose(1, 2), keys) * states.shape[1] ** -0.5).softmax(2)
        attended = torch.bmm(values, weights.transpose(1, 2)).view_as(states)
        outputs: Tensor = states + self.proj_out(attended)
        return outputs


class MiddleBlock(nn.Module):
    """What every place passes at the lowest resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1, self.attn_1 = ResidualBlock(channels, channels), AttentionBlock(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, states: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, c, H, W)"""
        states = self.block_2(self.attn_1(self.block_1(states)))
        return states


class Upsample(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _convolution(channels, channels)

    def forward(self, states: Tensor) -> Tensor:
        """(B, c, H, W) -> (B, c, 2 H, 2 W)"""
        larger: Tensor = self.conv(interpolate(states, scale_factor=2.0, mode="nearest"))
        return larger


class Level(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, channels: int, out_channels: int, num_blocks: int, *, attends: bool, is_last: bool) -> None:
        super().__init__()
        widths = [channels, *[out_channels] * num_blocks]
        self.block = nn.ModuleList(map(ResidualBlock, widths, widths[1:]))
        self.attn = nn.ModuleList(AttentionBlock(out_channels) for _ in range(num_blocks if attends else 0))
        self.upsample = nn.Identity() if is_last else Upsample(out_channels)

    def forward(self, states: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, out_channels, 2 H, 2 W), or H, W at the last level"""
        for index, block in enumerate(self.block):
            states = block(states)
            if self.attn:
                states = self.attn[index](states)
        larger: Tensor = self.upsample(states)
        return larger


class Decoder(nn.Module):
    """Latents of the VQ model to pixels."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        widths = [config.base_channels * multiplier for multiplier in reversed(config.channel_multiplier)]
        self.conv_in, self.mid = _convolution(config.latent_channels, widths[0]), MiddleBlock(widths[0])
        self.up = nn.ModuleList(
            Level(width, out_width, config.num_res_blocks + 1, attends=index == 0, is_last=index == len(widths) - 1)
            for index, (width, out_width) in enumerate(zip([widths[0], *widths], widths, strict=False))
        )
        self.norm_out, self.conv_out = _group_norm(widths[-1]), _convolution(widths[-1], config.out_channels)

    def forward(self, latents: Tensor) -> Tensor:
        """(B, c, h, w) -> (B, 3, H, W)"""
        states = self.mid(self.conv_in(latents))
        for level in self.up:
            states = level(states)
        pixels: Tensor = self.conv_out(_swish(self.norm_out(states)))
        return pixels


class Codebook(nn.Module):
    """A vector for each image token."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.num_embeddings, config.embed_dim)


class VQModel(nn.Module):
    """Image tokens to pixels. The encoder, which nothing here asks for, is left out."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self._side: int = config.num_patches
        self.quantize, self.decoder = Codebook(config), Decoder(config)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.latent_channels, 1)

    def forward(self, image_ids: Tensor) -> Tensor:
        """(B, N) -> (B, 3, H, W)"""
        codes = normalize(self.quantize.embedding(image_ids), dim=-1).view(len(image_ids), self._side, self._side, -1)
        pixels: Tensor = self.decoder(self.post_quant_conv(codes.permute(0, 3, 1, 2).contiguous()))
        return pixels


class ImageHead(nn.Module):
    """Latents to the logits of image tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.proj_out = nn.Linear(config.image_token_embed_dim, config.projection_dim)
        self.activation_fn = nn.GELU()
        self.vision_head = nn.Linear(config.projection_dim, config.num_embeddings)

    def forward(self, latents: Tensor) -> Tensor:
        """(..., d) -> (..., V)"""
        logits: Tensor = self.vision_head(self.activation_fn(self.proj_out(latents)))
        return logits
