"""Requests to scenes and to the visualisation that commits to them: what nano is trained to think and to draw.

Layouts and looks are skewed on purpose, so that the greedy choice is a sensible plan and sampling still varies.
"""

from __future__ import annotations

import itertools
import re
from functools import cache

import numpy as np

from milr.shapes.grammar import NUMBER_WORDS, PLURALS, Phrase, Request
from milr.shapes.scenes import CELL_NAMES, COLOURS, FILLS, GRID, SHAPES, SIZES, Item, Look, Scene

ROWS = np.array([0.15, 0.5, 0.25, 0.1])
COLUMNS = np.array([0.3, 0.2, 0.4, 0.1])
CELLS = np.outer(ROWS, COLUMNS).ravel()
FAVOURITE = dict(zip(SHAPES, ("blue", "green", "orange", "yellow", "white", "purple", "red", "pink", "black", "brown"),
                     strict=True))  # fmt: skip
_OBJECT = f"({'|'.join(CELL_NAMES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_PLAN = re.compile(f"{_OBJECT}( , {_OBJECT})* : .*[.]")
_STEPS = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}  # from phrase 0 to phrase 1


def relation_fits(relation: str | None, placed: int, anchor: int) -> bool:
    """Whether cell `placed` stands clearly in `relation` to cell `anchor` (45 degrees and less off the axis)."""
    dx, dy = anchor % GRID - placed % GRID, anchor // GRID - placed // GRID
    if relation is None:
        return placed != anchor
    sx, sy = _STEPS[relation]
    along = dx * sx + dy * sy
    across = abs(dx * sy) + abs(dy * sx)
    return along > 0 and across < along


@cache
def _pairs(relation: str | None) -> tuple[list[tuple[int, int]], np.ndarray]:
    pairs = [pair for pair in itertools.permutations(range(GRID * GRID), 2) if relation_fits(relation, *pair)]
    weights = []
    for first, second in pairs:
        dx, dy = abs(first % GRID - second % GRID), abs(first // GRID - second // GRID)
        aligned = 4.0 if 0 in (dx, dy) else 1.0
        apart = 1.0 if max(dx, dy) > 1 else 0.35
        reading = 3.0 if relation is None and second > first else 1.0
        weights.append(CELLS[first] * CELLS[second] * aligned * apart * reading)
    return pairs, np.array(weights) / sum(weights)


def _cells(request: Request, rng: np.random.Generator) -> list[list[int]]:
    counts = [phrase.count for phrase in request.phrases]
    if counts == [1, 1]:
        pairs, weights = _pairs(request.relation)
        return [[cell] for cell in pairs[rng.choice(len(pairs), p=weights)]]
    while True:
        chosen = rng.choice(GRID * GRID, sum(counts), replace=False, p=CELLS)
        groups = [sorted(int(c) for c in part) for part in np.split(chosen, np.cumsum(counts)[:-1])]
        if len(groups) == 1 or all(relation_fits(request.relation, a, b) for a in groups[0] for b in groups[1]):
            return groups


def _look(phrase: Phrase, rng: np.random.Generator) -> Look:
    favourite = FAVOURITE[phrase.shape] if rng.random() < 0.5 else str(rng.choice(list(COLOURS)))
    size = str(rng.choice(list(SIZES), p=[0.75, 0.25]))
    fill = str(rng.choice(FILLS, p=[0.7, 0.15, 0.15]))
    return Look(phrase.shape, phrase.colour or favourite, phrase.size or size, phrase.fill or fill)


def imagine(request: Request, rng: np.random.Generator) -> Scene:
    """One scene that fulfils the request: places, colours, sizes and fills chosen where it leaves them open."""
    groups = []
    for phrase, cells in zip(request.phrases, _cells(request, rng), strict=True):
        look = _look(phrase, rng)
        groups.append(tuple(Item(look, cell) for cell in cells))
    return Scene(tuple(groups))


def visualise(scene: Scene) -> str:
    """The visualisation that commits to a scene: places, colours and shapes first, then sizes and fills."""
    places = " , ".join(f"{CELL_NAMES[item.cell]} {item.look.colour} {item.look.shape}" for item in scene.items)
    looks = " , ".join(_manner(group) for group in scene.groups)
    count = len(scene.items)
    noun = "object" if count == 1 else "objects"
    return f"{places} : {looks} ; {NUMBER_WORDS[count]} {noun} in all , plain grey ground ."


def is_plan(text: str) -> bool:
    """Whether a text names a place, a colour and a shape of every object, as `visualise` does."""
    return _PLAN.fullmatch(text) is not None


def _manner(group: tuple[Item, ...]) -> str:
    look = group[0].look
    noun, verb = (look.shape, "is") if len(group) == 1 else (PLURALS[look.shape], "are")
    return f"the {look.colour} {noun} {verb} {look.size} and {look.fill}"
