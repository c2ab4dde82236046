"""The tables of docs/results.md from finished experiments: `python benchmarks/results.py runs/controls ...`.

Each folder holds the compare.json that `milr experiment` or `milr compare` wrote. Two tables: the score after 1, 2, 4,
8 and all pictures with what was spent; and the paired difference from the row of reference at equal pictures, its p
corrected (Holm) over the rows of a column. `--by-kind` gives each kind of prompt its own columns instead, p corrected
over all rows and kinds; `--token-steps 500,1000` compares at equal token-steps instead (from the runs beside
compare.json); `--figure FILE.png` draws the curves, of all rows or of those named by `--row`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from milr.report.compare.rows import Sample, load_rows
from milr.report.compare.scores import align, mean_score, paired_tests
from milr.report.figures import Line, budget_curves

BUDGETS = (1, 2, 4, 8, 16)


def interval(bounds: list[float] | None) -> str:
    """[low, high] with three digits; empty where there is none."""
    return f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""


def p_value(p: float) -> str:
    """A p-value as text."""
    return "p < 0.0001" if p < 0.0001 else f"p {p:.4f}"


def points(row: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The points of a row's curve by pictures allowed."""
    return {point["allowed"]: point for point in row["curve"]}


def score_line(row: dict[str, Any], budgets: list[int]) -> list[str]:
    """Scores after so many pictures, the last with its interval, and what the searches spent."""
    curve, spent, returned = points(row), row["spent"], row["overall"]["returned"]
    cells = [f"{curve[n]['returned']['score']:.3f}" if n in curve else "" for n in budgets[:-1]]
    last = f"{returned['score']:.3f}{interval(returned['interval'])}" if returned["score"] is not None else "unscored"
    if returned["scored"] < returned["n"]:
        last += f", {returned['scored']} scored of {returned['n']}"
    return [row["title"], *cells, last, f"{spent['pictures']:.2f}", f"{spent['token_steps']:.0f}",
            f"{spent['reward_calls']:.2f}", f"{spent['model_seconds'] + spent['reward_seconds']:.2f}"]  # fmt: skip


def test_line(row: dict[str, Any], budgets: list[int]) -> list[str]:
    """Differences with p; the one after all pictures with its interval."""
    curve, cells = points(row), []
    for n in budgets:
        paired = curve[n]["paired"] if n in curve else None
        bounds = interval(paired["interval"]) if paired and n == budgets[-1] else ""
        cells.append(f"{paired['difference']:+.3f}{bounds}, {p_value(paired['holm'])}" if paired else "")
    return [row["title"], *cells]


def tables(comparison: dict[str, Any]) -> str:
    """A comparison as Markdown."""
    most = max(row["budget"] for row in comparison["rows"])
    budgets = [*(n for n in BUDGETS if n < most), most]
    header = ["row", *(f"after {n}" for n in budgets[:-1]), f"after {most} [95 %]", "pictures", "token-steps",
              "reward calls", "seconds"]  # fmt: skip
    scores = markdown([header, *(score_line(row, budgets) for row in comparison["rows"])])
    if len(comparison["rows"]) == 1:
        return scores
    tested = [row for row in comparison["rows"] if row["title"] != comparison["against"] and row["budget"] > 1]
    header = [f"difference from {comparison['against']}", *(f"after {n}" for n in budgets)]
    return scores + "\n\n" + markdown([header, *(test_line(row, budgets) for row in tested)])


def by_kind_of_prompt(comparison: dict[str, Any]) -> str:
    """Score of the returned pictures by kind of prompt, and the difference from the row of reference."""
    header = ["row", *(f"{name}, difference" for name in comparison["categories"])]
    lines = []
    for row in comparison["rows"]:
        cells = []
        for name in comparison["categories"]:
            category = row["categories"][name]
            score, paired = category["returned"]["score"], category["paired"]
            cells.append(f"{score:.3f}" + (f", {paired['difference']:+.3f}{interval(paired['interval'])}, "
                                           f"{p_value(paired['holm'])}" if paired else ""))  # fmt: skip
        lines.append([row["title"], *cells])
    return markdown([header, *lines])


def at_token_steps(folder: Path, comparison: dict[str, Any], limits: list[int]) -> str:
    """What every row's searches would have returned within so many token-steps, and the difference at the last."""
    titles = [row["title"] for row in comparison["rows"] if row["budget"] > 1]
    rows = [row for row in load_rows(sorted(folder.glob("*/seed-*"))) if row.title in titles]
    rows.sort(key=lambda row: titles.index(row.title))
    scopes = align(rows)
    values = [[[within(sample, limit) for sample in samples] for samples in scopes.samples] for limit in limits]
    reference = titles.index(comparison["against"])
    lines = []
    for index, row in enumerate(rows):
        cells = []
        for limit_values in values:
            paired = paired_tests(scopes, limit_values, titles=titles, reference=reference)[index]
            tested = paired is not None and paired.holm is not None
            difference = f", {paired.difference:+.3f}, {p_value(paired.holm)}" if tested else ""
            cells.append(f"{mean_score(scopes, limit_values[index]).score:.3f}{difference}")
        lines.append([row.title, *cells])
    return markdown([["row", *(f"{limit} token-steps" for limit in limits)], *lines])


def within(sample: Sample, token_steps: int) -> float | None:
    """The metric of the best picture that the search reward saw within so many token-steps; of the first at least."""
    spent, best = 0, sample.pictures[0]
    for picture in sample.pictures[1:]:
        spent += picture.cost.token_steps
        if spent + sample.pictures[0].cost.token_steps > token_steps:
            break
        if picture.search is not None and (best.search is None or picture.search > best.search):
            best = picture
    return best.metric


def markdown(lines: list[list[str]]) -> str:
    """The lines as a Markdown table."""
    lines = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def curves(comparison: dict[str, Any], rows: list[str]) -> bytes:
    """The score against the pictures allowed, as a PNG."""
    lines = []
    for row in comparison["rows"]:
        name = row["title"].removesuffix(" (oracle)")
        if not rows or name in rows:
            returned = [point["returned"] for point in row["curve"]]
            allowed = [point["allowed"] for point in row["curve"]]
            lines.append(Line(name, allowed, [point["score"] for point in returned],
                              [point["interval"] for point in returned]))  # fmt: skip
    ticks = sorted({x for line in lines for x in line.xs})
    return budget_curves(lines, "pictures allowed", ticks=ticks, format="png")


def main(folders: list[Path], figure: Path | None = None, row: list[str] | None = None, by_kind: bool = False,
         token_steps: str = "") -> None:  # fmt: skip
    """Print the tables of each folder, or draw one figure."""
    for folder in folders:
        comparison = json.loads((folder / "compare.json").read_text())
        if figure:
            figure.write_bytes(curves(comparison, row or []))
            continue
        if by_kind or token_steps:
            limits = [int(limit) for limit in token_steps.split(",")] if token_steps else []
            typer.echo(by_kind_of_prompt(comparison) if by_kind else at_token_steps(folder, comparison, limits))
            continue
        seeds, searches = ", ".join(map(str, comparison["seeds"])), comparison["searches"]
        typer.echo(
            f"**{folder.name}**: {comparison['prompts']} prompts, seeds {seeds}, {searches} searches a row, "
            f"scored by {comparison['metric']}.\n\n{tables(comparison)}\n"
        )


if __name__ == "__main__":
    typer.run(main)
