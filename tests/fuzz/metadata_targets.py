"""Metadata of prompts, as files and benchmarks bring it, and the judges that read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from milr.inputs.json_text import JsonError, check_depth, parse_json
from milr.rewards import geneval, mixed
from milr.rewards.detector import DetectorReward
from milr.rewards.endpoint.wording import Wording
from milr.rewards.t2i_compbench import CompBenchReward
from milr.rewards.wise import WiseReward
from milr.rules import geneval as rules
from milr.rules import t2i_compbench
from milr.rules.grounding import GroundedBox
from milr.types import MilrError, Prompt

PICTURE = Image.new("RGB", (64, 64))
BOXES = [(0.0, 0.0, 9.0, 9.0), (20.0, 0.0, 40.0, 9.0)]


def metadata(content: bytes, folder: Path) -> None:
    """A prompt's metadata: every judge refuses it, or can judge by it."""
    try:
        fields = parse_json(content)
        check_depth(fields)
    except JsonError:
        return
    if not isinstance(fields, dict):
        return
    prompt = Prompt("a red star", category=str(fields.get("tag", "")), metadata=fields)
    for judge in (_by_shapes, _by_geneval, _by_mixed, _by_wise, _by_compbench):
        with suppress(MilrError):
            judge(prompt)


def _by_shapes(prompt: Prompt) -> None:
    judge = DetectorReward()
    judge.check(prompt)
    assert judge.judge(PICTURE, prompt.metadata or {}).value is not None


def _by_geneval(prompt: Prompt) -> None:
    geneval.check(prompt)
    detections = {clause["class"]: [rules.Detection(box, 0.95) for box in BOXES]
                  for clause in (prompt.metadata or {})["include"]}  # fmt: skip
    rules.judge(detections, prompt.metadata or {}, {"color": lambda name, objects: ["red"] * len(objects)})


def _by_mixed(prompt: Prompt) -> None:
    mixed.MixedReward.check(prompt)
    judge = mixed.MixedReward(_find, lambda picture, questions: [0.5] * len(questions), _Unified())
    score = judge._score_locally(PICTURE, prompt)
    assert 0 <= (score.value or 0.0) <= 1


def _by_wise(prompt: Prompt) -> None:
    assert WiseReward(None, Wording("{prompt} {explanation}")).question(prompt)  # type: ignore[arg-type]


def _by_compbench(prompt: Prompt) -> None:
    category = Prompt(prompt.text, category="complex", metadata=prompt.metadata)
    CompBenchReward.check(None, category)  # type: ignore[arg-type]
    assert t2i_compbench.complex_parts((category.metadata or {})["lists"])


def _find(picture: Any, classes: Sequence[str]) -> dict[str, list[GroundedBox]]:
    return {name: [GroundedBox(0.9, (0.1, 0.1, 0.4, 0.4))] for name in classes}


class _Unified:
    needs: tuple[str, ...] = ()
    licence = ""


_CLAUSE = {"class": "star", "count": 1, "color": "red"}
_SEEDS = (
    {"tag": "colors", "include": [_CLAUSE]},
    {"tag": "position", "include": [{"class": "dog", "count": 1}, {"class": "cat", "count": 2, "position":
                                                                   ["left of", 0]}], "exclude": []},
    {"tag": "counting", "include": [{"class": "dog", "count": 2}], "exclude": [{"class": "dog", "count": 3}]},
    {"tag": "position", "include": [{"class": "star", "count": 1, "size": "small", "fill": "striped"},
                                    {"class": "circle", "count": 1, "position": ["above", 0]}]},
    {"explanation": "a leaf is green", "subcategory": "x", "include": []},
    {"lists": ["spatial", "action"], "include": []},
)  # fmt: skip
TARGETS = ((metadata, tuple(json.dumps(seed).encode() for seed in _SEEDS), True),)
