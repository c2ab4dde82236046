"""Phrases in a grounding detector's caption, pure: which tokens are whose, and what a query scores for a phrase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from milr.rules.geneval import Box, Detection

THRESHOLD = 0.3  # a query's score for a phrase has to exceed it
Span = tuple[int, int]  # characters, half-open


@dataclass(frozen=True)
class Grounded:
    """A place that fits a phrase: score in [0, 1]; `centred` (centre x, centre y, width, height) in 0..1."""

    score: float
    centred: Box

    @property
    def corners(self) -> Box:
        """The box as (x1, y1, x2, y2) in 0..1."""
        x, y, width, height = self.centred
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def pixels(self, width: int, height: int) -> Detection:
        """The same in a picture of that size."""
        x1, y1, x2, y2 = self.corners
        return Detection((x1 * width, y1 * height, x2 * width, y2 * height), self.score)


def caption_of(names: Sequence[str]) -> str:
    """The names as the detector reads them: "traffic light . dog."."""
    return " . ".join(map(_plain, names)) + "."


def spans_of(names: Sequence[str]) -> dict[str, tuple[Span, ...]]:
    """Where each name's decisive words stand in the caption: its first, and of two-word names also the last."""
    spans, start = {}, 0
    for name in names:
        plain = _plain(name)
        words = plain.split(" ")
        first, last = (0, len(words[0])), (len(plain) - len(words[-1]), len(plain))
        own = (first, last) if len(words) == 2 else (first,)
        spans[name] = tuple((start + begin, start + end) for begin, end in own)
        start += len(plain) + len(" . ")
    return spans


def _plain(name: str) -> str:
    return " ".join(name.lower().split())


def phrase_scores(chances: np.ndarray, offsets: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """(Q, T) sigmoids to (Q,): the mean over the tokens that lie in the spans.

    `offsets` are the T tokens' characters; a special token has none (0, 0).
    """
    inside = [any(begin < end and span[0] <= begin < span[1] for span in spans) for begin, end in offsets]
    return chances[:, : len(inside)][:, inside].mean(1)


def grounded(chances: np.ndarray, boxes: np.ndarray, offsets: Sequence[Span], names: Sequence[str], *,
             threshold: float = THRESHOLD) -> Mapping[str, list[Grounded]]:  # fmt: skip
    """Each name's queries above the threshold (strictly), best first; `boxes` (Q, 4) are centred, in 0..1."""
    result = {}
    for name, spans in spans_of(names).items():
        scores = phrase_scores(chances, offsets, spans)
        order = [query for query in np.argsort(-scores, kind="stable") if scores[query] > threshold]
        result[name] = [Grounded(float(scores[query]), _box(boxes[query])) for query in order]
    return result


def _box(row: np.ndarray) -> Box:
    x, y, width, height = map(float, row)
    return (x, y, width, height)
