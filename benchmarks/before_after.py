"""The README's picture: `python benchmarks/before_after.py RUN...` draws first and returned pictures of runs."""

from __future__ import annotations

from pathlib import Path

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from milr.runs.store import RunStore


def main(runs: list[Path], out: Path = Path("docs/before-after.png")) -> None:
    """One row for each sample whose picture changed: before, after, and what was asked for."""
    shown = [(run, record) for run in runs for record in RunStore(run).records() if record.returned > 0]
    figure = Figure(figsize=(7, 2.2 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), 2, squeeze=False)
    for row, (run, record) in zip(axes, shown, strict=True):
        for axis, step, name in zip(row, (record.first, record.result), ("before", "after"), strict=True):
            axis.imshow(Image.open(run / step.picture), interpolation="nearest")
            axis.set_axis_off()
            axis.set_title(f"{name}: {'unscored' if step.score is None else f'{step.score:.2f}'}", fontsize=9)
        row[0].text(-0.05, 0.5, record.prompt.text.replace(" of ", " of\n", 1), transform=row[0].transAxes,
                    ha="right", va="center", fontsize=9, wrap=True)  # fmt: skip
    figure.savefig(out, dpi=110, bbox_inches="tight")
    typer.echo(out)


if __name__ == "__main__":
    typer.run(main)
