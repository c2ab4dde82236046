"""A comparison as one self-contained page: tables, figures, notes, and pictures of prompts on which the rows differ."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from milr.report.compare import export, tables
from milr.report.compare.records import Comparison, Point, RowNumbers
from milr.report.figures import Line, budget_curves, inline
from milr.report.pictures import THUMBNAIL, embed
from milr.report.quoted import quotation
from milr.runs.store import write_atomically
from milr.types import UsageError


def write_files(comparison: Comparison, folder: Path | str, *, quoted: bool | None = None) -> Path:
    """Write compare.md, compare.csv, compare.json and compare.html into `folder`; the path of the page."""
    contents = {
        "compare.md": tables.to_markdown(comparison, quoted=quoted),
        "compare.csv": export.to_csv(comparison),
        "compare.json": export.to_json(comparison),
        "compare.html": render(comparison, quoted=quoted),
    }
    return [_write(Path(folder) / name, content) for name, content in contents.items()][-1]


def write_page(comparison: Comparison, path: Path | str, *, quoted: bool | None = None) -> Path:
    """Write the page to `path`; UsageError when that cannot be written. `quoted` as in `quoted.quotation`."""
    return _write(Path(path), render(comparison, quoted=quoted))


def _write(target: Path, content: str) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content.encode())
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}): choose another --out.") from error
    return target


def render(comparison: Comparison, *, quoted: bool | None = None) -> str:
    """The page as text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found = quotation(comparison.benchmark, quoted)
    return environment.from_string(_resource("compare.html.j2")).render(
        comparison=comparison,
        title=tables.title(comparison),
        headline=tables.headline(comparison),
        how=tables.how_made(comparison),
        main=tables.main_table(comparison),
        categories=tables.category_table(comparison),
        curves=tables.curve_table(comparison),
        spending=tables.spending_table(comparison),
        moved=tables.moved_table(comparison),
        moved_note=tables.MOVED,
        figures=figures(comparison),
        quoted=found,
        quoted_table=found and tables.quoted_table(found),
        number=tables.number,
        embed=lambda picture: embed(picture, THUMBNAIL),
        style=Markup(_resource("style.css")),
    )


def figures(comparison: Comparison) -> list[tuple[str, Markup]]:
    """Caption and SVG: score against pictures allowed, and against seconds spent."""
    allowed = sorted({point.allowed for row in comparison.rows for point in row.curve})
    by_pictures = budget_curves(_lines(comparison, lambda point: point.allowed), "pictures allowed", ticks=allowed)
    drawn = [("Score against pictures allowed", by_pictures)]
    if all(point.spent.seconds > 0 for row in comparison.rows for point in row.curve):
        by_seconds = budget_curves(_lines(comparison, lambda point: point.spent.seconds), "seconds spent per prompt")
        drawn.append(("Score against seconds spent per prompt", by_seconds))
    return [(caption, Markup(inline(svg, caption))) for caption, svg in drawn]


def _lines(comparison: Comparison, x: Callable[[Point], float]) -> list[Line]:
    return [_line(row, x) for row in comparison.rows]


def _line(row: RowNumbers, x: Callable[[Point], float]) -> Line:
    return Line(
        row.title,
        [x(point) for point in row.curve],
        [point.returned.score for point in row.curve],
        [point.returned.interval for point in row.curve],
    )


def _resource(name: str) -> str:
    return resources.files("milr.report").joinpath(name).read_text(encoding="utf-8")
