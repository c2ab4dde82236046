"""The sentences of a comparison: its title, what was compared, and how the numbers are made."""

from __future__ import annotations

from milr.report.compare.records import Comparison
from milr.report.words import count
from milr.rules.wise import EDITIONS

UPDATES = ("Shares of the steps at which latents moved (of samples, for reward hacking: the search reward rose while "
           "the report metric fell). A collapse is marked by its surprise; docs/nano.md says how well that works."
           )  # fmt: skip


def title(comparison: Comparison) -> str:
    """The heading: how many rows are compared, or the name of the only one."""
    rows = comparison.rows
    where = f" on {comparison.benchmark}" if comparison.benchmark else ""
    return (rows[0].title if len(rows) == 1 else f"Comparison of {len(rows)} rows") + where


def headline(comparison: Comparison) -> str:
    """What was compared, in one sentence."""
    where = f" of {comparison.benchmark}" if comparison.benchmark else ""
    seeds = ", ".join(map(str, comparison.seeds))
    each = f"{count(comparison.samples, 'sample')} each, seed{'s' if len(comparison.seeds) > 1 else ''} {seeds}"
    pictures = count(comparison.searches, "sample" if comparison.searched else "picture")
    return (f"{count(comparison.prompts, 'prompt')}{where}, {each}: {pictures} for each row, scored by "
            f"{comparison.metric}.")  # fmt: skip


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
            f"together{by_pictures if comparison.searched else ''}."]  # fmt: skip


def _search_sentences() -> list[str]:
    return [
        "Curves: what each sample would have returned had it been stopped after so many pictures, computed from the "
        "same run; a sample that stopped earlier keeps its result; no row is shown beyond its own budget.",
        "Costs are means per sample (one prompt, seed and sample number). Seconds are a sample's share of its batches, "
        "at the number of samples in flight that is stated. Peak memory is the most that the process had used by the "
        "end of the row: of the GPU for this row alone, on a CPU of all that the process did before, too.",
    ]
