"""The known failures of test-time search, on purpose: `python benchmarks/nano_failures.py` (the table of docs/nano.md).

Each row is a setting, run on development prompts without a stop, so that every search takes all its steps. What really
happened is read off the world (is the text still a plan? does the detector still see an object? did the detector's
score fall?), and stands beside what the report's marks say, which know nothing of the world.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image

from milr.options import Options
from milr.report.failures import failure_marks, looks_hacked
from milr.runs.store import Record, RunStore, StepRecord
from milr.shapes import held_out
from milr.shapes.detector import detect
from milr.shapes.judge import judge
from milr.shapes.planning import is_plan
from milr.shapes.splits import prompts
from milr.types import Modality
from milr.workflows.prepare import prepare
from milr.workflows.running import run

BAD = Path(__file__).with_name("weak_judge.py")
NEVER, WEAK = f"{BAD}:never", f"{BAD}:coloured"
SETTINGS = {
    "joint, 0": Options(reward=NEVER, learning_rate=0.0),
    "joint, 0.01 (default)": Options(reward=NEVER, learning_rate=0.01),
    "joint, 0.03 (the paper's)": Options(reward=NEVER, learning_rate=0.03),
    "joint, 0.3": Options(reward=NEVER, learning_rate=0.3),
    "joint, 3": Options(reward=NEVER, learning_rate=3.0),
    "text alone, all tokens, 0.1": Options(reward=NEVER, schedule="text", text_ratio=1.0, learning_rate=0.1),
    "text alone, all tokens, 1": Options(reward=NEVER, schedule="text", text_ratio=1.0, learning_rate=1.0),
    "image alone, all tokens, 0.03": Options(reward=NEVER, schedule="image", image_ratio=1.0, learning_rate=0.03),
    "image alone, all tokens, 0.3": Options(reward=NEVER, schedule="image", image_ratio=1.0, learning_rate=0.3),
    "image alone, all tokens, 3": Options(reward=NEVER, schedule="image", image_ratio=1.0, learning_rate=3.0),
    "guided by self, 0": Options(reward="self", learning_rate=0.0),
    "guided by self, 0.03": Options(reward="self", learning_rate=0.03),
    "guided by self, 0.3": Options(reward="self", learning_rate=0.3),
    "guided by a weak judge, 0": Options(reward=WEAK, learning_rate=0.0),
    "guided by a weak judge, 0.03": Options(reward=WEAK, learning_rate=0.03),
    "guided by a weak judge, 0.1": Options(reward=WEAK, learning_rate=0.1),
}
COLUMNS = ("setting", "text no plan", "marked", "no object", "marked", "text surprise", "image surprise",
           "search reward", "detector", "held-out judge", "marked hacked")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One update step of one modality: what is true, what is marked, and the numbers that the mark goes by."""

    place: int
    modality: Modality
    failed: bool
    marked: bool
    surprise: float
    distance: float


def look(step: StepRecord, folder: Path, place: int) -> list[Seen]:
    """Judge one step of the record at `place` by the world and by the marks.

    An image fails when no object is left; that is asked only where the image moves alone, for a broken text leaves
    nothing to draw.
    """
    found, picture = failure_marks(step), np.asarray(Image.open(folder / step.picture))
    objects = [one for seen in detect(picture).values() for one in seen if one.score > 0.3]
    plan = step.visualisation is not None and is_plan(step.visualisation)
    failed = {"text": not plan, "image": not objects}
    return [
        Seen(place, modality, failed[modality], f"{modality} collapse" in found, info.surprise or 0.0, info.distance)
        for modality, info in step.info.items()
    ]


def _mean(values: list[float], digits: int = 2) -> str:
    return f"{np.mean(values):.{digits}f}" if values else "-"


def row(name: str, records: list[Record], seen: list[Seen], folder: Path) -> list[str]:
    """One line: shares of the update steps, mean surprise, scores of the first and of the returned picture."""
    of = {kind: [one for one in seen if one.modality == kind] for kind in ("text", "image")}
    shares = [_mean([getattr(one, field) for one in of[kind]]) for kind in of for field in ("failed", "marked")]
    strange = [_mean([one.surprise for one in of[kind]], 1) for kind in of]
    before, after = (np.mean([scores(record, step, folder) for record in records], 0)
                     for step in ("first", "result"))  # fmt: skip
    change = [f"{a:.2f} to {b:.2f}" for a, b in zip(before, after, strict=True)]
    return [name, *shares, *strange, *change, _mean([looks_hacked(record) for record in records])]


def scores(record: Record, name: str, folder: Path) -> tuple[float, float, float]:
    """What the search reward, the detector and the held-out judge say of a record's first or returned picture."""
    step: StepRecord = getattr(record, name)
    picture, metadata = Image.open(folder / step.picture), record.prompt.metadata
    assert metadata is not None
    found = (step.score, judge(picture, metadata).value, held_out.judge(picture, metadata).value)
    assert None not in found, f"{record.prompt.text}: unscored"
    return found  # type: ignore[return-value]


def separation(seen: list[Seen], field: str) -> str:
    """The threshold that parts failed from sound steps best on every second prompt, and its rates on the others."""
    halves = [[one for one in seen if one.place % 2 == part] for part in (0, 1)]
    (values, failed), (others, truth) = (
        (np.array([getattr(one, field) for one in half]), np.array([one.failed for one in half])) for half in halves
    )
    if len(set(failed)) < 2 or len(set(truth)) < 2:
        return f"{field}: too few failed"
    best = max(np.quantile(values, np.linspace(0.01, 0.99, 99)),
               key=lambda edge: (values[failed] > edge).mean() + (values[~failed] <= edge).mean())  # fmt: skip
    caught, alarms = (others[truth] > best).mean(), (others[~truth] > best).mean()
    return f"{field} above {best:.2f}: catches {caught:.2f} of {truth.sum()} failed, {alarms:.2f} of the sound"


def main(every: int = 3, steps: int = 20, seed: int = 0, out: Path = Path("runs/nano-failures")) -> None:
    """Run every setting (resumes) and print the table."""
    torch.set_num_threads(1)
    texts = [prompt.text for prompt in prompts("development")[::every]]
    typer.echo("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    every_step: list[Seen] = []
    for number, (name, options) in enumerate(SETTINGS.items()):
        prepared = prepare(texts, replace(options, steps=steps, seed=seed, threshold=1.0, in_flight=64))
        folder = out / str(number)
        asyncio.run(run(prepared, out=folder))
        records = RunStore(folder).records()
        seen = [
            one for place, record in enumerate(records) for step in record.steps for one in look(step, folder, place)
        ]
        alone = {one.modality for one in seen} == {"image"}
        every_step += [one for one in seen if alone or one.modality == "text"]
        typer.echo("| " + " | ".join(row(name, records, seen, folder)) + " |")
    for modality in ("text", "image"):
        steps_of = [one for one in every_step if one.modality == modality]
        marked = [[one.marked for one in steps_of if one.failed == failed] for failed in (True, False)]
        typer.echo(f"\n{modality}: the mark catches {_mean(marked[0])} of {len(marked[0])} failed steps, and "
                   f"{_mean(marked[1])} of the sound")  # fmt: skip
        for field in ("surprise", "distance"):
            typer.echo(f"  best {separation(steps_of, field)}")


if __name__ == "__main__":
    typer.run(main)
