"""The decode loop on a transformer small enough to follow: what it feeds, when rows leave, what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from milr.models.decoding.engine import Decoded, Decoder, Head, Row
from milr.models.decoding.llama import Stack
from milr.policy import guided_logits
from milr.randomness import NoiseStream
from milr.types import Key

WIDTH, VOCAB, END = 16, 12, 11


class Recorder(Stack):
    """Layers that write down the (streams, length) of every forward."""

    def __init__(self, inner: LlamaModel) -> None:
        super().__init__(inner)
        self.inner, self.forwards = inner, list[tuple[int, int]]()

    def __call__(self, inputs: Tensor, *others: Any) -> Tensor:
        self.forwards.append((inputs.shape[0], inputs.shape[1]))
        return super().__call__(inputs, *others)


def decode(transformer: Recorder, head: Head, rows: list[Row]) -> list[Decoded]:
    """By a decoder that remembers nothing."""
    return remembering(transformer).decode(head, rows)


def remembering(transformer: Recorder) -> Decoder:
    decoder = Decoder(transformer.inner)
    decoder.stack = transformer
    return decoder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def transformer() -> Recorder:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    inner = LlamaModel(config).eval().requires_grad_(False)
    for parameter in inner.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    return Recorder(inner)


def weights(name: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(name))


EMBEDDING, HEAD = weights(1, VOCAB, WIDTH), weights(2, WIDTH, VOCAB)


def text_head(end: int | None = None) -> Head:
    return Head(lambda ids: EMBEDDING[ids], lambda latents, _: latents[:, 0] @ HEAD, end)


def pair_head() -> Head:
    def logits(latents: Tensor, guidance: Tensor) -> Tensor:
        return guided_logits(latents[:, 0] @ HEAD, latents[:, 1] @ HEAD, guidance[:, None])

    return Head(lambda ids: EMBEDDING[ids], logits)


def text_row(length: int = 3, **settings: Any) -> Row:
    return Row(weights(10 + length, 1, length, WIDTH), **{"count": 6, **settings})


def pair_row(length: int = 3, seed: int = 0, **settings: Any) -> Row:
    noise = NoiseStream(Key(seed, "p"), "image", VOCAB)
    settings = {"count": 6, "temperature": 1.0, "guidance_scale": 3.0, "noise": noise, **settings}
    return Row(weights(20 + length, 2, length, WIDTH), **settings)


def by_hand(transformer: Recorder, head: Head, row: Row) -> tuple[list[int], Tensor]:
    """Greedy tokens and latents without a cache, a mask or a batch."""
    sequence, ids, latents = row.prompt, [], []
    for position in range(row.count):
        latent = transformer.inner(inputs_embeds=sequence).last_hidden_state[None, :, -1]
        token = head.logits(latent, torch.tensor([row.guidance_scale])).argmax()
        forced = position < len(row.prefix)
        ids.append(row.prefix[position] if forced else int(token))
        latents.append(latent[0])
        fed = head.embed(torch.tensor([ids[-1]])).expand(len(sequence), 1, -1)
        sequence = torch.cat([sequence, fed], dim=1)
    return ids, torch.stack(latents)


def same(one: Decoded, other: Decoded) -> bool:
    return one.ids == other.ids


def test_greedy_text_and_latents_equal_a_loop_by_hand(transformer: Recorder) -> None:
    row = text_row(keep=6)
    ids, latents = by_hand(transformer, text_head(), row)
    result = decode(transformer, text_head(), [row])[0]
    assert result.latents is not None
    assert list(result.ids) == ids
    assert torch.allclose(result.latents, latents, atol=1e-5)
    assert result.decoded == 6


def test_a_guidance_pair_equals_a_loop_by_hand(transformer: Recorder) -> None:
    row = pair_row(temperature=0.0, noise=None, keep=6, prefix=(4, 4, 7))
    ids, latents = by_hand(transformer, pair_head(), row)
    result = decode(transformer, pair_head(), [row])[0]
    assert result.latents is not None and result.latents.shape == (6, 2, WIDTH)
    assert list(result.ids) == ids
    assert torch.allclose(result.latents, latents, atol=1e-5)


def test_rows_of_different_lengths_equal_the_same_rows_alone(transformer: Recorder) -> None:
    def rows() -> list[Row]:
        return [
            pair_row(3, seed=1, keep=4),
            pair_row(7, seed=2, prefix=(1, 2, 3), guidance_scale=1.0, keep=6),
            pair_row(5, seed=3, temperature=0.0, noise=None, count=2),
            pair_row(4, seed=4, temperature=0.5, count=5, keep=1),
        ]

    together = decode(transformer, pair_head(), rows())
    alone = [decode(transformer, pair_head(), [row])[0] for row in rows()]
    assert all(map(same, together, alone))
    assert [len(result.ids) for result in together] == [6, 6, 2, 5]
    for one, other in zip(together, alone, strict=True):
        assert (one.latents is None) == (other.latents is None)
        if one.latents is not None and other.latents is not None:
            assert torch.allclose(one.latents, other.latents, atol=1e-5)


def test_the_padding_is_masked_in_every_stream(transformer: Recorder) -> None:
    short = pair_row(2, temperature=0.0, noise=None, keep=1, count=1)
    alone = decode(transformer, pair_head(), [short])[0].latents
    padded = decode(transformer, pair_head(), [short, pair_row(9)])[0].latents
    assert alone is not None and padded is not None
    assert torch.allclose(alone, padded, atol=1e-5)


def test_prompt_and_forced_tokens_are_one_forward_and_the_last_token_is_never_fed(transformer: Recorder) -> None:
    decode(transformer, pair_head(), [pair_row(3, prefix=(5, 6), count=6)])
    assert transformer.forwards == [(2, 5), (2, 1), (2, 1), (2, 1)]


def test_finished_rows_stop_costing(transformer: Recorder) -> None:
    decode(transformer, text_head(), [text_row(3, count=4), text_row(4, count=2), text_row(5, count=1)])
    assert transformer.forwards == [(3, 5), (2, 1), (1, 1), (1, 1)]


def test_a_row_with_nothing_to_do_costs_nothing(transformer: Recorder) -> None:
    results = decode(transformer, text_head(), [text_row(prefix=(1, 2), count=2), text_row(count=0)])
    assert [result.ids for result in results] == [(1, 2), ()]
    assert transformer.forwards == []


def test_a_finished_row_can_still_ask_for_its_latents(transformer: Recorder) -> None:
    row = text_row(prefix=(1, 2, 3), count=3, keep=2)
    result = decode(transformer, text_head(), [row])[0]
    assert result.latents is not None and result.latents.shape == (2, 1, WIDTH)
    assert torch.allclose(result.latents, by_hand(transformer, text_head(), row)[1][:2], atol=1e-5)
    assert (result.ids, result.decoded, len(transformer.forwards)) == ((1, 2, 3), 0, 1)


def test_the_end_token_ends_the_row_it_came_from(transformer: Recorder) -> None:
    free = decode(transformer, text_head(), [text_row(3), text_row(6)])
    end = free[0].ids[2]
    ended = decode(transformer, text_head(end), [text_row(3), text_row(6)])
    stops = [result.ids.index(end) + 1 if end in result.ids else 6 for result in free]
    assert [result.ids for result in ended] == [result.ids[:stop] for result, stop in zip(free, stops, strict=True)]
    assert stops[0] <= 3


def test_an_end_token_inside_the_forced_prefix_ends_the_row_there(transformer: Recorder) -> None:
    result = decode(transformer, text_head(END), [text_row(prefix=(1, END, 4), keep=9)])[0]
    assert result.ids == (1, END)
    assert result.latents is not None and len(result.latents) == 2
    assert result.decoded == 0


def test_a_prefix_longer_than_the_count_is_cut(transformer: Recorder) -> None:
    assert decode(transformer, text_head(), [text_row(prefix=(1, 2, 3), count=2)])[0].ids == (1, 2)


def test_forcing_the_tokens_of_a_free_run_does_not_change_what_follows(transformer: Recorder) -> None:
    free = decode(transformer, pair_head(), [pair_row(keep=6)])[0]
    for forced in range(7):
        again = decode(transformer, pair_head(), [pair_row(keep=6, prefix=free.ids[:forced])])[0]
        assert again.ids == free.ids
        assert again.decoded == 6 - forced
        assert torch.allclose(again.latents, free.latents, atol=1e-5)


def test_near_ties_are_reported_by_position(transformer: Recorder) -> None:
    def tied(latents: Tensor, _: Tensor) -> Tensor:
        logits = torch.zeros(len(latents), VOCAB)
        logits[:, 3] = 5.0
        logits[:, 4] = 5.0 - tied.gaps.pop(0)
        return logits

    tied.gaps = [1.0, 1e-6, 1.0, 1e-6]  # type: ignore[attr-defined]
    result = decode(transformer, replace(text_head(), logits=tied), [text_row(prefix=(1, 1), count=6)])[0]
    assert result.ids == (1, 1, 3, 3, 3, 3)
    assert result.near_ties == (3, 5)


def test_bfloat16_networks_give_float32_latents(transformer: Recorder) -> None:
    transformer = Recorder(transformer.inner.to(torch.bfloat16))
    head = Head(lambda ids: EMBEDDING[ids].bfloat16(), lambda latents, _: latents[:, 0] @ HEAD)
    row = replace(text_row(keep=6, prefix=(2,)), prompt=weights(3, 1, 3, WIDTH).bfloat16())
    result = decode(transformer, head, [row])[0]
    assert result.latents is not None and result.latents.dtype == torch.float32
    assert torch.equal((result.latents[1:, 0] @ HEAD).argmax(-1), torch.tensor(result.ids[1:]))


# What earlier rows began with


TABLE = weights(5, 300, WIDTH)


def keyed(*ids: int, streams: int = 1, **settings: Any) -> Row:
    """A row whose prompt is ids; its second stream, if any, has the same ids but for the first."""
    keys = (ids, (ids[0] + 100, *ids[1:]))[:streams]
    prompt = torch.stack([TABLE[list(key)] for key in keys])
    return Row(prompt, **{"count": 6, "keys": keys, **settings})


def head_of_table(end: int | None = None) -> Head:
    return replace(text_head(end), embed=lambda ids: TABLE[ids], of_text=True)


def test_a_prompt_that_was_read_is_not_read_again(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), head_of_table()
    first = decoder.decode(head, [keyed(20, 21, 22, 23, keep=6)])[0]
    assert transformer.forwards[0] == (1, 4)
    transformer.forwards.clear()
    again = decoder.decode(head, [keyed(20, 21, 22, 23, keep=6), keyed(20, 21, 22, 24, keep=6)])
    assert transformer.forwards[:2] == [(1, 6), (1, 1)], "the prompts are known but for the last, one text is drafted"
    assert again[0].ids == first.ids and again[1].ids == decode(transformer, head, [keyed(20, 21, 22, 24)])[0].ids
    assert torch.allclose(again[0].latents, first.latents, atol=1e-5)


def test_a_text_goes_on_from_its_first_changed_token(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), head_of_table()
    text = decoder.decode(head, [keyed(20, 21, 22, count=8)])[0].ids
    transformer.forwards.clear()
    changed = (*text[:3], (text[3] + 1) % VOCAB)
    found = decoder.decode(head, [keyed(20, 21, 22, count=8, prefix=changed)])[0]
    assert transformer.forwards[0] == (1, 4), "the changed token, and three of four that were there before"
    decoder._drafts.clear()
    transformer.forwards.clear()
    decoder.decode(head, [keyed(20, 21, 22, count=8, prefix=changed)])
    assert transformer.forwards == [(1, 1), (1, 1), (1, 1), (1, 1)], "the changed token, and three of four new ones"
    assert found.ids == decode(transformer, head, [keyed(20, 21, 22, count=8, prefix=changed)])[0].ids


def test_streams_with_more_to_read_do_not_hold_up_the_others(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), pair_head()
    rows = [keyed(30, *range(40, 40 + length), streams=2, temperature=0.0) for length in (7, 5, 2, 7)]
    alone = [decode(transformer, head, [row])[0].ids for row in rows]
    decoder.decode(head, rows[:2])
    transformer.forwards.clear()
    assert [found.ids for found in decoder.decode(head, rows)] == alone
    assert transformer.forwards[0] == (8, 1), "shorter ones are beginnings of longer ones"
    transformer.forwards.clear()
    strange = keyed(31, *range(60, 69), streams=2, temperature=0.0)
    found = decoder.decode(head, [*rows, strange])
    assert [one.ids for one in found[:4]] == alone and found[4].ids == decode(transformer, head, [strange])[0].ids
    assert transformer.forwards[:2] == [(2, 10), (8, 1)], "what is new is read apart"


def test_forced_image_tokens_are_shared_and_are_no_text(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), replace(pair_head(), embed=lambda ids: -TABLE[ids])
    row = keyed(20, 21, streams=2, temperature=0.0, prefix=(3, 4))
    decoder.decode(head, [row])
    transformer.forwards.clear()
    decoder.decode(head, [replace(row, prefix=(3, 4, 5))])
    assert transformer.forwards[0] == (2, 1)
    as_text = keyed(20, 21, 3, 4, streams=2, temperature=0.0)
    assert decoder.decode(head, [as_text])[0].ids == decode(transformer, head, [as_text])[0].ids


def test_latents_of_forced_tokens_are_computed_although_the_text_is_known(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), head_of_table()
    first = decoder.decode(head, [keyed(20, 21, keep=6)])[0]
    again = decoder.decode(head, [keyed(20, 21, keep=6, prefix=first.ids)])[0]
    assert again.decoded == 0 and torch.allclose(again.latents, first.latents, atol=1e-5)


def test_other_weights_are_other_texts(transformer: Recorder) -> None:
    decoder, head = remembering(transformer), head_of_table()
    row = keyed(20, 21, 22, 23, keep=6)
    before = decoder.decode(head, [row])[0]
    with torch.no_grad():
        for parameter in transformer.inner.parameters():
            parameter.mul_(-1.25)
    after = decoder.decode(head, [row])[0]
    assert torch.allclose(after.latents, decode(transformer, head, [row])[0].latents, atol=1e-5)
    assert not torch.allclose(after.latents[0], before.latents[0], atol=1e-2)


def test_a_text_that_outgrows_the_cache(transformer: Recorder) -> None:
    row = text_row(3, count=150, keep=150)
    ids, latents = by_hand(transformer, text_head(), row)
    found = decode(transformer, text_head(), [row, text_row(5, count=150)])[0]
    assert list(found.ids) == ids and torch.allclose(found.latents, latents, atol=1e-4)


def test_long_prompts_are_read_in_several_forwards(transformer: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [pair_row(9, seed=seed) for seed in range(3)]
    whole = decode(transformer, pair_head(), [replace(row, noise=pair_row(9, seed=seed).noise)
                                              for seed, row in enumerate(rows)])  # fmt: skip
    monkeypatch.setattr("milr.models.decoding.batch.READ", 20)
    transformer.forwards.clear()
    parted = decode(transformer, pair_head(), rows)
    assert transformer.forwards[:3] == [(2, 9), (2, 9), (2, 9)]
    assert [one.ids for one in parted] == [one.ids for one in whole]
    monkeypatch.setattr("milr.models.decoding.batch.READ", 1)
    transformer.forwards.clear()
    decode(transformer, text_head(), [text_row(3)])
    assert transformer.forwards[0] == (1, 3), "one at least"


def test_what_was_no_number_does_not_come_back(transformer: Recorder) -> None:
    decoder, healthy = remembering(transformer), [text_row(3), text_row(5)]
    wanted = decode(Recorder(transformer.inner), text_head(), healthy)
    decoder.decode(text_head(), [replace(text_row(6), prompt=torch.full((1, 6, WIDTH), torch.nan)), text_row(8)])
    assert all(map(same, decoder.decode(text_head(), healthy), wanted))


def test_two_threads_share_a_decoder_and_noise_is_drawn_ahead(transformer: Recorder) -> None:
    def rows(seed: int) -> list[Row]:
        return [pair_row(length, seed=10 * seed + length, count=3 + length, keep=2) for length in (2, 5, 3)]

    alone = [decode(transformer, pair_head(), rows(seed)) for seed in range(6)]
    decoder = remembering(transformer)
    decoder.draw_ahead(True)
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda seed: decoder.decode(pair_head(), rows(seed)), range(6)))
    assert all(same(*pair) for found, wanted in zip(together, alone, strict=True)
               for pair in zip(found, wanted, strict=True))  # fmt: skip
