"""The reward `ocr`: its rule by hand, and RapidOCR on written words."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image, ImageDraw, ImageFont

from milr import catalog
from milr.base import Reward
from milr.options import Options
from milr.rewards.ocr import OcrReward
from milr.rules import text_rendering as rules
from milr.types import Prompt, UsageError

pytest.importorskip("rapidfuzz", reason="the reward ocr needs the extra: pip install 'milr[ocr]'")
OPEN = Prompt('a shop with a sign that says "Open Late"')
WHITE = Image.new("RGB", (256, 256), "white")


@pytest.mark.parametrize(("prompt", "texts"), [
    ('a sign that says "OPEN"', ("OPEN",)),
    ("a sign “Open late” and a card „Hallo“", ("Open late", "Hallo")),
    ("the words 'don't stop' on a dog's bed", ("don't stop",)),
    ("a cat's bowl and a dog's bed", ()),
    ('an empty " " pair', ()),
    ("«Salut» on a wall", ("Salut",)),
    ("a red star", ()),
])  # fmt: skip
def test_what_a_prompt_quotes(prompt: str, texts: tuple[str, ...]) -> None:
    assert rules.quoted_texts(prompt) == texts


@pytest.mark.parametrize(("wanted", "lines", "score"), [
    ("OPEN", ["open"], 1.0),  # capitals do not count
    ("Open Late", ["OPEN", "LATE"], 1.0),  # nor blanks and lines
    ("OPEN", ["now OPEN all day"], 1.0),  # nor what stands around it
    ("OPEN", ["OPFN"], 0.75),  # one of four letters
    ("OPEN", ["OEN", "nothing else at all"], 0.75),  # the nearest line
    ("OPEN", ["XYZW"], 0.0),
    ("OPEN", ["a text of many more letters"], 0.0),  # never below 0
    ("OPEN", [], 0.0),
])  # fmt: skip
def test_how_well_a_text_was_read(wanted: str, lines: list[str], score: float) -> None:
    assert rules.text_score(wanted, lines) == score


def score_of(reward: Reward, picture: Image.Image, prompt: Prompt = OPEN):
    (score,) = asyncio.run(reward.score([picture], [prompt], None))  # type: ignore[arg-type]
    return score


def test_several_texts_are_the_mean_of_their_parts() -> None:
    score = score_of(OcrReward(lambda picture: ["open late", "XXXX"]), WHITE, Prompt('"Open Late" above "SALE"'))
    assert score.value == 0.5 and score.parts == {'"Open Late"': 1.0, '"SALE"': 0.0}


def test_a_prompt_without_a_quoted_text_is_refused_and_a_broken_reader_is_no_zero() -> None:
    with pytest.raises(UsageError, match="quotation marks"):
        score_of(OcrReward(lambda picture: []), WHITE, Prompt("a red star"))

    def broken(picture: Image.Image) -> list[str]:
        raise RuntimeError("no")

    assert score_of(OcrReward(broken), WHITE).value is None


def test_rapidocr_reads_what_is_written() -> None:
    pytest.importorskip("rapidocr", reason="the reward ocr needs the extra: pip install 'milr[ocr]'")
    reward = catalog.make_reward("ocr", None, Options())
    written = WHITE.copy()
    ImageDraw.Draw(written).text((30, 100), "Open Late", fill="black", font=ImageFont.load_default(40))
    assert score_of(reward, written).value == 1.0
    other = WHITE.copy()
    ImageDraw.Draw(other).text((30, 100), "Closed", fill="black", font=ImageFont.load_default(40))
    assert score_of(reward, other).value < 0.5
    nothing = score_of(reward, WHITE)
    assert nothing.value == 0.0 and nothing.reason == "it reads nothing"
    assert score_of(reward, written.resize((64, 64))).value is not None
    assert dict(reward.identity())["reader"].startswith("rapidocr ")  # type: ignore[attr-defined]
