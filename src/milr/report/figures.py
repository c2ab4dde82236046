"""Figures as SVG or PNG bytes, by matplotlib's objects: no pyplot, no windows, no state left behind."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from milr.runs.store import Record

Format = Literal["svg", "png"]
INK = "#010203"  # nearly black; in an inlined SVG it becomes the page's text colour
ACCENT, SECOND = "#2b7bba", "#d1690e"


def score_curve(record: Record, *, threshold: float | None = None, format: Format = "svg") -> bytes:
    """Score of each step of a sample, the best so far, and the report metric's scores where there are any."""
    figure, axes = _canvas(5.2, 2.4, "step", "score")
    scored = [(place, step.score) for place, step in enumerate(record.steps) if step.score is not None]
    unscored = [place for place, step in enumerate(record.steps) if step.score is None]
    places, values = [place for place, _ in scored], [value for _, value in scored]
    axes.plot(places, values, "o-", color=ACCENT, markersize=4, linewidth=1, label="search reward")
    axes.step(places, _best_so_far(values), where="post", color=ACCENT, alpha=0.4, label="best so far")
    judged = [(place, step.judged.score) for place, step in enumerate(record.steps) if step.judged]
    if judged:
        axes.plot(*zip(*judged, strict=True), "s", color=SECOND, markersize=5, label="report metric")
    if unscored:
        axes.plot(unscored, [0.0] * len(unscored), "x", color=INK, label="unscored")
    if threshold is not None:
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=":", label="threshold")
    axes.set_xlim(-0.3, max(1, len(record.steps) - 1) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _finish(figure, axes, format)


def first_against_best(records: Sequence[Record], *, format: Format = "svg") -> bytes:
    """Each sample's first score against its best; the bigger a dot, the more samples share it."""
    figure, axes = _canvas(3.6, 3.4, "first score", "best score")
    pairs = Counter(pair for record in records if (pair := _first_and_best(record)) is not None)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="no change")
    areas = [20.0 * count**0.5 for count in pairs.values()]
    dots = list(pairs)
    axes.scatter([first for first, _ in dots], [best for _, best in dots], areas, ACCENT, alpha=0.6, linewidths=0)
    axes.set_xlim(-0.05, 1.05)
    return _finish(figure, axes, format)


def inline(svg: bytes, label: str) -> str:
    """An SVG to put into a page: the page's ink, no prolog, no addresses, no ids of groups that would repeat."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    named = re.sub(r'[<>&"]', "", label)
    return text.replace(INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{named}"', 1)


def _first_and_best(record: Record) -> tuple[float, float] | None:
    """To two digits, so that equal dots meet; None when either was not scored."""
    first, best = record.first.score, None if record.best is None else record.steps[record.best].score
    return None if first is None or best is None else (round(first, 2), round(best, 2))


def _best_so_far(values: Sequence[float]) -> list[float]:
    return [max(values[: place + 1]) for place in range(len(values))]


def _canvas(width: float, height: float, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.5 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.3 / height)  # inches for words
    axes = figure.add_subplot()
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.tick_params(colors=INK, labelsize=8)
    axes.set_facecolor("none")
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    return figure, axes


def _finish(figure: Figure, axes: Axes, format: Format) -> bytes:
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=5,
                borderpad=0, handlelength=1.5, columnspacing=1.2)  # fmt: skip
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "milr"}):
        figure.savefig(content, format=format, dpi=120, transparent=format == "svg",
                       metadata={"Date": None} if format == "svg" else None)  # fmt: skip
    return content.getvalue()
