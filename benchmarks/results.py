"""The tables of docs/results.md from finished experiments: `python benchmarks/results.py runs/controls ...`.

Each folder holds the compare.json that `milr experiment` or `milr compare` wrote. Two tables: the score after 1, 2, 4,
8 and all pictures with what was spent; and the paired difference from the chosen row at equal pictures, its p corrected
(Holm) over the rows of a column. `--by-kind` gives each kind of prompt its own columns instead, p corrected over all
rows and kinds; `--token-steps 500,1000` compares at equal token-steps instead (from the runs beside compare.json);
`--figure FILE.png` draws the curves, of all rows or of those named by `--row`.
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


def interval(ends: list[float] | None) -> str:
    """[low, high] with three digits; empty where there is none."""
    return f" [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else ""


def chance(p: float) -> str:
    """A p-value in words."""
    return "p < 0.0001" if p < 0.0001 else f"p {p:.4f}"


def points(row: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The points of a row's curve by pictures allowed."""
    return {point["allowed"]: point for point in row["curve"]}


def score_line(row: dict[str, Any], budgets: list[int]) -> list[str]:
    """Scores after so many pictures, the last with its interval, and what the searches spent."""
    curve, spent, returned = points(row), row["spent"], row["overall"]["returned"]
    cells = [f"{curve[n]['returned']['score']:.3f}" if n in curve else "" for n in budgets[:-1]]
    whole = f"{returned['score']:.3f}{interval(returned['interval'])}" if returned["score"] is not None else "unscored"
    if returned["scored"] < returned["n"]:
        whole += f", {returned['scored']} scored of {returned['n']}"
    return [row["title"], *cells, whole, f"{spent['pictures']:.2f}", f"{spent['token_steps']:.0f}",
            f"{spent['reward_calls']:.2f}", f"{spent['model_seconds'] + spent['reward_seconds']:.2f}"]  # fmt: skip


def test_line(row: dict[str, Any], budgets: list[int]) -> list[str]:
    """Differences with p; that at the whole budget with its interval."""
    curve, cells = points(row), []
    for n in budgets:
        paired = curve[n]["paired"] if n in curve else None
        ends = interval(paired["interval"]) if paired and n == budgets[-1] else ""
        cells.append(f"{paired['difference']:+.3f}{ends}, {chance(paired['holm'])}" if paired else "")
    return [row["title"], *cells]


def tables(found: dict[str, Any]) -> str:
    """A comparison as Markdown."""
    most = max(row["budget"] for row in found["rows"])
    budgets = [*(n for n in BUDGETS if n < most), most]
    header = ["row", *(f"after {n}" for n in budgets[:-1]), f"after {most} [95 %]", "pictures", "token-steps",
              "reward calls", "seconds"]  # fmt: skip
    scores = markdown([header, *(score_line(row, budgets) for row in found["rows"])])
    if len(found["rows"]) == 1:
        return scores
    tested = [row for row in found["rows"] if row["title"] != found["against"] and row["budget"] > 1]
    header = [f"difference from {found['against']}", *(f"after {n}" for n in budgets)]
    return scores + "\n\n" + markdown([header, *(test_line(row, budgets) for row in tested)])


def kinds(found: dict[str, Any]) -> str:
    """Score of the returned pictures by kind of prompt, and the difference from the chosen row."""
    header = ["row", *(f"{name}, difference" for name in found["categories"])]
    lines = []
    for row in found["rows"]:
        cells = []
        for name in found["categories"]:
            part = row["categories"][name]
            score, paired = part["returned"]["score"], part["paired"]
            cells.append(f"{score:.3f}" + (f", {paired['difference']:+.3f}{interval(paired['interval'])}, "
                                           f"{chance(paired['holm'])}" if paired else ""))  # fmt: skip
        lines.append([row["title"], *cells])
    return markdown([header, *lines])


def at_token_steps(folder: Path, found: dict[str, Any], limits: list[int]) -> str:
    """What every row's searches would have returned within so many token-steps, and the difference at the last."""
    titles = [row["title"] for row in found["rows"] if row["budget"] > 1]
    rows = [row for row in load_rows(sorted(folder.glob("*/seed-*"))) if row.title in titles]
    rows.sort(key=lambda row: titles.index(row.title))
    scopes = align(rows)
    values = [[[within(sample, limit) for sample in samples] for samples in scopes.samples] for limit in limits]
    base = titles.index(found["against"])
    lines = []
    for place, row in enumerate(rows):
        cells = []
        for limit_values in values:
            paired = paired_tests(scopes, limit_values, titles=titles, reference=base)[place]
            tested = paired is not None and paired.holm is not None
            told = f", {paired.difference:+.3f}, {chance(paired.holm)}" if tested else ""
            cells.append(f"{mean_score(scopes, limit_values[place]).score:.3f}{told}")
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


def curves(found: dict[str, Any], rows: list[str]) -> bytes:
    """The score against the pictures allowed, as a PNG."""
    lines = []
    for row in found["rows"]:
        name = row["title"].removesuffix(" (oracle)")
        if not rows or name in rows:
            returned = [point["returned"] for point in row["curve"]]
            lines.append(Line(name, [point["allowed"] for point in row["curve"]], [one["score"] for one in returned],
                              [one["interval"] for one in returned]))  # fmt: skip
    ticks = sorted({x for line in lines for x in line.xs})
    return budget_curves(lines, "pictures allowed", ticks=ticks, format="png")


def main(folders: list[Path], figure: Path | None = None, row: list[str] | None = None, by_kind: bool = False,
         token_steps: str = "") -> None:  # fmt: skip
    """Print the tables of each folder, or draw one figure."""
    for folder in folders:
        found = json.loads((folder / "compare.json").read_text())
        if figure:
            figure.write_bytes(curves(found, row or []))
            continue
        if by_kind or token_steps:
            limits = [int(limit) for limit in token_steps.split(",")] if token_steps else []
            typer.echo(kinds(found) if by_kind else at_token_steps(folder, found, limits))
            continue
        seeds = ", ".join(map(str, found["seeds"]))
        typer.echo(f"**{folder.name}**: {found['prompts']} prompts, seeds {seeds}, {found['searches']} searches a row, "
                   f"scored by {found['metric']}.\n\n{tables(found)}\n")  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
