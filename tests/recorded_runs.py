"""A fixed set of runs, whose tokens and scores a change of names or rooms must not change.

`python -m tests.recorded_runs` writes `recorded_runs.json` again: only where a change of behaviour is meant, which the
changelog then says. Written first at d3ba644, before the rooms and words of the house were put in order; the case
"released" was recorded later, at 4a4896b, when the behaviour of that preset was final.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import milr
from milr.types import Outcome

FILE = Path(__file__).with_name("recorded_runs.json")
LEFT = "a photo of a red star left of a blue circle"
FULL = "a photo of a large striped blue star left of a small outlined red heart"
COUNT = "a photo of three green squares"
RIDDLE = "the shape with three sides in the colour of grass"
PROMPTS = [LEFT, FULL, COUNT]

CASES: dict[str, dict[str, Any]] = {
    "default": {"method": "latent_reasoning", "seed": 9},
    "plain": {"method": "plain"},
    "text_enhanced": {"method": "text_enhanced", "seed": 1},
    "redraw_plain": {"method": "redraw_plain", "steps": 2},
    "redraw_greedy": {"method": "redraw_greedy", "steps": 2, "stop": False},
    "redraw_sampled": {"method": "redraw_sampled", "steps": 3, "stop": False},
    "frozen": {"method": "frozen", "steps": 2, "seed": 9},
    "random_walk": {"method": "random_walk", "steps": 2, "stop": False, "learning_rate": 0.1},
    "alt": {"schedule": "alt", "steps": 4, "stop": False},
    "t2v": {"schedule": "t2v", "steps": 4, "stop": False},
    "text only": {"schedule": "text", "steps": 3, "stop": False, "learning_rate": 0.1},
    "image only": {"schedule": "image", "steps": 3, "stop": False, "learning_rate": 0.1},
    "paper": {"preset": "paper", "steps": 3, "stop": False},
    "paper-scaled": {"preset": "paper-scaled", "steps": 3, "stop": False, "l2": 0.1},
    "self": {"method": "latent_reasoning", "reward": "self", "steps": 2, "stop": False},
    "self:json": {"method": "latent_reasoning", "reward": "self:json", "steps": 1, "stop": False},
    "detector": {"method": "latent_reasoning", "reward": "detector", "steps": 3, "learning_rate": 0.1, "stop": False},
    "noisy": {"method": "latent_reasoning", "reward": "noisy:0.2,0.2", "steps": 3, "stop": False},
    "weighted": {
        "method": "latent_reasoning",
        "reward": "weighted:held-out=0.5,detector=0.5",
        "steps": 2,
        "stop": False,
    },
    "supplied text": {
        "method": "latent_reasoning",
        "visualisation": "a red star left , a blue circle right",
        "steps": 2,
        "stop": False,
    },
    "samples": {
        "method": "latent_reasoning",
        "samples": 2,
        "steps": 1,
        "stop": False,
        "guidance_scale": 2.0,
        "temperature": 0.5,
    },
    "released": {"preset": "released", "steps": 3, "stop": False},
}


def run(name: str) -> list[Outcome]:
    """All outcomes of one case."""
    prompts = [*PROMPTS, RIDDLE] if name in ("default", "plain") else PROMPTS
    return list(milr.generate(prompts, in_flight=4, **CASES[name]))


def as_record(outcome: Outcome) -> dict[str, Any]:
    """What must stay: tokens and near ties, scores with their parts, and how the search ended."""
    return {"stop": outcome.stop, "returned": outcome.returned, "steps": [_step(step) for step in outcome.steps],
            "judged": {str(place): score.value for place, score in sorted(outcome.judged.items())}}  # fmt: skip


def _step(step: Any) -> dict[str, Any]:
    text, image = step.rollout.visualisation, step.rollout.image
    return {
        "text": text and " ".join(map(str, text.ids)), "image": " ".join(map(str, image.ids)),
        "ties": [list(text.near_ties) if text else [], list(image.near_ties)],
        "moved": list(step.moved), "score": step.score.value, "parts": dict(step.score.parts),
    }  # fmt: skip


def main() -> None:
    """Run every case and write the file."""
    found = {name: [as_record(outcome) for outcome in run(name)] for name in CASES}
    lines = [f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(one) for one in runs) + "\n]"
             for name, runs in found.items()]  # fmt: skip
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
