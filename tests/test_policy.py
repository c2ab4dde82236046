"""The mathematics against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from milr.policy import (
    distance_penalty,
    free_tokens,
    guided_logits,
    log_prob,
    reinforce,
    released_log_prob,
    repetition,
    reward_of,
    rms_distance,
    surprise,
)

ADVANTAGE = -0.75
# softmax of LOGITS is (1/8, 1/8, 3/4) and (1/2, 1/4, 1/4)
LOGITS = torch.log(torch.tensor([[1.0, 1.0, 6.0], [2.0, 1.0, 1.0]], dtype=torch.float64))
TOKENS = torch.tensor([2, 1])
P_MINUS_E = torch.tensor([[1 / 8, 1 / 8, -1 / 4], [1 / 2, -3 / 4, 1 / 4]], dtype=torch.float64)


def gradient(loss: Tensor, *inputs: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, inputs))


def test_log_prob_by_hand() -> None:
    assert log_prob(LOGITS, TOKENS).tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 4)])


def test_log_prob_refuses_tokens_of_another_length() -> None:
    with pytest.raises(AssertionError):
        log_prob(LOGITS, torch.tensor([2]))


def test_temperature_divides_the_logits() -> None:
    hot = log_prob(LOGITS, TOKENS, temperature=2.0)  # square roots: (1, 1, 6**.5), (2**.5, 1, 1)
    assert hot.tolist() == pytest.approx([math.log(6**0.5 / (2 + 6**0.5)), math.log(1 / (2 + 2**0.5))])


def test_the_gradient_of_reinforce_is_a_times_p_minus_e() -> None:
    logits = LOGITS.clone().requires_grad_()
    (result,) = gradient(reinforce(log_prob(logits, TOKENS), ADVANTAGE), logits)
    assert torch.allclose(result, ADVANTAGE * P_MINUS_E, atol=1e-12, rtol=0)


def test_reinforce_by_hand() -> None:
    assert float(reinforce(torch.tensor([-1.0, -2.0]), -0.5)) == -1.5
    with pytest.raises(AssertionError):
        reinforce(torch.zeros(2, 2), 1.0)


def test_the_gradient_at_a_temperature_is_divided_by_it() -> None:
    logits = (LOGITS * 4.0).requires_grad_()
    (result,) = gradient(reinforce(log_prob(logits, TOKENS, temperature=4.0), ADVANTAGE), logits)
    assert torch.allclose(result, ADVANTAGE * P_MINUS_E / 4.0, atol=1e-12, rtol=0)


def test_the_gradient_of_a_nearly_sure_token_is_not_lost_in_rounding() -> None:
    """p(e) = 1 - 1e-9: in float32 that is 1, and the gradient of e would be 0 or sixty times too large."""
    rest = math.log(1e-9 / 2)
    logits = torch.tensor([[0.0, rest, rest]], requires_grad=True)
    (result,) = gradient(reinforce(log_prob(logits, torch.tensor([0])), -1.0), logits)
    assert result.dtype == torch.float32
    assert result[0].tolist() == pytest.approx([1e-9, -5e-10, -5e-10], rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_through_guidance_each_of_the_pair_gets_its_share(scale: float) -> None:
    """l = w l_c + (1 - w) l_u, and l is LOGITS whatever the unconditional logits are."""
    unconditional = torch.tensor([[0.3, -1.0, 0.2], [0.0, 0.5, 2.0]], dtype=torch.float64, requires_grad=True)
    expected_conditional = LOGITS if scale == 0 else (LOGITS - (1 - scale) * unconditional.detach()) / scale
    conditional = expected_conditional.clone().requires_grad_()
    guided = guided_logits(conditional, unconditional, scale)
    p = guided.detach().softmax(-1)
    expected = p - torch.eye(3, dtype=torch.float64)[TOKENS]
    if scale:
        assert torch.allclose(expected, P_MINUS_E, atol=1e-12, rtol=0)
    up, down = gradient(reinforce(log_prob(guided, TOKENS), ADVANTAGE), conditional, unconditional)
    assert torch.allclose(up, scale * ADVANTAGE * expected, atol=1e-12, rtol=0)
    assert torch.allclose(down, (1 - scale) * ADVANTAGE * expected, atol=1e-12, rtol=0)


def test_guided_logits_by_hand() -> None:
    conditional, unconditional = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert guided_logits(conditional, unconditional, 5.0).tolist() == [[6.0, -4.0]]
    assert guided_logits(conditional, unconditional, 1.0).tolist() == [[2.0, 0.0]]
    rows = guided_logits(conditional.repeat(2, 1), unconditional.repeat(2, 1), torch.tensor([[0.0], [3.0]]))
    assert rows.tolist() == [[1.0, 1.0], [4.0, -2.0]]


def test_the_released_log_prob_by_hand() -> None:
    result = released_log_prob(LOGITS, TOKENS, epsilon=0.25)
    assert result.tolist() == pytest.approx([math.log(1.0 + 1e-10), math.log(0.5 + 1e-10)], abs=1e-15)
    vanished = torch.tensor([[0.0, 1000.0]], dtype=torch.float64)
    assert released_log_prob(vanished, torch.tensor([0])).item() == pytest.approx(math.log(1e-8 + 1e-10))
    assert released_log_prob(vanished, torch.tensor([0]), epsilon=0.0).item() == pytest.approx(math.log(1e-10))
    warm = released_log_prob(LOGITS * 2, TOKENS, temperature=2.0, epsilon=0.0)
    assert torch.allclose(warm, log_prob(LOGITS, TOKENS), atol=1e-9, rtol=0)


def test_the_reward_is_score_minus_one() -> None:
    assert [reward_of(score) for score in (0.0, 0.25, 1.0)] == [-1.0, -0.75, 0.0]


def test_the_distance_penalty_is_a_mean_over_latents_of_a_sum_over_their_width() -> None:
    z0 = torch.zeros(2, 3)
    z = torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 1.0]])  # squared lengths 9 and 1
    assert float(distance_penalty(z, z0)) == 5.0
    pairs = torch.stack([z, z0], dim=1)  # (2, 2, 3): a latent of a pair counts as one
    assert float(distance_penalty(pairs, torch.zeros(2, 2, 3))) == 2.5
    with pytest.raises(AssertionError):
        distance_penalty(z, torch.zeros(3))


def test_rms_distance_is_over_all_coordinates() -> None:
    assert rms_distance(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2)) == 2.5


@pytest.mark.parametrize(
    ("ratio", "length", "count"),
    [
        (0.02, 576, 11), (0.2, 30, 6), (0.2, 34, 6), (0.2, 35, 7), (1.0, 30, 30),
        (0.29, 100, 29), (0.57, 100, 57), (0.1, 30, 3), (0.7, 10, 7), (11 / 64, 64, 11), (11 / 576, 576, 11),
        (0.02, 49, 1), (0.001, 5, 1), (0.2, 1, 1),  # at least one
        (1.0, 0, 0), (0.2, 0, 0), (0.0, 30, 0), (-0.5, 30, 0), (2.0, 30, 30),  # never more than there are
    ],
)  # fmt: skip
def test_free_tokens_by_hand(ratio: float, length: int, count: int) -> None:
    assert free_tokens(ratio, length) == count


def test_free_tokens_is_the_exact_floor_of_every_percentage() -> None:
    for percent in range(1, 101):
        for length in range(1, 577):
            assert free_tokens(percent / 100, length) == max(1, percent * length // 100), (percent, length)


@pytest.mark.parametrize(
    ("tokens", "share"),
    [
        ((), 0.0), ((1, 2, 3), 0.0), ((1, 1, 1, 1), 0.0), ((1, 2, 3, 4, 5), 0.0),
        ((1, 1, 1, 1, 1), 1 / 2), ((7,) * 13, 9 / 10), ((1, 2, 3, 4, 1, 2, 3, 4), 1 / 5),
    ],
)  # fmt: skip
def test_repetition_is_the_share_of_grams_seen_before(tokens: tuple[int, ...], share: float) -> None:
    assert repetition(tokens) == pytest.approx(share)


def test_surprise_is_nll_less_entropy_where_a_token_changed() -> None:
    chances = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]).log()
    entropy = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    zero, one, none = torch.tensor([0]), torch.tensor([1]), torch.tensor([], dtype=torch.long)
    assert surprise(chances[:1], one, zero) == pytest.approx(-math.log(0.1) - entropy, abs=1e-6)
    assert surprise(chances[:1], zero, one) == pytest.approx(-math.log(0.9) - entropy, abs=1e-6)
    assert surprise(chances[:1], one, none) == pytest.approx(-math.log(0.1) - entropy, abs=1e-6)
    assert surprise(chances[:1], one, one) == 0
    assert surprise(chances[1:2], one, zero) == pytest.approx(0, abs=1e-6)
    mean = (-math.log(0.1) - entropy) / 3
    assert surprise(chances, torch.tensor([1, 1, 0]), torch.tensor([0, 1, 0])) == pytest.approx(mean, abs=1e-6)
    assert surprise(chances, none, none) == 0


def test_surprise_of_what_is_drawn_from_the_logits_is_nothing_on_average() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(1)).repeat(4000, 1) * 2
    drawn = torch.multinomial((logits / 0.7).softmax(-1), 1, generator=torch.Generator().manual_seed(2))[:, 0]
    none = torch.tensor([], dtype=torch.long)
    assert surprise(logits, drawn, none, temperature=0.7) == pytest.approx(0, abs=0.06)


def test_repetition_of_shorter_grams() -> None:
    assert repetition((1, 2, 1, 2, 1), length=2) == pytest.approx(1 / 2)
