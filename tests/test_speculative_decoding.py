"""Drafts change how many forwards a text takes, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from milr.models.decoding.engine import Decoded, Decoder
from milr.models.decoding.draft_cache import Drafts
from test_decoding import (
    VOCAB,
    Recorder,
    decode,
    head_of_table,
    keyed,
    one_thread,  # noqa: F401
    remembering,
    transformer,  # noqa: F401
)

PROMPT = (20, 21, 22)


def drafted(layers: Recorder, guess: tuple[int, ...]) -> Decoder:
    """A decoder that thinks that this follows the prompt; nothing of it was read."""
    decoder = remembering(layers)
    decoder._drafts.keep(PROMPT, guess)
    return decoder


def same(found: Decoded, wanted: Decoded) -> None:
    assert (found.ids, found.near_ties, found.decoded) == (wanted.ids, wanted.near_ties, wanted.decoded)
    assert (found.latents is None) == (wanted.latents is None)
    if found.latents is not None and wanted.latents is not None:
        torch.testing.assert_close(found.latents, wanted.latents, atol=1e-5, rtol=1e-5)


def test_a_text_that_is_written_again_is_one_forward(transformer: Recorder) -> None:  # noqa: F811
    decoder, row = remembering(transformer), keyed(*PROMPT, count=8, keep=8)
    first = decoder.decode(head_of_table(), [row])[0]
    transformer.forwards.clear()
    same(decoder.decode(head_of_table(), [row])[0], first)
    assert transformer.forwards == [(1, 8)], "the prompt's last token and seven of the draft"


def test_a_draft_is_right_up_to_its_first_wrong_token_and_goes_on_after_it(transformer: Recorder) -> None:  # noqa: F811
    row = keyed(*PROMPT, count=9)
    wanted = decode(transformer, head_of_table(), [row])[0]
    guess = list(wanted.ids)
    guess[4] = (guess[4] + 1) % VOCAB
    transformer.forwards.clear()
    same(drafted(transformer, tuple(guess)).decode(head_of_table(), [row])[0], wanted)
    assert transformer.forwards == [(1, 3 + 8), (1, 1 + 3)], "the rest of the draft follows the right token"


def test_a_guess_is_given_up_after_two_drafts_that_brought_little(transformer: Recorder) -> None:  # noqa: F811
    row = keyed(*PROMPT, count=9)
    wanted = decode(transformer, head_of_table(), [row])[0]
    wrong = tuple((token + 1) % VOCAB for token in wanted.ids)
    transformer.forwards.clear()
    same(drafted(transformer, wrong).decode(head_of_table(), [row])[0], wanted)
    assert transformer.forwards == [(1, 3 + 8), (1, 1 + 7)] + [(1, 1)] * 7


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_guessed_the_text_is_the_same(transformer: Recorder, seed: int) -> None:  # noqa: F811
    chance = random.Random(seed)
    end = chance.choice([None, *range(VOCAB)])
    rows, decoder = [], remembering(transformer)
    for number in range(chance.randint(1, 5)):
        prompt = (20, *(chance.randint(30, 33) for _ in range(chance.randint(1, 4))), 40 + number)
        row = keyed(*prompt, count=chance.randint(1, 14), keep=chance.choice([0, 0, 2, 14]),
                    prefix=tuple(chance.randrange(VOCAB) for _ in range(chance.choice([0, 0, 1, 3]))))  # fmt: skip
        guess = list(decode(transformer, head_of_table(end), [row])[0].ids)
        for _ in range(chance.randint(0, 3)):
            change = chance.choice(["other", "cut", "more"])
            place = chance.randrange(len(guess) + 1)
            if change == "other" and place < len(guess):
                guess[place] = chance.randrange(VOCAB)
            guess = guess[:place] if change == "cut" else guess + [chance.randrange(VOCAB)] * (change == "more")
        decoder._drafts.keep(prompt, tuple(guess))
        rows.append(row)
    for found, row in zip(decoder.decode(head_of_table(end), rows), rows, strict=True):
        same(found, decode(transformer, head_of_table(end), [row])[0])


def test_sampled_texts_and_pictures_are_not_drafted(transformer: Recorder) -> None:  # noqa: F811
    wrong = tuple(range(6))
    pair = keyed(*PROMPT, streams=2)
    for head, row in ((head_of_table(), keyed(*PROMPT, temperature=1.0)), (head_of_table(), keyed(*PROMPT, keys=()))):
        transformer.forwards.clear()
        drafted(transformer, wrong).decode(head, [row])
        assert transformer.forwards == [(1, 3)] + [(1, 1)] * 5
    transformer.forwards.clear()
    drafted(transformer, wrong).decode(replace(head_of_table(), of_text=False), [pair])
    assert transformer.forwards == [(2, 3)] + [(2, 1)] * 5


def test_the_prompt_longest_unused_is_forgotten_first() -> None:
    drafts = Drafts(prompts=2)
    for number in (1, 2, 1, 3):
        drafts.keep((number,), (number, number))
    assert [drafts.of((number,)) for number in (1, 2, 3)] == [(1, 1), (), (3, 3)]
    drafts.clear()
    assert drafts.of((3,)) == ()
