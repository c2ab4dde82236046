"""The decode loop on a decoder small enough to follow: what it feeds, when requests leave, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from milr.models.decoding.engine import DecodeEngine
from milr.models.decoding.llama import LlamaDecoder
from milr.models.decoding.request import DecodeRequest, DecodeResult, Head
from milr.policy import guided_logits
from milr.randomness import NoiseStream
from milr.types import JudgeError, Key

WIDTH, VOCAB, END = 16, 12, 11


class RecordingDecoder(LlamaDecoder):
    """Layers that write down the (streams, length) of every forward."""

    def __init__(self, inner: LlamaModel) -> None:
        super().__init__(inner)
        self.inner, self.forwards = inner, list[tuple[int, int]]()

    def __call__(self, inputs: Tensor, *others: Any) -> Tensor:
        self.forwards.append((inputs.shape[0], inputs.shape[1]))
        return super().__call__(inputs, *others)


def generate(decoder: RecordingDecoder, head: Head, requests: list[DecodeRequest]) -> list[DecodeResult]:
    """By a new engine, which has cached nothing."""
    return new_engine(decoder).generate(head, requests)


def tokens_alone(decoder: RecordingDecoder, head: Head, request: DecodeRequest) -> tuple[int, ...]:
    """The request's tokens in a batch of its own by a new engine."""
    return generate(decoder, head, [request])[0].token_ids


def new_engine(decoder: RecordingDecoder) -> DecodeEngine:
    engine = DecodeEngine(decoder.inner)
    engine.decoder = decoder
    return engine


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def decoder() -> RecordingDecoder:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    inner = LlamaModel(config).eval().requires_grad_(False)
    for parameter in inner.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return RecordingDecoder(inner)


def weights(name: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(name))


EMBEDDING, HEAD = weights(1, VOCAB, WIDTH), weights(2, WIDTH, VOCAB)


def text_head(end: int | None = None) -> Head:
    return Head(lambda ids: EMBEDDING[ids], lambda latents, _: latents[:, 0] @ HEAD, end)


def pair_head() -> Head:
    def logits(latents: Tensor, guidance: Tensor) -> Tensor:
        return guided_logits(latents[:, 0] @ HEAD, latents[:, 1] @ HEAD, guidance[:, None])

    return Head(lambda ids: EMBEDDING[ids], logits)


def text_request(length: int = 3, **settings: Any) -> DecodeRequest:
    return DecodeRequest(weights(10 + length, 1, length, WIDTH), **{"max_new_tokens": 6, **settings})


def pair_request(length: int = 3, seed: int = 0, **settings: Any) -> DecodeRequest:
    noise = NoiseStream(Key(seed, "p"), "image", VOCAB)
    settings = {"max_new_tokens": 6, "temperature": 1.0, "guidance_scale": 3.0, "noise": noise, **settings}
    return DecodeRequest(weights(20 + length, 2, length, WIDTH), **settings)


def by_hand(decoder: RecordingDecoder, head: Head, request: DecodeRequest) -> tuple[list[int], Tensor]:
    """Greedy tokens and latents without a cache, a mask or a batch."""
    sequence, ids, latents = request.prompt_embeds, [], []
    for position in range(request.max_new_tokens):
        latent = decoder.inner(inputs_embeds=sequence).last_hidden_state[None, :, -1]
        token = head.logits(latent, torch.tensor([request.guidance_scale])).argmax()
        forced = position < len(request.prefix)
        ids.append(request.prefix[position] if forced else int(token))
        latents.append(latent[0])
        fed = head.embed(torch.tensor([ids[-1]])).expand(len(sequence), 1, -1)
        sequence = torch.cat([sequence, fed], dim=1)
    return ids, torch.stack(latents)


def same(one: DecodeResult, other: DecodeResult) -> bool:
    return one.token_ids == other.token_ids


def test_greedy_text_and_latents_equal_a_loop_by_hand(decoder: RecordingDecoder) -> None:
    request = text_request(num_latents=6)
    ids, latents = by_hand(decoder, text_head(), request)
    result = generate(decoder, text_head(), [request])[0]
    assert result.latents is not None
    assert list(result.token_ids) == ids
    assert torch.allclose(result.latents, latents, atol=1e-5)
    assert result.num_decoded == 6


def test_a_guidance_pair_equals_a_loop_by_hand(decoder: RecordingDecoder) -> None:
    request = pair_request(temperature=0.0, noise=None, num_latents=6, prefix=(4, 4, 7))
    ids, latents = by_hand(decoder, pair_head(), request)
    result = generate(decoder, pair_head(), [request])[0]
    assert result.latents is not None and result.latents.shape == (6, 2, WIDTH)
    assert list(result.token_ids) == ids
    assert torch.allclose(result.latents, latents, atol=1e-5)


