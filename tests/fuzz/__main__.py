"""Fuzz every parser for its share of the time, print a table, and end with 1 where anything but MilrError came out."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the tests share

from rich.console import Console  # noqa: E402

from fuzz.keep import choose  # noqa: E402
from fuzz.targets import CORPUS, FOUND, TARGETS, Target, load  # noqa: E402
from milr.cli.console import print_table  # noqa: E402

ROOT = Path(__file__).parents[2]
MAX_LENGTH, SLOW, MAX_MEMORY = 4096, 20, 4096  # bytes of an input, seconds and MiB that one may take
HEADER = ("target", "executions", "edges", "features", "inputs", "kept", "problems")
NO_ATHERIS = ("atheris is not installed, so nothing is fuzzed: pip install '.[fuzz]' (Linux on x86_64); the kept "
              "inputs are run by tests/test_fuzz_corpus.py.")  # fmt: skip


@dataclass(frozen=True)
class Fuzzed:
    """What libFuzzer says of a target: executions, edges and features covered, inputs of its corpus, and problems."""

    executions: int
    edges: int
    features: int
    inputs: int
    problems: tuple[str, ...]


def main() -> None:
    """All targets, or those named with --target, --seconds in all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="of all targets together")
    parser.add_argument("--target", nargs="*", choices=sorted(TARGETS), default=[], metavar="NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="replace the kept inputs by the best of all")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print(NO_ATHERIS)
        return
    targets = [load(name) for name in arguments.target or TARGETS]
    console, rows, problems = Console(highlight=False, width=120), [], []
    for target in targets:
        with tempfile.TemporaryDirectory(prefix="milr-fuzz-") as work:
            fuzzed = _fuzz(target, Path(work), max(2, arguments.seconds // len(targets)), arguments.seed)
            _keep(target, Path(work), best=arguments.keep)
        problems += [f"{target.name}: {problem}" for problem in fuzzed.problems]
        rows.append([target.name, f"{fuzzed.executions:,}", str(fuzzed.edges), str(fuzzed.features),
                     str(fuzzed.inputs), str(len(target.corpus())), str(len(fuzzed.problems))])  # fmt: skip
        console.print(" ".join(rows[-1]), markup=False)
        sys.stdout.flush()
    print_table(console, HEADER, rows)
    for problem in problems:
        console.print(problem, markup=False)
    sys.exit(1 if problems else 0)


def _fuzz(target: Target, work: Path, seconds: int, seed: int) -> Fuzzed:
    """Run libFuzzer on copies of the seeds and of the kept inputs."""
    grown = work / "grown"
    for folder in (grown, work / "found"):
        folder.mkdir()
    for content in (*target.seeds, *(path.read_bytes() for path in target.corpus())):
        (grown / _name(content)).write_bytes(content)
    command = [sys.executable, "-m", "tests.fuzz.child", target.name, str(work), str(grown), f"-seed={seed}",
               f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", f"-timeout={SLOW}",
               f"-rss_limit_mb={MAX_MEMORY}", f"-artifact_prefix={work}/found/", "-print_final_stats=1"]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    problems = re.findall(r"^FOUND (.*)$", done.stderr, re.MULTILINE)
    if done.returncode:
        problems.append(f"the fuzzer ended with {done.returncode}: {done.stderr[-1500:]}")
    return _read(done.stderr, problems)


def _read(told: str, problems: list[str]) -> Fuzzed:
    def last(pattern: str) -> int:
        return int(([0, *re.findall(pattern, told)])[-1])

    return Fuzzed(last(r"stat::number_of_executed_units:\s*(\d+)"), last(r"cov: (\d+)"), last(r"ft: (\d+)"),
                  last(r"corp: (\d+)"), tuple(problems))  # fmt: skip


def _keep(target: Target, work: Path, *, best: bool) -> None:
    """Keep every input that found a problem, and with `best` those of the others that run the most lines."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for path in (work / "found").iterdir():
        (folder / f"{FOUND}{_name(path.read_bytes())}").write_bytes(path.read_bytes())
    if best:
        kept = [path for path in target.corpus() if not path.name.startswith(FOUND)]
        contents = [path.read_bytes() for path in (*kept, *(work / "grown").iterdir())]
        for path in kept:
            path.unlink()
        for content in choose(target, contents):
            (folder / _name(content)).write_bytes(content)


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


if __name__ == "__main__":
    main()
