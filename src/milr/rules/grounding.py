"""Names in a grounding detector's caption, pure: which tokens belong to a name, and how a query scores for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milr.rules.geneval import Box, Detection

THRESHOLD = 0.3  # which a query's score for a name has to exceed
Span = tuple[int, int]  # characters, half-open


@dataclass(frozen=True)
class GroundedBox:
    """A box that fits a name: score in [0, 1]; `cxcywh` (centre x, centre y, width, height), relative, in [0, 1]."""

    score: float
    cxcywh: Box

    @property
    def xyxy(self) -> Box:
        """The box as (x1, y1, x2, y2), relative, in [0, 1]."""
        x, y, width, height = self.cxcywh
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def to_pixels(self, width: int, height: int) -> Detection:
        """The box in the pixels of a picture of that size."""
        x1, y1, x2, y2 = self.xyxy
        return Detection((x1 * width, y1 * height, x2 * width, y2 * height), self.score)


def caption_of(names: Sequence[str]) -> str:
    """The names as the detector's caption: "traffic light . dog."."""
    return " . ".join(map(_normalise, names)) + "."


def spans_of(names: Sequence[str]) -> dict[str, tuple[Span, ...]]:
    """The characters of each name's decisive words in the caption: its first, and of two-word names also the last."""
    spans, start = {}, 0
    for name in names:
        text = _normalise(name)
        words = text.split(" ")
        first, last = (0, len(words[0])), (len(text) - len(words[-1]), len(text))
        decisive = (first, last) if len(words) == 2 else (first,)
        spans[name] = tuple((start + begin, start + end) for begin, end in decisive)
        start += len(text) + len(" . ")
    return spans


def _normalise(name: str) -> str:
    return " ".join(name.lower().split())


def name_scores(probabilities: np.ndarray, offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """Each query's score (Q,) for a name: the mean of its probabilities (Q, T) over the tokens that begin in the spans.

    `offsets` are the characters of the T tokens; those of a special token are (0, 0).
    """
    inside = [any(begin < end and span[0] <= begin < span[1] for span in spans) for begin, end in offsets]
    return probabilities[:, : len(inside)][:, inside].mean(1)


def ground(probabilities: np.ndarray, boxes: np.ndarray, offsets: Sequence[Span], *, names: Sequence[str],
           threshold: float = THRESHOLD) -> Mapping[str, list[GroundedBox]]:  # fmt: skip
    """Each name's queries above the threshold (strictly), best first; `boxes` (Q, 4) are relative cxcywh."""
    boxes_by_name = {}
    for name, spans in spans_of(names).items():
        scores = name_scores(probabilities, offsets, spans)
        order = [query for query in np.argsort(-scores, kind="stable") if scores[query] > threshold]
        boxes_by_name[name] = [GroundedBox(float(scores[query]), _box(boxes[query])) for query in order]
    return boxes_by_name


def _box(row: np.ndarray) -> Box:
    x, y, width, height = map(float, row)
    return (x, y, width, height)
