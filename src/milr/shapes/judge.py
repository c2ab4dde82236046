"""The judge of the embedded world: a picture and a prompt's clauses to a score."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from milr.rules import geneval
from milr.rules.geneval import Verdict
from milr.shapes.detector import ATTRIBUTES, Sighting, detect, sighting_of
from milr.shapes.scenes import PIXELS, Scene
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

Sight = Callable[[np.ndarray], Mapping[str, Sequence[Sighting]]]
GRADED = ("binding",)  # tags that give partial credit, as T2I-CompBench does


def judge(picture: Image, metadata: Mapping[str, Any]) -> Score:
    """The detector's verdict: 1.0 or 0.0 by GenEval's rules, partial credit for `GRADED` tags.

    `parts` are the facts, "star color" and so on. A picture that is not 64 x 64 RGB is unscored.
    """
    return verdict_score(picture, metadata, detect)


def verdict_score(picture: Image, metadata: Mapping[str, Any], see: Sight) -> Score:
    """The verdict on what `see` finds in the picture; unscored unless it is 64 x 64 RGB."""
    if picture.size != (PIXELS, PIXELS) or picture.mode != "RGB":
        given = f"{picture.mode} of {picture.width} x {picture.height}"
        return Score.unscored(f"the judges of this world read {PIXELS} x {PIXELS} RGB pictures, not {given}")
    start = time.perf_counter()
    verdict = geneval.judge(see(np.asarray(picture)), metadata, ATTRIBUTES)
    return to_score(verdict, metadata, time.perf_counter() - start)


def to_score(verdict: Verdict, metadata: Mapping[str, Any], seconds: float = 0.0) -> Score:
    """A verdict as a score: graded where the tag asks for it."""
    value = geneval.graded(verdict) if metadata.get("tag") in GRADED else float(verdict.correct)
    parts = {f"{clause.name} {fact}": float(held) for clause in verdict.clauses for fact, held in clause.facts.items()}
    return Score(value, parts, "; ".join(verdict.reasons), seconds=seconds)


def sightings(scene: Scene) -> dict[str, list[Sighting]]:
    """What a perfect detector sees of a known scene: every object with score 1 where it is drawn."""
    seen: dict[str, list[Sighting]] = {}
    for item in scene.items:
        seen.setdefault(item.look.shape, []).append(sighting_of(item))
    return seen


def scene_verdict(scene: Scene, metadata: Mapping[str, Any]) -> Verdict:
    """The exact verdict about a known scene."""
    return geneval.judge(sightings(scene), metadata, ATTRIBUTES)
