"""How well nano follows a true plan, and how well it is judged: `python benchmarks/nano_card.py`.

Prints Markdown for docs/nano.md. Every picture is nano's own, drawn with its default guidance and temperature 1.
* plan: nano draws from a right visualisation; which of the stated facts hold for each object?
* judges: `self` (P(yes) of the prompt's question) and the held-out judge against the detector, on plain and
  text-enhanced pictures. Intervals are 95 % bootstraps over prompts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import typer
from own_pictures import batches, draw, visualisations
from PIL.Image import Image

from milr.models.janus import JanusModel
from milr.models.nano import load_nano
from milr.report.statistics import SEED, Interval, interval_of_share
from milr.shapes import held_out
from milr.shapes.detector import detect
from milr.shapes.grammar import CATEGORIES, parse
from milr.shapes.judge import judge
from milr.shapes.planning import sample_scene, visualise
from milr.shapes.scenes import Item
from milr.shapes.splits import prompts as prompts_of_split
from milr.shapes.training.verdicts import cell_of
from milr.types import Prompt

FACTS = ("place", "colour", "size", "fill")
BINS = 10
BOOTSTRAP_SAMPLES = 500  # of the statistics that are not means


@dataclass(frozen=True)
class Judged:
    """What three judges say about one picture of a prompt: detector's and held-out judge's score, nano's P(yes).

    `yes` None: nano came to no verdict.
    """

    prompt: Prompt
    right: bool
    held_out: bool
    yes: float | None


def facts(item: Item, picture: Image) -> tuple[bool, ...]:
    """Which of FACTS hold for a planned object; none where its shape is not detected in its cell."""
    detections = [detection for detection in detect(np.asarray(picture)).get(item.appearance.shape, ())
                  if detection.score > 0.3 and cell_of(detection) == item.cell]  # fmt: skip
    if not detections:
        return (False,) * len(FACTS)
    return (True, *(getattr(detections[0], name) == getattr(item.appearance, name) for name in FACTS[1:]))


def planned_facts(model: JanusModel, prompts: Sequence[Prompt], seeds: int) -> list[tuple[Prompt, tuple[bool, ...]]]:
    """The facts of every object of a true plan for each prompt and seed."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        requests = [parse(prompt.text) for prompt in prompts]
        scenes = [sample_scene(request, rng) for request in requests if request]
        pictures = draw(model, prompts, [visualise(scene) for scene in scenes], seed=seed)
        for prompt, scene, picture in zip(prompts, scenes, pictures, strict=True):
            rows += [(prompt, facts(item, picture)) for item in scene.items]
    return rows


def judged(model: JanusModel, prompts: Sequence[Prompt], seeds: int) -> list[Judged]:
    """Plain and text-enhanced pictures under three judges; right: a detector's score of 1."""
    rows = []
    for seed in range(seeds):
        for texts in ([None] * len(prompts), visualisations(model, prompts, seed)):
            pictures = draw(model, prompts, texts, seed=seed)
            questions = list(zip(pictures, [model.question(prompt.text) for prompt in prompts], strict=True))
            answers = batches(questions, lambda batch: model.answer(*zip(*batch, strict=True)))
            for prompt, picture, answer in zip(prompts, pictures, answers, strict=True):
                scores = [score_of(picture, prompt.metadata).value for score_of in (judge, held_out.judge)]
                assert None not in scores, "nano's own pictures can always be judged"
                rows.append(Judged(prompt, scores[0] == 1, scores[1] == 1, answer.yes))
    return rows


def balanced_accuracy(rows: Sequence[Judged]) -> float:
    """Mean of the shares of right and of wrong pictures that `self` calls so, at P(yes) 0.5; of those it judges."""
    decided = [row for row in rows if row.yes is not None]
    agreements = [[(row.yes > 0.5) == right for row in decided if row.right == right] for right in (True, False)]
    return float(np.mean([np.mean(group) for group in agreements])) if all(agreements) else float("nan")


def calibration_error(rows: Sequence[Judged]) -> float:
    """Expected calibration error of P(yes), BINS equal bins (Guo et al. 2017, equation 3)."""
    rows = [row for row in rows if row.yes is not None]
    yes, right = (np.array([getattr(row, name) for row in rows], float) for name in ("yes", "right"))
    bins = np.minimum((yes * BINS).astype(int), BINS - 1)
    gaps = [abs(yes[bins == index].sum() - right[bins == index].sum()) for index in range(BINS)]
    return float(sum(gaps) / len(rows))


