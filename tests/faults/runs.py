"""The run that is broken again and again, and what its result must be."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from milr.runs.store import RunStore
from milr.types import MilrError
from milr.workflows.stored import restore

sys.path.insert(0, str(Path(__file__).parents[1]))
from same_tokens import assert_same  # noqa: E402

PROMPTS = ["a photo of a red star left of a blue circle", "a photo of four green squares", "a photo of a yellow heart",
           "a photo of two small striped triangles", "a photo of a black heart", "a photo of three white crosses",
           ]  # fmt: skip
SAMPLES = 2
State = dict[tuple[str, int], object]


@dataclass(frozen=True)
class BrokenRun:
    """A folder to work in, and the undisturbed run."""

    folder: Path
    whole: Path

    @property
    def arguments(self) -> list[str]:
        """The command, but for its --out: six prompts, two samples, MILR with four steps that never stop."""
        return ["generate", "--prompts", str(self.folder / "prompts.txt"), "--samples", str(SAMPLES), "--steps", "4",
                "--no-stop", "--in-flight", "3"]  # fmt: skip

    def into(self, out: Path) -> list[str]:
        """The command into a folder."""
        return [*self.arguments, "--out", str(out)]

    def copy(self, name: str) -> Path:
        """A fresh copy of the undisturbed run."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(self.whole, out)
        return out


def state(out: Path) -> State:
    """Everything finished that must not depend on faults, by prompt and sample; {} where there is no run yet."""
    try:
        records = RunStore(out).records() if (out / "run.json").exists() else []
    except MilrError:
        return {}
    return {(record.prompt.text, record.sample): (record.stop, [
        (step.score, step.judged, step.text_ids, step.image_ids, step.moved) for step in record.steps])
        for record in records}  # fmt: skip


def lost(before: State, after: State) -> int:
    """How many finished records are gone or others."""
    return sum(key not in after or after[key] != value for key, value in before.items())


def difference(out: Path, whole: Path) -> str:
    """How a completed run differs from the undisturbed one, in words; "" where it does not.

    Tokens may differ from a near tie on record on, as between batches of other sizes.
    """
    try:
        made = {(record.prompt.text, record.sample): restore(record, out) for record in RunStore(out).records()}
        right = {(record.prompt.text, record.sample): restore(record, whole) for record in RunStore(whole).records()}
    except MilrError as error:
        return str(error)
    if made.keys() != right.keys():
        return f"{len(made)} of {len(right)} samples"
    try:
        same = [assert_same(made[key], right[key]) for key in right]
    except AssertionError as error:
        return str(error).partition("\n")[0]
    return "" if sum(same) >= len(same) - 2 else f"only {sum(same)} samples without a near tie"
