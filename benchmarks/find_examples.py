"""Find prompts on which MILR's updates made the picture right: `python benchmarks/find_examples.py runs/examples`.

An example is a prompt and a seed for which, with nano and the default reward, report metric and preset,

1. the first picture is wrong: neither judge gives it more than the reward's threshold;
2. `frozen` (the same search at learning rate 0: same seed, schedule and budget of 21 pictures) reaches no score above
   the threshold, and the report metric does not accept the picture that it returns;
3. MILR returns a picture that both judges accept;
4. the tokens of that picture differ from those that `frozen` draws at the same step.

The opposite case, where `frozen` is right and MILR is wrong, is counted, too: nobody should take the examples for the
rule. A near tie is a token whose lead was smaller than rounding can be trusted with, so another machine may draw
another picture there; examples without one up to the returned step are listed first. The same command resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

import milr
from milr.shapes.grammar import Phrase, Request, to_text
from milr.shapes.sampling import CANONICAL
from milr.shapes.scenes import COLOURS, SHAPES, SIZES
from milr.shapes.splits import prompts as prompts_of_split
from milr.types import Outcome, Step

THRESHOLD = 0.9  # of both judges


@dataclass(frozen=True)
class Comparison:
    """The searches of one prompt at one seed, with updates and without."""

    milr: Outcome
    frozen: Outcome

    @property
    def first_is_wrong(self) -> bool:
        """Condition 1."""
        return not accepted_by_any(self.milr, 0)

    @property
    def is_example(self) -> bool:
        """Conditions 1 to 4."""
        frozen_fails = not accepted_by_any(self.frozen, self.frozen.returned)
        return self.first_is_wrong and frozen_fails and accepted(self.milr) and self.tokens_differ

    @property
    def is_opposite(self) -> bool:
        """The first picture is wrong, `frozen` returns a right one and MILR a wrong one."""
        milr_fails = not accepted_by_any(self.milr, self.milr.returned)
        return self.first_is_wrong and milr_fails and accepted(self.frozen)

    @property
    def tokens_differ(self) -> bool:
        """Condition 4."""
        index = self.milr.returned
        return index >= len(self.frozen.steps) or tokens(self.milr.steps[index]) != tokens(self.frozen.steps[index])

    @property
    def near_ties(self) -> int:
        """Near ties of both searches, up to the pictures that they return or end with."""
        steps = (*self.milr.steps[: self.milr.returned + 1], *self.frozen.steps)
        return sum(len(step.rollout.image.near_ties) + len(text_near_ties(step)) for step in steps)


def tokens(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The text and the image tokens of a step."""
    text = step.rollout.visualisation
    return text.ids if text else (), step.rollout.image.ids


def text_near_ties(step: Step) -> tuple[int, ...]:
    """Positions of near ties in the visualisation."""
    text = step.rollout.visualisation
    return text.near_ties if text else ()


def scores(outcome: Outcome, index: int) -> tuple[float, float]:
    """What the search reward and the report metric say of step `index`; -1 where one of them could not judge."""
    reward = outcome.steps[index].score
    metric = outcome.judged.get(index, reward)
    return (-1.0 if reward.value is None else reward.value, -1.0 if metric.value is None else metric.value)


def accepted(outcome: Outcome) -> bool:
    """Whether both judges accept the returned picture."""
    return min(scores(outcome, outcome.returned)) > THRESHOLD


def accepted_by_any(outcome: Outcome, index: int) -> bool:
    """Whether at least one judge accepts the picture of step `index`."""
    return max(scores(outcome, index)) > THRESHOLD


