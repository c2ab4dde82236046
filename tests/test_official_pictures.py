"""Which prompt a picture of an official folder is of, where its name alone does not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from milr.runs.official_pictures import find_pictures
from milr.types import Prompt

PROMPTS = [Prompt(text, f"shape-{place:03d}", "shape") for place, text in enumerate(
    ["a round bagel", "a square box.", "a round bagel."])]  # fmt: skip


def draw(folder: Path, *names: str) -> Path:
    (folder / "samples").mkdir()
    for name in names:
        Image.new("RGB", (2, 2)).save(folder / "samples" / name)
    return folder


@pytest.mark.parametrize("samples", [1, 2])
def test_prompts_that_differ_in_their_full_stop_are_distinguished_by_their_numbers(
    tmp_path: Path, samples: int
) -> None:
    """T2I-CompBench has such a pair, and MILR leaves the full stop out of the names."""
    names = [f"{text}_{place * samples + sample:06d}.png" for sample in range(samples)
             for place, text in enumerate(["a round bagel", "a square box", "a round bagel"])]  # fmt: skip
    pictures = find_pictures(draw(tmp_path, *names), PROMPTS, "t2i-compbench", samples=samples)
    assert {(picture.prompt.id, picture.sample, picture.path.name) for picture in pictures} == {
        (f"shape-{place:03d}", sample, f"{PROMPTS[place].text.rstrip('.')}_{place * samples + sample:06d}.png")
        for sample in range(samples) for place in range(3)
    }  # fmt: skip


def test_names_with_their_full_stop_need_no_number(tmp_path: Path) -> None:
    pictures = find_pictures(draw(tmp_path, "a round bagel._000007.png"), PROMPTS, "t2i-compbench", samples=1)
    assert [(picture.prompt.id, picture.sample) for picture in pictures] == [("shape-002", 0)]
