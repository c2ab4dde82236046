"""The identity of a reward, by which runs are compared: its code, its checkpoints, and what it says of itself.

The code's identity is a hash of its files. Moving a file or renaming a variable changes that hash but no verdict. So
`reward_code.json` records, for the hash of the present code, the identity it had when its verdicts last changed; a
test holds the file to the code (`python -m tests.reward_code` writes it). Code whose hash is not recorded there has
this hash as its identity.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.catalog.files import is_file_part
from milr.catalog.objects import object_identity
from milr.catalog.plugins import entry_points
from milr.catalog.rewards import MIXTURES, REWARDS
from milr.rewards.by_prompt import ByPromptReward
from milr.rewards.choice import ChoiceReward

if TYPE_CHECKING:
    from milr.base import Reward

VISION, ENDPOINT = "rewards/vision", "rewards/endpoint"
CHECKPOINTS, CLIP, LOCAL = f"{VISION}/checkpoints.py", f"{VISION}/clip.py", f"{VISION}/local_reward.py"
SHAPES_DETECTOR = ("shapes/detector.py", "shapes/colours.py", "shapes/drawing.py", "shapes/scenes.py",
                   "shapes/judge.py", "rules/geneval.py")  # fmt: skip
QUESTION_REWARD = (f"{ENDPOINT}/question_reward.py", f"{ENDPOINT}/client.py", f"{ENDPOINT}/completion.py")
UNIFIED = ("rewards/unified.py", f"{VISION}/qwen.py", CHECKPOINTS, *QUESTION_REWARD, "rules/judgements.py")
FIRST_TOKEN = ("rewards/first_token.py", f"{VISION}/image_text.py", f"{VISION}/qwen3.py", f"{VISION}/qwen.py",
               CHECKPOINTS, f"{ENDPOINT}/first_token.py", f"{ENDPOINT}/client.py",
               f"{ENDPOINT}/completion.py")  # fmt: skip
OF_THE_MODEL = ("rewards/of_the_model.py", "engine/services.py", "rules/calibration.py")
LIKELIHOOD = ("rewards/likelihood.py", *OF_THE_MODEL)
SEEN = ("rewards/seen.py", *OF_THE_MODEL, "shapes/listing.py", "shapes/planning.py")
# The files, under src/milr, that decide what a reward says.
SOURCES: Mapping[str, tuple[str, ...]] = {
    "detector": SHAPES_DETECTOR,
    "held-out": ("shapes/held_out.py", "shapes/held_out.safetensors", *SHAPES_DETECTOR),
    "noisy": ("rewards/noisy.py", *SHAPES_DETECTOR),
    "self": ("rewards/self.py",),
    "self:json": ("rewards/self_json.py", "rewards/self.py", "rules/judgements.py"),
    "seen": SEEN,
    "likelihood": LIKELIHOOD,
    "own": ("rewards/own.py", "rewards/self.py", *SEEN, *LIKELIHOOD),
    "checklist": ("rewards/checklist.py", "rules/checklist.py", "shapes/grammar.py", *OF_THE_MODEL),
    "rank": ("rewards/rank.py", "rewards/weighted.py", "rules/rank_ensemble.py"),
    "geneval": ("rewards/geneval.py", f"{VISION}/segmentation.py", f"{VISION}/colours.py", CLIP, CHECKPOINTS, LOCAL,
                "rules/geneval.py", "rules/coco.py"),
    "t2i-compbench": ("rewards/t2i_compbench.py", f"{VISION}/vqa.py", f"{VISION}/grounding.py",
                      f"{VISION}/noun_phrases.py", CLIP, CHECKPOINTS, LOCAL, "rules/t2i_compbench.py",
                      "rules/grounding.py"),
    "t2i-compbench-plus": ("rewards/t2i_compbench_plus.py", f"{VISION}/depth.py", f"{VISION}/grounding.py",
                           f"{VISION}/noun_phrases.py", CHECKPOINTS, LOCAL, "rules/t2i_compbench_plus.py",
                           "rules/t2i_compbench.py", "rules/grounding.py"),
    "mixed": ("rewards/mixed.py", f"{VISION}/vqa.py", f"{VISION}/grounding.py", "rules/mixed.py", "rules/grounding.py",
              "rules/t2i_compbench.py", *UNIFIED),
    "clip": ("rewards/clip.py", CLIP, CHECKPOINTS, LOCAL),
    "pickscore": ("rewards/pickscore.py", CLIP, CHECKPOINTS, LOCAL),
    "judge": ("rewards/judge.py", *QUESTION_REWARD, "rules/judgements.py"),
    "unified": UNIFIED,
    "dpg-bench": ("rewards/dpg_bench.py", f"{VISION}/qwen3.py", f"{VISION}/image_text.py", f"{VISION}/qwen.py",
                  CHECKPOINTS, *QUESTION_REWARD, "rules/dpg_bench.py"),
    "unigenbench": ("rewards/unigenbench.py", *QUESTION_REWARD, "rules/unigenbench.py"),
    "wise-verified": ("rewards/wise_verified.py", "rewards/wise.py", *QUESTION_REWARD, "rules/wise.py"),
    "geneval2": ("rewards/geneval2.py", *FIRST_TOKEN, "rules/geneval2.py"),
    "vqa": ("rewards/vqa.py", *FIRST_TOKEN, "rules/geneval2.py"),
    "ocr": ("rewards/ocr.py", f"{VISION}/text_reader.py", LOCAL, "rules/text_rendering.py"),
    "wise": ("rewards/wise.py", *QUESTION_REWARD, "rules/wise.py"),
}  # fmt: skip


def reward_identity(name: str, reward: Reward | None = None) -> dict[str, Any]:
    """The identity of the reward `name` as plain data; the made `reward` adds its own, such as wording and endpoint."""
    if name.startswith(MIXTURES) and reward is not None:
        judges: Mapping[str, Reward] = reward.judges  # type: ignore[attr-defined]
        rule = {"sources": code_identity(("rank",))} if name.startswith("rank:") else {}
        return {inner: reward_identity(inner, judge) for inner, judge in judges.items()} | rule
    if isinstance(reward, ChoiceReward):
        judges = {reward.passing_name: reward.passing, reward.choosing_name: reward.choosing}
        return {inner: reward_identity(inner, judge) for inner, judge in judges.items()} | {"own": reward.identity()}
    identity: dict[str, Any] = {}
    if is_file_part(name):
        identity["sources"] = hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()
    elif rewards := rewards_named(name):
        identity["sources"] = code_identity(rewards)
    elif reward is not None and name not in {entry.name for entry in entry_points(group="milr.rewards")}:
        identity["sources"] = object_identity(getattr(reward, "function", reward))
    if checkpoints := _checkpoints_of(name):
        from milr.rewards.vision.checkpoints import loaded_revision

        identity["checkpoints"] = {checkpoint: loaded_revision(checkpoint) for checkpoint in checkpoints}
    reward_says = getattr(reward, "identity", None)
    own = dict(reward_says()) if callable(reward_says) else None
    return identity if own is None or (isinstance(reward, ByPromptReward) and not own) else identity | {"own": own}


def _checkpoints_of(name: str) -> list[str]:
    """The checkpoints that a reward loads; for "A or B" those of both."""
    parts = [REWARDS.get(word.partition(":")[0]) for word in name.split(" or ")]
    return [checkpoint for part in parts if part for checkpoint in part.checkpoints]


def rewards_named(name: str) -> tuple[str, ...]:
    """Those of our rewards that a name contains: "held-out or self" contains two."""
    words = (name, *name.replace(":", " ").split())
    return tuple(reward for reward in SOURCES if reward in words)


def code_identity(rewards: tuple[str, ...]) -> str:
    """The identity of these rewards' code: the recorded one where the record is of this code, else the code's hash."""
    code = code_hash(rewards)
    recorded = json.loads(resources.files("milr.catalog").joinpath("reward_code.json").read_text(encoding="utf-8"))
    record = recorded.get("+".join(rewards), {})
    return str(record["identity"]) if record.get("code") == code else code


def code_hash(rewards: tuple[str, ...]) -> str:
    """SHA-256, in hexadecimal digits, of all files that decide what these rewards say, each once."""
    return _hash_files(dict.fromkeys(file for reward in rewards for file in SOURCES[reward]))


def search_code_hash() -> str:
    """SHA-256, in hexadecimal digits, of all files that decide how our methods search, and which one `auto` takes."""
    root = Path(__file__).parents[1]
    files = sorted(path for folder in ("methods", "latent") for path in (root / folder).glob("*.py"))
    return _hash_files(["presets.py", "workflows/auto.py", *(path.relative_to(root).as_posix() for path in files)])


def _hash_files(files: Iterable[str]) -> str:
    """Of files under src/milr, which are read again when one of them has changed: a server asks for every search."""
    root = str(Path(__file__).parents[1])
    paths = [os.path.join(root, file) for file in files]
    stamps = [os.stat(path) for path in paths]
    return _hash_contents(tuple((path, stamp.st_mtime_ns, stamp.st_size)
                                for path, stamp in zip(paths, stamps, strict=True)))  # fmt: skip


@lru_cache(maxsize=64)
def _hash_contents(files: tuple[tuple[str, int, int], ...]) -> str:
    """`files`: path, time of the last change, and size of each."""
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path, _, _ in files)).hexdigest()
