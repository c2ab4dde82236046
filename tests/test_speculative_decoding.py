"""Speculative decoding changes how many forwards a text takes, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from milr.models.decoding.draft_cache import DraftCache
from milr.models.decoding.engine import DecodeEngine
from milr.models.decoding.request import DecodeResult
from test_decoding import (
    VOCAB,
    RecordingDecoder,
    decoder,  # noqa: F401
    generate,
    head_of_table,
    ids_request,
    new_engine,
    one_thread,  # noqa: F401
)

PROMPT = (20, 21, 22)


def engine_with_draft(recording: RecordingDecoder, draft_ids: tuple[int, ...]) -> DecodeEngine:
    """An engine whose draft for the prompt is `draft_ids`; no prefix is cached."""
    engine = new_engine(recording)
    engine._draft_cache.put(PROMPT, draft_ids)
    return engine


def assert_same(result: DecodeResult, expected: DecodeResult) -> None:
    assert (result.token_ids, result.near_ties) == (expected.token_ids, expected.near_ties)
    assert result.num_decoded == expected.num_decoded
    assert (result.latents is None) == (expected.latents is None)
    if result.latents is not None and expected.latents is not None:
        torch.testing.assert_close(result.latents, expected.latents, atol=1e-5, rtol=1e-5)


def test_a_text_that_is_generated_again_is_one_forward(decoder: RecordingDecoder) -> None:  # noqa: F811
    engine, request = new_engine(decoder), ids_request(*PROMPT, max_new_tokens=8, num_latents=8)
    first = engine.generate(head_of_table(), [request])[0]
    decoder.forwards.clear()
    assert_same(engine.generate(head_of_table(), [request])[0], first)
    assert decoder.forwards == [(1, 8)], "the prompt's last token and seven of the draft"


def test_a_draft_is_accepted_up_to_its_first_wrong_token_and_again_after_it(decoder: RecordingDecoder) -> None:  # noqa: F811
    request = ids_request(*PROMPT, max_new_tokens=9)
    expected = generate(decoder, head_of_table(), [request])[0]
    draft_ids = list(expected.token_ids)
    draft_ids[4] = (draft_ids[4] + 1) % VOCAB
    decoder.forwards.clear()
    assert_same(engine_with_draft(decoder, tuple(draft_ids)).generate(head_of_table(), [request])[0], expected)
    assert decoder.forwards == [(1, 3 + 8), (1, 1 + 3)], "the rest of the draft follows the right token"


def test_drafting_ends_after_two_drafts_of_which_little_was_accepted(decoder: RecordingDecoder) -> None:  # noqa: F811
    request = ids_request(*PROMPT, max_new_tokens=9)
    expected = generate(decoder, head_of_table(), [request])[0]
    wrong_ids = tuple((token + 1) % VOCAB for token in expected.token_ids)
    decoder.forwards.clear()
    assert_same(engine_with_draft(decoder, wrong_ids).generate(head_of_table(), [request])[0], expected)
    assert decoder.forwards == [(1, 3 + 8), (1, 1 + 7)] + [(1, 1)] * 7


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_draft_the_text_is_the_same(decoder: RecordingDecoder, seed: int) -> None:  # noqa: F811
    chance = random.Random(seed)
    end = chance.choice([None, *range(VOCAB)])
    requests, engine = [], new_engine(decoder)
    for number in range(chance.randint(1, 5)):
        prompt = (20, *(chance.randint(30, 33) for _ in range(chance.randint(1, 4))), 40 + number)
        request = ids_request(*prompt, max_new_tokens=chance.randint(1, 14), num_latents=chance.choice([0, 0, 2, 14]),
                    prefix=tuple(chance.randrange(VOCAB) for _ in range(chance.choice([0, 0, 1, 3]))))  # fmt: skip
        draft_ids = list(generate(decoder, head_of_table(end), [request])[0].token_ids)
        for _ in range(chance.randint(0, 3)):
            change = chance.choice(["other", "cut", "more"])
            index = chance.randrange(len(draft_ids) + 1)
            if change == "other" and index < len(draft_ids):
                draft_ids[index] = chance.randrange(VOCAB)
            elif change == "cut":
                draft_ids = draft_ids[:index]
            elif change == "more":
                draft_ids.append(chance.randrange(VOCAB))
        engine._draft_cache.put(prompt, tuple(draft_ids))
        requests.append(request)
    for result, request in zip(engine.generate(head_of_table(end), requests), requests, strict=True):
        assert_same(result, generate(decoder, head_of_table(end), [request])[0])


def test_sampled_texts_and_pictures_are_not_drafted(decoder: RecordingDecoder) -> None:  # noqa: F811
    wrong_ids = tuple(range(6))
    pair = ids_request(*PROMPT, num_sequences=2)
    for head, request in (
        (head_of_table(), ids_request(*PROMPT, temperature=1.0)),
        (head_of_table(), ids_request(*PROMPT, prompt_ids=())),
    ):
        decoder.forwards.clear()
        engine_with_draft(decoder, wrong_ids).generate(head, [request])
        assert decoder.forwards == [(1, 3)] + [(1, 1)] * 5
    decoder.forwards.clear()
    engine_with_draft(decoder, wrong_ids).generate(replace(head_of_table(), is_text=False), [pair])
    assert decoder.forwards == [(2, 3)] + [(2, 1)] * 5


def test_the_least_recently_written_prompt_is_evicted_first() -> None:
    drafts = DraftCache(max_prompts=2)
    for number in (1, 2, 1, 3):
        drafts.put((number,), (number, number))
    assert [drafts.get((number,)) for number in (1, 2, 3)] == [(1, 1), (), (3, 3)]
    drafts.clear()
    assert drafts.get((3,)) == ()
