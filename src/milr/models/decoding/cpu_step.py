"""A decode step in float32 on a CPU, where a small model spends more time between kernels than in them.

Bit for bit the numbers of `LlamaDecoder.__call__` with one input a sequence. All views of the cache are made once, not
at every step; projections write to buffers whose parts, too, are views made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, baddbmm, bmm, mm

from milr.models.decoding.kv_cache import KVCache
from milr.models.decoding.llama import LlamaDecoder, LlamaLayer, MergedProjection, Projection


@dataclass(frozen=True)
class _LayerViews:
    """One layer's weights, transposed, and its keys (S KV heads, head dim, capacity) and values (..., capacity, head
    dim)."""

    layer: LlamaLayer
    qkv_weight: Tensor
    o_weight: Tensor
    gate_up_weight: Tensor
    down_weight: Tensor
    keys: Tensor
    values: Tensor


class CpuStep:
    """Decode steps over one cache. `padding` (S,) cache positions of each sequence come before its first token.

    `attention_bias` (S, 1, 1, capacity) is that of the next step. Not for several threads at once.
    """

    def __init__(self, decoder: LlamaDecoder, cache: KVCache, padding: Tensor, attention_bias: Tensor) -> None:
        size, num_kv_heads, head_dim = cache.batch_size, decoder.num_kv_heads, decoder.head_dim
        num_heads, num_groups = decoder.num_heads, decoder.num_heads // decoder.num_kv_heads
        self._decoder, self._cache, self._scale = decoder, cache, head_dim**-0.5
        self._layers = [_layer_views(layer, cache, index) for index, layer in enumerate(decoder.layers)]
        norm = decoder.norm
        self._qkv = norm.new_empty(size, (num_heads + 2 * num_kv_heads) * head_dim)
        heads = self._qkv.view(size, -1, head_dim)
        self._rotated = heads[:, : num_heads + num_kv_heads]
        self._new_queries, self._new_keys = heads[:, :num_heads], heads[:, num_heads : num_heads + num_kv_heads]
        self._new_values = heads[:, num_heads + num_kv_heads :]
        self._queries = norm.new_empty(size, num_heads, head_dim)
        self._grouped_queries = self._queries.view(-1, num_groups, head_dim)
        self._attended = torch.empty_like(self._grouped_queries)
        self._attended_rows = self._attended.view(size, -1)
        self._gate_up = norm.new_empty(size, self._layers[0].gate_up_weight.shape[1])
        self._gate, self._up = self._gate_up.chunk(2, -1)
        self._bias = attention_bias.repeat(1, num_heads, 1, 1).view(len(self._attended), num_groups, -1)
        position_ids = (torch.arange(cache.capacity) - padding[:, None]).clamp(min=0)
        self._cosines, self._sines = (table[position_ids][:, :, None] for table in decoder.rope_tables)

    def __call__(self, inputs_embeds: Tensor, cache_position: int) -> Tensor:
        """Forward one input of each sequence (S, d), written at `cache_position`. -> hidden states (S, d)"""
        normalised, rotated, half = self._decoder.normalised, self._rotated, self._decoder.head_dim // 2
        cosines, sines = self._cosines[:, cache_position], self._sines[:, cache_position]
        key_columns = self._cache.keys[:, :, :, cache_position].unbind()
        value_columns = self._cache.values[:, :, :, cache_position].unbind()
        self._bias[..., cache_position] = 0.0
        hidden_states = inputs_embeds.clone()
        for views, key_column, value_column in zip(self._layers, key_columns, value_columns, strict=True):
            layer = views.layer
            mm(normalised(hidden_states, layer.input_norm), views.qkv_weight, out=self._qkv)
            rolled = rotated.roll(half, -1)
            rotated.mul_(cosines).addcmul_(rolled, sines)
            key_column.copy_(self._new_keys)
            value_column.copy_(self._new_values)
            self._queries.copy_(self._new_queries)
            logits = baddbmm(self._bias, self._grouped_queries, views.keys, alpha=self._scale)
            bmm(logits.softmax(-1), views.values, out=self._attended)
            hidden_states.add_(mm(self._attended_rows, views.o_weight))
            mm(normalised(hidden_states, layer.post_attention_norm), views.gate_up_weight, out=self._gate_up)
            hidden_states.add_(mm(layer.activation(self._gate).mul_(self._up), views.down_weight))
        return normalised(hidden_states, self._decoder.norm)


def can_step(decoder: LlamaDecoder) -> bool:
    """Whether `CpuStep` computes what this decoder does: float32 on a CPU, and plain projections without biases."""
    is_plain = type(decoder) is LlamaDecoder  # whose forward no subclass has changed
    is_plain = is_plain and decoder.norm.dtype == torch.float32 and decoder.norm.device.type == "cpu"
    projections = [projection for layer in decoder.layers for projection in
                   (layer.qkv_proj, layer.o_proj, layer.gate_up_proj, layer.down_proj)]  # fmt: skip
    return is_plain and all(isinstance(one, MergedProjection) and one.bias is None for one in projections)


def _layer_views(layer: LlamaLayer, cache: KVCache, index: int) -> _LayerViews:
    return _LayerViews(
        layer,
        _transposed(layer.qkv_proj),
        _transposed(layer.o_proj),
        _transposed(layer.gate_up_proj),
        _transposed(layer.down_proj),
        cache.keys[index].flatten(0, 1).transpose(1, 2),
        cache.values[index].flatten(0, 1),
    )


def _transposed(projection: Projection) -> Tensor:
    assert isinstance(projection, MergedProjection)
    return projection.weight.t()
