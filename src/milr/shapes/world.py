"""The embedded world as a model's `world`: which prompts it reads, which judges know it, and what to say to others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

from milr.shapes.grammar import (
    INTRODUCTIONS,
    NUMBERS,
    PLURALS,
    RELATIONS,
    SINGULARS,
    Phrase,
    Request,
    parse,
    phrase_text,
    to_prompt,
    to_text,
)
from milr.shapes.listing import DESCRIBE, visualisations_of_listing
from milr.shapes.riddles import COLOUR_ANSWERS, NUMBER_ANSWERS, SHAPE_ANSWERS
from milr.shapes.scenes import COLOURS, FILLS, SHAPES, SIZES
from milr.types import Prompt

_FUNCTION_WORDS = ("a", "an", "the", "and", "of", "to", "on", "in", "as", "many", "colour")
CALIBRATION = {"seen": (0.316, 3.11), "likelihood": (0.229, 2.12), "own": (0.497, 10.07)}
EXAMPLES = ("a small striped red star left of a large blue circle", "three hearts")


class ShapesWorld:
    """Coloured shapes on a 4 x 4 grid (`milr.base.World`)."""

    name = "shapes"
    reward = "held-out"
    metric = "detector"

    def read(self, text: str, identity: str = "") -> Prompt | None:
        """The prompt with GenEval's metadata; None where the grammar cannot read it."""
        return to_prompt(text, identity)

    def vocabulary(self) -> Mapping[str, Sequence[str]]:
        """The grammar's words by kind; riddles stand for a shape, a colour or a number."""
        return {
            "shapes": SHAPES,
            "plurals": tuple(PLURALS.values()),
            "colours": tuple(COLOURS),
            "sizes": tuple(SIZES),
            "fills": FILLS,
            "numbers": tuple(NUMBERS),
            "relations": (*RELATIONS, "and"),
            "introductions": INTRODUCTIONS,
            "riddles for a shape": tuple(SHAPE_ANSWERS),
            "riddles for a colour": tuple(f"in the colour of {thing}" for thing in COLOUR_ANSWERS),
            "riddles for a number": tuple(f"as many ... as {thing}" for thing in NUMBER_ANSWERS),
            "examples": EXAMPLES,
        }

    def advice(self, text: str) -> str:
        """The nearest words to those of `text` that this world does not have, else what it can draw."""
        meant = [f"{near!r} for {word!r}" for word, near in self._nearest(text)]
        if meant:
            return f"Did you mean {', '.join(meant)}? (All words: milr list words.)"
        return (f"It can draw one to four coloured {', '.join(PLURALS.values())}, such as '{EXAMPLES[0]}' "
                "(all words: milr list words).")  # fmt: skip

    @property
    def description_question(self) -> str:
        """The question after which nano lists the objects of a picture."""
        return DESCRIBE

    def visualisations(self, description: str) -> tuple[str, ...]:
        """The visualisations of the scene that a listing says, in both orders of its groups."""
        return visualisations_of_listing(description)

    def claims(self, prompt: str) -> tuple[str, ...]:
        """Each group of objects, and how the groups stand to each other; a riddle is a claim of its own."""
        request = parse(prompt)
        if request is None or request.riddle or len(request.phrases) == 1:
            return (prompt,)
        shapes = tuple(Phrase(phrase.shape, count=phrase.count) for phrase in request.phrases)
        relation = (to_text(Request(shapes, request.relation)),) if request.relation else ()
        return (*map(phrase_text, request.phrases), *relation)

    def calibration(self, judge: str) -> tuple[float, float] | None:
        """nano's, fitted by benchmarks/calibrate_judges.py."""
        return CALIBRATION.get(judge)

    def _nearest(self, text: str) -> list[tuple[str, str]]:
        """Words of `text` that are in no prompt of this world, each with the nearest that is."""
        relations = {word for relation in RELATIONS for word in relation.split()}
        introductions = {word for introduction in INTRODUCTIONS for word in introduction.split()}
        words = {*SHAPES, *SINGULARS, *COLOURS, *SIZES, *FILLS, *NUMBERS, *relations, *introductions, *_FUNCTION_WORDS}
        unknown = [word for word in re.findall(r"[a-z]+", text.lower()) if word not in words]
        matches = [(word, difflib.get_close_matches(word, sorted(words), 1, 0.7)) for word in dict.fromkeys(unknown)]
        return [(word, nearest[0]) for word, nearest in matches if nearest]
