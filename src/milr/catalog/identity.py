"""What makes two runs' rewards the same: the code that judges, the checkpoints it loads, and what it says of itself.

The code counts by a hash of its files. Moving a file or renaming a variable in it changes the hash and no verdict, so
`reward_code.json` names, for the code as it stands, the identity it had when its verdicts last changed; a test holds
the file to the code (`python -m tests.reward_code`). Code that the file does not know counts by its own hash.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from importlib import resources
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.catalog.files import is_file_part
from milr.catalog.rewards import REWARDS

if TYPE_CHECKING:
    from milr.base import Reward

VISION = "rewards/vision"
DETECTOR_SOURCES = ("shapes/detector.py", "shapes/colours.py", "shapes/drawing.py", "shapes/scenes.py",
                    "shapes/judge.py", "rules/geneval.py")  # fmt: skip
ASKED_SOURCES, LOADED = ("rewards/asked.py", "rewards/endpoint/client.py"), f"{VISION}/checkpoints.py"
UNIFIED_SOURCES = ("rewards/unified.py", f"{VISION}/qwen.py", LOADED, *ASKED_SOURCES, "rules/judgements.py")
SOURCES: Mapping[str, tuple[str, ...]] = {
    "detector": DETECTOR_SOURCES,
    "held-out": ("shapes/held_out.py", "shapes/held_out.safetensors", *DETECTOR_SOURCES),
    "noisy": ("rewards/noisy.py", *DETECTOR_SOURCES),
    "self": ("rewards/self_judge.py",),
    "self:json": ("rewards/self_verdict.py", "rules/judgements.py"),
    "geneval": ("rewards/geneval.py", f"{VISION}/segmentation.py", f"{VISION}/colours.py", f"{VISION}/clip.py", LOADED,
                "rules/geneval.py", "rules/coco.py"),
    "t2i-compbench": ("rewards/compbench.py", f"{VISION}/vqa.py", f"{VISION}/grounding.py", f"{VISION}/parsing.py",
                      "rewards/similarity.py", f"{VISION}/clip.py", LOADED, "rules/compbench.py", "rules/grounding.py"),
    "mixed": ("rewards/mixed.py", f"{VISION}/vqa.py", f"{VISION}/grounding.py", "rules/mixed.py", "rules/grounding.py",
              "rules/compbench.py", *UNIFIED_SOURCES),
    "clip": ("rewards/similarity.py", f"{VISION}/clip.py", LOADED),
    "pickscore": ("rewards/similarity.py", f"{VISION}/clip.py", LOADED),
    "judge": ("rewards/judge.py", *ASKED_SOURCES, "rules/judgements.py"),
    "unified": UNIFIED_SOURCES,
    "wise": ("rewards/wise.py", *ASKED_SOURCES, "rules/wise.py"),
}  # the files, under src/milr, that decide what a reward says  # fmt: skip


def reward_identity(name: str, reward: Reward | None = None) -> dict[str, Any]:
    """The identity of the reward `name` as plain data; `reward`, where it was made, adds its wording and endpoint."""
    if name.startswith("weighted:") and reward is not None:
        judges: Mapping[str, Reward] = reward.judges  # type: ignore[attr-defined]
        return {inner: reward_identity(inner, judge) for inner, judge in judges.items()}
    identity: dict[str, Any] = {}
    if is_file_part(name):
        identity["sources"] = hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()
    elif rewards := rewards_named(name):
        identity["sources"] = code_identity(rewards)
    elif reward is not None and name not in {entry.name for entry in entry_points(group="milr.rewards")}:
        identity["sources"] = _code_of(reward)
    part = REWARDS.get(name.partition(":")[0])
    if part and part.checkpoints:
        from milr.rewards.vision.checkpoints import loaded_revision

        identity["checkpoints"] = {checkpoint: loaded_revision(checkpoint) for checkpoint in part.checkpoints}
    own = getattr(reward, "identity", None)
    return identity | ({"own": dict(own())} if callable(own) else {})


def _code_of(reward: Reward) -> str:
    """The hash of the code of an object that a user gave: of its file, else (in a notebook) of its own lines."""
    judge: Any = getattr(reward, "function", type(reward))
    try:
        path = inspect.getsourcefile(judge)
        code = Path(path).read_bytes() if path and Path(path).is_file() else inspect.getsource(judge).encode()
    except (OSError, TypeError):  # built in, or typed into an interpreter that keeps no source
        code = f"{getattr(judge, '__module__', '')}.{getattr(judge, '__qualname__', '')}".encode()
    return hashlib.sha256(code).hexdigest()


def rewards_named(name: str) -> tuple[str, ...]:
    """Our rewards whose code decides what `name` says: "held-out or self" names two."""
    words = (name, *name.replace(":", " ").split())
    return tuple(known for known in SOURCES if known in words)


def code_identity(rewards: tuple[str, ...]) -> str:
    """The identity of these rewards' code: the recorded one where the code is that of the record, else its hash."""
    code = code_hash(rewards)
    recorded = json.loads(resources.files("milr.catalog").joinpath("reward_code.json").read_text(encoding="utf-8"))
    known = recorded.get("+".join(rewards), {})
    return str(known["identity"]) if known.get("code") == code else code


def code_hash(rewards: tuple[str, ...]) -> str:
    """SHA-256 of all files that decide what these rewards say, each once."""
    files = dict.fromkeys(file for reward in rewards for file in SOURCES[reward])
    root = Path(__file__).parents[1]
    return hashlib.sha256(b"".join((root / file).read_bytes() for file in files)).hexdigest()
