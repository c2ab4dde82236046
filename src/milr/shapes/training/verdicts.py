"""What nano says about a picture before it says yes or no: what it sees, then what it found of what was asked.

The listing is "star red solid large a1 , circle blue striped small b3". The check takes the question's phrases one by
one and copies what the listing has of that shape: "red star : star red solid large a1 yes , two heart : no , left of
no". Shapes come first and cells last, so that copying is all it takes: a network of nano's size learned to look the
cells up backwards much later (docs/log.md). Described first and compared one by one, as the paper's SelfReward asks of
Janus: a bare yes or no was hardly better than chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from milr.rules import geneval
from milr.shapes.detector import ATTRIBUTES, Sighting
from milr.shapes.grammar import NUMBER_WORDS, Phrase, Request, metadata
from milr.shapes.scenes import CELL, CELL_NAMES, GRID

Seen = Mapping[str, Sequence[Sighting]]


def cell_of(one: Sighting) -> int:
    """The cell that holds the middle of an object's box."""
    left, top, right, bottom = one.box
    return int((top + bottom) / 2 // CELL) * GRID + int((left + right) / 2 // CELL)


def listing(seen: Seen) -> str:
    """Every object above GenEval's threshold in reading order, with all that can be told of it."""
    return " , ".join(map(_told, _in_order(one for objects in seen.values() for one in objects))) or "nothing"


def check(seen: Seen, request: Request) -> str:
    """Each phrase with what is seen of its shape and whether that is what it asks for; then the relation."""
    told = [_compared(seen, phrase) for phrase in request.phrases]
    if request.relation:
        found = [_matches(seen, phrase) for phrase in request.phrases]
        stands = all(found) and request.relation in geneval.relations(found[0][0], found[1][0])
        told.append(f"{request.relation} {'yes' if stands else 'no'}")
    return " , ".join(told)


def verdict(seen: Seen, request: Request, asked: str) -> str:
    """What the world's judge says of what was seen: "yes" where every stated fact holds."""
    return "yes" if geneval.judge(seen, metadata(request, asked), ATTRIBUTES).correct else "no"


def _in_order(objects: Iterable[Sighting]) -> list[Sighting]:
    kept = [one for one in objects if one.score > geneval.THRESHOLD]
    return sorted(kept, key=lambda one: (cell_of(one), one.shape))


def _told(one: Sighting) -> str:
    return f"{one.shape} {one.colour or 'grey'} {one.fill} {one.size} {CELL_NAMES[cell_of(one)]}"


def _compared(seen: Seen, phrase: Phrase) -> str:
    words = (NUMBER_WORDS[phrase.count] if phrase.count > 1 else None, phrase.size, phrase.fill, phrase.colour)
    copied = [_told(one) for one in _in_order(seen.get(phrase.shape, ()))]
    matches = len(_matches(seen, phrase))
    right = matches == phrase.count if phrase.count > 1 else matches > 0
    return " ".join([*filter(None, words), phrase.shape, ":", *copied, "yes" if right else "no"])


def _matches(seen: Seen, phrase: Phrase) -> list[Sighting]:
    wanted = {"colour": phrase.colour, "size": phrase.size, "fill": phrase.fill}
    return [one for one in _in_order(seen.get(phrase.shape, ()))
            if all(value in (None, getattr(one, name)) for name, value in wanted.items())]  # fmt: skip
