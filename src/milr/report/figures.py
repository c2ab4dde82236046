"""Figures as SVG or PNG bytes, made with matplotlib's object interface: no pyplot, no windows, no global state.

matplotlib is loaded when there is something to draw: the page of a single picture has no figure.
"""

from __future__ import annotations

import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, cycle
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from milr.outside.text import printable
from milr.runs.store import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["svg", "png"]
INK = "#010203"  # nearly black; `inline` replaces it by the page's text colour
ACCENT, SECOND = "#2b7bba", "#d1690e"
# Okabe and Ito's colours without yellow, and others that differ from them on a light and on a dark background.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#999933", "#aa3377", "#8c8c8c")
STYLES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 1)), (0, (8, 2, 1, 2, 1, 2)), (0, (2, 3)))
MARKERS = "osD^vPX*<>"


class Line(NamedTuple):
    """The curve of one row: scores in [0, 1] at the positions `xs` > 0, with 95 % intervals where there are any."""

    name: str
    xs: Sequence[float]
    scores: Sequence[float | None]
    intervals: Sequence[tuple[float, float] | None]


def score_curve(record: Record, *, threshold: float | None = None, format: Format = "svg") -> bytes:
    """The score of each step of a sample, the best so far, and the report metric's scores where there are any."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _new_axes(5.2, 2.4, x="step")
    scored = [(index, step.score) for index, step in enumerate(record.steps) if step.score is not None]
    unscored = [index for index, step in enumerate(record.steps) if step.score is None]
    indices, scores = [index for index, _ in scored], [score for _, score in scored]
    axes.plot(indices, scores, "o-", color=ACCENT, markersize=4, linewidth=1, label="search reward")
    axes.step(indices, _best_so_far(record), where="post", color=ACCENT, alpha=0.4, label="best so far")
    judged = [(index, step.judged.score) for index, step in enumerate(record.steps) if step.judged]
    if judged:
        axes.plot(*zip(*judged, strict=True), "s", color=SECOND, markersize=5, label="report metric")
    if unscored:
        axes.plot(unscored, [0.0] * len(unscored), "x", color=INK, label="unscored")
    if threshold is not None:
        axes.axhline(threshold, color=INK, linewidth=0.8, linestyle=":", label="threshold")
    axes.set_xlim(-0.3, max(1, len(record.steps) - 1) + 0.3)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _to_bytes(figure, axes, format)


def first_against_best(records: Sequence[Record], *, format: Format = "svg") -> bytes:
    """Each sample's first score against its best score; the area of a dot grows with the number of samples there."""
    figure, axes = _new_axes(3.6, 3.4, x="first score", y="best score")
    pairs = Counter(pair for record in records if (pair := first_and_best(record)) is not None)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":", label="no change")
    areas = [20.0 * count**0.5 for count in pairs.values()]
    firsts, bests = [first for first, _ in pairs], [best for _, best in pairs]
    axes.scatter(firsts, bests, areas, ACCENT, alpha=0.6, linewidths=0)
    axes.set_xlim(-0.05, 1.05)
    return _to_bytes(figure, axes, format)


def budget_curves(lines: Sequence[Line], x: str, *, ticks: Sequence[float] = (), format: Format = "svg") -> bytes:
    """Score against what was allowed or spent, over a logarithmic axis: one line with a band of intervals per row.

    `x` is the label of the axis, `ticks` the positions of its ticks (none: matplotlib's choice). There must be a line.
    """
    from matplotlib.ticker import FuncFormatter

    columns = 1 if max(len(line.name) for line in lines) > 28 else 2
    legend = 0.2 * -(-len(lines) // columns) + 0.15
    figure, axes = _new_axes(5.6, 3.2 + legend, x=x, top=legend)
    for line, colour, style, marker in zip(lines, cycle(COLOURS), cycle(STYLES), cycle(MARKERS), strict=False):
        _draw_line(axes, line, min(0.14, 0.6 / len(lines)), color=colour, linestyle=style, marker=marker)
    xs = [x for line in lines for x in line.xs]
    axes.set_xlim(min(xs) / 1.15, max(xs) * 1.15)
    axes.set_xscale("log", base=2)
    axes.set_ylim(*_score_limits(lines))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:.3g}"))
    if ticks:
        axes.set_xticks(list(ticks))
        axes.minorticks_off()
    axes.tick_params(labelsize=9)
    return _to_bytes(figure, axes, format, columns=columns)


