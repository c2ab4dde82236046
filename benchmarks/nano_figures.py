"""The figures of docs/nano.md: `python benchmarks/nano_figures.py guidance`, `... gallery`, `... training LOG`.

* guidance: plain and text-enhanced score against guidance_scale on the development split.
* gallery: for every category of the test split a right text-enhanced and a wrong plain picture, beside
  what the detector says of it.
* training: the losses in what `python -m milr.shapes.training.train language` printed.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import numpy as np
import torch
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from own_pictures import draw, visualisations

from milr.models.nano import load_nano
from milr.report.statistics import interval_of_mean
from milr.shapes.grammar import CATEGORIES
from milr.shapes.judge import judge
from milr.shapes.splits import prompts as prompts_of_split

SCALES = (1.0, 1.25, 1.5, 1.75, 2.0, 3.0, 5.0)
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@app.command()
def guidance(seeds: int = 3, every: int = 1, out: Path = Path("docs/nano-guidance.png")) -> None:
    """Draw the figure, and print its table."""
    torch.set_num_threads(1)
    model, prompts = load_nano(), prompts_of_split("development")[::every]
    greedy = visualisations(model, prompts)
    rows: dict[str, list[tuple[float, float, float]]] = {"plain": [], "text-enhanced": []}
    for scale in SCALES:
        for name, texts in (("plain", [None] * len(prompts)), ("text-enhanced", greedy)):
            groups, scores = [], []
            for seed in range(seeds):
                for prompt, picture in zip(
                    prompts, draw(model, prompts, texts, seed=seed, guidance_scale=scale), strict=True
                ):
                    score = judge(picture, prompt.metadata).value
                    assert score is not None, "nano's own pictures can always be judged"
                    groups.append(prompt.text)
                    scores.append(score)
            low, high = interval_of_mean(groups, scores) or (np.mean(scores),) * 2
            rows[name].append((float(np.mean(scores)), low, high))
    typer.echo("| guidance_scale | " + " | ".join(rows) + " |\n|---|---|---|")
    for scale, *measured in zip(SCALES, *rows.values(), strict=True):
        typer.echo(
            f"| {scale:g} | " + " | ".join(f"{mean:.2f} [{low:.2f}, {high:.2f}]" for mean, low, high in measured) + " |"
        )
    for name, points in rows.items():
        typer.echo(f"best scale for {name}: {SCALES[int(np.argmax([mean for mean, _, _ in points]))]:g}")
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for (name, points), colour in zip(rows.items(), ("tab:orange", "tab:blue"), strict=True):
        means, lows, highs = np.array(points).T
        axes.plot(SCALES, means, "o-", color=colour, label=name)
        axes.fill_between(SCALES, lows, highs, color=colour, alpha=0.2, linewidth=0)
    axes.axvline(model.guidance_scale, color="grey", linestyle=":", label=f"default {model.guidance_scale:g}")
    axes.set(xlabel="guidance_scale", ylabel="score (detector)", ylim=(0, 1))
    axes.legend()
    figure.savefig(out, dpi=110)
    typer.echo(f"\nwrote {out}")


@app.command()
def gallery(seeds: int = 3, out: Path = Path("docs/nano-gallery.png")) -> None:
    """Draw the first right text-enhanced and the first wrong plain picture of every category, where there is one."""
    torch.set_num_threads(1)
    model, prompts = load_nano(), prompts_of_split("test")
    greedy = visualisations(model, prompts)
    first_of_kind: dict[tuple[str, bool], tuple] = {}
    for seed in range(seeds):
        for texts, right in ((greedy, True), ([None] * len(prompts), False)):
            for prompt, picture in zip(prompts, draw(model, prompts, texts, seed=seed), strict=True):
                score = judge(picture, prompt.metadata)
                if (score.value == 1) == right:
                    first_of_kind.setdefault((prompt.category, right), (prompt.text, picture, score.reason))
    figure = Figure(figsize=(1.75 * len(CATEGORIES), 5.6), layout="constrained")
    for column, axes in zip(CATEGORIES, figure.subplots(2, len(CATEGORIES)).T, strict=True):
        for axis, right in zip(axes, (True, False), strict=True):
            _show(axis, column if right else "", first_of_kind.get((column, right)))
    figure.savefig(out, dpi=80)
    typer.echo(f"wrote {out}")


@app.command()
def training(log: Path, out: Path = Path("docs/nano-training.png")) -> None:
    """Draw the losses of each task against the step."""
    curves: dict[str, list[tuple[int, float]]] = {}
    begin = step = 0  # a part counts its steps from its own start
    for line in log.read_text().splitlines():
        match = re.search(r"language (\d+)/", line)
        if match is None:
            continue
        if begin + int(match[1]) <= step:
            begin = step
        step = begin + int(match[1])
        for name, loss in re.findall(r"(reason|planned|bare|answer|look) ([\d.]+)", line):  # look: before its new name
            curves.setdefault(name, []).append((step, float(loss)))
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(out, dpi=100)
    typer.echo(f"wrote {out}")


def _show(axes: Axes, title: str, example: tuple | None) -> None:
    axes.set_axis_off()
    axes.set_title(title, fontsize=9)
    if example is None:
        axes.text(0.5, 0.5, "none found", ha="center", fontsize=8)
        return
    text, picture, reason = example
    axes.imshow(picture, interpolation="nearest")
    caption = textwrap.fill(text, 24) + ("\n" + textwrap.fill(f"({reason})", 26) if reason else "")
    axes.text(0, 67, caption, fontsize=7, va="top")


if __name__ == "__main__":
    app()
