"""A Llama decoder's layers over one key-value cache that is written in place.

The weights and the arithmetic are transformers' own (`LlamaModel`: RMS norm, rotary positions, grouped-query attention,
gated MLP), without what its forward does around them: no mask is built, no cache copied, and the projections that read
the same input are one product. Numbers equal transformers' up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention

from milr.types import MissingError

STATIC_ROPE = ("default", "linear", "yarn", "llama3")  # the others' angles depend on how long the sequence is
Projection = Callable[[Tensor], Tensor]


class KeyValues:
    """Keys and values of S streams at M places: one tensor (layers, 2, S, heads, M, head width)."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def places(self) -> int:
        """M"""
        return self.tensor.shape[4]

    def of(self, first: int, last: int, start: int = 0) -> KeyValues:
        """Streams `first` up to `last`, from place `start` on: a view, what is written there is written here."""
        return KeyValues(self.tensor[:, :, first:last, :, start:])

    def write(self, layer: int, place: int, keys: Tensor, values: Tensor) -> None:
        """Write (S, heads, W, head width) from `place` on."""
        end = place + keys.shape[2]
        self.tensor[layer, 0][:, :, place:end] = keys
        self.tensor[layer, 1][:, :, place:end] = values

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        """All keys and values before place `end`."""
        return self.tensor[layer, 0][:, :, :end], self.tensor[layer, 1][:, :, :end]


@dataclass(frozen=True)
class _Layer:
    attention_norm: Tensor
    attend: Projection
    attended: Projection
    mlp_norm: Tensor
    widen: Projection
    activation: Projection
    narrow: Projection


class Stack:
    """The layers of a `LlamaModel`, sharing its weights. MissingError for another kind of transformer."""

    def __init__(self, transformer: Any) -> None:
        config = transformer.config
        if config.model_type != "llama" or config.rope_parameters["rope_type"] not in STATIC_ROPE:
            raise MissingError(f"the language model is of type {config.model_type}, and only Llama's with positions of "
                               "fixed angles is known.")  # fmt: skip
        self.heads: int = config.num_attention_heads
        self.key_heads: int = config.num_key_value_heads
        self.head_width: int = transformer.layers[0].self_attn.head_dim
        self._epsilon: float = config.rms_norm_eps
        self._layers = [_layer(layer) for layer in transformer.layers]
        self._norm: Tensor = transformer.norm.weight
        self._cosines, self._sines = _angles(transformer, self._norm)

    def cache(self, streams: int, places: int) -> KeyValues:
        """A cache of zeros: what nobody wrote has no weight in the attention, but must be a number."""
        shape = (len(self._layers), 2, streams, self.key_heads, places, self.head_width)
        return KeyValues(self._norm.new_zeros(shape))

    def __call__(self, inputs: Tensor, positions: Tensor, cache: KeyValues, place: int, bias: Tensor | None) -> Tensor:
        """Read W inputs of S streams (S, W, d), at their `positions` (S, W), into the cache's places from `place` on.

        `bias` (S, 1, W, place + W) is added to the attention's logits; None: every input sees all that is before it.
        -> hidden states (S, W, d), normed.
        """
        streams, width, size = inputs.shape
        cosines, sines = self._cosines[positions][:, :, None], self._sines[positions][:, :, None]
        turned = self.heads + self.key_heads
        states = inputs
        for index, layer in enumerate(self._layers):
            read = layer.attend(self._normed(states, layer.attention_norm))
            read = read.view(streams, width, turned + self.key_heads, self.head_width)
            turning = read[:, :, :turned]
            turning = turning * cosines + turning.roll(self.head_width // 2, -1) * sines
            cache.write(index, place, turning[:, :, self.heads :].transpose(1, 2), read[:, :, turned:].transpose(1, 2))
            keys, values = cache.read(index, place + width)
            seen = scaled_dot_product_attention(
                turning[:, :, : self.heads].transpose(1, 2), keys, values, attn_mask=bias,
                is_causal=bias is None and width > 1, enable_gqa=self.heads > self.key_heads,
            )  # fmt: skip
            states = states + layer.attended(seen.transpose(1, 2).reshape(streams, width, -1))
            gate, wide = layer.widen(self._normed(states, layer.mlp_norm)).chunk(2, -1)
            states = states + layer.narrow(layer.activation(gate) * wide)
        return self._normed(states, self._norm)

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        return rms_norm(states, weight.shape, weight, self._epsilon)


def _angles(transformer: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of all positions, (P, head width) each: turned(x) = x cos + (x rolled by half) sin."""
    places = torch.arange(transformer.config.max_position_embeddings, device=like.device)
    cosines, sines = transformer.rotary_emb(like, places[None])
    half = sines.shape[-1] // 2
    return cosines[0], torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1)


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        layer.input_layernorm.weight, _joined(attention.q_proj, attention.k_proj, attention.v_proj), attention.o_proj,
        layer.post_attention_layernorm.weight, _joined(mlp.gate_proj, mlp.up_proj), mlp.act_fn, mlp.down_proj,
    )  # fmt: skip


def _joined(*projections: nn.Module) -> Projection:
    """The projections of one input as one product; their weights become views of the joined one, so nothing is held
    twice and training goes on. Those of another kind (quantised) are asked one by one."""
    if any(type(one) is not nn.Linear for one in projections):
        return lambda inputs: torch.cat([one(inputs) for one in projections], -1)
    joined: dict[str, Tensor | None] = {"bias": None}
    for name in ("weight", "bias"):
        parts = [getattr(one, name) for one in projections]
        if parts[0] is not None:
            whole = torch.cat([part.data for part in parts])
            for part, view in zip(parts, torch.split(whole, [len(part) for part in parts]), strict=True):
                part.data = view
            joined[name] = whole
    weight, bias = joined["weight"], joined["bias"]
    assert weight is not None
    return lambda inputs: linear(inputs, weight, bias)
