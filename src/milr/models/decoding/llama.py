"""A Llama decoder's layers over one key-value cache that is written in place.

The weights and the arithmetic are transformers' own (`LlamaModel`: RMS norm, rotary positions, grouped-query attention,
gated MLP), without what its forward does around them: no mask is built, no cache copied, and the projections that read
the same input are one product. Numbers equal transformers' up to the order of sums.
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

from milr.models.decoding.column_major import laid_out
from milr.types import MissingError

STATIC_ROPE = ("default", "linear", "yarn", "llama3")  # the others' angles depend on how long the sequence is
SPARE = 4  # pieces of memory that stay
Projection = Callable[[Tensor], Tensor]


class KeyValues:
    """Keys and values of S streams at M places, each (layers, S, heads, M, head width).

    `memory` is what both lie in, to be used again (None: a view).
    """

    def __init__(self, keys: Tensor, values: Tensor, memory: Tensor | None = None) -> None:
        self.keys, self.values, self.memory = keys, values, memory

    @classmethod
    def within(cls, memory: Tensor, shape: tuple[int, ...]) -> KeyValues:
        """Keys and values of this shape at the beginning of a flat piece of memory.

        In a CPU's fp32 a key lies across the places: the products of one query with all keys are quickest so.
        """
        size, across = math.prod(shape), memory.device.type == "cpu" and memory.dtype == torch.float32
        keys, values = memory[: 2 * size].view(2, size)
        turned = keys.view(*shape[:3], shape[4], shape[3]).transpose(3, 4) if across else keys.view(shape)
        return cls(turned, values.view(shape), memory)

    @property
    def streams(self) -> int:
        """S"""
        return self.values.shape[1]

    @property
    def places(self) -> int:
        """M"""
        return self.values.shape[3]

    def of(self, first: int, last: int, start: int = 0) -> KeyValues:
        """Streams `first` up to `last`, from place `start` on: a view, what is written there is written here."""
        return KeyValues(self.keys[:, first:last, :, start:], self.values[:, first:last, :, start:])

    def write(self, layer: int, place: int | Tensor, keys: Tensor, values: Tensor) -> None:
        """Write (S, heads, W, head width) from `place` on; one place on the device is (1,), W being 1."""
        if isinstance(place, Tensor):
            self.keys[layer].index_copy_(2, place, keys)
            self.values[layer].index_copy_(2, place, values)
            return
        end = place + keys.shape[2]
        self.keys[layer, :, :, place:end] = keys
        self.values[layer, :, :, place:end] = values

    def read(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        """All keys and values before place `end`."""
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def held(self, stream: int, start: int, end: int) -> Tensor:
        """A copy of one stream's keys and values at these places, (layers, 2, heads, end - start, head width)."""
        return torch.stack([part[:, stream, :, start:end] for part in (self.keys, self.values)], 1)

    def restore(self, stream: int, start: int, held: Tensor) -> None:
        """Write what was `held` from place `start` on."""
        end = start + held.shape[3]
        self.keys[:, stream, :, start:end], self.values[:, stream, :, start:end] = held[:, 0], held[:, 1]

    def take(self, other: KeyValues, streams: Tensor | None = None) -> None:
        """Begin with the other's places, of these of its streams (None: of all)."""
        places = other.places
        for own, theirs in ((self.keys, other.keys), (self.values, other.values)):
            own[:, :, :, :places] = theirs if streams is None else theirs.index_select(1, streams)


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
        self._spare: list[Tensor] = []
        self._spares = SPARE if transformer.device.type == "cpu" else 1
        self._lock = Lock()
        self._norm: Tensor = transformer.norm.weight
        self._shortest = self._norm.new_tensor((self._epsilon * len(self._norm)) ** 0.5)
        self._rotate = transformer.rotary_emb
        self._tables = [_angles(self._rotate, self._norm, config.max_position_embeddings)]

    @property
    def bytes_of_a_place(self) -> int:
        """What one place of one stream takes in a cache."""
        return 2 * len(self._layers) * self.key_heads * self.head_width * self._norm.element_size()

    def cache(self, streams: int, places: int) -> KeyValues:
        """A cache whose values are numbers, if chance ones: what nobody wrote has no weight in the attention."""
        shape = (len(self._layers), streams, self.key_heads, places, self.head_width)
        needed = 2 * math.prod(shape)
        with self._lock:
            if places > len(self._tables[-1][0]):  # older tables stay: graphs read them
                self._tables.append(_angles(self._rotate, self._norm, 2 * places))
            fitting = [spare for spare in self._spare if len(spare) >= needed]
            kept = self._spare if fitting or self._norm.device.type == "cpu" else []  # too small: make room
            memory = fitting[0] if fitting else None
            self._spare = [spare for spare in kept if spare is not memory]
        memory = self._norm.new_zeros(needed) if memory is None else memory
        return KeyValues.within(memory, shape)

    def give_back(self, cache: KeyValues) -> None:
        """Nobody reads this cache any more, and all in it are numbers. Fresh memory costs a CPU as much as a decode
        step, and graphs are of their memory, so some of it stays."""
        if cache.memory is not None:
            with self._lock:
                self._spare = sorted([*self._spare, cache.memory], key=len)[-self._spares :]

    def forget(self) -> None:
        """Let the spare memory go."""
        with self._lock:
            self._spare = []

    def __call__(self, inputs: Tensor, positions: Tensor, cache: KeyValues, place: int | Tensor, bias: Tensor | None
                 ) -> Tensor:  # fmt: skip
        """Read W inputs of S streams (S, W, d), at their `positions` (S, W), into the cache's places from `place` on.

        `bias` (S, 1, W, M) is added to the attention's logits of the first M places; None: every input sees all that is
        before it.
        -> hidden states (S, W, d), normed.
        """
        streams, width, _ = inputs.shape
        cosines, sines = (table[positions][:, :, None] for table in self._tables[-1])
        turned, size_of_heads = self.heads + self.key_heads, self.heads * self.head_width
        seen = int(place) + width if bias is None else bias.shape[-1]
        attention = _attention(inputs, bias, self.heads)
        states = inputs
        for index, layer in enumerate(self._layers):
            read = layer.attend(self._normed(states, layer.attention_norm))
            read = read.view(streams, width, turned + self.key_heads, self.head_width)
            turning = read[:, :, :turned]
            rolled = turning.roll(self.head_width // 2, -1)
            turning.mul_(cosines).addcmul_(rolled, sines)
            cache.write(index, place, turning[:, :, self.heads :].transpose(1, 2), read[:, :, turned:].transpose(1, 2))
            mixed = attention(turning[:, :, : self.heads].transpose(1, 2), *cache.read(index, seen))
            states = states + layer.attended(mixed.transpose(1, 2).reshape(streams, width, size_of_heads))
            gate, wide = layer.widen(self._normed(states, layer.mlp_norm)).chunk(2, -1)
            states = states + layer.narrow(layer.activation(gate).mul_(wide))
        return self._normed(states, self._norm)

    def _normed(self, states: Tensor, weight: Tensor) -> Tensor:
        if states.dtype != torch.float32 or states.device.type != "cpu":
            return rms_norm(states, weight.shape, weight, self._epsilon)  # type: ignore[no-any-return]
        length = vector_norm(states, dim=-1, keepdim=True)  # the same in half the time, where kernels are small
        return (states / torch.hypot(length, self._shortest).mul_(len(weight) ** -0.5)).mul_(weight)


def _attention(inputs: Tensor, bias: Tensor | None, heads: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Attention of these inputs (S, W, d) with one bias (S, 1, W, M) in every layer; None: causal.

    It maps queries (S, heads, W, w), keys and values (S, key heads, M, w) to (S, heads, W, w).
    """
    one = inputs.shape[1] == 1 and inputs.dtype == torch.float32 and inputs.device.type == "cpu"
    if not one:
        return lambda queries, keys, values: scaled_dot_product_attention(
            queries, keys if keys.stride(-1) == 1 else keys.contiguous(), values, attn_mask=bias,
            is_causal=bias is None and inputs.shape[1] > 1, enable_gqa=heads > keys.shape[1])  # fmt: skip
    added = inputs.new_zeros(1) if bias is None else bias.expand(-1, heads, -1, -1).flatten(0, 1)

    def products(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        grouped = queries.reshape(-1, heads // keys.shape[1], queries.shape[-1])
        mask = added if bias is None else added.view(len(grouped), -1, bias.shape[-1])
        logits = torch.baddbmm(mask, grouped, keys.flatten(0, 1).transpose(1, 2), alpha=queries.shape[-1] ** -0.5)
        return torch.bmm(logits.softmax(-1), values.flatten(0, 1)).view(queries.shape)

    return products


def _angles(rotate: Any, like: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of positions, (count, head width) each: turned(x) = x cos + (x rolled by half) sin."""
    cosines, sines = rotate(like, torch.arange(count, device=like.device)[None])
    half = sines.shape[-1] // 2
    return cosines[0], torch.cat([-sines[0, :, :half], sines[0, :, half:]], -1)


def _layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    return _Layer(
        layer.input_layernorm.weight, _joined(attention.q_proj, attention.k_proj, attention.v_proj),
        _joined(attention.o_proj),
        layer.post_attention_layernorm.weight, _joined(mlp.gate_proj, mlp.up_proj), mlp.act_fn,
        _joined(mlp.down_proj),
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
            whole = laid_out(whole) if name == "weight" else whole
            for part, view in zip(parts, torch.split(whole, [len(part) for part in parts]), strict=True):
                part.data = view
            joined[name] = whole
    weight, bias = joined["weight"], joined["bias"]
    assert weight is not None
    return lambda inputs: linear(inputs, weight, bias)