def _draw_line(axes: Axes, line: Line, band_alpha: float, *, color: str, **style: Any) -> None:
    """Draws the line and its band; a line of a single point gets an error bar and a horizontal line instead."""
    points = zip(line.xs, line.scores, line.intervals, strict=True)
    scored = [(x, score, interval or (score, score)) for x, score, interval in points if score is not None]
    xs, scores = [x for x, _, _ in scored], [score for _, score, _ in scored]
    lows, highs = [low for _, _, (low, _) in scored], [high for _, _, (_, high) in scored]
    axes.plot(xs, scores, linewidth=1.6, markersize=4.5, label=_label(line.name), color=color, **style)
    if len(scored) == 1:
        axes.errorbar(xs, scores, [[scores[0] - lows[0]], [highs[0] - scores[0]]], ecolor=color, fmt="none",
                      elinewidth=1, alpha=0.6)  # fmt: skip
        axes.axhline(scores[0], linewidth=0.7, alpha=0.5, color=color, linestyle=style["linestyle"])
    else:
        axes.fill_between(xs, lows, highs, color=color, alpha=band_alpha, linewidth=0)


def _score_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """The range of all scores and intervals, with a margin."""
    scores = [score for line in lines for score in line.scores if score is not None]
    ends = [end for line in lines for interval in line.intervals if interval for end in interval]
    low, high = min([*scores, *ends], default=0.0), max([*scores, *ends], default=1.0)
    margin = max(0.02, 0.05 * (high - low))
    return low - margin, high + margin


def inline(svg: bytes, label: str) -> str:
    """An SVG as an element of a page: text in the page's colour, no prolog, no addresses, no ids of groups.

    `label` is its description for screen readers.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    description = re.sub(r'[<>&"]', "", label)
    return text.replace(INK, "currentColor").replace("<svg", f'<svg role="img" aria-label="{description}"', 1)


def first_and_best(record: Record) -> tuple[float, float] | None:
    """First and best score with two decimals, so that equal dots coincide; None when either is unscored."""
    first, best = record.first.score, None if record.best is None else record.steps[record.best].score
    return None if first is None or best is None else (round(first, 2), round(best, 2))


def _best_so_far(record: Record) -> list[float]:
    """The score of the best picture at each step that is scored; a reward that compares them may lower it."""
    steps = [step for step in record.steps if step.score is not None]
    highest = accumulate((step.score or 0.0 for step in steps), max)
    return [score if step.chosen is None else record.steps[step.chosen].score or 0.0
            for step, score in zip(steps, highest, strict=True)]  # fmt: skip


def _new_axes(width: float, height: float, *, x: str, y: str = "score", top: float = 0.3) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.62 / width, 0.5 / height, 1 - 0.1 / width, 1 - top / height)  # margins in inches
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


def _label(name: str) -> str:
    """A row's name as a legend shows it; matplotlib leaves out what begins with an underscore, so a mark of no width
    stands before that."""
    return f"\u200b{printable(name)}" if name.startswith("_") else printable(name)


def _to_bytes(figure: Figure, axes: Axes, format: Format, *, columns: int = 5) -> bytes:
    import matplotlib

    legend = axes.legend(fontsize=7 if columns == 5 else 9, frameon=False, labelcolor=INK, loc="lower left",
                         bbox_to_anchor=(0, 1), ncols=columns, borderpad=0, handlelength=1.5 if columns == 5 else 3.5,
                         columnspacing=1.2)  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar is a dollar
    content = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "milr"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # the reader's fonts show the text, not matplotlib's
        figure.savefig(content, format=format, dpi=120, transparent=format == "svg",
                       metadata={"Date": None} if format == "svg" else None)  # fmt: skip
    return content.getvalue()
