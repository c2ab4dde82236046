"""Published results, quoted from MILR (arXiv 2509.22761), Tables 1, 2, 3, 6 and 7, and from WISE_Verified's
leaderboard. None of them was run here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

SOURCE = "quoted, arXiv 2509.22761, Table {}"
HEADING = "Quoted from the paper, not run here"
CAVEAT = "One picture per prompt; no intervals were published."
SHAPES_CAVEAT = ("These rows are about photographs, another world than the shapes above: rules and names of categories "
                 "are the same, but the numbers cannot be compared.")  # fmt: skip
GENEVAL = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
COMPBENCH = ("color", "shape", "texture", "spatial", "non_spatial", "complex")
PUBLISHED = ("geneval", "t2i-compbench", "wise")
ABLATION, REWARD = "ablation of Janus-Pro-7B+MILR", "search reward of Janus-Pro-7B+MILR"
# By benchmark: number of the table, its key in paper_numbers.json, the kind of its rows, the prefix of its category
# columns ("-": it has none), the name of its overall column.
TABLES: Mapping[str, tuple[tuple[int, str, str, str, str], ...]] = {
    "geneval": (
        (1, "table1_geneval", "", "", "overall"),
        (3, "table3_ablations", ABLATION, "geneval_", "geneval_overall"),
        (6, "table6_rewards_geneval", REWARD, "", "overall"),
    ),
    "t2i-compbench": (
        (2, "table2_t2i_compbench_wise", "", "", "overall"),
        (3, "table3_ablations", ABLATION, "-", "t2i_compbench_overall"),
        (7, "table7_rewards_t2i_compbench", REWARD, "", "overall"),
    ),
    "wise": (
        (2, "table2_t2i_compbench_wise", "", "-", "wise"),
        (3, "table3_ablations", ABLATION, "-", "wise"),
    ),
}
# Rows of benchmarks that the paper has no table of; the source, then system, kind and overall score of each row.
LEADERBOARDS: Mapping[str, tuple[str, tuple[tuple[str, str, float], ...]]] = {
    "wise-verified": (
        "PKU-YuanGroup/WISE, eb51174",
        (("Janus-Pro-7B", "unified model", 0.334), ("Janus-Pro-1B", "unified model", 0.265),
         ("BAGEL", "unified model", 0.352), ("BAGEL with its reasoning", "unified model", 0.628)),
    ),
}  # fmt: skip
CATEGORIES = {"geneval": GENEVAL, "t2i-compbench": COMPBENCH, "wise": ()}
DOUBTS = {(7, "UnifiedReward"): "published as 0.4651; its six entries average 0.4768"}


@dataclass(frozen=True)
class QuotedRow:
    """A published row: scores in [0, 1] without intervals. `label` names the source, `doubt` an inconsistency in it."""

    system: str
    group: str
    label: str
    overall: float
    categories: Mapping[str, float]
    doubt: str = ""


@dataclass(frozen=True)
class Quotation:
    """The published rows of a benchmark, with the caveats that must be shown with them."""

    heading: str
    sentences: tuple[str, ...]
    categories: tuple[str, ...]
    rows: tuple[QuotedRow, ...]


def quoted_rows(benchmark: str) -> list[QuotedRow]:
    """The paper's rows for geneval, t2i-compbench or wise; for shapes those of geneval; [] for any other benchmark."""
    source = _published_benchmark(benchmark)
    return [row for table in TABLES.get(source, ()) for row in _rows(source, *table)]


def _published_benchmark(benchmark: str) -> str:
    return "geneval" if benchmark == "shapes" else benchmark


def quotation(benchmark: str, quoted: bool | None = None) -> Quotation | None:
    """The published rows to show under a table of `benchmark`; None when none are shown.

    `quoted` None shows rows where the benchmark is the paper's, True also under shapes, False never.
    """
    if benchmark in LEADERBOARDS and quoted is not False:
        return _leaderboard(*LEADERBOARDS[benchmark])
    rows = quoted_rows(benchmark)
    if quoted is False or not rows or (quoted is None and benchmark not in PUBLISHED):
        return None
    sentences = (CAVEAT,) if benchmark in PUBLISHED else (CAVEAT, SHAPES_CAVEAT)
    return Quotation(HEADING, sentences, CATEGORIES[_published_benchmark(benchmark)], tuple(rows))


def _leaderboard(source: str, rows: Sequence[tuple[str, str, float]]) -> Quotation:
    quoted = tuple(QuotedRow(system, kind, f"quoted, {source}", overall, {}) for system, kind, overall in rows)
    return Quotation(f"Quoted from the leaderboard of {source}, not run here", (CAVEAT,), (), quoted)


def _rows(benchmark: str, table: int, key: str, group: str, prefix: str, overall: str) -> list[QuotedRow]:
    return [
        QuotedRow(
            system=row["system"],
            group=group or row["group"],
            label=SOURCE.format(table),
            overall=row[overall],
            categories={name: row[prefix + name] for name in CATEGORIES[benchmark] if prefix + name in row},
            doubt=DOUBTS.get((table, row["system"]), ""),
        )
        for row in _paper_numbers()[key]
        if row[overall] is not None
    ]


@cache
def _paper_numbers() -> dict[str, Any]:
    file = resources.files("milr.report").joinpath("paper_numbers.json")
    numbers: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return numbers