def interval(rows: Sequence, statistic: Callable) -> Interval:
    """95 % percentile bootstrap that draws prompts; rows are Judged or (Prompt, ...)."""
    groups: dict[str, list] = {}
    for row in rows:
        groups.setdefault(_text(row), []).append(row)
    members, rng = list(groups.values()), np.random.default_rng(SEED)
    samples = rng.integers(0, len(members), (BOOTSTRAP_SAMPLES, len(members)))
    values = [statistic([row for index in sample for row in members[index]]) for sample in samples]
    return Interval(*(float(bound) for bound in np.nanquantile(values, [0.025, 0.975])))


def _text(row: Judged | tuple) -> str:
    return (row.prompt if isinstance(row, Judged) else row[0]).text


def cell(rows: Sequence, statistic: Callable) -> str:
    """A table's cell, value [low, high]; "-" where there is no value."""
    value = statistic(rows)
    return "-" if np.isnan(value) else _with_interval(value, interval(rows, statistic))


def share(rows: Sequence, held: Sequence[bool]) -> str:
    """A table's cell of a share: Wilson's interval where all prompts agree (statistics.py)."""
    return _with_interval(float(np.mean(held)), interval_of_share([_text(row) for row in rows], held))


def _with_interval(value: float, bounds: Interval | None) -> str:
    return f"{value:.2f} [{bounds.low:.2f}, {bounds.high:.2f}]" if bounds else f"{value:.2f}"


def plan_table(rows: Sequence[tuple[Prompt, tuple[bool, ...]]]) -> list[list[str]]:
    """Rows of category, objects, each fact, and all four together."""
    table = [["category", "objects", *FACTS, "all four"]]
    for name in (*CATEGORIES, "all"):
        members = [(prompt, (*held, all(held))) for prompt, held in rows if name in ("all", prompt.category)]
        columns = [share(members, [held[index] for _, held in members]) for index in range(len(FACTS) + 1)]
        table.append([name, str(len(members)), *columns])
    return table


def judge_table(rows: Sequence[Judged]) -> list[list[str]]:
    """Rows of category, pictures, share right, and how the two judges do; calibration only where there are enough."""
    table = [["category", "pictures", "right", "self: balanced accuracy", "self: calibration error", "held-out agrees"]]
    for name in (*CATEGORIES, "all"):
        members = [row for row in rows if name in ("all", row.prompt.category)]
        right = f"{np.mean([row.right for row in members]):.2f}"
        calibrated = cell(members, calibration_error) if name == "all" else "-"
        agrees = share(members, [row.right == row.held_out for row in members])
        table.append([name, str(len(members)), right, cell(members, balanced_accuracy), calibrated, agrees])
    return table


def markdown(table: list[list[str]]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


def seconds(model: JanusModel, prompts: Sequence[Prompt], repetitions: int = 5) -> float:
    """Time to visualise, draw and render one picture of each prompt: the median of several repetitions."""
    durations = []
    for seed in range(repetitions):
        began = time.perf_counter()
        draw(model, prompts, visualisations(model, prompts, seed), seed=seed)
        durations.append(time.perf_counter() - began)
    return float(np.median(durations))


def main(split: str = "test", seeds: int = 3, every: int = 1) -> None:
    """Measure and print the tables."""
    torch.set_num_threads(1)
    prompts, began = prompts_of_split(split)[::every], time.perf_counter()
    model = load_nano()
    typer.echo(f"nano loads in {time.perf_counter() - began:.1f} s, after the imports")
    batch = prompts[:32]
    alone, together = seconds(model, prompts[:1]), seconds(model, batch) / len(batch)
    typer.echo(
        f"a text-enhanced picture takes {alone:.2f} s alone and {together:.3f} s among {len(batch)}, on one thread\n"
    )
    typer.echo(markdown(plan_table(planned_facts(model, prompts, seeds))) + "\n")
    began = time.perf_counter()
    rows = judged(model, prompts, seeds)
    typer.echo(markdown(judge_table(rows)))
    unscored = sum(row.yes is None for row in rows)
    typer.echo(f"\nself came to no verdict about {unscored} of them")
    typer.echo(f"\n{len(rows)} pictures and judgements in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
