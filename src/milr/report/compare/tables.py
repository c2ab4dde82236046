"""A comparison as tables, for the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from milr.report.compare.moved import Moved
from milr.report.compare.records import Comparison, Measured, Paired, Part, Point, RowNumbers, Spent
from milr.report.compare.scores import OVERALL
from milr.report.quoted import Quotation, quotation
from milr.report.statistics import Interval
from milr.rules.wise import EDITIONS

NONE = "–"
MOVED = ("Shares of update steps (of searches, for reward hacking: the search reward rose while the report metric "
         "fell). A collapse is marked by its surprise; docs/nano.md says how well that works.")  # fmt: skip


class Table(NamedTuple):
    """A header and rows of as many cells."""

    header: list[str]
    rows: list[list[str]]


# Cells


def score(measured: Measured) -> str:
    """Score with interval; where pictures are unscored also how many were scored, and the bounds."""
    words = f"{number(measured.score)} {brackets(measured.interval)}".strip()
    if measured.scored == measured.n:
        return words if measured.score is not None else "no overall score"
    bounds = f"{measured.lowest:.3f} to {measured.highest:.3f}"
    return f"{words}, {measured.scored} scored of {measured.n}, bounds {bounds}"


def number(value: float | None) -> str:
    """A score to three digits; a missing one is unscored."""
    return "unscored" if value is None else f"{value:.3f}"


def brackets(interval: Interval | None) -> str:
    """A 95 % interval; empty where none can be had."""
    return "" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def difference(paired: Paired | None) -> str:
    """The difference with its sign and interval; a dash where there is no test."""
    return NONE if paired is None else f"{_signed(paired.difference)} {brackets(paired.interval)}".strip()


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:+.3f}"  # no negative zero


def p_value(p: float | None) -> str:
    """Three digits, or that it is below 0.001; a dash where there is no test."""
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def memory(count: int) -> str:
    """Bytes in GiB or MiB; a dash where they are not known."""
    if not count:
        return NONE
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _rank(row: RowNumbers) -> str:
    return "not ranked" if row.rank is None else str(row.rank)


def _holm(paired: Paired | None) -> str:
    return p_value(paired.holm if paired else None)


def _p(paired: Paired | None) -> str:
    return p_value(paired.p if paired else None)


# Tables


def terminal_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Header and rows, narrow enough for a terminal; the other outputs say more."""
    header = ["row", "rank", "score", "first", "difference", "p (Holm)", "pictures", "seconds"]
    rows = [
        [row.title, _rank(row), score(row.overall.returned), number(row.overall.first.score),
         difference(row.overall.paired), _holm(row.overall.paired), f"{row.spent.pictures:.1f}",
         f"{row.spent.seconds:.2f}"]
        for row in comparison.rows
    ]  # fmt: skip
    table = _alone(Table(header, rows), 1, 4, 5)
    return table.header, table.rows


def main_table(comparison: Comparison) -> Table:
    """Score, test and cost of every row at its whole budget."""
    header = ["row", "rank", "score", "scored", "first picture", f"difference from {comparison.against}", "p",
              "p (Holm)", "pictures allowed", "pictures", "token-steps", "reward calls", "model s", "reward s",
              "in flight", "peak memory"]  # fmt: skip
    return _alone(Table(header, [_main_row(row) for row in comparison.rows]), 1, 5, 6, 7)


def _alone(table: Table, *columns: int) -> Table:
    """A table of one row goes without the `columns` that set rows against each other."""
    if len(table.rows) > 1:
        return table
    lines = [[cell for place, cell in enumerate(line) if place not in columns] for line in [table.header, *table.rows]]
    return Table(lines[0], lines[1:])


def _main_row(row: RowNumbers) -> list[str]:
    returned, paired = row.overall.returned, row.overall.paired
    return [
        row.title, _rank(row), score(returned), f"{returned.scored} of {returned.n}", score(row.overall.first),
        difference(paired), _p(paired), _holm(paired), str(row.budget), *_spent_cells(row.spent),
        ", ".join(map(str, row.in_flight)) or NONE, memory(row.peak_memory),
    ]  # fmt: skip


def _spent_cells(spent: Spent) -> list[str]:
    return [f"{spent.pictures:.2f}", f"{spent.token_steps:.0f}", f"{spent.reward_calls:.2f}",
            f"{spent.model_seconds:.2f}", f"{spent.reward_seconds:.2f}"]  # fmt: skip


def category_table(comparison: Comparison) -> Table:
    """Score of every row in every category, with the difference from the chosen row and its corrected p."""
    rows = [[row.title, score(row.overall.returned), *(_part(row.categories[name]) for name in comparison.categories)]
            for row in comparison.rows]  # fmt: skip
    return Table(["row", OVERALL, *comparison.categories], rows)


def _part(part: Part | Point) -> str:
    told = f"; {_signed(part.paired.difference)}, p {_holm(part.paired)}" if part.paired else ""
    return score(part.returned) + told


def curve_table(comparison: Comparison) -> Table:
    """Score after so many pictures, with the test at equal pictures; a dash beyond a row's own budget."""
    return _by_budget(comparison, _part)


def spending_table(comparison: Comparison) -> Table:
    """What had been spent by then: pictures, token-steps and seconds."""
    return _by_budget(comparison, lambda point: f"{point.spent.pictures:.2f} pictures, {point.spent.token_steps:.0f} "
                                                f"token-steps, {point.spent.seconds:.2f} s")  # fmt: skip


