"""GenEval 2's rules (arXiv 2512.16853; facebookresearch/GenEval2 a6e82d2), pure: questions, answers, and scores.

A prompt has one question for each of its atoms, and its answer is one word. A question's soft score is the probability
of that word as the first token of the judge's answer. Quirks of the official tool are reproduced, and the docstrings
name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from milr.rules.calibration import geometric_mean
from milr.rules.official_scores import JudgedPicture, OfficialScore, means_by

NUMBERS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"}
YES = ("Yes", "yes", " yes", " Yes")
YES_ANSWER = "Yes"
SKILLS = ("object", "attribute", "count", "position", "verb")
ATOMS = range(3, 11)  # of a prompt
PROMPTS_EACH = 100  # with each number of atoms
QUESTIONS = 6012  # of all prompts
COUNTING = "How many"
AM, TIFA, VQASCORE = "Soft-TIFA AM", "TIFA", "VQAScore"  # parts of a score beside those of its questions


def ask(question: str) -> str:
    """What the judge is asked about an atom."""
    return f"{question} Answer in one word."


def vqascore_question(prompt: str) -> str:
    """What the judge is asked for VQAScore."""
    return f'Does this image show "{prompt}"? Answer the question with Yes or No.'


def variants(question: str, answer: str) -> tuple[str, ...]:
    """The spellings of the right answer whose probabilities count; ValueError for an answer that is none.

    A question "How many ..." is answered by a number from one to seven, in words or as a digit; any other by yes.
    """
    if COUNTING not in question:
        if answer != YES_ANSWER:
            raise ValueError(f"the answer to {question!r} is {YES_ANSWER}, not {answer!r}")
        return YES
    if answer not in NUMBERS:
        raise ValueError(f"the answer to {question!r} is a number from one to seven, not {answer!r}")
    word, digit = answer.capitalize(), NUMBERS[answer]
    return (answer, word, f" {answer}", f" {word}", digit, f" {digit}")


def soft_score(probabilities: Sequence[float]) -> float:
    """The sum over the first token of each variant, in [0, 1].

    Quirk: two variants with the same first token count twice. In Qwen's vocabulary " 1" begins with a bare space, so
    the probability of a space is part of every count's score. No sum above 1 is kept.
    """
    return min(1.0, sum(probabilities))


def arithmetic(soft_scores: Sequence[float]) -> float:
    """Soft-TIFA AM of a prompt: the mean over its questions."""
    return fmean(soft_scores)


def geometric(soft_scores: Sequence[float]) -> float:
    """Soft-TIFA GM of a prompt: the geometric mean over its questions; a question at 0 makes it 0."""
    return geometric_mean(list(soft_scores))


def part_name(position: int, question: str) -> str:
    """The name of a question's soft score among the parts; with its number, because a question may stand twice."""
    return f"{position + 1}. {question}"


def official_scores(pictures: Sequence[JudgedPicture]) -> list[OfficialScore]:
    """The numbers of the official tools, times 100: AM, GM, TIFA, VQAScore; AM by skill, GM by number of atoms.

    The first four are means over prompts. By skill all questions of all prompts are pooled, so that a prompt with many
    of them counts more.
    """
    by_skill: list[tuple[str, float]] = []
    by_atoms: list[tuple[str, float]] = []
    totals: list[tuple[str, float]] = []
    for picture in pictures:
        asked = picture.metadata["vqa_list"]
        soft = [picture.parts[part_name(index, question)] for index, (question, _) in enumerate(asked)]
        values = (arithmetic(soft), geometric(soft), picture.parts[TIFA], picture.parts[VQASCORE])
        totals += zip((AM, "Soft-TIFA GM", TIFA, VQASCORE), values, strict=True)
        by_skill += zip((f"AM, {skill}" for skill in picture.metadata["skills"]), soft, strict=True)
        by_atoms.append((f"GM, {picture.metadata['atom_count']} atoms", values[1]))
    order = [*(f"AM, {skill}" for skill in SKILLS), *(f"GM, {atoms} atoms" for atoms in ATOMS)]
    return [*means_by(totals), *sorted(means_by([*by_skill, *by_atoms]), key=lambda score: order.index(score.name))]
