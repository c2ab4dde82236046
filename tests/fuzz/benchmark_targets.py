"""The prompt files of the official benchmarks, and the metadata beside official pictures."""

from __future__ import annotations

import json
from pathlib import Path

from milr.benchmarks.dpg_bench import DpgBench
from milr.benchmarks.geneval import GenEval
from milr.benchmarks.geneval2 import GenEval2
from milr.benchmarks.t2i_compbench import CompBench
from milr.benchmarks.unigenbench import UniGenBench
from milr.benchmarks.wise import Wise
from milr.rewards import geneval
from milr.rules.dpg_bench import picture_score, questions_of
from milr.rules.geneval2 import variants
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


def geneval2_prompts(content: bytes, folder: Path) -> None:
    """GenEval 2's lines; whatever is read can be asked about."""
    path = folder / "geneval2_data.jsonl"
    path.write_bytes(content)
    assert all(variants(*pair) for prompt in GenEval2(path).prompts() for pair in (prompt.metadata or {})["vqa_list"])


def dpg_bench_prompts(content: bytes, folder: Path) -> None:
    """DPG-Bench's table."""
    path = folder / "dpg_bench.csv"
    path.write_bytes(content)
    for prompt in DpgBench(path).prompts():
        assert picture_score(questions := questions_of(prompt.metadata or {}), [1.0] * len(questions)) == 1.0


def unigenbench_prompts(content: bytes, folder: Path) -> None:
    """UniGenBench++'s table."""
    path = folder / "test_prompts_en.csv"
    path.write_bytes(content)
    assert all((prompt.metadata or {})["testpoints"] and int(prompt.id) >= 0 for prompt in UniGenBench(path).prompts())


def geneval2_index(content: bytes, folder: Path) -> None:
    """image_paths.json beside pictures in GenEval 2's layout."""
    (folder / "0.png").write_bytes(b"")
    (folder / "image_paths.json").write_bytes(content)
    assert len(find_pictures(folder, [PROMPT], "geneval2")) <= 1


def official_metadata(content: bytes, folder: Path) -> None:
    """metadata.jsonl beside pictures in GenEval's layout."""
    samples = folder / "00000" / "samples"
    samples.mkdir(parents=True, exist_ok=True)
    (samples / "0000.png").write_bytes(b"")
    (folder / "00000" / "metadata.jsonl").write_bytes(content)
    assert len(find_pictures(folder, [PROMPT], "geneval")) == 1


_GENEVAL2 = {"prompt": "two cats", "atom_count": 3, "vqa_list": [["How many cats?", "two"]], "skills": ["count"]}
_DPG = (
    b"item_id,text,proposition_id,dependency,tuple,question_natural_language\n1,a,1,0,entity (a),Is it?\n"
    b'1,a,2,0,entity (a),Is it?\n1,a,3,"2, 1",entity (a),Is it?\n'
)
_UNIGENBENCH = (b'index,prompt_en,sub_dims_en\n0,a star,"{""Testpoints"": [""Style""], '
                b'""Testpoint Description"": [""red""]}"\n')  # fmt: skip
_WISE = [{"Prompt": "a leaf", "Explanation": "green", "Subcategory": "plants", "prompt_id": 7}]
TARGETS = (
    (geneval_prompts, (json.dumps(_LINE).encode(),), True),
    (wise_prompts, (json.dumps(_WISE).encode(),), True),
    (compbench_prompts, (b"a red car\n\0a round cup\0\0a soft hat", b"\0".join(b"a %d" % index for index in range(9))),
     False),
    (geneval2_prompts, (json.dumps(_GENEVAL2).encode(),), True),
    (dpg_bench_prompts, (_DPG,), False),
    (unigenbench_prompts, (_UNIGENBENCH,), False),
    (geneval2_index, (b'{"a red dog": "0.png"}',), True),
    (official_metadata, (json.dumps(_LINE).encode(), json.dumps(_LINE | {"exclude": []}).encode()), True),
)  # fmt: skip