def moved_table(comparison: Comparison) -> Table:
    """What the updates did, row by row; no row where no method updates anything."""
    header = ["row", "text updates", "free text tokens", "text changed", "text collapse", "image updates",
              "free image tokens", "image collapse", "possible reward hacking"]  # fmt: skip
    rows = [row for row in comparison.rows if row.moved.text_steps + row.moved.image_steps]
    return Table(header, [_moved_row(row.title, row.moved) for row in rows])


def _moved_row(title: str, found: Moved) -> list[str]:
    text, image = found.text_steps, found.image_steps
    return [
        title, str(text), _share(found.text_free, text, 1), _share(found.text_changed, text),
        _share(found.text_collapsed, text), str(image), _share(found.image_free, image, 1),
        _share(found.image_collapsed, image), _share(found.hacked, found.searches),
    ]  # fmt: skip


def _share(count: int, whole: int, digits: int = 2) -> str:
    return f"{count / whole:.{digits}f}" if whole else NONE


def _by_budget(comparison: Comparison, cell: Any) -> Table:
    budgets = sorted({point.allowed for row in comparison.rows for point in row.curve})
    rows = []
    for row in comparison.rows:
        points = {point.allowed: point for point in row.curve}
        rows.append([row.title, *(cell(points[n]) if n in points else NONE for n in budgets)])
    return Table(["pictures allowed", *map(str, budgets)], rows)


def quoted_table(found: Quotation) -> Table:
    """The published rows, each with the table it is quoted from."""
    rows = [
        [row.system, row.group, row.label, f"{row.overall:g}" + (f" ({row.doubt})" if row.doubt else ""),
         *(f"{row.categories[name]:g}" if name in row.categories else NONE for name in found.categories)]
        for row in found.rows
    ]  # fmt: skip
    return Table(["system", "kind", "source", OVERALL, *found.categories], rows)


# Words


def title(comparison: Comparison) -> str:
    """A heading: how many rows are compared, or the name of the only one."""
    rows = comparison.rows
    where = f" on {comparison.benchmark}" if comparison.benchmark else ""
    return (rows[0].title if len(rows) == 1 else f"Comparison of {len(rows)} rows") + where


def headline(comparison: Comparison) -> str:
    """What was compared, in one sentence."""
    where = f" of {comparison.benchmark}" if comparison.benchmark else ""
    seeds = ", ".join(map(str, comparison.seeds))
    return (f"{comparison.prompts} prompts{where}, {comparison.samples} sample{'s' if comparison.samples > 1 else ''} "
            f"each, seed{'s' if len(comparison.seeds) > 1 else ''} {seeds}: {comparison.searches} searches for each "
            f"row, scored by {comparison.metric}.")  # fmt: skip


def how_made(comparison: Comparison) -> list[str]:
    """How the numbers are made, in sentences."""
    tests = sorted({part.paired.test for row in comparison.rows for part in [row.overall, *row.categories.values()]
                    if part.paired})  # fmt: skip
    mean = "the plain mean of the category means, as in GenEval" if comparison.categories else "the plain mean"
    if comparison.benchmark in EDITIONS:
        mean = "the mean over all prompts, which is WISE's weighting of its categories"
    found = [
        f"Score: {comparison.metric} on the returned picture, between 0 and 1; overall is {mean}.",
        "An unscored picture is not a zero: means are over the scored; bounds take the unscored as 0 and as 1. A row "
        "is not ranked where that could change its place. Ranks say who is ahead, not whether the difference is real.",
        "Brackets are 95 % intervals over prompts, drawn again with all their seeds and samples within their "
        "category (bootstrap); Wilson's for one verdict per prompt in one category, and where misses are few.",
        "Curves: what each search would have returned had it been stopped after so many pictures, read from the same "
        "searches; a search that stopped earlier keeps its result; no row is read beyond its own budget.",
        "Costs are means per search (one prompt, seed and sample). Seconds are a search's share of its batches, at the "
        "number of searches in flight that is stated. Peak memory is the most that the process had used by the end of "
        "the row: of the GPU for this row alone, on a CPU of all that the process did before, too.",
    ]
    if tests:
        found.insert(3, f"Tests: each row against {comparison.against} on the same prompts, seeds and samples "
                        f"({'; '.join(tests)}). Holm corrects the overall tests together, those within categories "
                        "together, and those after so many pictures together for each number of pictures.")  # fmt: skip
    return found


# Files


def to_markdown(comparison: Comparison, *, quoted: bool | None = None) -> str:
    """The tables with their notes; `quoted` as in `quoted.quotation`."""
    parts = [
        f"# {_escaped(title(comparison))}",
        headline(comparison),
        _markdown(main_table(comparison)),
        _bullets(comparison.notes),
    ]
    if comparison.categories:
        parts += ["## By category", _markdown(category_table(comparison))]
    parts += ["## After so many pictures", _markdown(curve_table(comparison)), _markdown(spending_table(comparison)),
              *_what_moved(comparison), "## How the numbers are made", _bullets(how_made(comparison))]  # fmt: skip
    if found := quotation(comparison.benchmark, quoted):
        parts += [f"## {found.heading}", " ".join(found.sentences), _markdown(quoted_table(found))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_moved(comparison: Comparison) -> list[str]:
    table = moved_table(comparison)
    return ["## What the updates did", MOVED, _markdown(table)] if table.rows else []


def _markdown(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {_escaped(line)}" for line in lines)
