"""The layers against transformers' own forward: whole, with a cache, padded, with other shapes of Llama."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from milr.models.decoding.llama import Stack
from milr.types import MissingError

WIDTH = 32
SHAPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped queries": {"num_key_value_heads": 2},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "another width of heads": {"head_dim": 16},
    "scaled positions": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}},
    "another activation": {"hidden_act": "gelu"},
}


def transformer(**changes: Any) -> LlamaModel:
    torch.manual_seed(0)
    known: dict[str, Any] = dict(vocab_size=12, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2,
                                 num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64)  # fmt: skip
    made = LlamaModel(LlamaConfig(**{**known, **changes})).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    return made


def inputs(streams: int, length: int) -> torch.Tensor:
    return torch.randn(streams, length, WIDTH, generator=torch.Generator().manual_seed(length))


def places(first: int, count: int, streams: int = 3) -> torch.Tensor:
    return torch.arange(first, first + count).expand(streams, -1)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_transformers(shape: str) -> None:
    model, given = transformer(**SHAPES[shape]), inputs(3, 9)
    whole = model(inputs_embeds=given).last_hidden_state
    stack = Stack(copy.deepcopy(model))
    cache = stack.cache(3, 12)
    at_once = stack(given, places(0, 9), stack.cache(3, 9), 0, None)
    first = stack(given[:, :6], places(0, 6), cache, 0, None)
    steps = [stack(given[:, place : place + 1], places(place, 1), cache, place, None) for place in range(6, 9)]
    for found in (at_once, torch.cat([first, *steps], 1)):
        torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)


def test_positions_beyond_those_trained_are_as_transformers_has_them() -> None:
    model, given = transformer(max_position_embeddings=4), inputs(3, 9)
    whole, stack = model(inputs_embeds=given).last_hidden_state, Stack(model)
    torch.testing.assert_close(stack(given, places(0, 9), stack.cache(3, 9), 0, None), whole, atol=1e-5, rtol=1e-5)


def test_a_view_of_some_streams_writes_into_the_whole() -> None:
    stack, given = Stack(transformer()), inputs(3, 5)
    whole, apart = stack.cache(3, 8), stack.cache(3, 8)
    stack(given, places(0, 5), apart.of(0, 3, 3), 0, None)
    for stream in range(3):
        stack(given[stream : stream + 1], places(0, 5, 1), whole.of(stream, stream + 1, 3), 0, None)
    for one, other in ((whole.keys, apart.keys), (whole.values, apart.values)):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert one[..., :3, :].eq(0).all() and one[..., 3:, :].ne(0).any()


def test_what_is_held_of_a_stream_is_what_is_restored() -> None:
    stack, given = Stack(transformer()), inputs(3, 5)
    cache, other = stack.cache(3, 8), stack.cache(3, 8)
    stack(given, places(0, 5), cache, 0, None)
    held = cache.held(1, 1, 5)
    assert held.shape == (2, 2, 4, 4, 8)
    other.restore(2, 3, held)
    torch.testing.assert_close(other.keys[:, 2, :, 3:7], cache.keys[:, 1, :, 1:5])
    torch.testing.assert_close(other.values[:, 2, :, 3:7], cache.values[:, 1, :, 1:5])
    assert other.keys[:, :2].eq(0).all() and other.values[:, 2, :, 7:].eq(0).all()


def test_weights_are_shared_and_training_goes_on() -> None:
    model, given = transformer().requires_grad_(True), inputs(3, 4)
    before, held = model(inputs_embeds=given).last_hidden_state, sum(one.numel() for one in model.parameters())
    stack = Stack(model)
    torch.testing.assert_close(model(inputs_embeds=given).last_hidden_state, before)
    assert model.layers[0].self_attn.q_proj.weight.untyped_storage().data_ptr() == (
        model.layers[0].self_attn.v_proj.weight.untyped_storage().data_ptr())  # fmt: skip
    assert sum(one.numel() for one in model.parameters()) == held
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        found = stack(given, places(0, 4), stack.cache(3, 4), 0, None)
        torch.testing.assert_close(found, model(inputs_embeds=given).last_hidden_state, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, before, atol=1e-2)


def test_projections_of_another_kind_are_asked_as_they_are() -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(given)

    model, given = transformer(), inputs(3, 4)
    for layer in model.layers:
        other = Doubled(WIDTH, WIDTH, bias=False)
        other.load_state_dict(layer.self_attn.k_proj.state_dict())
        layer.self_attn.k_proj = other
    with torch.no_grad():
        stack = Stack(model)
        found = stack(given, places(0, 4), stack.cache(3, 4), 0, None)
        torch.testing.assert_close(found, model(inputs_embeds=given).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(MissingError, match="gpt2"):
        Stack(GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8)))
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(MissingError, match="fixed angles"):
        Stack(transformer(rope_parameters=rope))
