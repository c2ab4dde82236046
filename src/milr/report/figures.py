"""Figures as SVG or PNG bytes, by matplotlib's objects: no pyplot, no windows, no state left behind."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from milr.runs.store import Record

Format = Literal["svg", "png"]
INK = "#010203"  # nearly black; in an inlined SVG it becomes the page's text colour
ACCENT, SECOND = "#2b7bba", "#d1690e"
# Okabe and Ito's colours without the faint yellow, then four that stay apart from them; on light and dark paper.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#999933", "#aa3377", "#8c8c8c")
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)), (0, (8, 2, 1, 2, 1, 2)), (0, (2, 3)))
MARKERS = "osD^vPX*<>"


class Line(NamedTuple):
    """One row of a comparison: scores in [0, 1] at the places `xs` > 0, with intervals where there are any."""

    name: str
    xs: Sequence[float]
    scores: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None]


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


def budget_curves(lines: Sequence[Line], x: str, *, ticks: Sequence[float] = (), format: Format = "svg") -> bytes:
    """Score against what was allowed or spent, one line with a light band for each row, over a logarithmic axis.

    `x` names the axis; `ticks` are marked on it (none: matplotlib's choice). At least one line.
    """
    columns = 1 if max(len(line.name) for line in lines) > 50 else 2
    legend = 0.165 * -(-len(lines) // columns) + 0.15
    figure, axes = _canvas(7.4, 3.3 + legend, x, "score", top=legend)
    for line, colour, style, marker in zip(lines, cycle(COLOURS), cycle(STYLES), cycle(MARKERS), strict=False):
        _draw(axes, line, min(0.14, 0.6 / len(lines)), color=colour, linestyle=style, marker=marker)
    places = [x for line in lines for x in line.xs]
    axes.set_xlim(min(places) / 1.15, max(places) * 1.15)
    axes.set_xscale("log", base=2)
    axes.set_ylim(*_limits(lines))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:.3g}"))
    if ticks:
        axes.set_xticks(list(ticks))
        axes.minorticks_off()
    return _finish(figure, axes, format, columns=columns)


def _draw(axes: Axes, line: Line, shade: float, **look: Any) -> None:
    """The line with its band, `shade` dark; a row of a single point also shows how high it lies."""
    points = zip(line.xs, line.scores, line.intervals, strict=True)
    known = [(x, score, ends or (score, score)) for x, score, ends in points if score is not None]
    xs, scores = [x for x, _, _ in known], [score for _, score, _ in known]
    axes.plot(xs, scores, linewidth=1.6, markersize=4.5, label=line.name, **look)
    if len(known) == 1:
        axes.errorbar(xs, scores, [[scores[0] - known[0][2][0]], [known[0][2][1] - scores[0]]], ecolor=look["color"],
                      fmt="none", elinewidth=1, alpha=0.6)  # fmt: skip
        axes.axhline(scores[0], linewidth=0.7, alpha=0.5, color=look["color"], linestyle=look["linestyle"])
    else:
        axes.fill_between(xs, [low for _, _, (low, _) in known], [high for _, _, (_, high) in known],
                          color=look["color"], alpha=shade, linewidth=0)  # fmt: skip


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """From the lowest to the highest end of all intervals and a little more."""
    scores = [score for line in lines for score in line.scores if score is not None]
    ends = [end for line in lines for interval in line.intervals if interval for end in interval]
    low, high = min([*scores, *ends], default=0.0), max([*scores, *ends], default=1.0)
    room = max(0.02, 0.05 * (high - low))
    return low - room, high + room


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


def _canvas(width: float, height: float, x: str, y: str, *, top: float = 0.3) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.62 / width, 0.5 / height, 1 - 0.1 / width, 1 - top / height)  # inches for words
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


def _finish(figure: Figure, axes: Axes, format: Format, *, columns: int = 5) -> bytes:
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns,
                borderpad=0, handlelength=1.5 if columns == 5 else 3.5, columnspacing=1.2)  # fmt: skip
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "milr"}):
        figure.savefig(content, format=format, dpi=120, transparent=format == "svg",
                       metadata={"Date": None} if format == "svg" else None)  # fmt: skip
    return content.getvalue()
