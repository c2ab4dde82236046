"""The committed split: the prompts for testing and development, and the combinations kept out of training.

`python -m milr.shapes.splits` writes split.json again from its seed. Held out are *pairs of shapes* (no training
prompt of any category names both) and *coloured shapes* (no training prompt of `colors` or `knowledge` asks for
them; they do occur in other categories), and (shape, number) riddles. `single_object` and `counting` have too few
prompts to hold any out: their test prompts are training prompts, too, and samples differ by seed.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from milr.shapes.grammar import Phrase, Request, parse, to_prompt, to_text
from milr.shapes.riddles import NUMBER_RIDDLES
from milr.shapes.sampling import CANONICAL, HARD_SAMPLERS, SAMPLERS
from milr.shapes.scenes import COLOURS, SHAPES
from milr.types import Prompt

SPLITS = ("test", "development")
# the split whose pairs of shapes they name, and how many prompts of each kind they have
HARD = {"hard": ("test", 100), "hard-development": ("development", 40), "hard-second": ("test", 100)}
SPLIT_NAMES = (*SPLITS, *HARD)
COUNTS = {
    "test": {"single_object": 10, "two_object": 20, "counting": 30, "colors": 20, "position": 48, "color_attr": 50,
             "color_position": 50, "binding": 50, "knowledge": 50},
    "development": {"single_object": 10, "two_object": 10, "counting": 10, "colors": 10, "position": 20,
                    "color_attr": 20, "color_position": 20, "binding": 20, "knowledge": 20},
}  # fmt: skip


@lru_cache(maxsize=1)
def load_split() -> dict[str, Any]:
    """The committed split file."""
    split: dict[str, Any] = json.loads(files("milr.shapes").joinpath("split.json").read_text(encoding="utf-8"))
    return split


def prompts(split: str) -> list[Prompt]:
    """The prompts of one of SPLIT_NAMES, with ids and metadata."""
    texts = load_split()[split]["prompts"]
    parsed = [to_prompt(text, f"{split}-{number:03d}") for number, text in enumerate(texts)]
    return [prompt for prompt in parsed if prompt is not None]


def split_of(request: Request, split: dict[str, Any]) -> str | None:
    """The one of SPLITS that holds the request's combination out; None: it may be trained on."""
    key, heading = combination(request)
    return next((name for name in SPLITS if heading and key in split[name][heading]), None)


def combination(request: Request) -> tuple[list[Any], str | None]:
    """The combination that could be held out, and its heading in the split file (None: there is none)."""
    shapes = sorted({phrase.shape for phrase in request.phrases})
    first = request.phrases[0]
    if len(shapes) == 2:
        return shapes, "pairs"
    if request.riddle and first.count > 1:
        return [first.shape, first.count], "numbers"
    if first.colour and request.category in ("colors", "knowledge"):
        return [first.colour, first.shape], "coloured"
    return [], None


def is_held_out(request: Request) -> bool:
    """Whether this request is kept out of training."""
    return split_of(request, load_split()) is not None


def _combinations(rng: np.random.Generator) -> dict[str, Any]:
    """Combinations to hold out, in which every shape and colour occurs equally often."""
    ring = [str(shape) for shape in rng.permutation(SHAPES)]
    pairs = {"test": [sorted((ring[i], ring[i - 1])) for i in range(10)],
             "development": [sorted((ring[i], ring[i + 5])) for i in range(5)]}  # fmt: skip
    colours = [str(colour) for colour in rng.permutation(list(COLOURS))]
    coloured = {"test": [[colours[(i + shift) % 10], SHAPES[i]] for shift in (0, 3) for i in range(10)],
                "development": [[colours[(i + 6) % 10], SHAPES[i]] for i in range(10)]}  # fmt: skip
    numbers = {"test": [[SHAPES[i], 2 + i % 3] for i in range(10)],
               "development": [[SHAPES[i], 2 + (i + 1) % 3] for i in range(10)]}  # fmt: skip
    return {name: {"pairs": pairs[name], "coloured": coloured[name], "numbers": numbers[name]} for name in SPLITS}


def _all_requests(category: str) -> list[Request]:
    """All requests of a category, for the categories that are small enough to list."""
    if category == "single_object":
        return [Request((Phrase(shape),)) for shape in SHAPES]
    if category == "counting":
        return [Request((Phrase(shape, count=count),)) for shape in SHAPES for count in NUMBER_RIDDLES]
    if category == "colors":
        return [Request((Phrase(shape, colour),)) for shape in SHAPES for colour in COLOURS]
    pairs = [ordered for pair in combinations(SHAPES, 2) for ordered in (pair, pair[::-1])]
    relations = (None,) if category == "two_object" else CANONICAL
    return [Request((Phrase(a), Phrase(b)), relation) for a, b in pairs for relation in relations]


def _sample_texts(category: str, split: str, count: int, held_out: dict[str, Any],
                  rng: np.random.Generator) -> list[str]:  # fmt: skip
    """`count` different prompts of a category that belong to `split`."""
    if category in ("single_object", "counting"):
        texts = [to_text(request) for request in _all_requests(category)]
    elif category in ("two_object", "colors", "position"):
        texts = [to_text(request) for request in _all_requests(category) if split_of(request, held_out) == split]
    else:
        texts = []
        while len(texts) < count:
            request, text = SAMPLERS[category](rng)
            if split_of(request, held_out) == split and text not in texts:
                texts.append(text)
    indices = sorted(int(i) for i in rng.permutation(len(texts))[:count])
    return [f"a photo of {texts[i]}" for i in indices]


def _sample_hard_texts(held_out: dict[str, Any], pairs: str, count: int, rng: np.random.Generator) -> list[str]:
    """`count` prompts of each kind in HARD_SAMPLERS, rare in training; `pairs` names the split of their pairs.

    They are none of those that another hard split has about the same pairs.
    """
    hard: list[str] = []
    taken = {text for name, (same, _) in HARD.items() if same == pairs and name in held_out
             for text in held_out[name]["prompts"]}  # fmt: skip
    for category in HARD_SAMPLERS:
        texts: dict[str, None] = {}
        while len(texts) < count:
            request, text = HARD_SAMPLERS[category](rng)
            text = f"a photo of {text}"
            if text not in taken and split_of(request, held_out) == (pairs if len(request.phrases) > 1 else None):
                texts[text] = None
        hard += texts
    return hard


def make_split(seed: int = 20) -> dict[str, Any]:
    """The split that belongs to a seed; every prompt of it can be parsed."""
    rng = np.random.default_rng(seed)
    contents = _combinations(rng)
    for split in SPLITS:
        texts = []
        for category, count in COUNTS[split].items():
            texts += _sample_texts(category, split, count, contents, rng)
        assert all(parse(text) for text in texts)
        contents[split]["prompts"] = texts
    rng = np.random.default_rng((seed, 1))
    for split, (pairs, count) in HARD.items():
        contents[split] = {"prompts": _sample_hard_texts(contents, pairs, count, rng)}
    return {"seed": seed} | contents


if __name__ == "__main__":
    Path(__file__).with_name("split.json").write_text(json.dumps(make_split(), indent=1) + "\n", encoding="utf-8")
