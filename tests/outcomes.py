"""Outcomes built by hand: no model, small pictures, numbers chosen by the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image

from milr.runs.config import RunConfig
from milr.types import Cost, ImageTrace, Key, ModalityInfo, Outcome, Prompt, Rollout, Score, Step, TextTrace

RED = Prompt("a red star left of a blue circle", "red star left of blue circle", "position", {"tag": "position"})
GREEN = Prompt("a green square", "green square", "colors")


def config(**changes: Any) -> RunConfig:
    """A small configuration; `changes` replace fields."""
    fields: dict[str, Any] = dict(
        prompts_digest="d1", prompt_count=2, model="nano", model_identity={"weights": "abc"}, reward="detection",
        report_metric="held-out", method="latent_reasoning", preset="paper", seed=7,
        settings={"learning_rate": 0.03, "steps": 20, "threshold": 0.9},
    )  # fmt: skip
    return RunConfig(**{**fields, **changes})


def picture(shade: int, side: int = 8) -> Image.Image:
    """A plain picture, different for every shade."""
    return Image.new("RGB", (side, side), (shade % 256, 0, 0))


def step(index: int, value: float | None, text: str | None = "a star", *, moved: bool = True,
         ids: tuple[int, ...] | None = None, **changes: Any) -> Step:  # fmt: skip
    """One step; every step after the first moves the text unless `moved` is false. `ids` are the text's tokens."""
    words = None if text is None else TextTrace(text, ids or (5, 6, index), near_ties=(1,))
    info = ModalityInfo(-0.5, 2.0, 0.1, 0.25, 1, 4)
    fields: dict[str, Any] = dict(
        rollout=Rollout(words, ImageTrace((9, 8, index), near_ties=(0, 2)), picture(10 + index)),
        score=Score.unscored("no shape found") if value is None else Score(value, {"colour": value}, "as asked"),
        moved=("text",) if index and moved else (),
        info={"text": info} if index and moved else {},
        cost=Cost(1, 10, 1, 0.5, 0.25),
    )  # fmt: skip
    return Step(index, **{**fields, **changes})


Scores = Sequence[float | None]


def outcome(prompt: Prompt = RED, scores: Scores = (0.25, 0.75), sample: int = 0, **changes: Any) -> Outcome:
    """An outcome of one step per score (or of the `steps` given) that returns the best."""
    steps = changes.get("steps") or tuple(step(index, score) for index, score in enumerate(scores))
    scored = [(each.score.value, -index) for index, each in enumerate(steps) if each.score.value is not None]
    best = -max(scored)[1] if scored else None
    cost = Cost(len(steps), 10 * len(steps), len(steps), 0.5 * len(steps), 0.25 * len(steps))
    fields: dict[str, Any] = dict(
        prompt=prompt, key=Key(7, prompt.text, sample), steps=steps, best=best,
        returned=best or 0, stop="steps", cost=cost,
    )  # fmt: skip
    return Outcome(**{**fields, **changes})
