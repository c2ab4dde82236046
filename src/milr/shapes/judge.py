"""The judge of the embedded world: a picture and a prompt's clauses to a score."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from milr.rules import geneval
from milr.rules.geneval import Verdict
from milr.shapes.detector import ATTRIBUTES, ShapeDetection, detect, detection_of_item
from milr.shapes.scenes import PIXELS, Scene
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

Detect = Callable[[np.ndarray], Mapping[str, Sequence[ShapeDetection]]]
GRADED = ("binding",)  # tags that give partial credit, as T2I-CompBench does


def judge(picture: Image, metadata: Mapping[str, Any]) -> Score:
    """The detector's verdict: 1.0 or 0.0 by GenEval's rules, partial credit for `GRADED` tags.

    `parts` are the facts, "star color" and so on. A picture that is not 64 x 64 RGB is unscored.
    """
    return verdict_score(picture, metadata, detect)


def verdict_score(picture: Image, metadata: Mapping[str, Any], detect: Detect) -> Score:
    """The verdict about the objects that `detect` finds in the picture; unscored unless it is 64 x 64 RGB."""
    if picture.size != (PIXELS, PIXELS) or picture.mode != "RGB":
        actual = f"{picture.mode} of {picture.width} x {picture.height}"
        return Score.unscored(f"the judges of this world read {PIXELS} x {PIXELS} RGB pictures, not {actual}")
    start = time.perf_counter()
    verdict = geneval.judge(detect(np.asarray(picture)), metadata, ATTRIBUTES)
    return to_score(verdict, metadata, time.perf_counter() - start)


def to_score(verdict: Verdict, metadata: Mapping[str, Any], seconds: float = 0.0) -> Score:
    """A verdict as a score: partial credit for the tags in `GRADED`, else 1.0 or 0.0."""
    value = geneval.graded(verdict) if metadata.get("tag") in GRADED else float(verdict.correct)
    parts = {f"{clause.name} {fact}": float(held) for clause in verdict.clauses for fact, held in clause.facts.items()}
    return Score(value, parts, "; ".join(verdict.reasons), seconds=seconds)


def scene_detections(scene: Scene) -> dict[str, list[ShapeDetection]]:
    """What a perfect detector would find in a scene: every object with score 1 where it is drawn."""
    detections: dict[str, list[ShapeDetection]] = {}
    for item in scene.items:
        detections.setdefault(item.appearance.shape, []).append(detection_of_item(item))
    return detections


def scene_verdict(scene: Scene, metadata: Mapping[str, Any]) -> Verdict:
    """The exact verdict about a known scene."""
    return geneval.judge(scene_detections(scene), metadata, ATTRIBUTES)
