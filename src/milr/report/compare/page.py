"""A comparison as one self-contained page: tables, figures, notes, and pictures of prompts on which the rows differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup

from milr.report.compare import export, markdown, sentences, tables
from milr.report.compare.grid import picture_grid
from milr.report.compare.records import Comparison, CurvePoint, RowResult
from milr.report.figures import Line, budget_curves, inline
from milr.report.page_template import render_template
from milr.report.quoted import quotation
from milr.report.words import count
from milr.runs.store import write_atomically
from milr.types import UsageError

PRINTED = 60  # samples on paper, about ten a page; compare.css has the number, too


def write_files(comparison: Comparison, folder: Path | str, *, quoted: bool | None = None) -> Path:
    """Write compare.md, compare.csv, compare.json and compare.html into `folder`; returns the path of the page."""
    contents = {
        "compare.md": markdown.to_markdown(comparison, quoted=quoted),
        "compare.csv": export.to_csv(comparison),
        "compare.json": export.to_json(comparison),
        "compare.html": render(comparison, Path(folder), quoted=quoted),
    }
    return [_write(Path(folder) / name, content) for name, content in contents.items()][-1]


def write_page(comparison: Comparison, path: Path | str, *, quoted: bool | None = None) -> Path:
    """Write the page to `path`; UsageError when that fails. `quoted` as in `quoted.quotation`."""
    return _write(Path(path), render(comparison, Path(path).parent, quoted=quoted))


def _write(target: Path, content: str) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content.encode())
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}): choose another --out.") from error
    return target


def render(comparison: Comparison, folder: Path = Path(), *, quoted: bool | None = None) -> str:
    """The page as text; `folder` is where it will lie, from which it links to pictures."""
    published = quotation(comparison.benchmark, quoted)
    scores, costs = tables.split_costs(tables.main_table(comparison))
    return render_template(
        "compare.html.j2",
        comparison=comparison,
        searched=comparison.searched,
        title=sentences.title(comparison),
        headline=sentences.headline(comparison),
        how=sentences.how_made(comparison),
        verdict=sentences.verdict(comparison),
        scores=scores,
        costs=costs,
        categories=tables.category_table(comparison),
        official=tables.official_table(comparison),
        official_note=sentences.OFFICIAL,
        curves=tables.curve_table(comparison),
        spending=tables.spending_table(comparison),
        updates=tables.updates_table(comparison),
        updates_note=sentences.UPDATES,
        figures=figures(comparison) if comparison.searched else [],
        quoted=published,
        quoted_table=published and tables.quoted_table(published),
        count=count,
        printed=PRINTED,
        grid=picture_grid(comparison, folder) if comparison.pictures else None,
    )


def figures(comparison: Comparison) -> list[tuple[str, Markup]]:
    """Caption and SVG of each figure: score against pictures allowed, and against seconds where they are known."""
    allowed = sorted({point.allowed for row in comparison.rows for point in row.curve})
    by_pictures = budget_curves(_lines(comparison, lambda point: point.allowed), "pictures allowed", ticks=allowed)
    drawn = [("Score against pictures allowed", by_pictures)]
    if all(point.spent.seconds > 0 for row in comparison.rows for point in row.curve):
        by_seconds = budget_curves(_lines(comparison, lambda point: point.spent.seconds), "seconds spent per sample")
        drawn.append(("Score against seconds spent per sample", by_seconds))
    return [(caption, Markup(inline(svg, caption))) for caption, svg in drawn]


def _lines(comparison: Comparison, x: Callable[[CurvePoint], float]) -> list[Line]:
    return [_line(row, x) for row in comparison.rows]


def _line(row: RowResult, x: Callable[[CurvePoint], float]) -> Line:
    return Line(
        row.title,
        [x(point) for point in row.curve],
        [point.returned.score for point in row.curve],
        [point.returned.interval for point in row.curve],
    )
