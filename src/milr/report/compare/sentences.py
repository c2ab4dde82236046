"""The sentences of a comparison: its title, what was compared, and how the numbers are made."""

from __future__ import annotations

from collections.abc import Sequence

from milr.report.compare import tables
from milr.report.compare.records import Comparison, RowResult
from milr.report.compare.scores import ROUNDING
from milr.report.words import count
from milr.rules.wise import EDITIONS

SIGNIFICANT = 0.05  # corrected p below which a difference is said to be one
LONGEST_TITLE = 70  # letters of the rows' names
UPDATES = ("Shares of the steps at which latents moved (of samples, for reward hacking: the search reward rose while "
           "the report metric fell). A collapse is marked by its surprise, which is no proof (docs/nano.md)."
           )  # fmt: skip

OFFICIAL = (
    "Computed from the judge's answers by the rules of the official tool, times 100; unscored pictures are left out."
)


def title(comparison: Comparison) -> str:
    """The heading: the names of the rows, or how many there are where that would be long."""
    titles = [row.title for row in comparison.rows]
    where = f" on {comparison.benchmark}" if comparison.benchmark else ""
    names = _listed(titles)
    return (names if len(names) <= LONGEST_TITLE else f"Comparison of {len(titles)} rows") + where


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def headline(comparison: Comparison) -> str:
    """What was compared, in one sentence."""
    where = f" of {comparison.benchmark}" if comparison.benchmark else ""
    seeds = ", ".join(map(str, comparison.seeds))
    each = f"{count(comparison.samples, 'sample')} each, seed{'s' if len(comparison.seeds) > 1 else ''} {seeds}"
    pictures = count(comparison.searches, "sample" if comparison.searched else "picture")
    return (f"{count(comparison.prompts, 'prompt')}{where}, {each}: {pictures} for each row, scored by "
            f"{comparison.metric}.")  # fmt: skip


def verdict(comparison: Comparison) -> list[str]:
    """Who is ahead, and for each row, best first, whether it differs from the reference, in a sentence each."""
    rows = comparison.rows
    if len(rows) == 1:
        return [f"{rows[0].title} scores {tables.score(rows[0].overall.returned)}."]
    first = [row for row in rows if row.rank == 1]
    names = _listed([row.title for row in first]) if first else ""
    verb = "scores highest" if len(first) == 1 else "score highest"
    ahead = [f"{names} {verb}: {tables.score(first[0].overall.returned)}."] if first else [
        "Unscored pictures leave it open which row is ahead."]  # fmt: skip
    reference = next(index for index, row in enumerate(rows) if row.title == comparison.against)
    others = sorted(
        (index for index in range(len(rows)) if index != reference), key=lambda index: -_score_of(rows[index])
    )
    return ahead + [_verdict_on(comparison, index, reference) for index in others]


def _score_of(row: RowResult) -> float:
    score = row.overall.returned.score
    return -1.0 if score is None else score


def _verdict_on(comparison: Comparison, index: int, reference: int) -> str:
    row, against = comparison.rows[index], comparison.against
    paired = row.overall.paired
    if paired is None or paired.holm is None:
        return f"{row.title} was not tested against {against}: too few pictures are scored by both."
    numbers = f"{tables.difference(paired)}, p {tables.p_value(paired.holm)}{_wins(comparison, index, reference)}."
    if paired.holm >= SIGNIFICANT:
        return f"{row.title} cannot be told apart from {against}: {numbers}"
    return f"{row.title} does {'better' if paired.difference > 0 else 'worse'} than {against}: {numbers}"


def _wins(comparison: Comparison, index: int, reference: int) -> str:
    """On how many samples the row does better and worse than the reference."""
    pairs = [(sample.pictures[index].score, sample.pictures[reference].score) for sample in comparison.pictures]
    gains = [score - other for score, other in pairs if score is not None and other is not None]
    if not gains:
        return ""
    better, worse = sum(gain > ROUNDING for gain in gains), sum(gain < -ROUNDING for gain in gains)
    return f"; better on {better:,} of {count(len(gains), 'sample')}, worse on {worse:,}"


def how_made(comparison: Comparison) -> list[str]:
    """How the numbers are made, in sentences."""
    searched = comparison.searched
    return [_score(comparison), *_fixed(), *_tests(comparison), *(_search_sentences() if searched else [])]


def _score(comparison: Comparison) -> str:
    mean = "the plain mean of the category means, as in GenEval" if comparison.categories else "the plain mean"
    if comparison.benchmark in EDITIONS:
        mean = "the mean over all prompts, which is WISE's weighting of its categories"
    pictures = "the returned picture" if comparison.searched else "each picture"
    return f"Score: {comparison.metric} on {pictures}, between 0 and 1; overall is {mean}."


def _fixed() -> list[str]:
    return [
        "An unscored picture is not a zero: means are over the scored; bounds take the unscored as 0 and as 1. A row "
        "is not ranked where that could change its rank. Ranks say who is ahead, not whether the difference is real.",
        "Brackets are 95 % intervals over prompts, resampled with all their seeds and samples within their category "
        "(bootstrap); Wilson's for one verdict per prompt in one category, and where misses are few.",
    ]


def _tests(comparison: Comparison) -> list[str]:
    names = {scores.paired.test for row in comparison.rows for scores in [row.overall, *row.categories.values()]
             if scores.paired}  # fmt: skip
    if not names:
        return []
    by_pictures = ", and those after so many pictures together for each number of pictures"
    return [f"Tests: each row against {comparison.against} on the same prompts, seeds and samples "
            f"({'; '.join(sorted(names))}). Holm corrects the overall tests together, those within categories "
            f"together{by_pictures if comparison.searched else ''}. A row is said to do better or worse where its "
            f"corrected p is below {SIGNIFICANT:g}."]  # fmt: skip


def _search_sentences() -> list[str]:
    return [
        "Curves: what each sample would have returned had it been stopped after so many pictures, computed from the "
        "same run; a sample that stopped earlier keeps its result; no row is shown beyond its own budget.",
        "Costs are means per sample (one prompt, seed and sample number). Seconds are a sample's share of its batches, "
        "at the number of samples in flight that is stated. Peak memory is the most that the process had used by the "
        "end of the row: of the GPU for this row alone, on a CPU of all that the process did before, too.",
    ]