def test_requests_of_different_lengths_equal_the_same_requests_alone(decoder: RecordingDecoder) -> None:
    def requests() -> list[DecodeRequest]:
        return [
            pair_request(3, seed=1, num_latents=4),
            pair_request(7, seed=2, prefix=(1, 2, 3), guidance_scale=1.0, num_latents=6),
            pair_request(5, seed=3, temperature=0.0, noise=None, max_new_tokens=2),
            pair_request(4, seed=4, temperature=0.5, max_new_tokens=5, num_latents=1),
        ]

    together = generate(decoder, pair_head(), requests())
    alone = [generate(decoder, pair_head(), [request])[0] for request in requests()]
    assert all(map(same, together, alone))
    assert [len(result.token_ids) for result in together] == [6, 6, 2, 5]
    for one, other in zip(together, alone, strict=True):
        assert (one.latents is None) == (other.latents is None)
        if one.latents is not None and other.latents is not None:
            assert torch.allclose(one.latents, other.latents, atol=1e-5)


def test_the_padding_is_masked_in_every_sequence(decoder: RecordingDecoder) -> None:
    short = pair_request(2, temperature=0.0, noise=None, num_latents=1, max_new_tokens=1)
    alone = generate(decoder, pair_head(), [short])[0].latents
    padded = generate(decoder, pair_head(), [short, pair_request(9)])[0].latents
    assert alone is not None and padded is not None
    assert torch.allclose(alone, padded, atol=1e-5)


def test_prompt_and_forced_tokens_are_one_forward_and_the_last_token_is_never_fed(decoder: RecordingDecoder) -> None:
    generate(decoder, pair_head(), [pair_request(3, prefix=(5, 6), max_new_tokens=6)])
    assert decoder.forwards == [(2, 5), (2, 1), (2, 1), (2, 1)]


def test_finished_requests_leave_the_batch(decoder: RecordingDecoder) -> None:
    generate(
        decoder,
        text_head(),
        [text_request(3, max_new_tokens=4), text_request(4, max_new_tokens=2), text_request(5, max_new_tokens=1)],
    )
    assert decoder.forwards == [(3, 5), (2, 1), (1, 1), (1, 1)]


def test_a_request_without_tokens_to_decode_needs_no_forward(decoder: RecordingDecoder) -> None:
    results = generate(
        decoder, text_head(), [text_request(prefix=(1, 2), max_new_tokens=2), text_request(max_new_tokens=0)]
    )
    assert [result.token_ids for result in results] == [(1, 2), ()]
    assert decoder.forwards == []


def test_a_finished_request_can_still_ask_for_its_latents(decoder: RecordingDecoder) -> None:
    request = text_request(prefix=(1, 2, 3), max_new_tokens=3, num_latents=2)
    result = generate(decoder, text_head(), [request])[0]
    assert result.latents is not None and result.latents.shape == (2, 1, WIDTH)
    assert torch.allclose(result.latents, by_hand(decoder, text_head(), request)[1][:2], atol=1e-5)
    assert (result.token_ids, result.num_decoded, len(decoder.forwards)) == ((1, 2, 3), 0, 1)


def test_the_end_token_finishes_its_request_only(decoder: RecordingDecoder) -> None:
    free = generate(decoder, text_head(), [text_request(3), text_request(6)])
    end = free[0].token_ids[2]
    ended = generate(decoder, text_head(end), [text_request(3), text_request(6)])
    stops = [result.token_ids.index(end) + 1 if end in result.token_ids else 6 for result in free]
    assert [result.token_ids for result in ended] == [
        result.token_ids[:stop] for result, stop in zip(free, stops, strict=True)
    ]
    assert stops[0] <= 3


def test_an_end_token_inside_the_forced_prefix_finishes_the_request_there(decoder: RecordingDecoder) -> None:
    result = generate(decoder, text_head(END), [text_request(prefix=(1, END, 4), num_latents=9)])[0]
    assert result.token_ids == (1, END)
    assert result.latents is not None and len(result.latents) == 2
    assert result.num_decoded == 0


def test_a_prefix_longer_than_max_new_tokens_is_cut(decoder: RecordingDecoder) -> None:
    assert generate(decoder, text_head(), [text_request(prefix=(1, 2, 3), max_new_tokens=2)])[0].token_ids == (1, 2)


