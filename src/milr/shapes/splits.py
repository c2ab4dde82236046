"""The committed split: which prompts are for testing and development, and which combinations training never sees.

`python -m milr.shapes.splits` writes split.json again from its seed. Held out are *pairs of shapes* (no training
prompt of any category names both) and *coloured shapes* (no training prompt of `colors` or `knowledge` asks for
them; they do occur in other categories), and (shape, number) riddles. `single_object` and `counting` have too few
prompts to hold any out: there, samples are what repeats.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from milr.shapes.grammar import Phrase, Request, parse, say, to_prompt
from milr.shapes.riddles import NUMBER_RIDDLES
from milr.shapes.sampling import CANONICAL, DRAWS, HARD_DRAWS
from milr.shapes.scenes import COLOURS, SHAPES
from milr.types import Prompt

SPLITS = ("test", "development")
HARD = {"hard": ("test", 100), "hard-development": ("development", 40)}  # whose pairs, and prompts of each kind
PROMPTS = (*SPLITS, *HARD)
COUNTS = {
    "test": {"single_object": 10, "two_object": 20, "counting": 30, "colors": 20, "position": 48, "color_attr": 50,
             "color_position": 50, "binding": 50, "knowledge": 50},
    "development": {"single_object": 10, "two_object": 10, "counting": 10, "colors": 10, "position": 20,
                    "color_attr": 20, "color_position": 20, "binding": 20, "knowledge": 20},
}  # fmt: skip


@lru_cache(maxsize=1)
def load_split() -> dict[str, Any]:
    """The committed split file."""
    loaded: dict[str, Any] = json.loads(files("milr.shapes").joinpath("split.json").read_text(encoding="utf-8"))
    return loaded


def prompts(split: str) -> list[Prompt]:
    """The prompts of one of PROMPTS, with ids and metadata."""
    found = [to_prompt(text, f"{split}-{number:03d}") for number, text in enumerate(load_split()[split]["prompts"])]
    return [prompt for prompt in found if prompt is not None]


def owner(request: Request, split: dict[str, Any]) -> str | None:
    """Which split the request's combination belongs to; None is training."""
    key, kind = combination(request)
    return next((name for name in SPLITS if kind and key in split[name][kind]), None)


def combination(request: Request) -> tuple[list[Any], str | None]:
    """What could be held out about a request, and under which heading of the split file."""
    shapes = sorted({phrase.shape for phrase in request.phrases})
    first = request.phrases[0]
    if len(shapes) == 2:
        return shapes, "pairs"
    if request.riddle and first.count > 1:
        return [first.shape, first.count], "numbers"
    if first.colour and request.category in ("colors", "knowledge"):
        return [first.colour, first.shape], "coloured"
    return [], None


def held_out(request: Request) -> bool:
    """Whether training must not see this request."""
    return owner(request, load_split()) is not None


def _combinations(rng: np.random.Generator) -> dict[str, Any]:
    """Held-out combinations in which every shape and colour has an equal part."""
    ring = [str(shape) for shape in rng.permutation(SHAPES)]
    pairs = {"test": [sorted((ring[i], ring[i - 1])) for i in range(10)],
             "development": [sorted((ring[i], ring[i + 5])) for i in range(5)]}  # fmt: skip
    colours = [str(colour) for colour in rng.permutation(list(COLOURS))]
    coloured = {"test": [[colours[(i + shift) % 10], SHAPES[i]] for shift in (0, 3) for i in range(10)],
                "development": [[colours[(i + 6) % 10], SHAPES[i]] for i in range(10)]}  # fmt: skip
    numbers = {"test": [[SHAPES[i], 2 + i % 3] for i in range(10)],
               "development": [[SHAPES[i], 2 + (i + 1) % 3] for i in range(10)]}  # fmt: skip
    return {name: {"pairs": pairs[name], "coloured": coloured[name], "numbers": numbers[name]} for name in SPLITS}


def _every(category: str) -> list[Request]:
    """All requests of a category that is small enough to list."""
    if category == "single_object":
        return [Request((Phrase(shape),)) for shape in SHAPES]
    if category == "counting":
        return [Request((Phrase(shape, count=count),)) for shape in SHAPES for count in NUMBER_RIDDLES]
    if category == "colors":
        return [Request((Phrase(shape, colour),)) for shape in SHAPES for colour in COLOURS]
    pairs = [pair for couple in combinations(SHAPES, 2) for pair in (couple, couple[::-1])]
    relations = (None,) if category == "two_object" else CANONICAL
    return [Request((Phrase(a), Phrase(b)), relation) for a, b in pairs for relation in relations]


def _texts(category: str, split: str, count: int, made: dict[str, Any], rng: np.random.Generator) -> list[str]:
    if category in ("single_object", "counting"):
        found = [say(request) for request in _every(category)]
    elif category in ("two_object", "colors", "position"):
        found = [say(request) for request in _every(category) if owner(request, made) == split]
    else:
        found = []
        while len(found) < count:
            request, text = DRAWS[category](rng)
            if owner(request, made) == split and text not in found:
                found.append(text)
    chosen = sorted(int(i) for i in rng.permutation(len(found))[:count])
    return [f"a photo of {found[i]}" for i in chosen]


def _hard_texts(made: dict[str, Any], pairs: str, count: int, rng: np.random.Generator) -> list[str]:
    """Prompts that nano is not trained for, or hardly: what is left to search for when it has thought."""
    found: list[str] = []
    for category in HARD_DRAWS:
        texts: dict[str, None] = {}
        while len(texts) < count:
            request, text = HARD_DRAWS[category](rng)
            if owner(request, made) == (pairs if len(request.phrases) > 1 else None):
                texts[f"a photo of {text}"] = None
        found += texts
    return found


def make_split(seed: int = 20) -> dict[str, Any]:
    """The split, from its seed. Every prompt reads back to the request it was made from."""
    rng = np.random.default_rng(seed)
    made = _combinations(rng)
    for split in SPLITS:
        texts = []
        for category, count in COUNTS[split].items():
            texts += _texts(category, split, count, made, rng)
        assert all(parse(text) for text in texts)
        made[split]["prompts"] = texts
    rng = np.random.default_rng((seed, 1))
    for split, (pairs, count) in HARD.items():
        made[split] = {"prompts": _hard_texts(made, pairs, count, rng)}
    return {"seed": seed} | made


if __name__ == "__main__":
    Path(__file__).with_name("split.json").write_text(json.dumps(make_split(), indent=1) + "\n", encoding="utf-8")
