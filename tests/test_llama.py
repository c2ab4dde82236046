"""The layers against transformers' own forward: whole, with a cache, padded, with other shapes of Llama."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from milr.models.decoding.llama import LlamaDecoder
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
    settings: dict[str, Any] = dict(vocab_size=12, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2,
                                 num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64)  # fmt: skip
    model = LlamaModel(LlamaConfig(**{**settings, **changes})).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name), std=0.3)
    return model


def inputs(num_sequences: int, length: int) -> torch.Tensor:
    return torch.randn(num_sequences, length, WIDTH, generator=torch.Generator().manual_seed(length))


def positions(first: int, count: int, num_sequences: int = 3) -> torch.Tensor:
    return torch.arange(first, first + count).expand(num_sequences, -1)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_transformers(shape: str) -> None:
    model, inputs_embeds = transformer(**SHAPES[shape]), inputs(3, 9)
    expected = model(inputs_embeds=inputs_embeds).last_hidden_state
    decoder = LlamaDecoder(copy.deepcopy(model))
    cache = decoder.allocate_cache(3, 12)
    at_once = decoder(inputs_embeds, positions(0, 9), decoder.allocate_cache(3, 9), 0, None)
    first = decoder(inputs_embeds[:, :6], positions(0, 6), cache, 0, None)
    steps = [
        decoder(inputs_embeds[:, position : position + 1], positions(position, 1), cache, position, None)
        for position in range(6, 9)
    ]
    for hidden_states in (at_once, torch.cat([first, *steps], 1)):
        torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=1e-5)


def test_positions_beyond_those_trained_are_as_transformers_has_them() -> None:
    model, inputs_embeds = transformer(max_position_embeddings=4), inputs(3, 9)
    expected, decoder = model(inputs_embeds=inputs_embeds).last_hidden_state, LlamaDecoder(model)
    hidden_states = decoder(inputs_embeds, positions(0, 9), decoder.allocate_cache(3, 9), 0, None)
    torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=1e-5)


def test_a_view_of_some_sequences_writes_into_the_cache() -> None:
    decoder, inputs_embeds = LlamaDecoder(transformer()), inputs(3, 5)
    whole, batched = decoder.allocate_cache(3, 8), decoder.allocate_cache(3, 8)
    decoder(inputs_embeds, positions(0, 5), batched.view(0, 3, 3), 0, None)
    for sequence in range(3):
        view = whole.view(sequence, sequence + 1, 3)
        decoder(inputs_embeds[sequence : sequence + 1], positions(0, 5, 1), view, 0, None)
    for one, other in ((whole.keys, batched.keys), (whole.values, batched.values)):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        assert one[..., :3, :].eq(0).all() and one[..., 3:, :].ne(0).any()


def test_what_is_extracted_of_a_sequence_can_be_inserted() -> None:
    decoder, inputs_embeds = LlamaDecoder(transformer()), inputs(3, 5)
    cache, other = decoder.allocate_cache(3, 8), decoder.allocate_cache(3, 8)
    decoder(inputs_embeds, positions(0, 5), cache, 0, None)
    extracted = cache.extract(1, 1, 5)
    assert extracted.shape == (2, 2, 4, 4, 8)
    other.insert(2, 3, extracted)
    torch.testing.assert_close(other.keys[:, 2, :, 3:7], cache.keys[:, 1, :, 1:5])
    torch.testing.assert_close(other.values[:, 2, :, 3:7], cache.values[:, 1, :, 1:5])
    assert other.keys[:, :2].eq(0).all() and other.values[:, 2, :, 7:].eq(0).all()


def test_weights_are_shared_and_training_goes_on() -> None:
    model, inputs_embeds = transformer().requires_grad_(True), inputs(3, 4)
    before = model(inputs_embeds=inputs_embeds).last_hidden_state
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    decoder = LlamaDecoder(model)
    torch.testing.assert_close(model(inputs_embeds=inputs_embeds).last_hidden_state, before)
    assert model.layers[0].self_attn.q_proj.weight.untyped_storage().data_ptr() == (
        model.layers[0].self_attn.v_proj.weight.untyped_storage().data_ptr())  # fmt: skip
    assert sum(one.numel() for one in model.parameters()) == num_parameters
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
        hidden_states = decoder(inputs_embeds, positions(0, 4), decoder.allocate_cache(3, 4), 0, None)
        expected = model(inputs_embeds=inputs_embeds).last_hidden_state
        torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(hidden_states, before, atol=1e-2)


def test_projections_of_another_class_are_called_as_they_are() -> None:
    class Doubled(torch.nn.Linear):
        def forward(self, inputs_embeds: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs_embeds)

    model, inputs_embeds = transformer(), inputs(3, 4)
    for layer in model.layers:
        other = Doubled(WIDTH, WIDTH, bias=False)
        other.load_state_dict(layer.self_attn.k_proj.state_dict())
        layer.self_attn.k_proj = other
    with torch.no_grad():
        decoder = LlamaDecoder(model)
        hidden_states = decoder(inputs_embeds, positions(0, 4), decoder.allocate_cache(3, 4), 0, None)
        expected = model(inputs_embeds=inputs_embeds).last_hidden_state
        torch.testing.assert_close(hidden_states, expected, atol=1e-5, rtol=1e-5)


def test_other_transformers_are_refused() -> None:
    with pytest.raises(MissingError, match="gpt2"):
        LlamaDecoder(GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8)))
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    with pytest.raises(MissingError, match="fixed angles"):
        LlamaDecoder(transformer(rope_parameters=rope))