def test_forcing_the_tokens_of_a_free_run_does_not_change_what_follows(decoder: RecordingDecoder) -> None:
    free = generate(decoder, pair_head(), [pair_request(num_latents=6)])[0]
    for forced in range(7):
        again = generate(decoder, pair_head(), [pair_request(num_latents=6, prefix=free.token_ids[:forced])])[0]
        assert again.token_ids == free.token_ids
        assert again.num_decoded == 6 - forced
        assert torch.allclose(again.latents, free.latents, atol=1e-5)


def test_near_ties_are_reported_by_position(decoder: RecordingDecoder) -> None:
    def tied(latents: Tensor, _: Tensor) -> Tensor:
        logits = torch.zeros(len(latents), VOCAB)
        logits[:, 3] = 5.0
        logits[:, 4] = 5.0 - tied.gaps.pop(0)
        return logits

    tied.gaps = [1.0, 1e-6, 1.0, 1e-6]  # type: ignore[attr-defined]
    result = generate(decoder, replace(text_head(), logits=tied), [text_request(prefix=(1, 1), max_new_tokens=6)])[0]
    assert result.token_ids == (1, 1, 3, 3, 3, 3)
    assert result.near_ties == (3, 5)


def test_bfloat16_networks_give_float32_latents(decoder: RecordingDecoder) -> None:
    decoder = RecordingDecoder(decoder.inner.to(torch.bfloat16))
    head = Head(lambda ids: EMBEDDING[ids].bfloat16(), lambda latents, _: latents[:, 0] @ HEAD)
    request = replace(text_request(num_latents=6, prefix=(2,)), prompt_embeds=weights(3, 1, 3, WIDTH).bfloat16())
    result = generate(decoder, head, [request])[0]
    assert result.latents is not None and result.latents.dtype == torch.float32
    assert torch.equal((result.latents[1:, 0] @ HEAD).argmax(-1), torch.tensor(result.token_ids[1:]))


# Shared prefixes


TABLE = weights(5, 300, WIDTH)


def ids_request(*ids: int, num_sequences: int = 1, **settings: Any) -> DecodeRequest:
    """A request whose prompt is token ids; its second sequence, if any, has the same ids but for the first."""
    prompt_ids = (ids, (ids[0] + 100, *ids[1:]))[:num_sequences]
    prompt_embeds = torch.stack([TABLE[list(sequence)] for sequence in prompt_ids])
    return DecodeRequest(prompt_embeds, **{"max_new_tokens": 6, "prompt_ids": prompt_ids, **settings})


def head_of_table(end: int | None = None) -> Head:
    return replace(text_head(end), embed=lambda ids: TABLE[ids], is_text=True)


def test_a_cached_prompt_is_not_computed_again(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), head_of_table()
    first = engine.generate(head, [ids_request(20, 21, 22, 23, num_latents=6)])[0]
    assert decoder.forwards[0] == (1, 4)
    decoder.forwards.clear()
    requests = [ids_request(20, 21, 22, last, num_latents=6) for last in (23, 24)]
    again, other = engine.generate(head, requests)
    assert decoder.forwards[:2] == [(1, 6), (1, 1)], "only the prompts' last tokens and the draft of one text"
    assert again.token_ids == first.token_ids
    assert other.token_ids == tokens_alone(decoder, head, ids_request(20, 21, 22, 24))
    assert torch.allclose(again.latents, first.latents, atol=1e-5)


def test_a_text_goes_on_from_its_first_changed_token(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), head_of_table()
    text = engine.generate(head, [ids_request(20, 21, 22, max_new_tokens=8)])[0].token_ids
    decoder.forwards.clear()
    changed = (*text[:3], (text[3] + 1) % VOCAB)
    request = ids_request(20, 21, 22, max_new_tokens=8, prefix=changed)
    (result,) = engine.generate(head, [request])
    assert decoder.forwards[0] == (1, 4), "the changed token, and three of four that were there before"
    engine._draft_cache.clear()
    decoder.forwards.clear()
    engine.generate(head, [request])
    assert decoder.forwards == [(1, 1), (1, 1), (1, 1), (1, 1)], "the changed token, and three of four new ones"
    assert result.token_ids == tokens_alone(decoder, head, request)


def test_sequences_with_more_to_prefill_do_not_hold_up_the_others(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), pair_head()
    requests = [ids_request(30, *range(40, 40 + length), num_sequences=2, temperature=0.0) for length in (7, 5, 2, 7)]
    alone = [tokens_alone(decoder, head, request) for request in requests]
    engine.generate(head, requests[:2])
    decoder.forwards.clear()
    assert [result.token_ids for result in engine.generate(head, requests)] == alone
    assert decoder.forwards[0] == (8, 1), "shorter prompts are prefixes of longer ones"
    decoder.forwards.clear()
    uncached = ids_request(31, *range(60, 69), num_sequences=2, temperature=0.0)
    results = engine.generate(head, [*requests, uncached])
    alone.append(tokens_alone(decoder, head, uncached))
    assert [result.token_ids for result in results] == alone
    assert decoder.forwards[:2] == [(2, 10), (8, 1)], "an uncached prompt is prefilled in a forward of its own"


