"""The weights of a Llama, under the names that checkpoints give them; `LlamaDecoder` computes with them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Norm(nn.Module):
    """The weight of an RMS norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))


class Attention(nn.Module):
    """The projections of attention to earlier positions."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.head_dim: int = config.head_dim
        width, kv_width = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)


class GatedMLP(nn.Module):
    """The projections of a gated MLP."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.act_fn = nn.SiLU()


class Layer(nn.Module):
    """One layer of the language model."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), GatedMLP(config)
        self.input_layernorm, self.post_attention_layernorm = Norm(config.hidden_size), Norm(config.hidden_size)


class LanguageModel(nn.Module):
    """Embeddings and layers; it has no forward of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.norm.weight.device

    def rotary_emb(self, like: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the angles at positions (1, L), in the dtype of `like`. (1, L, head dim) each"""
        head_dim = self.config.head_dim
        exponents = torch.arange(0, head_dim, 2).float() / head_dim
        frequencies = (1.0 / self.config.rope_parameters["rope_theta"] ** exponents).to(like.device)
        angles = position_ids[..., None].float() * frequencies
        angles = torch.cat((angles, angles), -1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)
