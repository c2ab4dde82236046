"""The speed benchmark's result as Markdown tables and as a figure; both read what its JSON holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from speed_rows import LONG_RUN

TITLES = {"text": "text alone", "draw": "picture alone", "render": "rendering alone (VQ)", "milr": "MILR"}
Column = tuple[str, Callable[[dict[str, Any]], str]]


def _number(name: str, form: str) -> Callable[[dict[str, Any]], str]:
    return lambda row: "" if row[name] is None else format(row[name], form)


def _long(row: dict[str, Any]) -> str:
    return "" if row["seconds_to_20_steps"] is None else f"{row['seconds_to_20_steps']:.1f}" + " scaled" * row["scaled"]


def _parts(row: dict[str, Any]) -> str:
    whole = sum(row["parts"].values())
    return ", ".join(f"{kind} {part / whole:.0%}" for kind, part in sorted(row["parts"].items(), key=lambda x: -x[1]))


def _ratio(row: dict[str, Any]) -> str:
    if row["ratio"] is None:
        return ""
    of_rounds = f" ({min(row['ratios']):.1f} to {max(row['ratios']):.1f})" if len(row["ratios"]) > 1 else ""
    return f"{row['ratio']:.2f}{of_rounds}"


def _equal(row: dict[str, Any]) -> str:
    if row["equal"] is None:
        return ""
    return f"{row['equal']:.1%}" + (f" (near ties in {row['near_ties']})" if row["near_ties"] else "")


ALONE: list[Column] = [
    ("what", lambda row: TITLES[row["kind"]]),
    ("how", lambda row: row["way"]),
    ("in flight", _number("in_flight", "d")),
    ("seconds", _number("seconds", ".3g")),
    ("tokens/s", _number("tokens_per_second", ".4g")),
    ("pictures/s", _number("pictures_per_second", ".3g")),
    ("ratio", _ratio),
    ("of CPU time", _number("cpu_ratio", ".2f")),
    ("CPU", _number("cpu_share", ".0%")),
    ("streaming limit", _number("streaming", ".0%")),
    ("arithmetic limit", _number("arithmetic", ".0%")),
    ("peak MB", lambda row: f"{row['peak_bytes'] / 2**20:.0f}"),
    ("tokens as plain", _equal),
    ("KL to plain, nats", _number("divergence", ".1g")),
]
MILR: list[Column] = [
    ("how", lambda row: row["way"]),
    ("in flight", _number("in_flight", "d")),
    ("pictures", _number("pictures", "d")),
    ("seconds", _number("seconds", ".1f")),
    ("pictures/s", _number("pictures_per_second", ".3g")),
    ("tokens/s", _number("tokens_per_second", ".4g")),
    ("first picture, s", _number("first_picture", ".2f")),
    ("20 steps, s", _long),
    ("ratio", _ratio),
    ("of CPU time", _number("cpu_ratio", ".2f")),
    ("CPU", _number("cpu_share", ".0%")),
    ("texts changed", _number("changed", ".0%")),
    ("where the time goes", _parts),
    ("warm-up, s", _number("warm_up", ".1f")),
    ("peak MB", lambda row: f"{row['peak_bytes'] / 2**20:.0f}"),
    ("tokens as plain", _equal),
]


def markdown(result: dict[str, Any]) -> str:
    """What was measured where, then the parts alone, then MILR."""
    limits, alone = result["limits"], [row for row in result["rows"] if row["kind"] != "milr"]
    about = result["settings"] | result["machine"] | {"plain_threads": result["plain_threads"]}
    told = ", ".join(f"{name} {value}" for name, value in about.items())
    return "\n\n".join([
        told,
        f"Measured limits: copy {limits['bandwidth'] / 1e9:.1f} GB/s (read and written), "
        f"matmul {limits['arithmetic'] / 1e9:.0f} Gflop/s. A share is the time that this limit alone would take.",
        _table(ALONE, alone),
        _table(MILR, [row for row in result["rows"] if row["kind"] == "milr"]),
        "The plain loop is one prompt, timed on the steps shown and scaled; it decodes every text at every step. "
        "Ratios are of tokens/s (text) or pictures/s (all else) to the plain loop's in this run, by the clock and by "
        "CPU time; where CPU is less than a whole thread, other programs had the machine, or the GPU the work. Ours "
        "was measured in several rounds, every row of MILR between two runs of the plain loop: the median of the "
        "rounds' ratios (and their range), and all else of the round in the middle.",
    ])  # fmt: skip


def _table(columns: list[Column], rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(name for name, _ in columns) + " |", "|---" * len(columns) + "|"]
    return "\n".join(lines + ["| " + " | ".join(tell(row) for _, tell in columns) + " |" for row in rows])


def figure(result: dict[str, Any], path: Path) -> None:
    """Seconds per picture against prompts in flight, and seconds per prompt against steps (dotted: scaled)."""
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    width, steps = drawn.subplots(1, 2)
    rows = [row for row in result["rows"] if row["kind"] == "milr"]
    ours = [row for row in rows if row["way"] == "ours"]
    for row in rows:
        if row["way"] != "ours":
            width.axhline(row["seconds"] / row["pictures"], color="grey", linestyle="--", label=row["way"])
    width.plot([row["in_flight"] for row in ours], [row["seconds"] / row["pictures"] for row in ours], "o-",
               label="ours, MILR")  # fmt: skip
    for kind in ("draw", "render"):
        part = [row for row in result["rows"] if row["way"] == "ours" and row["kind"] == kind]
        width.plot([row["in_flight"] for row in part], [row["seconds"] / row["pictures"] for row in part], ".:",
                   label=f"ours, {TITLES[kind]}")  # fmt: skip
    width.set(xscale="log", yscale="log", xlabel="prompts in flight", ylabel="seconds per picture",
              title=result["settings"]["size"])  # fmt: skip
    for row in rows:
        each = [second / row["in_flight"] for second in row["finished"]]
        (line,) = steps.plot(range(len(each)), each, ".-", label=f"{row['way']}, {row['in_flight']} in flight")
        if row["seconds_to_20_steps"] is not None:
            ahead = np.arange(len(each) - 1, LONG_RUN + 1)
            last = row["seconds_to_20_steps"] / row["in_flight"]
            steps.plot(ahead, np.interp(ahead, ahead[[0, -1]], [each[-1], last]), ":", color=line.get_color())
    width.set_xticks([row["in_flight"] for row in ours], labels=[str(row["in_flight"]) for row in ours])
    width.minorticks_off()
    steps.set(xticks=range(0, LONG_RUN + 1, 5), xlabel="step", ylabel="seconds per prompt", yscale="log")
    for axes in (width, steps):
        axes.legend(fontsize=7)
    drawn.savefig(path, dpi=110)
