"""DPG-Bench's rules (arXiv 2403.05135; TencentQQGYLab/ELLA 3c228f1), pure: dependent questions, and scores.

A long prompt has yes/no questions, of which some depend on others: whether a cat is black is wrong where there is no
cat. Quirks that the published numbers contain are reproduced, and the docstrings name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from milr.rules.official_scores import JudgedPicture, OfficialScore, means_by

NONE = 0  # as a parent: the question depends on no other


@dataclass(frozen=True)
class Question:
    """A question with its number in its prompt, those of its parents, and its category, such as "entity - whole"."""

    number: int
    parents: tuple[int, ...]
    category: str
    text: str

    @property
    def part(self) -> str:
        """The name of its answer among the parts of a score."""
        return f"{self.number}. {self.text}"

    def to_metadata(self) -> dict[str, Any]:
        """The question as plain data."""
        return {**asdict(self), "parents": list(self.parents)}


def questions_of(metadata: Mapping[str, Any]) -> list[Question]:
    """The questions in a prompt's metadata; KeyError, TypeError or ValueError where there is no such list."""
    questions = [Question(each["number"], tuple(each["parents"]), each["category"], each["text"])
                 for each in metadata["questions"]]  # fmt: skip
    if not questions or not all(isinstance(each.text, str) and type(each.number) is int for each in questions):
        raise ValueError("there are no questions")
    return questions


def category_of(proposition: str) -> str:
    """The category at the start of a proposition such as "attribute - color (cat, black)"."""
    return proposition.partition("(")[0].strip()


def parse_parents(dependency: str) -> tuple[int, ...]:
    """The numbers in a field such as "1, 2"; ValueError where it holds something else."""
    return tuple(int(number) for number in dependency.split(","))


def never_asked(questions: Iterable[Question]) -> set[int]:
    """The parents that are no question of the prompt, because the official tool skips the first row of its file.

    It fails at such a prompt, and so leaves it out of its mean.
    """
    questions = list(questions)
    return {parent for question in questions for parent in question.parents} - {
        NONE, *(question.number for question in questions)
    }  # fmt: skip


def after_dependencies(questions: Sequence[Question], answers: Sequence[float]) -> list[float]:
    """The answers (1 yes, 0 no) with 0 where a parent has 0, in the order of the file, so that zeros cascade.

    Quirk: a parent that stands after its child counts as it was answered. A parent that is never asked counts as yes.
    """
    scores = {question.number: answer for question, answer in zip(questions, answers, strict=True)}
    for question in questions:
        if any(parent != NONE and scores.get(parent, 1.0) == 0 for parent in question.parents):
            scores[question.number] = 0.0
    return [scores[question.number] for question in questions]


def picture_score(questions: Sequence[Question], answers: Sequence[float]) -> float:
    """The mean of the answers after dependencies."""
    return fmean(after_dependencies(questions, answers))


def parse_yes_no(answer: str) -> float | None:
    """1 or 0 where the answer's first word is yes or no, whatever its case and marks; else None."""
    words = answer.split(maxsplit=1)
    word = words[0].strip(".,:;!*_`\"'()[]").lower() if words else ""
    return {"yes": 1.0, "no": 0.0}.get(word)


def official_scores(pictures: Sequence[JudgedPicture]) -> list[OfficialScore]:
    """The numbers of the official tool, times 100: the overall score, then categories, broad ones first.

    The overall score is the mean over pictures (tiles) of a prompt, then over prompts. Quirks: categories pool the
    answers as they were before the dependencies, and of each prompt only those of its last picture; a prompt with a
    parent that is never asked is left out.
    """
    by_prompt: dict[str, list[JudgedPicture]] = {}
    for picture in sorted(pictures, key=lambda picture: picture.sample):
        by_prompt.setdefault(picture.prompt, []).append(picture)
    totals: list[tuple[str, float]] = []
    broad: list[tuple[str, float]] = []
    detailed: list[tuple[str, float]] = []
    for tiles in by_prompt.values():
        questions = questions_of(tiles[0].metadata)
        if never_asked(questions):
            continue
        answers = [[tile.parts[question.part] for question in questions] for tile in tiles]
        totals.append(("DPG-Bench", fmean(picture_score(questions, each) for each in answers)))
        for question, answer in zip(questions, answers[-1], strict=True):
            broad.append((question.category.partition("-")[0].strip(), answer))
            detailed.append((question.category, answer))
    names = {name for name, _ in broad}
    rest = sorted(each for each in detailed if each[0] not in names)
    return [*means_by(totals), *means_by(sorted(broad)), *means_by(rest)]
