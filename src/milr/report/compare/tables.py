"""A comparison as tables of text, for the terminal, the page and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from milr.report.compare.records import Comparison, CurvePoint, Difference, MeanCost, MeanScore, RowResult, ScopeScores
from milr.report.compare.scores import OVERALL
from milr.report.compare.updates import UpdateCounts
from milr.report.quoted import Quotation
from milr.report.statistics import Interval
from milr.report.words import share

NONE = "–"
COMPARING = frozenset({"rank", "difference", "p", "p (Holm)"})  # columns that need a second row
SEARCHING = frozenset({"first", "first picture", "pictures allowed", "pictures", "token-steps", "model s", "seconds",
                       "peak memory"})  # columns that a folder of pictures does not have  # fmt: skip

COSTS = frozenset({"pictures allowed", "pictures", "token-steps", "reward calls", "model s", "reward s", "in flight",
                   "peak memory"})  # fmt: skip


class Table(NamedTuple):
    """A header and rows with as many cells."""

    header: list[str]
    rows: list[list[str]]


# Cells


def score(mean: MeanScore) -> str:
    """Score with interval; where pictures are unscored also how many were scored, and the bounds."""
    words = f"{number(mean.score)} {brackets(mean.interval)}".strip()
    if mean.scored == mean.n:
        return words if mean.score is not None else "no overall score"
    return f"{words}, {mean.scored} scored of {mean.n}, bounds {mean.lowest:.3f} to {mean.highest:.3f}"


def number(value: float | None) -> str:
    """A score with three decimals; a missing one is "unscored"."""
    return "unscored" if value is None else f"{value:.3f}"


def brackets(interval: Interval | None) -> str:
    """A 95 % interval; "" where there is none."""
    return "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def difference(paired: Difference | None) -> str:
    """The difference with its sign and interval; a dash where there is no test."""
    return NONE if paired is None else f"{_signed(paired.difference)} {brackets(paired.interval)}".strip()


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no negative zero


def p_value(p: float | None) -> str:
    """Three decimals, or "<0.001"; a dash where there is no test."""
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def memory(size: int) -> str:
    """Bytes in GiB or MiB; a dash where they are not known."""
    if not size:
        return NONE
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _rank(row: RowResult) -> str:
    return "not ranked" if row.rank is None else str(row.rank)


def _holm(paired: Difference | None) -> str:
    return p_value(paired.holm if paired else None)


def _p(paired: Difference | None) -> str:
    return p_value(paired.p if paired else None)


# Tables


def terminal_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows, narrow enough for a terminal; the page and the files say more."""
    header = ["row", "rank", "score", "first", "difference", "p (Holm)", "pictures", "seconds"]
    rows = [
        [row.title, _rank(row), score(row.overall.returned), number(row.overall.first.score),
         difference(row.overall.paired), _holm(row.overall.paired), f"{row.spent.pictures:.1f}",
         f"{row.spent.seconds:.2f}"]
        for row in comparison.rows
    ]  # fmt: skip
    table = _relevant_columns(comparison, Table(header, rows))
    return table.header, table.rows


def main_table(comparison: Comparison) -> Table:
    """Score, test and cost of every row at its full budget."""
    header = ["row", "rank", "score", "scored", "first picture", "difference", "p", "p (Holm)", "pictures allowed",
              "pictures", "token-steps", "reward calls", "model s", "reward s", "in flight", "peak memory"]  # fmt: skip
    table = _relevant_columns(comparison, Table(header, [_main_row(row) for row in comparison.rows]))
    against = f"difference from {comparison.against}"
    return Table([against if name == "difference" else name for name in table.header], table.rows)


def _relevant_columns(comparison: Comparison, table: Table) -> Table:
    """The table without columns that need a second row or a search, where there is none."""
    omitted = (frozenset() if len(table.rows) > 1 else COMPARING) | (frozenset() if comparison.searched else SEARCHING)
    return _without_columns(table, omitted)


def _without_columns(table: Table, names: Collection[str]) -> Table:
    kept = [index for index, name in enumerate(table.header) if name not in names]
    lines = [[line[index] for index in kept] for line in [table.header, *table.rows]]
    return Table(lines[0], lines[1:])


def split_costs(table: Table) -> tuple[Table, Table]:
    """The main table as two that fit a screen: the scores, and what they cost."""
    scores = [name for name in table.header[1:] if name not in COSTS]
    return _without_columns(table, COSTS), _without_columns(table, scores)


