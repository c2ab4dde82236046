"""The benchmark `t2i-compbench-plus`: the two categories that T2I-CompBench++ adds, 300 prompts each (2307.06350v3).

Their hashes were not available when this was written: the commit is pinned, and the first download records the hash of
what it got (see `download`).
"""

from __future__ import annotations

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, lines_of, require_counts, require_distinct
from milr.benchmarks.t2i_compbench import COMMIT, OFFICIAL_COUNT
from milr.types import Prompt

CATEGORIES = ("numeracy", "3d_spatial")


class CompBenchPlus(OfficialPrompts):
    """T2I-CompBench++'s prompts of the categories numeracy and 3d_spatial (Karine-Huang/T2I-CompBench).

    `prompts` names a local folder with numeracy_val.txt and 3d_spatial_val.txt; without it they are fetched. Local
    files may hold other prompts: `official` is False for them, because there is no hash to check them against.
    """

    name = "t2i-compbench-plus"
    metric = "t2i-compbench-plus"
    layout = "t2i-compbench"
    source: tuple[Source, ...] = tuple(
        Source("Karine-Huang/T2I-CompBench", COMMIT, f"examples/dataset/{category}_val.txt") for category in CATEGORIES
    )
    deviations = ("Official runs draw 10 pictures for each prompt; --samples 10 does.",)

    def _parse(self, files: Files) -> list[Prompt]:
        prompts = [
            Prompt(line.strip(), f"{category}-{index:03d}", category, source=line)
            for category, source, content in zip(CATEGORIES, self.source, files.contents, strict=True)
            for index, (_, line) in enumerate(lines_of(content, source.name))
        ]
        name = str(self._local or self.name)
        prompts = require_distinct(prompts, name)
        if files.official:
            require_counts(prompts, dict.fromkeys(CATEGORIES, OFFICIAL_COUNT), name)
        return prompts
