"""Requests to scenes, and scenes to visualisations: what nano is trained to draw, and the text to write before.

Layouts and appearances are not uniform, so that the greedy visualisation is a sensible plan and sampled ones vary.
"""

from __future__ import annotations

import itertools
import re
from functools import cache

import numpy as np

from milr.shapes.grammar import NUMBER_WORDS, PLURALS, Phrase, Request
from milr.shapes.scenes import CELL_NAMES, COLOURS, FILLS, GRID, SHAPES, SIZES, Appearance, Item, Scene

ROWS = np.array([0.15, 0.5, 0.25, 0.1])
COLUMNS = np.array([0.3, 0.2, 0.4, 0.1])
CELLS = np.outer(ROWS, COLUMNS).ravel()  # probabilities of the 16 cells
USUAL_COLOURS = dict(zip(SHAPES, ("blue", "green", "orange", "yellow", "white", "purple", "red", "pink", "black",
                                  "brown"), strict=True))  # fmt: skip
_OBJECT = f"({'|'.join(CELL_NAMES)}) ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_PLAN = re.compile(f"{_OBJECT}( , {_OBJECT})* : .*[.]")
_DIRECTIONS = {"left of": (1, 0), "right of": (-1, 0), "above": (0, 1), "below": (0, -1)}  # from phrase 0 to phrase 1


def relation_fits(relation: str | None, placed: int, anchor: int) -> bool:
    """Whether cell `placed` stands in `relation` to cell `anchor`, less than 45 degrees off the axis."""
    dx, dy = anchor % GRID - placed % GRID, anchor // GRID - placed // GRID
    if relation is None:
        return placed != anchor
    sx, sy = _DIRECTIONS[relation]
    along = dx * sx + dy * sy
    across = abs(dx * sy) + abs(dy * sx)
    return along > 0 and across < along


@cache
def _pairs(relation: str | None) -> tuple[list[tuple[int, int]], np.ndarray]:
    """All pairs of cells that fit the relation, and their probabilities."""
    pairs = [pair for pair in itertools.permutations(range(GRID * GRID), 2) if relation_fits(relation, *pair)]
    weights = []
    for first, second in pairs:
        dx, dy = abs(first % GRID - second % GRID), abs(first // GRID - second // GRID)
        alignment = 4.0 if 0 in (dx, dy) else 1.0
        distance = 1.0 if max(dx, dy) > 1 else 0.35
        reading_order = 3.0 if relation is None and second > first else 1.0
        weights.append(CELLS[first] * CELLS[second] * alignment * distance * reading_order)
    return pairs, np.array(weights) / sum(weights)


def _sample_cells(request: Request, rng: np.random.Generator) -> list[list[int]]:
    """The cells of each phrase's objects."""
    counts = [phrase.count for phrase in request.phrases]
    if counts == [1, 1]:
        pairs, weights = _pairs(request.relation)
        return [[cell] for cell in pairs[rng.choice(len(pairs), p=weights)]]
    while True:
        chosen = rng.choice(GRID * GRID, sum(counts), replace=False, p=CELLS)
        groups = [sorted(int(c) for c in group) for group in np.split(chosen, np.cumsum(counts)[:-1])]
        if len(groups) == 1 or all(relation_fits(request.relation, a, b) for a in groups[0] for b in groups[1]):
            return groups


def _sample_appearance(phrase: Phrase, rng: np.random.Generator) -> Appearance:
    colour = USUAL_COLOURS[phrase.shape] if rng.random() < 0.5 else str(rng.choice(list(COLOURS)))
    size = str(rng.choice(list(SIZES), p=[0.75, 0.25]))
    fill = str(rng.choice(FILLS, p=[0.7, 0.15, 0.15]))
    return Appearance(phrase.shape, phrase.colour or colour, phrase.size or size, phrase.fill or fill)


def sample_scene(request: Request, rng: np.random.Generator) -> Scene:
    """A random scene that fulfils the request; cells and whatever attributes it leaves open are sampled."""
    groups = []
    for phrase, cells in zip(request.phrases, _sample_cells(request, rng), strict=True):
        appearance = _sample_appearance(phrase, rng)
        groups.append(tuple(Item(appearance, cell) for cell in cells))
    return Scene(tuple(groups))


def visualise(scene: Scene) -> str:
    """The visualisation of a scene: cell, colour and shape of every object first, then sizes and fills."""
    objects = " , ".join(
        f"{CELL_NAMES[item.cell]} {item.appearance.colour} {item.appearance.shape}" for item in scene.items
    )
    sizes_and_fills = " , ".join(_size_and_fill(group) for group in scene.groups)
    count = len(scene.items)
    noun = "object" if count == 1 else "objects"
    return f"{objects} : {sizes_and_fills} ; {NUMBER_WORDS[count]} {noun} in all , plain grey ground ."


def is_plan(text: str) -> bool:
    """Whether a text has the form of a visualisation: cell, colour and shape of every object, a colon, the rest."""
    return _PLAN.fullmatch(text) is not None


def _size_and_fill(group: tuple[Item, ...]) -> str:
    appearance = group[0].appearance
    noun, verb = (appearance.shape, "is") if len(group) == 1 else (PLURALS[appearance.shape], "are")
    return f"the {appearance.colour} {noun} {verb} {appearance.size} and {appearance.fill}"
