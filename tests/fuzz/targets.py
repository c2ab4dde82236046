"""What is fuzzed: a table of targets, each of which takes bytes and an empty folder, and may raise MilrError alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
FOUND = "found-"  # begins the name of an input that once raised something else than MilrError, and is always kept
TARGETS = {
    **dict.fromkeys(("prompt_file", "picture_list", "experiment", "template", "picture", "part_name"), "prompt"),
    "metadata": "metadata",
    **dict.fromkeys(("record", "run_json", "prompts_jsonl", "unfinished", "scores"), "run"),
    **dict.fromkeys(
        ("completion", "server_error", "answer", "long_answer", "judge_settings", "cached_answer"), "judge"
    ),
    **dict.fromkeys(
        (
            "geneval_prompts",
            "wise_prompts",
            "compbench_prompts",
            "official_metadata",
            "geneval2_prompts",
            "dpg_bench_prompts",
            "unigenbench_prompts",
            "geneval2_index",
        ),
        "benchmark",
    ),
    **dict.fromkeys(("weight_index", "weight_header", "settings_json"), "checkpoint"),
}
"""The name of every target to the module that has it, without its ending `_targets`."""


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


@cache
def load(name: str) -> Target:
    """The target of this name; imports its module, and so the part of milr that it tests."""
    module = import_module(f"fuzz.{TARGETS[name]}_targets")
    return next(Target(name, run, seeds, is_json) for run, seeds, is_json in module.TARGETS if run.__name__ == name)