def test_forced_image_tokens_are_shared_and_are_no_text(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), replace(pair_head(), embed=lambda ids: -TABLE[ids])
    request = ids_request(20, 21, num_sequences=2, temperature=0.0, prefix=(3, 4))
    engine.generate(head, [request])
    decoder.forwards.clear()
    engine.generate(head, [replace(request, prefix=(3, 4, 5))])
    assert decoder.forwards[0] == (2, 1)
    as_text = ids_request(20, 21, 3, 4, num_sequences=2, temperature=0.0)
    assert engine.generate(head, [as_text])[0].token_ids == tokens_alone(decoder, head, as_text)


def test_latents_of_forced_tokens_are_computed_although_the_text_is_cached(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), head_of_table()
    first = engine.generate(head, [ids_request(20, 21, num_latents=6)])[0]
    again = engine.generate(head, [ids_request(20, 21, num_latents=6, prefix=first.token_ids)])[0]
    assert again.num_decoded == 0 and torch.allclose(again.latents, first.latents, atol=1e-5)


def test_changed_weights_clear_the_cache(decoder: RecordingDecoder) -> None:
    engine, head = new_engine(decoder), head_of_table()
    request = ids_request(20, 21, 22, 23, num_latents=6)
    before = engine.generate(head, [request])[0]
    with torch.no_grad():
        for parameter in decoder.inner.parameters():
            parameter.mul_(-1.25)
    after = engine.generate(head, [request])[0]
    assert torch.allclose(after.latents, generate(decoder, head, [request])[0].latents, atol=1e-5)
    assert not torch.allclose(after.latents[0], before.latents[0], atol=1e-2)


def test_a_text_that_outgrows_the_cache(decoder: RecordingDecoder) -> None:
    request = text_request(3, max_new_tokens=150, num_latents=150)
    ids, latents = by_hand(decoder, text_head(), request)
    results = generate(decoder, text_head(), [request, text_request(5, max_new_tokens=150)])[0]
    assert list(results.token_ids) == ids and torch.allclose(results.latents, latents, atol=1e-4)


def test_long_prompts_are_prefilled_in_several_forwards(
    decoder: RecordingDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [pair_request(9, seed=seed) for seed in range(3)]
    whole = generate(decoder, pair_head(), [replace(request, noise=pair_request(9, seed=seed).noise)
                                              for seed, request in enumerate(requests)])  # fmt: skip
    monkeypatch.setattr("milr.models.decoding.batch.MAX_BATCHED_TOKENS", 20)
    decoder.forwards.clear()
    parted = generate(decoder, pair_head(), requests)
    assert decoder.forwards[:3] == [(2, 9), (2, 9), (2, 9)]
    assert [result.token_ids for result in parted] == [result.token_ids for result in whole]
    monkeypatch.setattr("milr.models.decoding.batch.MAX_BATCHED_TOKENS", 1)
    decoder.forwards.clear()
    generate(decoder, text_head(), [text_request(3)])
    assert decoder.forwards[0] == (1, 3), "one sequence at least"


def test_values_that_are_not_finite_do_not_stay_in_the_memory_of_caches(decoder: RecordingDecoder) -> None:
    engine, healthy = new_engine(decoder), [text_request(3), text_request(5)]
    expected = generate(RecordingDecoder(decoder.inner), text_head(), healthy)
    broken = replace(text_request(6), prompt_embeds=torch.full((1, 6, WIDTH), torch.nan))
    with pytest.raises(JudgeError, match="no numbers"):
        engine.generate(text_head(), [broken, text_request(8)])
    assert all(map(same, engine.generate(text_head(), healthy), expected))


def test_two_threads_share_an_engine_and_noise_is_prefetched(decoder: RecordingDecoder) -> None:
    def requests(seed: int) -> list[DecodeRequest]:
        return [
            pair_request(length, seed=10 * seed + length, max_new_tokens=3 + length, num_latents=2)
            for length in (2, 5, 3)
        ]

    alone = [generate(decoder, pair_head(), requests(seed)) for seed in range(6)]
    engine = new_engine(decoder)
    engine.prefetch_noise(True)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda seed: engine.generate(pair_head(), requests(seed)), range(6)))
    assert all(same(*pair) for results, expected in zip(together, alone, strict=True)
               for pair in zip(results, expected, strict=True))  # fmt: skip
