"""The README's picture: `python benchmarks/before_after.py` searches for EXAMPLES again and draws them.

A row for each prompt: the first picture, the best of the same budget without updates (`frozen`, same seed), and what
MILR returned, each with the scores of the two judges. `find_examples.py` says what counts as an example and found
these; nothing is drawn where one of them is no example on this machine.
"""

from __future__ import annotations

from pathlib import Path

import typer
from find_examples import Comparison, compare, line, scores
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from milr.types import Outcome

EXAMPLES = (
    ("a photo of four small outlined blue circles", 0),
    ("a photo of four large striped pink hearts", 0),
    ("two green arrows below an orange triangle", 0),
)  # prompt and seed
COLUMNS = ("first picture", "without updates\n(frozen, best of 21)", "MILR")


def show(axes: Axes, outcome: Outcome, index: int) -> None:
    """The picture of step `index` with what the search reward and the report metric say of it."""
    axes.imshow(outcome.steps[index].rollout.picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    reward, metric = scores(outcome, index)
    axes.set_xlabel(f"held-out {reward:.2f}, detector {metric:.2f}", fontsize=8)


def figure_of(examples: list[Comparison]) -> Figure:
    """One row for each example."""
    figure = Figure(figsize=(7.2, 2.4 * len(examples)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(examples), len(COLUMNS), squeeze=False)
    for axes, title in zip(rows[0], COLUMNS, strict=True):
        axes.set_title(title, fontsize=10)
    for row, example in zip(rows, examples, strict=True):
        show(row[0], example.milr, 0)
        show(row[1], example.frozen, example.frozen.returned)
        show(row[2], example.milr, example.milr.returned)
        text = f"{example.milr.prompt.text}\n(seed {example.milr.key.seed})"
        row[0].set_ylabel(text, fontsize=9, rotation=0, ha="right", va="center", wrap=True)
    return figure


def main(out: Path = Path("docs/before-after.png"), threads: int = 1) -> None:
    """Search, check, draw."""
    examples = [example for prompt, seed in EXAMPLES for example in compare([prompt], seed=seed, threads=threads)]
    for example in examples:
        typer.echo(line(example))
    if len(examples) < len(EXAMPLES) or not all(example.is_example for example in examples):
        raise typer.BadParameter("not every one of EXAMPLES is an example on this machine; choose others.")
    figure_of(examples).savefig(out, dpi=110)
    typer.echo(f"wrote {out}")


if __name__ == "__main__":
    typer.run(main)
