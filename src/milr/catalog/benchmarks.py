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


def _t2i_compbench_plus(prompts: Path | None = None) -> Benchmark:
    from milr.benchmarks.t2i_compbench_plus import CompBenchPlus

    return CompBenchPlus(prompts)


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


def _unigenbench(prompts: Path | None = None, split: str = "en") -> Benchmark:
    from milr.benchmarks.unigenbench import UniGenBench

    return UniGenBench(prompts, split=split)


FETCHED = "its prompts, fetched at first use"
QWEN3_VL = "Qwen3-VL-8B-Instruct, on this machine or at an endpoint"
NO_LICENCE = "see its repository (none stated)"
BENCHMARKS = {
    "shapes": Part(_shapes, "nano's world under GenEval's rules; --split hard has 300 harder prompts",
                   "--model nano", "Apache-2.0", prompts=328, judge="the package's own detector", judge_calls="328"),
    "geneval": Part(_geneval, "six tasks, judged by a detector and CLIP's colours",
                    f"{FETCHED}; the reward geneval", "MIT (prompts)",
                    prompts=553, judge="Mask2Former and CLIP, on this machine", judge_calls="553"),
    "geneval2": Part(_geneval2, "GenEval 2: prompts of three to ten atoms, each atom a question",
                     f"{FETCHED}; the reward geneval2", "CC BY-NC 4.0 (prompts)",
                     prompts=800, judge=QWEN3_VL, judge_calls="6,812, of one token each"),
    "t2i-compbench": Part(_t2i_compbench, "six categories, each with a judge of its own",
                          f"{FETCHED}; the reward t2i-compbench", "MIT (prompts)",
                          prompts=1800, judge="BLIP, GroundingDINO and CLIP, on this machine", judge_calls="1,800"),
    "t2i-compbench-plus": Part(_t2i_compbench_plus, "T2I-CompBench++'s numeracy and 3d_spatial",
                               f"{FETCHED}; the reward t2i-compbench-plus", "MIT (prompts)", prompts=600,
                               judge="GroundingDINO and DPT, on this machine", judge_calls="600"),
    "dpg-bench": Part(_dpg_bench, "DPG-Bench: long prompts with questions that depend on each other",
                      f"{FETCHED}; the reward dpg-bench", "Apache-2.0 (prompts)",
                      prompts=1065, judge=QWEN3_VL, judge_calls="one for each question of its file"),
    "unigenbench": Part(_unigenbench, "UniGenBench++: ten dimensions, a question with all test points; --split en, "
                        "en_long, zh or zh_long", f"{FETCHED}; the reward unigenbench", "CC BY 4.0 (prompts)",
                        prompts=600, judge="UniGenBench's own model or any other at an endpoint", judge_calls="600"),
    "wise": Part(_wise, "prompts that need world knowledge (the paper's edition, now called legacy)",
                 f"{FETCHED}; the reward wise", NO_LICENCE,
                 prompts=1000, judge="GPT-4o or any other at an endpoint", judge_calls="1,000"),
    "wise-verified": Part(_wise_verified, "WISE's edition of April 2026: other prompts, marked 0 or 1",
                          f"{FETCHED}; the reward wise-verified", NO_LICENCE,
                          prompts=1000, judge="Qwen3.5-35B-A3B or any other at an endpoint", judge_calls="1,000"),
}  # fmt: skip
