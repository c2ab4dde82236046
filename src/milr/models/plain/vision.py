"""The tower that reads pictures: patches, transformer layers, and the aligner to the language model's width."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


class Embeddings(nn.Module):
    """Patches and their positions."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, num_patches = config.hidden_size, (config.image_size // config.patch_size) ** 2
        self.patch_embedding = nn.Conv2d(config.num_channels, width, config.patch_size, config.patch_size)
        self.position_embedding = nn.Embedding(num_patches, width)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, d)"""
        return self.patch_embedding(pixel_values).flatten(2).transpose(1, 2) + self.position_embedding.weight


class Attention(nn.Module):
    """Attention of every patch to every patch."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self._num_heads: int = config.num_attention_heads
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.projection_layer = nn.Linear(width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)"""
        projected = (self.q_proj(states), self.k_proj(states), self.v_proj(states))
        heads = [part.unflatten(-1, (self._num_heads, -1)).transpose(1, 2) for part in projected]
        attended = scaled_dot_product_attention(*heads)
        projection: Tensor = self.projection_layer(attended.transpose(1, 2).flatten(2))
        return projection


class MLP(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        inner = int(config.hidden_size * config.mlp_ratio)
        self.fc1, self.fc2 = nn.Linear(config.hidden_size, inner), nn.Linear(inner, config.hidden_size)

    def forward(self, states: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)"""
        outputs: Tensor = self.fc2(gelu(self.fc1(states)))
        return outputs


class Layer(nn.Module):
    """One layer of the tower."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = MLP(config)

    def forward(self, states: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d)"""
        states = states + self.self_attn(self.layer_norm1(states))
        outputs: Tensor = states + self.mlp(self.layer_norm2(states))
        return outputs


class Encoder(nn.Module):
    """The layers, one after the other."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))


class VisionModel(nn.Module):
    """Pixels to the features of patches."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, d)"""
        states = self.embeddings(pixel_values)
        for layer in self.encoder.layers:
            states = layer(states)
        features: Tensor = self.post_layernorm(states)
        return features


class Aligner(nn.Module):
    """Layers with GELU between them, from one width to another."""

    def __init__(self, width: int, out_width: int, depth: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, out_width)
        self.hidden_layers = nn.ModuleList(nn.Linear(out_width, out_width) for _ in range(1, depth))

    def forward(self, states: Tensor) -> Tensor:
        """(..., width) -> (..., out_width)"""
        states = self.fc1(states)
        for layer in self.hidden_layers:
            states = layer(gelu(states))
        return states
