"""The benchmarks that have a name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from milr.catalog.parts import Part

if TYPE_CHECKING:
    from milr.base import Benchmark


def _shapes(split: str = "test") -> Benchmark:
    from milr.benchmarks.shapes import Shapes

    return Shapes(split)


def _geneval(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.geneval import GenEval

    return GenEval(prompts)


def _t2i_compbench(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.t2i_compbench import CompBench

    return CompBench(prompts)


def _wise(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.wise import Wise

    return Wise(prompts)


def _wise_verified(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.wise import WiseVerified

    return WiseVerified(prompts)


def _geneval2(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.geneval2 import GenEval2

    return GenEval2(prompts)


def _dpg_bench(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.dpg_bench import DpgBench

    return DpgBench(prompts)


FETCHED = "its prompts, fetched at first use"
BENCHMARKS = {
    "shapes": Part(_shapes, "nano's world under GenEval's rules: 328 test prompts; --split hard: 300 harder ones",
                   "--model nano", "Apache-2.0"),
    "geneval": Part(_geneval, "553 prompts in six tasks, judged by a detector and CLIP's colours",
                    f"{FETCHED}; the reward geneval", "MIT (prompts)"),
    "geneval2": Part(_geneval2, "GenEval 2: 800 prompts of three to ten atoms, each atom a question to Qwen3-VL",
                     f"{FETCHED}; the reward geneval2", "CC BY-NC 4.0 (prompts)"),
    "t2i-compbench": Part(_t2i_compbench, "1800 prompts in six categories, each with a judge of its own",
                          f"{FETCHED}; the reward t2i-compbench", "MIT (prompts)"),
    "dpg-bench": Part(_dpg_bench, "DPG-Bench: 1065 long prompts with questions that depend on each other",
                      f"{FETCHED}; the reward dpg-bench", "Apache-2.0 (prompts)"),
    "wise": Part(_wise, "1000 prompts that need world knowledge (the paper's edition, now called legacy)",
                 f"{FETCHED}; the reward wise", "see its repository (none stated)"),
    "wise-verified": Part(_wise_verified, "WISE's edition of April 2026: 1000 other prompts, marked 0 or 1",
                          f"{FETCHED}; the reward wise-verified", "see its repository (none stated)"),
}  # fmt: skip
