"""The known failures of test-time search, on purpose: `python benchmarks/nano_failures.py` (the table of docs/nano.md).

Each row is a setting, run on development prompts without a stop, so that every search takes all its steps. What
happened is measured by the world's own rules (is the text still a plan? does the detector still find an object? did the
detector's score fall?), and stands beside the marks of the report, which know nothing of this world.
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

JUDGES = Path(__file__).with_name("weak_judge.py")
NEVER, WEAK = f"{JUDGES}:never", f"{JUDGES}:coloured"
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
class UpdateStep:
    """One update of one modality: whether it failed, whether it is marked, and the numbers that the mark depends on.

    `record` is the index of its search.
    """

    record: int
    modality: Modality
    failed: bool
    marked: bool
    surprise: float
    distance: float


def update_steps(step: StepRecord, folder: Path, record: int) -> list[UpdateStep]:
    """The updates of a step of record number `record`, judged by the world's rules and by the report's marks.

    An image fails when no object is left. That means something only where the image moves alone: a text that is no
    plan leaves nothing to draw.
    """
    marked, picture = failure_marks(step), np.asarray(Image.open(folder / step.picture))
    objects = [detection for by_shape in detect(picture).values() for detection in by_shape if detection.score > 0.3]
    plan = step.visualisation is not None and is_plan(step.visualisation)
    failed = {"text": not plan, "image": not objects}
    return [
        UpdateStep(
            record, modality, failed[modality], f"{modality} collapse" in marked, info.surprise or 0.0, info.distance
        )
        for modality, info in step.info.items()
    ]


def _mean(values: list[float], digits: int = 2) -> str:
    return f"{np.mean(values):.{digits}f}" if values else "-"


def row(name: str, records: list[Record], updates: list[UpdateStep], folder: Path) -> list[str]:
    """One line: shares of the update steps, mean surprise, scores of the first and of the returned picture."""
    groups = [[update for update in updates if update.modality == modality] for modality in ("text", "image")]
    shares = [_mean([getattr(update, field) for update in group]) for group in groups for field in ("failed", "marked")]
    surprises = [_mean([update.surprise for update in group], 1) for group in groups]
    before, after = (np.mean([scores(record, step, folder) for record in records], 0)
                     for step in ("first", "result"))  # fmt: skip
    change = [f"{a:.2f} to {b:.2f}" for a, b in zip(before, after, strict=True)]
    return [name, *shares, *surprises, *change, _mean([looks_hacked(record) for record in records])]


def scores(record: Record, name: str, folder: Path) -> tuple[float, float, float]:
    """What the search reward, the detector and the held-out judge say of a record's first or returned picture."""
    step: StepRecord = getattr(record, name)
    picture, metadata = Image.open(folder / step.picture), record.prompt.metadata
    assert metadata is not None
    values = (step.score, judge(picture, metadata).value, held_out.judge(picture, metadata).value)
    assert None not in values, f"{record.prompt.text}: unscored"
    return values  # type: ignore[return-value]


def separation(updates: list[UpdateStep], field: str) -> str:
    """The threshold that separates failed from sound updates best on every second prompt; its rates on the others."""
    halves = [[update for update in updates if update.record % 2 == half] for half in (0, 1)]
    (values, failed), (others, truth) = (
        (np.array([getattr(update, field) for update in half]), np.array([update.failed for update in half]))
        for half in halves
    )
    if len(set(failed)) < 2 or len(set(truth)) < 2:
        return f"{field}: too few failed"

    def rates(threshold: float) -> float:
        return float((values[failed] > threshold).mean() + (values[~failed] <= threshold).mean())

    best = max(np.quantile(values, np.linspace(0.01, 0.99, 99)), key=rates)
    caught, alarms = (others[truth] > best).mean(), (others[~truth] > best).mean()
    return f"{field} above {best:.2f}: catches {caught:.2f} of {truth.sum()} failed, {alarms:.2f} of the sound"


def main(every: int = 3, steps: int = 20, seed: int = 0, out: Path = Path("runs/nano-failures")) -> None:
    """Run every setting (resumes) and print the table."""
    torch.set_num_threads(1)
    texts = [prompt.text for prompt in prompts("development")[::every]]
    typer.echo("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    all_updates: list[UpdateStep] = []
    for number, (name, options) in enumerate(SETTINGS.items()):
        prepared = prepare(texts, replace(options, steps=steps, seed=seed, threshold=1.0, in_flight=64))
        folder = out / str(number)
        asyncio.run(run(prepared, out=folder))
        records = RunStore(folder).records()
        updates = [update for index, record in enumerate(records) for step in record.steps
                   for update in update_steps(step, folder, index)]  # fmt: skip
        image_alone = {update.modality for update in updates} == {"image"}
        all_updates += [update for update in updates if image_alone or update.modality == "text"]
        typer.echo("| " + " | ".join(row(name, records, updates, folder)) + " |")
    for modality in ("text", "image"):
        updates = [update for update in all_updates if update.modality == modality]
        marked = [[update.marked for update in updates if update.failed == failed] for failed in (True, False)]
        typer.echo(f"\n{modality}: the mark catches {_mean(marked[0])} of {len(marked[0])} failed steps, and "
                   f"{_mean(marked[1])} of the sound")  # fmt: skip
        for field in ("surprise", "distance"):
            typer.echo(f"  best {separation(updates, field)}")


if __name__ == "__main__":
    typer.run(main)
