"""Notes under the table of a comparison: what the methods do, what is not known, and what differs between the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from milr.report.compare.official import metric_name
from milr.report.compare.rows import Row, SampleKey, picture_budget
from milr.report.compare.scores import missing_prompts
from milr.report.methods import explain_method, other_model
from milr.report.words import count
from milr.rules.wise import EDITIONS

ORACLE = "(oracle): the search reward is also the report metric, so the score is an upper bound, not a fair comparison."


def notes_of(rows: Sequence[Row], common: Sequence[SampleKey]) -> list[str]:
    """The notes, as sentences; `common` are the samples that all rows have."""
    notes = dict.fromkeys(note for row in rows for note in row.config.notes)
    return [*_methods(rows), *_metric(rows, common), *_budgets(rows), *notes, *_missing_samples(rows, common),
            *_damage(rows), *_environments(rows), *_in_flight(rows)]  # fmt: skip


def _damage(rows: Sequence[Row]) -> Iterator[str]:
    """The runs with damaged files, with the first of these."""
    for loaded in (loaded for row in rows for loaded in row.runs if loaded.damage):
        damaged = count(len(loaded.damage), "damaged file")
        yield (f"{loaded.folder} has {damaged} ({loaded.damage[0]}): samples with damaged records are left out, and "
               "the command that made the run makes them again.")  # fmt: skip


def _methods(rows: Sequence[Row]) -> Iterator[str]:
    """What each control method does; a row with a label also gets the name of its method.

    Where all rows are folders of pictures there is no method to explain.
    """
    if all(row.config.command == "score" for row in rows):
        return
    names: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        explanation = explain_method(row.config)
        if explanation and row.config.method != "latent_reasoning":
            names.setdefault((row.config.method, explanation), []).append(row.title)
    for (method, explanation), titles in names.items():
        label = f" (method {method})" if any(not title.startswith(method) for title in titles) else ""
        yield f"{'; '.join(titles)}{label}: {explanation}."


def _metric(rows: Sequence[Row], common: Sequence[SampleKey]) -> Iterator[str]:
    yield from dict.fromkeys(sentence for row in rows if (sentence := other_model(row.config)))
    if any(row.oracle for row in rows):
        yield ORACLE
    if not rows[0].config.report_metric:
        yield f"No other judge was asked: scores are by the search reward ({rows[0].config.reward}) itself."
    yield from _judges(rows[0], common)
    for row in rows:
        unjudged = sum(loaded.unjudged for loaded in row.runs)
        if unjudged:
            yield (f"{row.title}: {unjudged} returned pictures were never shown to {metric_name(row.config)}; they are "
                   "unscored.")  # fmt: skip
    unknown = [row.title for row in rows if row.config.report_metric and not row.config.metric_identity]
    if unknown and len(unknown) < len(rows):
        yield f"Which version of {rows[0].config.report_metric} judged is not known for {'; '.join(unknown)}."


def _judges(row: Row, common: Sequence[SampleKey]) -> Iterator[str]:
    """How many samples each judge scored, where the metric is one of two judges."""
    keys = set(common)
    counts = Counter(sample.judge for sample in row.samples if sample.key in keys)
    if "" not in counts:
        judged = ", ".join(f"{judge} {count(n, 'sample')}" for judge, n in sorted(counts.items()))
        yield f"Each prompt has one of two judges ({judged}); a mean over both mixes scores that are not comparable."


def _budgets(rows: Sequence[Row]) -> Iterator[str]:
    budgets = sorted({picture_budget(row) for row in rows})
    if len(budgets) > 1:
        numbers = ", ".join(map(str, budgets))
        yield f"Rows were allowed different numbers of pictures ({numbers}): the curves compare them at equal numbers."


def _missing_samples(rows: Sequence[Row], common: Sequence[SampleKey]) -> Iterator[str]:
    edition = EDITIONS.get(rows[0].config.benchmark)
    if edition and (lacking := missing_prompts(common, edition)):
        yield (f"{len(lacking)} of {edition.name}'s 1000 prompts are not compared (the first is {lacking[0]}), and "
               "without them it has no overall score.")  # fmt: skip
    for row in rows:
        planned = sum(loaded.run.num_samples for loaded in row.runs)
        if planned != len(common):
            yield (f"Partial: {len(common)} of the {planned} samples of {row.title} are compared, those that all rows "
                   "have.")  # fmt: skip


def _environments(rows: Sequence[Row]) -> Iterator[str]:
    """Package versions and machines that differ between the periods of work on all rows."""
    for field, sentence in (("versions", "Package versions differ"), ("machine", "Machines differ")):
        environments = [getattr(period, field) for row in rows for period in row.work_periods]
        names = sorted({name for values in environments for name in values})
        values_of = {name: sorted({values.get(name, "absent") for values in environments}) for name in names}
        differing = [f"{name} {', '.join(values)}" for name, values in values_of.items() if len(values) > 1]
        if differing:
            yield f"{sentence}: {'; '.join(differing)}."


def _in_flight(rows: Sequence[Row]) -> Iterator[str]:
    by_title = {row.title: row.in_flight for row in rows}
    if len(set(by_title.values())) > 1 or any(len(numbers) > 1 for numbers in by_title.values()):
        known = "; ".join(f"{title} {' and '.join(map(str, numbers)) or 'not known'}"
                          for title, numbers in by_title.items())  # fmt: skip
        yield f"The numbers of samples in flight differ, so seconds are not comparable: {known}."
    elif not any(by_title.values()):
        yield "How many samples were in flight is not known; seconds depend on it."
