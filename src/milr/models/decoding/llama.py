"""A Llama decoder's layers over one key-value cache that is written in place.

The weights and the arithmetic are transformers' own (`LlamaModel`: RMS norm, rotary positions, grouped-query attention,
gated MLP), without what its forward does around them: no mask is built, no cache copied, and projections of the same
input are one product. In float32 numbers equal transformers' up to the order of sums; in bfloat16, where another order
rounds otherwise, they are about as near to float32 as transformers' own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn, rms_norm
from torch.linalg import vector_norm
from torch.nn.functional import linear, scaled_dot_product_attention

from milr.models.decoding.column_major import column_major
from milr.models.decoding.kv_cache import KVCache
from milr.types import MissingError

ROPE_TYPES = ("default", "linear", "yarn", "llama3")  # the angles of other types depend on the sequence's length
FIRST_POSITIONS = 2**15  # whose angles are computed at the start; more where a sequence is longer
MAX_FREE_BUFFERS = 4  # of freed caches, kept on a CPU to be used again; on CUDA one is kept
Projection = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MergedProjection:
    """Plain projections of the same input as one product: weight (sum of outputs, inputs), and bias if there is one."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, inputs: Tensor) -> Tensor:
        """(..., inputs) -> (..., sum of outputs)"""
        return linear(inputs, self.weight, self.bias)


@dataclass(frozen=True)
class LlamaLayer:
    """The weights of one layer."""

    input_norm: Tensor
    qkv_proj: Projection
    o_proj: Projection
    post_attention_norm: Tensor
    gate_up_proj: Projection
    activation: Projection
    down_proj: Projection


