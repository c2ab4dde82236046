"""nano's list of the objects that it sees, rewritten as the visualisations that would have planned that picture."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict

from milr.shapes.planning import visualise
from milr.shapes.scenes import CELL_NAMES, COLOURS, FILLS, SHAPES, SIZES, Appearance, Item, Scene

DESCRIBE = "what does this picture show ?"
MAX_OBJECTS = 4
_OBJECT = re.compile(f"({'|'.join(SHAPES)}) ({'|'.join(COLOURS)}) ({'|'.join(FILLS)}) ({'|'.join(SIZES)}) "
                     f"({'|'.join(CELL_NAMES)})")  # fmt: skip


def visualisations_of_listing(listing: str) -> tuple[str, ...]:
    """One visualisation for each order of the groups of objects that look alike; their cells are in reading order.

    Empty where the listing is unreadable, names more than four objects, or two objects in one cell.
    """
    matches = [_OBJECT.fullmatch(words.strip()) for words in listing.split(",")]
    groups: dict[Appearance, list[Item]] = defaultdict(list)
    for match in matches:
        if match is None or len(matches) > MAX_OBJECTS:
            return ()
        shape, colour, fill, size, cell = match.groups()
        appearance = Appearance(shape, colour, size, fill)
        groups[appearance].append(Item(appearance, CELL_NAMES.index(cell)))
    if len({item.cell for group in groups.values() for item in group}) < len(matches):
        return ()
    ordered = [tuple(sorted(group, key=lambda item: item.cell)) for group in groups.values()]
    return tuple(visualise(Scene(order)) for order in itertools.permutations(ordered))
