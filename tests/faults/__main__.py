"""Run the fault suite, print its table, and end with 1 where anything was lost or went wrong."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests share

from tests.faults import conditions, damage, judges, kills, storage  # noqa: E402
from tests.faults.process import Command, run  # noqa: E402
from tests.faults.runs import PROMPTS, BrokenRun  # noqa: E402
from tests.faults.tally import HEADER, Tally  # noqa: E402

from milr.cli.console import print_table  # noqa: E402

SHOWN = 40  # problems that are printed; all are in the file
Family = Callable[[], None]


def main() -> None:
    """All families (or those named), each scaled by --scale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the faults of a full run")
    parser.add_argument("--only", nargs="*", default=[], help="families; default: all")
    parser.add_argument("--out", type=Path, default=Path("faults.json"))
    arguments = parser.parse_args()
    console, tally = Console(highlight=False, width=160), Tally()
    folder = Path(tempfile.mkdtemp(prefix="milr-faults-"))
    began = time.monotonic()
    try:
        broken, duration = _undisturbed(folder)
        console.print(f"undisturbed run: {duration:.1f} s")
        for name, family in _families(tally, broken, arguments.seed, arguments.scale, duration).items():
            if not arguments.only or name in arguments.only:
                family()
                seconds = round(time.monotonic() - began)
                tally.write(arguments.out, seed=arguments.seed, scale=arguments.scale, seconds=seconds)
                console.print(f"{name}: {tally.total().tried} faults so far, {seconds} s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_table(console, HEADER, tally.rows())
    for problem in tally.problems[:SHOWN]:
        console.print(problem, markup=False)
    sys.exit(0 if tally.clean else 1)


def _undisturbed(folder: Path) -> tuple[BrokenRun, float]:
    """The run that all others must equal, and its seconds (a second run's, when everything is warm)."""
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    broken = BrokenRun(folder, folder / "whole")
    for out in (folder / "warm", broken.whole):
        ended = run(Command(broken.into(out), folder))
        if ended.code:
            sys.exit(f"the undisturbed run failed: {ended.err}")
    return broken, ended.seconds


def _families(tally: Tally, broken: BrokenRun, seed: int, scale: float, duration: float) -> dict[str, Family]:
    def count(whole: int) -> int:
        return max(1, round(whole * scale))

    def moment(name: str) -> random.Random:
        return random.Random(f"{seed} {name}")

    families: dict[str, Family] = {
        "searches": lambda: kills.kill_searches(tally, broken, moment("searches"), count(80), duration),
        "workers": lambda: kills.kill_workers(tally, broken, moment("workers"), count(10), duration),
        "reports": lambda: kills.kill_derived(tally, broken, moment("reports"), count(60)),
        "damage": lambda: damage.damage_files(tally, broken, moment("damage"), count(500)),
        "limits": lambda: storage.limit_files(tally, broken, moment("limits"), count(20)),
        "judges": lambda: judges.bad_judges(tally, broken, moment("judges"), count(2)),
        "rewards": lambda: conditions.wild_rewards(tally, broken),
        "pipes": lambda: conditions.pipes(tally, broken, count(4)),
        "memory": lambda: conditions.little_memory(tally, broken, moment("memory"), count(12)),
        "two": lambda: conditions.two_at_once(tally, broken, moment("two"), count(10)),
        "weights": lambda: conditions.broken_weights(tally, broken, moment("weights"), count(24)),
    }
    if storage.can_mount(broken.folder):
        families["disks"] = lambda: storage.fill_up(tally, broken, moment("disks"), count(60), duration)
    return families


if __name__ == "__main__":
    main()
