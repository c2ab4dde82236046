"""What is fuzzed: a table of targets, each of which takes bytes and an empty folder, and may raise MilrError alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz import (
    benchmark_targets,
    checkpoint_targets,
    judge_targets,
    metadata_targets,
    prompt_targets,
    run_targets,
)

CORPUS = Path(__file__).with_name("corpus")
FOUND = "found-"  # begins the name of an input that once raised something else than MilrError, and is always kept


@dataclass(frozen=True)
class Target:
    """`run` reads the content with the parser; `seeds` are where a fuzzer begins; `is_json`: it is changed as JSON."""

    name: str
    run: Callable[[bytes, Path], None]
    seeds: tuple[bytes, ...]
    is_json: bool = False

    def corpus(self) -> list[Path]:
        """The kept inputs."""
        return sorted(path for path in (CORPUS / self.name).glob("*") if path.is_file())


MODULES = (prompt_targets, metadata_targets, run_targets, judge_targets, benchmark_targets, checkpoint_targets)
TARGETS = {
    function.__name__: Target(function.__name__, function, seeds, is_json)
    for module in MODULES
    for function, seeds, is_json in module.TARGETS
}
