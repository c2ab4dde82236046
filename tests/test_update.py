"""One update: against torch's Adam, against numbers by hand, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from milr.latent.prefix import greedy_prefix, sampled_prefix
from milr.latent.update import LatentState, execute, start, update
from milr.policy import guided_logits
from milr.randomness import NoiseStream
from milr.types import Key

WIDTH, VOCAB, FREE = 6, 9, 4
TOKENS = (3, 0, 8, 5)  # of TEXT's argmax (see below) only some
SCALE = 3.0

Logits = Callable[[Tensor], Tensor]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


HEAD, TEXT, IMAGE = normal(1, WIDTH, VOCAB), normal(2, FREE, WIDTH), normal(3, FREE, 2, WIDTH)


def exact(latents: Tensor) -> torch.dtype:
    """Logits are at least fp32."""
    return torch.promote_types(latents.dtype, torch.float32)


def text_logits(latents: Tensor) -> Tensor:
    return latents.to(exact(latents)) @ HEAD.to(exact(latents))


def image_logits(latents: Tensor) -> Tensor:
    pair = text_logits(latents)
    return guided_logits(pair[:, 0], pair[:, 1], SCALE)


MODALITIES = [pytest.param(TEXT, text_logits, id="text"), pytest.param(IMAGE, image_logits, id="image")]
both = pytest.mark.parametrize(("latents", "logits"), MODALITIES)


def by_hand(latents: Tensor, logits: Logits, rewards: list[float], lr: float, l2: float = 0.0) -> Tensor:
    """The same objective through torch.optim.Adam in double precision, written without our functions."""
    z = latents.double().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=lr)
    for reward in rewards:
        log_p = logits(z).softmax(-1)[torch.arange(FREE), torch.tensor(TOKENS)].log().sum()
        distance = sum(((z[i] - latents[i]) ** 2).sum() if z.ndim == 2 else
                       ((z[i] - latents[i]) ** 2).sum(-1).mean() for i in range(FREE)) / FREE  # fmt: skip
        optimiser.zero_grad()
        (-(reward * log_p - l2 * distance)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return z.detach()


def updated(latents: Tensor, logits: Logits, rewards: list[float], **settings: Any) -> LatentState:
    state = start(latents, TOKENS, torch.float64)
    for reward in rewards:
        state, _ = update(state, logits, reward, **settings)
    return state


def log_p(logits: Tensor, tokens: tuple[int, ...]) -> Tensor:
    return logits.log_softmax(-1)[torch.arange(len(tokens)), torch.tensor(tokens)]


@both
def test_several_steps_are_those_of_torchs_adam(latents: Tensor, logits: Logits) -> None:
    rewards = [-0.75, -0.5, 0.0, -1.0, -0.25]
    result = updated(latents, logits, rewards, learning_rate=0.03)
    assert torch.allclose(result.latents, by_hand(latents, logits, rewards, 0.03), atol=1e-12, rtol=0)
    assert result.updates == 5


@both
def test_several_steps_with_the_pull_back(latents: Tensor, logits: Logits) -> None:
    rewards = [-0.75, -0.5, 0.0, -1.0]
    result = updated(latents, logits, rewards, learning_rate=0.03, l2=2.0)
    expected = by_hand(latents, logits, rewards, 0.03, l2=2.0)
    assert torch.allclose(result.latents, expected, atol=1e-12, rtol=0)
    assert not torch.allclose(expected, by_hand(latents, logits, rewards, 0.03), atol=1e-4)


@both
@pytest.mark.parametrize("reward", [-1.0, -0.1, -1e-3, 0.5])
def test_the_first_step_is_the_learning_rate_whatever_the_rewards_size(
    latents: Tensor, logits: Logits, reward: float
) -> None:
    before = start(latents, TOKENS)
    z = latents.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(-reward * log_p(logits(z), TOKENS).sum(), z)
    after, _ = update(before, logits, reward, learning_rate=0.03)
    expected = -0.03 * gradient / (gradient.abs() + 1e-8)  # -0.03 sign(g), but for Adam's epsilon
    assert torch.allclose(after.latents - latents, expected, atol=1e-6, rtol=0)
    assert ((after.latents - latents).abs() > 0.0299).float().mean() > 0.9


@both
def test_learning_rate_zero_leaves_every_bit(latents: Tensor, logits: Logits) -> None:
    state = start(latents, TOKENS)
    for _ in range(3):
        state, info = update(state, logits, -0.5, learning_rate=0.0, l2=0.1)
        assert torch.equal(state.latents, latents)
        assert info.update_norm == info.distance == 0.0 and info.gradient_norm > 0


@both
def test_the_old_state_is_never_touched(latents: Tensor, logits: Logits) -> None:
    original = latents.clone()
    state = start(original, TOKENS)
    first, _ = update(state, logits, -0.5, learning_rate=0.1)
    kept = [tensor.clone() for tensor in (first.latents, first.initial, first.tokens, *first.moments)]
    update(first, logits, -0.5, learning_rate=0.1)
    execute(first, (1, 1, 1, 1))
    now = (first.latents, first.initial, first.tokens, *first.moments)
    assert all(torch.equal(old, new) for old, new in zip(kept, now, strict=True))
    assert torch.equal(state.latents, latents) and torch.equal(original, latents)
    assert not any(moment.any() for moment in state.moments) and state.updates == 0
    assert not first.latents.requires_grad


def test_the_state_starts_on_its_own_copy() -> None:
    original = TEXT.clone()
    state = start(original, TOKENS)
    original.zero_()
    assert torch.equal(state.latents, TEXT) and torch.equal(state.initial, TEXT)
    assert state.latents.data_ptr() != state.initial.data_ptr()
    assert state.moments[0].data_ptr() != state.moments[1].data_ptr()


@both
def test_reward_zero_has_no_gradient_but_momentum_still_moves(latents: Tensor, logits: Logits) -> None:
    still, info = update(start(latents, TOKENS), logits, 0.0, learning_rate=0.03)
    assert info.gradient_norm == 0 and torch.equal(still.latents, latents)
    moving = updated(latents, logits, [-0.5], learning_rate=0.03)
    after, info = update(moving, logits, 0.0, learning_rate=0.03)
    assert info.gradient_norm == 0 and info.update_norm > 0
    assert torch.allclose(after.moments[0], 0.9 * moving.moments[0])


@both
@pytest.mark.parametrize(("reward", "sign"), [(-0.5, -1), (0.5, 1)])
def test_a_bad_picture_lowers_and_a_good_one_raises_what_was_executed(
    latents: Tensor, logits: Logits, reward: float, sign: int
) -> None:
    after = updated(latents, logits, [reward], learning_rate=0.01)
    moved = log_p(logits(after.latents), TOKENS) - log_p(logits(latents.double()), TOKENS)
    assert (moved.sign() == sign).all()


@both
def test_credit_goes_to_the_executed_tokens_or_to_the_argmax(latents: Tensor, logits: Logits) -> None:
    greedy = tuple(logits(latents).argmax(-1).tolist())
    assert greedy != TOKENS
    state = start(latents, TOKENS)
    executed, _ = update(state, logits, -0.5, learning_rate=0.03)
    argmax, _ = update(state, logits, -0.5, learning_rate=0.03, credit="argmax")
    expected, _ = update(start(latents, greedy), logits, -0.5, learning_rate=0.03)
    assert torch.equal(argmax.latents, expected.latents)
    assert not torch.equal(argmax.latents, executed.latents)
    assert torch.equal(argmax.tokens, state.tokens)  # credit is no execution


def test_the_pull_back_alone_moves_towards_the_start() -> None:
    state = start(TEXT, TOKENS)
    far = LatentState(TEXT + 1.0, state.initial, state.tokens, state.moments, state.first_tokens)
    after, info = update(far, text_logits, 0.0, learning_rate=0.1, l2=1.0)
    assert torch.allclose(after.latents, TEXT + 0.9, atol=1e-5)
    assert info.loss == pytest.approx(WIDTH)  # mean over latents of |1|^2
    assert info.distance == pytest.approx(0.9, abs=1e-5)


def test_tokens_that_were_not_executed_get_no_gradient() -> None:
    """An end of text at position 1: what the latents behind it say was never used."""
    state, changed = execute(start(TEXT, TOKENS), TOKENS[:2])
    assert changed == 2
    after, info = update(state, text_logits, -0.5, learning_rate=0.03)
    assert torch.equal(after.latents[2:], TEXT[2:])
    assert (after.latents[:2] != TEXT[:2]).all()
    assert info.free_tokens == FREE
    back, changed = execute(after, (*TOKENS[:2], 1, 1))
    assert changed == 2 and back.tokens.tolist() == [*TOKENS[:2], 1, 1]


def test_execute_counts_differences() -> None:
    state = start(TEXT, TOKENS)
    assert [execute(state, tokens)[1] for tokens in (TOKENS, (3, 0, 8, 6), (3,), (0, 3, 8, 5))] == [0, 1, 3, 2]


def test_the_temperature_enters_the_probability() -> None:
    z = TEXT.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(0.5 * log_p(text_logits(z) / 2.5, TOKENS).sum(), z)
    _, info = update(start(TEXT, TOKENS), text_logits, -0.5, learning_rate=0.03, temperature=2.5)
    assert info.gradient_norm == pytest.approx(float(gradient.norm()), rel=1e-5)


def test_the_loss_and_norms_of_the_info_are_those_of_this_update() -> None:
    state, info = update(start(TEXT, TOKENS), text_logits, -0.5, learning_rate=0.03)
    assert info.loss == pytest.approx(0.5 * float(log_p(text_logits(TEXT), TOKENS).sum()), rel=1e-5)
    assert info.update_norm == pytest.approx(float((state.latents - TEXT).norm()), rel=1e-5)
    assert info.distance == pytest.approx(0.03, rel=1e-3)  # every coordinate moved by the learning rate
    assert info.free_tokens == FREE and info.tokens_changed == 0


def test_the_releases_epsilon_keeps_a_vanished_token_still() -> None:
    sure = torch.zeros(1, 2).requires_grad_(False)

    def logits(latents: Tensor) -> Tensor:
        return latents.double() + torch.tensor([[0.0, 60.0]], dtype=torch.float64)

    exact, info = update(start(sure, (0,)), logits, -1.0, learning_rate=0.1)
    released, quiet = update(start(sure, (0,)), logits, -1.0, learning_rate=0.1, epsilon=1e-8)
    assert info.gradient_norm == pytest.approx(2**0.5)
    assert quiet.gradient_norm < 1e-12
    assert torch.allclose(exact.latents, torch.tensor([[-0.1, 0.1]]))


def test_bfloat16_latents_and_moments_as_in_the_release() -> None:
    large = torch.full((FREE, WIDTH), 16.0)
    state = start(large, TOKENS, torch.bfloat16)
    after, _ = update(state, text_logits, -0.5, learning_rate=0.03)
    assert {after.latents.dtype, *(moment.dtype for moment in after.moments)} == {torch.bfloat16}
    assert torch.equal(after.latents, state.latents)  # entries above 8 stop moving at 0.03
    small, _ = update(start(TEXT, TOKENS, torch.bfloat16), text_logits, -0.5, learning_rate=0.03)
    assert not torch.equal(small.latents, start(TEXT, TOKENS, torch.bfloat16).latents)


def test_an_update_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        after, info = update(start(TEXT, TOKENS), text_logits, -0.5, learning_rate=0.03)
    assert info.gradient_norm > 0 and not after.latents.requires_grad


def test_greedy_prefix_ends_with_the_first_end_of_text() -> None:
    logits = torch.eye(5)[[3, 1, 4, 1]]
    elsewhere = {"before": torch.eye(5)[[0, 0, 0, 0]], "executed": torch.tensor([0, 0, 0, 0])}
    assert greedy_prefix(logits, 0, **elsewhere) == ((3, 1, 4, 1), ())
    assert greedy_prefix(logits, 1, **elsewhere) == ((3, 1), ())
    assert greedy_prefix(logits, 3, **elsewhere) == ((3,), ())


def test_a_token_stays_as_long_as_its_argmax_does() -> None:
    before, after = torch.eye(5)[[3, 1, 4]], torch.eye(5)[[3, 2, 4]]
    supplied = torch.tensor([0, 0])  # not what the latents say, and the third was not executed
    assert greedy_prefix(before, 9, before=before, executed=supplied)[0] == (0, 0, 4)
    assert greedy_prefix(after, 9, before=before, executed=supplied)[0] == (0, 2, 4)


def test_prefixes_tell_their_near_ties() -> None:
    logits = torch.eye(5)[[3, 1, 4]]
    logits[0, 2] = logits[2, 0] = 1 - 1e-5
    elsewhere = {"before": torch.eye(5)[[0, 0, 0]], "executed": torch.tensor([0, 0, 0])}
    assert greedy_prefix(logits, 0, **elsewhere) == ((3, 1, 4), (0, 2))
    assert greedy_prefix(logits, 1, **elsewhere) == ((3, 1), (0,))  # position 2 is not executed
    noise = [NoiseStream(Key(0, "p"), "image", 5)]
    rows = torch.stack([noise[0].at(position) for position in range(3)])
    even = rows.log()  # log (p / E) is the same for every token
    assert sampled_prefix(even, Key(0, "p"), 1.0)[1] == (0, 1, 2)
    even[1, 2] += 1.0
    ids, ties = sampled_prefix(even, Key(0, "p"), 1.0)
    assert (ids[1], ties) == (2, (0, 2))
