"""How many CPU seconds the grid adds to a comparison's page, and how large the page is.

`python -m benchmarks.compare_page RUN RUN... [--out FOLDER]` compares the runs, writes the page and prints a line.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from milr.report.compare import page
from milr.report.compare.comparison import compare
from milr.report.compare.pictures import compared_samples
from milr.report.compare.rows import load_rows
from milr.report.compare.scores import align


def cpu_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main(runs: list[Path], out: Path) -> None:
    rows = load_rows(runs)
    comparison = compare(rows)
    aligned = align(rows)
    order = cpu_seconds(lambda: compared_samples(rows, aligned))
    page.render(comparison, out)  # what is made once, such as fonts of the figures
    without = replace(comparison, pictures=())
    fixed = cpu_seconds(lambda: page.render(without, out))
    whole = cpu_seconds(lambda: page.render(comparison, out))
    size = page.write_page(comparison, out / "compare.html").stat().st_size / 2**20
    print(f"{len(comparison.pictures) * len(rows):,} records: the grid adds {order + whole - fixed:.2f} s "
          f"({order:.2f} for the order of the samples) to a page of {fixed:.2f} s; {size:.2f} MiB")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("compare-page"))
    chosen = parser.parse_args()
    main(chosen.runs, chosen.out)
