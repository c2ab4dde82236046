"""How well nano follows a true plan, and how well it is judged: `python benchmarks/nano_card.py`.

Prints Markdown for docs/nano.md. Every picture is nano's own, drawn with its default guidance and temperature 1.
* plan: the drawing is given a right visualisation; which of the stated facts does each object keep?
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
from own_pictures import batches, draw, thoughts
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
from milr.shapes.splits import prompts
from milr.shapes.training.verdicts import cell_of
from milr.types import Prompt

FACTS = ("place", "colour", "size", "fill")
BINS = 10
TIMES = 500  # bootstrap samples of the statistics that are no means


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
    """Which of FACTS the picture keeps of a planned object; none where its shape is not seen in its cell."""
    seen = [one for one in detect(np.asarray(picture)).get(item.appearance.shape, ())
            if one.score > 0.3 and cell_of(one) == item.cell]  # fmt: skip
    if not seen:
        return (False,) * len(FACTS)
    return (True, *(getattr(seen[0], name) == getattr(item.appearance, name) for name in FACTS[1:]))


def followed(model: JanusModel, chosen: Sequence[Prompt], seeds: int) -> list[tuple[Prompt, tuple[bool, ...]]]:
    """The facts of every object of a true plan for each prompt and seed."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        requests = [parse(prompt.text) for prompt in chosen]
        scenes = [sample_scene(request, rng) for request in requests if request]
        drawn = draw(model, chosen, [visualise(scene) for scene in scenes], seed)
        for prompt, scene, picture in zip(chosen, scenes, drawn, strict=True):
            found += [(prompt, facts(item, picture)) for item in scene.items]
    return found


def judged(model: JanusModel, chosen: Sequence[Prompt], seeds: int) -> list[Judged]:
    """Plain and text-enhanced pictures under three judges; right: a detector's score of 1."""
    found = []
    for seed in range(seeds):
        for texts in ([None] * len(chosen), thoughts(model, chosen, seed)):
            drawn = draw(model, chosen, texts, seed)
            asked = list(zip(drawn, [model.question(prompt.text) for prompt in chosen], strict=True))
            answers = batches(asked, lambda rows: model.answer(*zip(*rows, strict=True)))
            for prompt, picture, answer in zip(chosen, drawn, answers, strict=True):
                scores = [see(picture, prompt.metadata).value for see in (judge, held_out.judge)]
                assert None not in scores, "nano's own pictures can always be judged"
                found.append(Judged(prompt, scores[0] == 1, scores[1] == 1, answer.yes))
    return found


def balanced_accuracy(rows: Sequence[Judged]) -> float:
    """Mean of the shares of right and of wrong pictures that `self` calls so, at P(yes) 0.5; of those it judges."""
    judged = [row for row in rows if row.yes is not None]
    kinds = [[(row.yes > 0.5) == kind for row in judged if row.right == kind] for kind in (True, False)]
    return float(np.mean([np.mean(kind) for kind in kinds])) if all(kinds) else float("nan")


def calibration_error(rows: Sequence[Judged]) -> float:
    """Expected calibration error of P(yes), BINS equal bins (Guo et al. 2017, equation 3)."""
    rows = [row for row in rows if row.yes is not None]
    yes, right = (np.array([getattr(row, name) for row in rows], float) for name in ("yes", "right"))
    places = np.minimum((yes * BINS).astype(int), BINS - 1)
    gaps = [abs(yes[places == b].sum() - right[places == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / len(rows))


def interval(rows: Sequence, statistic: Callable) -> Interval:
    """95 % percentile bootstrap that draws prompts; rows are Judged or (Prompt, ...)."""
    groups: dict[str, list] = {}
    for row in rows:
        groups.setdefault(_text(row), []).append(row)
    members, rng = list(groups.values()), np.random.default_rng(SEED)
    drawn = rng.integers(0, len(members), (TIMES, len(members)))
    found = [statistic([row for place in places for row in members[place]]) for places in drawn]
    return Interval(*(float(edge) for edge in np.nanquantile(found, [0.025, 0.975])))


def _text(row: Judged | tuple) -> str:
    return (row.prompt if isinstance(row, Judged) else row[0]).text


def cell(rows: Sequence, statistic: Callable) -> str:
    """A table's cell, value [low, high]; "-" where there is no value."""
    value = statistic(rows)
    return "-" if np.isnan(value) else _told(value, interval(rows, statistic))


def share(rows: Sequence, held: Sequence[bool]) -> str:
    """A table's cell of a share: Wilson's interval where all prompts agree (statistics.py)."""
    return _told(float(np.mean(held)), interval_of_share([_text(row) for row in rows], held))


def _told(value: float, bounds: Interval | None) -> str:
    return f"{value:.2f} [{bounds.low:.2f}, {bounds.high:.2f}]" if bounds else f"{value:.2f}"


def plan_table(rows: Sequence[tuple[Prompt, tuple[bool, ...]]]) -> list[list[str]]:
    """Rows of category, objects, each fact, and all four together."""
    table = [["category", "objects", *FACTS, "all four"]]
    for name in (*CATEGORIES, "all"):
        members = [(prompt, (*kept, all(kept))) for prompt, kept in rows if name in ("all", prompt.category)]
        columns = [share(members, [kept[at] for _, kept in members]) for at in range(len(FACTS) + 1)]
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


def seconds(model: JanusModel, chosen: Sequence[Prompt], times: int = 5) -> float:
    """Thinking, drawing and rendering one picture of each prompt: the median of a few."""
    found = []
    for seed in range(times):
        began = time.perf_counter()
        draw(model, chosen, thoughts(model, chosen, seed), seed)
        found.append(time.perf_counter() - began)
    return float(np.median(found))


def main(split: str = "test", seeds: int = 3, every: int = 1) -> None:
    """Measure and print the tables."""
    torch.set_num_threads(1)
    chosen, began = prompts(split)[::every], time.perf_counter()
    model = load_nano()
    typer.echo(f"nano loads in {time.perf_counter() - began:.1f} s, after the imports")
    some = chosen[:32]
    alone, together = seconds(model, chosen[:1]), seconds(model, some) / len(some)
    typer.echo(
        f"a text-enhanced picture takes {alone:.2f} s alone and {together:.3f} s among {len(some)}, on one thread\n"
    )
    typer.echo(markdown(plan_table(followed(model, chosen, seeds))) + "\n")
    began = time.perf_counter()
    rows = judged(model, chosen, seeds)
    typer.echo(markdown(judge_table(rows)))
    unscored = sum(row.yes is None for row in rows)
    typer.echo(f"\nself came to no verdict about {unscored} of them")
    typer.echo(f"\n{len(rows)} pictures and judgements in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
