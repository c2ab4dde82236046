"""The decode step of a CPU gives the bits of the layers' forward, and leaves the same cache."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from milr.models.decoding.batch import Batch, PromptSequence
from milr.models.decoding.cpu_step import CpuStep, can_step
from milr.models.decoding.llama import LlamaDecoder
from milr.models.decoding.prefix_cache import PrefixCache
from test_llama import SHAPES, WIDTH, inputs, transformer

STEPPED = [name for name in SHAPES if name != "biases"]


@pytest.mark.parametrize("shape", STEPPED)
@pytest.mark.parametrize("padding", [[0], [3, 0], [0, 5, 2, 8, 1]])
@torch.inference_mode()
def test_the_bits_of_a_step(shape: str, padding: list[int]) -> None:
    decoder = LlamaDecoder(transformer(**SHAPES[shape]))
    assert can_step(decoder)
    torch.manual_seed(1)
    size, capacity, first = len(padding), 16, 9
    expected, stepped = (decoder.allocate_cache(size, capacity) for _ in range(2))
    for ours, theirs in ((stepped.keys, expected.keys), (stepped.values, expected.values)):
        ours.copy_(theirs.normal_())
    before, columns = torch.tensor(padding), torch.arange(capacity)
    masked = (columns < before[:, None]) | (columns >= first)
    bias = torch.zeros(size, capacity).masked_fill(masked, -torch.inf)[:, None, None]
    step = CpuStep(decoder, stepped, before, bias.clone())
    for position in range(first, capacity):
        embeds = inputs(size, position)[:, -1]
        bias[..., position] = 0.0
        whole = decoder(embeds[:, None], (position - before)[:, None], expected, position, bias)
        assert torch.equal(step(embeds, position), whole[:, 0])
        assert torch.equal(stepped.keys, expected.keys) and torch.equal(stepped.values, expected.values)


def test_what_it_does_not_compute_is_left_to_the_layers() -> None:
    assert not can_step(LlamaDecoder(transformer(attention_bias=True)))
    assert not can_step(LlamaDecoder(transformer().bfloat16()))
    quantised = transformer()
    quantised.layers[0].mlp.down_proj = torch.nn.Sequential(quantised.layers[0].mlp.down_proj)  # type: ignore[assignment]
    assert not can_step(LlamaDecoder(quantised))


@torch.inference_mode()
def test_a_batch_that_grows_and_shrinks_decodes_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded() -> list[torch.Tensor]:
        batch = Batch(LlamaDecoder(transformer()), PrefixCache(0), prompts, max_new_tokens=40)
        batch.prefill()
        steps = [batch.decode_step(inputs(3, length)[:, -1]) for length in range(1, 21)]
        batch.select([0, 2])
        return steps + [batch.decode_step(inputs(2, length)[:, -1]) for length in range(1, 21)]

    prompts: Sequence[Sequence[PromptSequence]] = [
        [PromptSequence(inputs(1, length)[0], None, 1), PromptSequence(inputs(2, length)[1], None, 1)]
        for length in (4, 7, 5)
    ]
    assert prompts[0][0].inputs_embeds.shape == (4, WIDTH)
    stepped = decoded()
    monkeypatch.setattr("milr.models.decoding.batch.can_step", lambda decoder: False)
    assert all(torch.equal(one, other) for one, other in zip(stepped, decoded(), strict=True))
