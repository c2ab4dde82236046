"""The prompt files of the official benchmarks, and the metadata beside official pictures."""

from __future__ import annotations

import json
from pathlib import Path

from milr.benchmarks.geneval import GenEval
from milr.benchmarks.t2i_compbench import CompBench
from milr.benchmarks.wise import Wise
from milr.rewards import geneval
from milr.runs.official_pictures import find_pictures
from milr.types import MilrError, Prompt

_LINE = {"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}], "prompt": "a red dog"}
PROMPT = Prompt("a red dog", "geneval-00000", "colors", {"tag": "colors", "include": _LINE["include"]},
                json.dumps(_LINE))  # fmt: skip


def geneval_prompts(content: bytes, folder: Path) -> None:
    """GenEval's lines, each of which the reward then takes or refuses."""
    path = folder / "evaluation_metadata.jsonl"
    path.write_bytes(content)
    for prompt in GenEval(path).prompts():
        try:
            geneval.check(prompt)
        except MilrError:
            continue


def wise_prompts(content: bytes, folder: Path) -> None:
    """One of WISE's files."""
    path = folder / "x.json"
    path.write_bytes(content)
    assert all(1 <= int(prompt.id) <= 1000 for prompt in Wise(path).prompts())


def compbench_prompts(content: bytes, folder: Path) -> None:
    """T2I-CompBench's files: parts of the content between NULs."""
    parts = content.split(b"\0")
    for index, source in enumerate(CompBench.source):
        (folder / source.name).write_bytes(parts[index % len(parts)])
    assert CompBench(folder).prompts()


def official_metadata(content: bytes, folder: Path) -> None:
    """metadata.jsonl beside pictures in GenEval's layout."""
    samples = folder / "00000" / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    (samples / "0000.png").write_bytes(b"")
    (folder / "00000" / "metadata.jsonl").write_bytes(content)
    assert len(find_pictures(folder, [PROMPT], "geneval")) == 1


_WISE = [{"Prompt": "a leaf", "Explanation": "green", "Subcategory": "plants", "prompt_id": 7}]
TARGETS = (
    (geneval_prompts, (json.dumps(_LINE).encode(),), True),
    (wise_prompts, (json.dumps(_WISE).encode(),), True),
    (compbench_prompts, (b"a red car\n\0a round cup\0\0a soft hat", b"\0".join(b"a %d" % index for index in range(9))),
     False),
    (official_metadata, (json.dumps(_LINE).encode(), json.dumps(_LINE | {"exclude": []}).encode()), True),
)  # fmt: skip
