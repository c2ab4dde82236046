"""The benchmark `geneval2`: GenEval 2's 800 prompts of three to ten atoms (arXiv 2512.16853, CC BY-NC 4.0).

The hash of the file was not available when this was written: the commit is pinned, and the first download records the
hash of what it got (see `download`). The commit's full name is not known either; the address takes the short one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from milr.benchmarks.download import Files, Source
from milr.benchmarks.official_prompts import OfficialPrompts, lines_of, require_distinct
from milr.inputs.json_text import parse_json
from milr.rules.geneval2 import ATOMS, PROMPTS_EACH, QUESTIONS, SKILLS, variants
from milr.types import Prompt, UsageError

MAX_ATOMS = 1000  # of a prompt in a file of one's own
SOURCE = Source("facebookresearch/GenEval2", "a6e82d2", "geneval2_data.jsonl")


class GenEval2(OfficialPrompts):
    """GenEval 2's prompts with their questions as metadata; a prompt's category is its number of atoms.

    `prompts` names a local copy of geneval2_data.jsonl, or its folder; without it the file is fetched. Local files may
    hold other prompts in the same format; `official` is False for them, because there is no hash to check them against.
    """

    name = "geneval2"
    metric = "geneval2"
    layout = "geneval2"
    source: tuple[Source, ...] = (SOURCE,)
    deviations = (
        "The score is Soft-TIFA GM, from 0 to 1; published numbers are times 100, of the judge Qwen3-VL-8B-Instruct.",
    )

    def _parse(self, files: Files) -> list[Prompt]:
        name = str(self._local or SOURCE.name)
        prompts = [_prompt(index, *line, name=name) for index, line in enumerate(lines_of(files.contents[0], name))]
        prompts = sorted(require_distinct(prompts, name), key=_atoms)
        if files.official:
            _require_whole(prompts, name)
        return prompts


def _prompt(index: int, number: int, line: str, *, name: str) -> Prompt:
    """The prompt of one line; UsageError, with the line's number in the file, where it is not in GenEval 2's format."""
    try:
        record: dict[str, Any] = parse_json(line)
        text, atoms, asked, skills = (record[key] for key in ("prompt", "atom_count", "vqa_list", "skills"))
        questions = [(question, answer) for question, answer in asked if variants(question, answer)]
        valid = isinstance(text, str) and bool(text.strip()) and type(atoms) is int and 0 < atoms <= MAX_ATOMS
        valid = valid and len(questions) == len(skills) > 0 and all(skill in SKILLS for skill in skills)
    except (ValueError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid:
        raise UsageError(f"line {number} of {name} is not in GenEval 2's format: it needs a prompt, an atom_count, a "
                         "vqa_list of questions with their answers, and as many skills.")  # fmt: skip
    metadata = {"atom_count": atoms, "vqa_list": [list(pair) for pair in questions], "skills": list(skills)}
    return Prompt(text.strip(), f"geneval2-{index:03d}", f"{atoms} atoms", metadata, source=line)


def _atoms(prompt: Prompt) -> int:
    return int((prompt.metadata or {})["atom_count"])


def _require_whole(prompts: list[Prompt], name: str) -> None:
    """UsageError unless there are as many prompts of each number of atoms, and questions, as in the official file."""
    counts = Counter(_atoms(prompt) for prompt in prompts)
    questions = sum(len((prompt.metadata or {})["vqa_list"]) for prompt in prompts)
    if counts != dict.fromkeys(ATOMS, PROMPTS_EACH) or questions != QUESTIONS:
        raise UsageError(f"{name} has {len(prompts)} prompts with {questions} questions, and the official file has "
                         f"{PROMPTS_EACH * len(ATOMS)} with {QUESTIONS}: delete it from the cache, or name another "
                         "with --prompts.")  # fmt: skip