def short_prompts(count: int, seed: int = 0) -> list[str]:
    """Short prompts in plain language: counted groups, alone or beside one more object, and pairs with a size."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        shapes = [str(name) for name in rng.choice(SHAPES, 2, replace=False)]
        colours = [str(name) for name in rng.choice(list(COLOURS), 2, replace=False)]
        relation = str(rng.choice(CANONICAL)) if rng.random() < 0.6 else None
        form = rng.integers(3)
        if form == 0:
            request = Request((Phrase(shapes[0], colours[0], count=int(rng.integers(2, 5))),))
        elif form == 1:
            group = Phrase(shapes[0], colours[0], count=int(rng.integers(2, 4)))
            request = Request((group, Phrase(shapes[1], colours[1])), relation)
        else:
            sizes = [str(name) for name in rng.permutation(list(SIZES))]
            pair = (Phrase(shape, colour, size) for shape, colour, size in zip(shapes, colours, sizes, strict=True))
            request = Request(tuple(pair), relation)
        texts[to_text(request)] = None
    return list(texts)


def compare(texts: Sequence[Any], folder: Path | None = None, **options: Any) -> list[Comparison]:
    """Both searches for every prompt whose first picture is wrong, kept under `folder` where one is given."""
    with_updates = milr.generate(texts, out=folder and folder / "milr", **options)
    wrong = [outcome for outcome in with_updates if not accepted_by_any(outcome, 0)]
    if not wrong:
        return []
    frozen = milr.generate([outcome.prompt for outcome in wrong], out=folder and folder / "frozen", method="frozen",
                           **options)  # fmt: skip
    return [Comparison(*pair) for pair in zip(wrong, frozen, strict=True)]


def line(comparison: Comparison) -> str:
    """A comparison as a line of text."""
    outcome = comparison.milr
    changed = sum(step.text_changed for step in outcome.steps[: outcome.returned + 1])
    judged = "; ".join(f"{name} {reward:.2f}, {metric:.2f}" for name, (reward, metric) in (
        ("first", scores(outcome, 0)), ("frozen", scores(comparison.frozen, comparison.frozen.returned)),
        ("MILR", scores(outcome, outcome.returned))))  # fmt: skip
    return (f"seed {outcome.key.seed}: {outcome.prompt.text!r}: right at step {outcome.returned}, text changed in "
            f"{changed} steps, {comparison.near_ties} near ties ({judged})")  # fmt: skip


def summary(compared: Sequence[Comparison]) -> str:
    """How many of the searches whose first picture was wrong end right, with updates and without."""
    milr_right = sum(accepted(comparison.milr) for comparison in compared)
    frozen_right = sum(accepted(comparison.frozen) for comparison in compared)
    examples = sum(comparison.is_example for comparison in compared)
    opposites = sum(comparison.is_opposite for comparison in compared)
    return (f"the first picture wrong in {len(compared)}; then MILR right in {milr_right}, frozen in {frozen_right}; "
            f"only MILR in {examples} (the examples), only frozen in {opposites}")  # fmt: skip


def main(folder: Path, split: str = "hard", category: str = "", short: int = 0, seeds: str = "0",
         schedule: str = "joint", in_flight: int = 32, threads: int = 1) -> None:  # fmt: skip
    """Search among the prompts of `split` (of one category), or among so many `short` ones, at the seeds "0,1,2"."""
    texts: list[Any] = list(short_prompts(short)) if short else [
        prompt for prompt in prompts_of_split(split) if category in ("", prompt.category)]  # fmt: skip
    compared: list[Comparison] = []
    seed_list = [int(seed) for seed in seeds.split(",")]
    for seed in seed_list:
        compared += compare(texts, folder / f"seed-{seed}", seed=seed, schedule=schedule, in_flight=in_flight,
                            threads=threads)  # fmt: skip
    examples = [comparison for comparison in compared if comparison.is_example]
    examples.sort(key=lambda example: (example.near_ties, example.milr.returned, len(example.milr.prompt.text)))
    for example in examples:
        typer.echo(line(example))
    typer.echo(f"{len(texts) * len(seed_list)} searches, schedule {schedule}: {summary(compared)}.")


if __name__ == "__main__":
    typer.run(main)