def _main_row(row: RowResult) -> list[str]:
    returned, paired = row.overall.returned, row.overall.paired
    return [
        row.title, _rank(row), score(returned), f"{returned.scored} of {returned.n}", score(row.overall.first),
        difference(paired), _p(paired), _holm(paired), str(row.budget), *_cost_cells(row.spent),
        ", ".join(map(str, row.in_flight)) or NONE, memory(row.peak_memory),
    ]  # fmt: skip


def _cost_cells(cost: MeanCost) -> list[str]:
    return [f"{cost.pictures:.2f}", f"{cost.token_steps:.0f}", f"{cost.reward_calls:.2f}",
            f"{cost.model_seconds:.2f}", f"{cost.reward_seconds:.2f}"]  # fmt: skip


def category_table(comparison: Comparison) -> Table:
    """Score of every row in every category, with the difference from the reference row and its corrected p."""
    rows = [
        [row.title, score(row.overall.returned), *(_tested(row.categories[name]) for name in comparison.categories)]
        for row in comparison.rows
    ]
    return Table(["row", OVERALL, *comparison.categories], rows)


def _tested(scores: ScopeScores | CurvePoint) -> str:
    """The returned pictures' score, then the difference and its p where there is a test."""
    paired = scores.paired
    return score(scores.returned) + (f"; {_signed(paired.difference)}, p {_holm(paired)}" if paired else "")


def official_table(comparison: Comparison) -> Table:
    """The numbers of the benchmark's own tool, a line for each; no rows where it has none."""
    columns = [{score.name: f"{score.value:.2f}" for score in row.official} for row in comparison.rows]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(column.get(name, NONE) for column in columns)] for name in names]
    return Table([f"official numbers of {comparison.benchmark}", *(row.title for row in comparison.rows)], rows)


def curve_table(comparison: Comparison) -> Table:
    """Score after so many pictures, with the test at equal pictures; a dash beyond a row's own budget."""
    return _by_budget(comparison, _tested)


def spending_table(comparison: Comparison) -> Table:
    """Pictures, token-steps and seconds spent after so many pictures."""
    return _by_budget(comparison, lambda point: f"{point.spent.pictures:.2f} pictures, {point.spent.token_steps:.0f} "
                                                f"token-steps, {point.spent.seconds:.2f} s")  # fmt: skip


def _by_budget(comparison: Comparison, cell: Callable[[CurvePoint], str]) -> Table:
    budgets = sorted({point.allowed for row in comparison.rows for point in row.curve})
    rows = []
    for row in comparison.rows:
        points = {point.allowed: point for point in row.curve}
        rows.append([row.title, *(cell(points[n]) if n in points else NONE for n in budgets)])
    return Table(["pictures allowed", *map(str, budgets)], rows)


def updates_table(comparison: Comparison) -> Table:
    """What the updates did, for every row with latents that moved."""
    header = ["row", "text updates", "free text tokens", "text changed", "text collapse", "image updates",
              "free image tokens", "image collapse", "possible reward hacking"]  # fmt: skip
    rows = [row for row in comparison.rows if row.moved.text_steps + row.moved.image_steps]
    return Table(header, [_updates_row(row.title, row.moved) for row in rows])


def _updates_row(title: str, counts: UpdateCounts) -> list[str]:
    text, image = counts.text_steps, counts.image_steps
    return [
        title, str(text), _mean(counts.text_free, text), _share(counts.text_changed, text),
        _share(counts.text_collapsed, text), str(image), _mean(counts.image_free, image),
        _share(counts.image_collapsed, image), _share(counts.hacked, counts.searches),
    ]  # fmt: skip


def _mean(total: int, count: int) -> str:
    return f"{total / count:.1f}" if count else NONE


def _share(count: int, total: int) -> str:
    return share(count / total if total else None)


def quoted_table(quotation: Quotation) -> Table:
    """The published rows, each with the table it is quoted from."""
    rows = [
        [row.system, row.group, row.label, f"{row.overall:g}" + (f" ({row.doubt})" if row.doubt else ""),
         *(f"{row.categories[name]:g}" if name in row.categories else NONE for name in quotation.categories)]
        for row in quotation.rows
    ]  # fmt: skip
    return Table(["system", "kind", "source", OVERALL, *quotation.categories], rows)