class LlamaDecoder:
    """The layers of a `LlamaModel`, sharing its weights. MissingError for another kind of transformer."""

    def __init__(self, transformer: Any) -> None:
        config = transformer.config
        if config.model_type != "llama" or config.rope_parameters["rope_type"] not in ROPE_TYPES:
            raise MissingError(f"the language model is of type {config.model_type}, and only Llama's with positions of "
                               "fixed angles is known.")  # fmt: skip
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = config.num_key_value_heads
        self.head_dim: int = transformer.layers[0].self_attn.head_dim
        self._epsilon: float = config.rms_norm_eps
        self.layers = [_layer(layer) for layer in transformer.layers]
        self._free_buffers: list[Tensor] = []
        self._max_free_buffers = MAX_FREE_BUFFERS if transformer.device.type == "cpu" else 1
        self._lock = Lock()
        self.norm: Tensor = transformer.norm.weight
        self._min_length = self.norm.new_tensor((self._epsilon * len(self.norm)) ** 0.5)
        self._rotary_emb = transformer.rotary_emb
        self._rope_tables = [
            _rope_table(self._rotary_emb, self.norm, min(config.max_position_embeddings, FIRST_POSITIONS))
        ]

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one position of one sequence takes in a cache."""
        return 2 * len(self.layers) * self.num_kv_heads * self.head_dim * self.norm.element_size()

    @property
    def rope_tables(self) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of as many positions as any cache has, (positions, head dim) each."""
        return self._rope_tables[-1]

    def allocate_cache(self, batch_size: int, capacity: int) -> KVCache:
        """A cache whose unwritten values are arbitrary, but finite: attention gives them no weight."""
        shape = (len(self.layers), batch_size, self.num_kv_heads, capacity, self.head_dim)
        size = 2 * math.prod(shape)
        with self._lock:
            if capacity > len(self._rope_tables[-1][0]):  # older tables stay: CUDA graphs read them
                self._rope_tables.append(_rope_table(self._rotary_emb, self.norm, 2 * capacity))
            fitting = [buffer for buffer in self._free_buffers if len(buffer) >= size]
            memory = fitting[0] if fitting else None
            if memory is None and self.norm.device.type != "cpu":
                self._free_buffers = []  # too small: free their memory first
            self._free_buffers = [buffer for buffer in self._free_buffers if buffer is not memory]
        memory = self.norm.new_zeros(size) if memory is None else memory
        return KVCache.from_memory(memory, shape)

    def free_cache(self, cache: KVCache) -> None:
        """Take a cache back that nobody reads any more and whose values are all finite.

        Some of the memory is kept: allocating costs a CPU as much as a decode step, and CUDA graphs are bound to it.
        """
        if cache.memory is not None:
            with self._lock:
                self._free_buffers = sorted([*self._free_buffers, cache.memory], key=len)[-self._max_free_buffers :]

    def free_memory(self) -> None:
        """Free the memory of all caches that were taken back."""
        with self._lock:
            self._free_buffers = []

    def __call__(self, inputs_embeds: Tensor, position_ids: Tensor, cache: KVCache, cache_position: int | Tensor,
                 attention_bias: Tensor | None) -> Tensor:  # fmt: skip
        """Forward L inputs of S sequences (S, L, d) at `position_ids` (S, L), written from `cache_position` on.

        `attention_bias` (S, 1, L, seq_len) is added to the attention logits of the first `seq_len` cache positions;
        None is causal attention to everything up to the input.
        -> hidden states (S, L, d) after the final norm.
        """
        batch_size, length, _ = inputs_embeds.shape
        cosines, sines = (table[position_ids][:, :, None] for table in self._rope_tables[-1])
        num_rotated, attention_dim = self.num_heads + self.num_kv_heads, self.num_heads * self.head_dim
        seq_len = int(cache_position) + length if attention_bias is None else attention_bias.shape[-1]
        attention = _attention(inputs_embeds, attention_bias, self.num_heads)
        hidden_states = inputs_embeds
        for index, layer in enumerate(self.layers):
            qkv = layer.qkv_proj(self.normalised(hidden_states, layer.input_norm))
            qkv = qkv.view(batch_size, length, num_rotated + self.num_kv_heads, self.head_dim)
            rotated = qkv[:, :, :num_rotated]
            rolled = rotated.roll(self.head_dim // 2, -1)
            rotated.mul_(cosines).addcmul_(rolled, sines)
            queries, keys = rotated[:, :, : self.num_heads], rotated[:, :, self.num_heads :]
            values = qkv[:, :, num_rotated:]
            cache.update(index, cache_position, keys.transpose(1, 2), values.transpose(1, 2))
            attended = attention(queries.transpose(1, 2), *cache.layer(index, seq_len))
            attended = attended.transpose(1, 2).reshape(batch_size, length, attention_dim)
            hidden_states = hidden_states + layer.o_proj(attended)
            gate, up = layer.gate_up_proj(self.normalised(hidden_states, layer.post_attention_norm)).chunk(2, -1)
            hidden_states = hidden_states + layer.down_proj(layer.activation(gate).mul_(up))
        return self.normalised(hidden_states, self.norm)

    def normalised(self, hidden_states: Tensor, weight: Tensor) -> Tensor:
        """RMS norm."""
        if hidden_states.dtype != torch.float32 or hidden_states.device.type != "cpu":
            return rms_norm(hidden_states, weight.shape, weight, self._epsilon)  # type: ignore[no-any-return]
        length = vector_norm(hidden_states, dim=-1, keepdim=True)  # the same in half the time, where kernels are small
        return (hidden_states / torch.hypot(length, self._min_length).mul_(len(weight) ** -0.5)).mul_(weight)


def _attention(inputs: Tensor, bias: Tensor | None, num_heads: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention of these inputs (S, L, d) with one bias (S, 1, L, seq_len) in every layer; None: causal.

    It maps queries (S, heads, L, head dim), keys and values (S, KV heads, seq_len, head dim) to the queries' shape.
    """
    is_cpu_step = inputs.shape[1] == 1 and inputs.dtype == torch.float32 and inputs.device.type == "cpu"
    if not is_cpu_step:
        return lambda queries, keys, values: scaled_dot_product_attention(
            queries, keys if keys.stride(-1) == 1 else keys.contiguous(), values, attn_mask=bias,
            is_causal=bias is None and inputs.shape[1] > 1, enable_gqa=num_heads > keys.shape[1])  # fmt: skip
    head_bias = inputs.new_zeros(1) if bias is None else bias.expand(-1, num_heads, -1, -1).flatten(0, 1)

    def matrix_products(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        grouped = queries.reshape(-1, num_heads // keys.shape[1], queries.shape[-1])
        group_bias = head_bias if bias is None else head_bias.view(len(grouped), -1, bias.shape[-1])
        logits = torch.baddbmm(group_bias, grouped, keys.flatten(0, 1).transpose(1, 2), alpha=queries.shape[-1] ** -0.5)
        return torch.bmm(logits.softmax(-1), values.flatten(0, 1)).view(queries.shape)

    return matrix_products


def _rope_table(rotary_emb: Any, like: Tensor, num_positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of the first positions, (num_positions, head dim) each.

    rotated(x) = x cos + (x rolled by half the head dim) sin.
    """
    cosines, sines = rotary_emb(like, torch.arange(num_positions, device=like.device)[None])
    half = sines.shape[-1] // 2
    return cosines[0], torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1)


def _layer(layer: Any) -> LlamaLayer:
    attention, mlp = layer.self_attn, layer.mlp
    return LlamaLayer(
        layer.input_layernorm.weight, _merged(attention.q_proj, attention.k_proj, attention.v_proj),
        _merged(attention.o_proj),
        layer.post_attention_layernorm.weight, _merged(mlp.gate_proj, mlp.up_proj), mlp.act_fn,
        _merged(mlp.down_proj),
    )  # fmt: skip


def _merged(*projections: nn.Module) -> Projection:
    """Projections of the same input as one product.

    Their weights become views of the merged weight, so nothing is held twice and training still works. Layers that are
    not plain `nn.Linear` (quantised ones) are called one by one.
    """
    if any(type(projection) is not nn.Linear for projection in projections):
        return lambda inputs: torch.cat([projection(inputs) for projection in projections], -1)
    merged: dict[str, Tensor | None] = {"bias": None}
    for name in ("weight", "bias"):
        parameters = [getattr(projection, name) for projection in projections]
        if parameters[0] is not None:
            tensor = torch.cat([parameter.data for parameter in parameters])
            tensor = column_major(tensor) if name == "weight" else tensor
            sizes = [len(parameter) for parameter in parameters]
            for parameter, view in zip(parameters, torch.split(tensor, sizes), strict=True):
                parameter.data = view
            merged[name] = tensor
    weight, bias = merged["weight"], merged["bias"]
    assert weight is not None
    return MergedProjection(weight, bias)
