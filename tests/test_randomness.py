"""Keyed randomness: what a stream depends on, the race against torch's own draws, and near ties by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from hashlib import blake2b

import pytest
import torch

from milr.randomness import (
    NEAR_TIE,
    NoiseStream,
    batch_noise,
    comparable_margins,
    exponential_race,
    exponentials,
    generator,
    sample_tokens,
)
from milr.types import Key

KEY = Key(seed=0, prompt="a red star")


def first(key: Key, role: str = "image") -> torch.Tensor:
    return exponentials(generator(key, role), 8)


def test_the_same_key_and_role_give_the_same_noise() -> None:
    assert torch.equal(first(KEY), first(Key(0, "a red star")))


@pytest.mark.parametrize("field", ["seed", "sample", "step", "candidate", "prompt"])
def test_every_field_of_the_key_matters(field: str) -> None:
    other = replace(KEY, **{field: "a red star " if field == "prompt" else 1})
    assert not torch.equal(first(KEY), first(other))


def test_the_role_matters_and_fields_cannot_run_into_each_other() -> None:
    assert not torch.equal(first(KEY, "image"), first(KEY, "text"))
    assert not torch.equal(first(Key(0, "p", 1, 11)), first(Key(0, "p", 11, 1)))


def test_seeds_do_not_depend_on_the_python_process() -> None:
    named = b'[0, "a red star", 0, 0, 0, "image"]'
    seed = int.from_bytes(blake2b(named, digest_size=8).digest(), "big") // 2
    assert generator(KEY, "image").initial_seed() == seed


@pytest.mark.parametrize("vocab", [1, 7, 16, 184, 2374])
def test_the_noise_is_torch_s_own_to_the_last_bit(vocab: int) -> None:
    own, torchs = (torch.Generator().manual_seed(vocab) for _ in range(2))
    for rows in (1, 3):
        assert torch.equal(exponentials(own, rows, vocab), torch.empty(rows, vocab).exponential_(generator=torchs))


def test_the_noise_of_many_streams_is_that_of_each() -> None:
    def streams() -> list[NoiseStream | None]:
        given = torch.tensor([[9.0] * 8, [8.0] * 8])
        return [NoiseStream(KEY, "image", 8), None, NoiseStream(KEY, "text", 8, override=given)]

    asked = [list(zip(streams(), places, strict=True)) for places in ((3, 3, 1), (0, 0, 4))]
    alone = [[torch.ones(8) if stream is None else stream.at(place) for stream, place in one] for one in asked]
    for places, wanted in zip(((3, 3, 1), (0, 0, 4)), alone, strict=True):
        assert torch.equal(batch_noise(list(zip(streams(), places, strict=True)), 8), torch.stack(wanted))
    assert alone[0][2].eq(8).all() and alone[1][2].ne(8).all()


def test_the_race_makes_the_draws_of_multinomial() -> None:
    probabilities = torch.softmax(torch.randn(500, 40, generator=torch.Generator().manual_seed(1)), dim=-1)
    drawn = torch.multinomial(probabilities, 1, generator=torch.Generator().manual_seed(7))[:, 0]
    noise = torch.empty(500, 40).exponential_(generator=torch.Generator().manual_seed(7))
    assert torch.equal(exponential_race(probabilities, noise), drawn)


def test_the_race_follows_the_probabilities() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.7])
    noise = torch.stack([exponentials(generator(KEY.at(step), "image"), 3) for step in range(4000)])
    share = exponential_race(probabilities.expand(4000, 3), noise).bincount(minlength=3) / 4000
    assert torch.allclose(share, probabilities, atol=0.03)  # four standard errors


def test_a_position_gets_its_own_draw_whether_or_not_earlier_ones_were_asked_for() -> None:
    every = NoiseStream(KEY, "image", 8)
    all_draws = [every.at(position) for position in range(5)]
    late = NoiseStream(KEY, "image", 8)
    assert torch.equal(late.at(3), all_draws[3])
    assert torch.equal(late.at(4), all_draws[4])
    with pytest.raises(ValueError, match="already drawn"):
        late.at(2)


def test_overridden_noise_replaces_the_first_draws_only() -> None:
    injected = torch.arange(16.0).view(2, 8) + 1
    stream = NoiseStream(KEY, "image", 8, override=injected)
    plain = NoiseStream(KEY, "image", 8)
    assert torch.equal(stream.at(0), injected[0])
    assert torch.equal(stream.at(1), injected[1])
    assert torch.equal(stream.at(2), plain.at(2))


def test_sample_tokens_by_hand_greedy_and_race_in_one_batch() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3]]))
    noise = torch.tensor([[1.0, 1.0, 1.0], [0.1, 1.0, 0.2]])
    tokens, leads = sample_tokens(logits, torch.tensor([0.0, 1.0]), noise)
    assert tokens.tolist() == [1, 0]  # greedy: 0.5 leads 0.3; race: 2.0 leads 1.5
    assert leads.tolist() == pytest.approx([math.log(0.5 / 0.3), math.log(2.0 / 1.5)], abs=1e-5)


def test_temperature_divides_the_logits() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.8]]))
    noise = torch.tensor([[0.3, 1.0]])  # p / E at 1: 0.67 < 0.8; at 2: p is 1/3, 2/3, so 1.11 > 0.67
    assert sample_tokens(logits, torch.tensor([1.0]), noise)[0].tolist() == [1]
    tokens, leads = sample_tokens(logits, torch.tensor([2.0]), noise)
    assert tokens.tolist() == [0]
    assert leads.item() == pytest.approx(math.log((1 / 3) / 0.3 / (2 / 3)), abs=1e-5)


@pytest.mark.parametrize(("gap", "near"), [(NEAR_TIE / 2, True), (NEAR_TIE * 2, False)])
def test_a_near_tie_is_a_small_lead(gap: float, near: bool) -> None:
    lead = sample_tokens(torch.tensor([[1.0 + gap, 1.0, 0.0]]), torch.zeros(1))[1]
    assert (lead.item() < NEAR_TIE) is near


@pytest.mark.parametrize(
    ("dtype", "scale", "temperature", "limit"),
    [
        (torch.float32, 5.0, 1.0, NEAR_TIE),
        (torch.bfloat16, 1.0, 0.0, 16 / 128),  # a unit in the last place of 16 is an eighth
        (torch.bfloat16, 5.0, 0.0, 9 * 16 / 128),  # u + w (c - u): 5 units of c and 4 of u
        (torch.bfloat16, 5.0, 2.0, 9 * 16 / 256),
        (torch.float16, 1.0, 0.0, 16 / 1024),
    ],
)
def test_what_a_near_tie_is_depends_on_the_dtype(dtype: torch.dtype, scale: float, temperature: float, limit: float
                                                 ) -> None:  # fmt: skip
    logits = torch.tensor([[16.0, 3.0], [16.0, 3.0]])
    margins = torch.tensor([limit * 0.9, limit * 1.1])
    compared = comparable_margins(margins, logits, dtype, torch.tensor([scale] * 2), torch.tensor([temperature] * 2))
    assert (compared < NEAR_TIE).tolist() == [True, False]


def test_margins_that_are_no_numbers_stay_so() -> None:
    ones = torch.ones(1)
    compared = comparable_margins(ones * torch.nan, ones[None] * torch.nan, torch.bfloat16, ones, ones)
    assert compared.isnan().all()
