"""What must be said under a table of comparable runs: differences that change no score, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from milr.report.compare.rows import Row, SampleKey, budget_of, metric_of
from milr.report.compare.scores import absent
from milr.rules.wise import EDITIONS

NANO = "nano is the embedded laboratory model, not a model of the paper."
ORACLE = "(oracle): the search reward is also the report metric, so the score is an upper bound, not a fair comparison."


def notes_of(rows: Sequence[Row], common: Sequence[SampleKey]) -> list[str]:
    """Sentences; `common` are the searches of each row that are compared."""
    said = dict.fromkeys(note for row in rows for note in row.config.notes)
    return [*_measures(rows), *said, *_left_out(rows, common), *_machines(rows), *_speeds(rows)]


def _measures(rows: Sequence[Row]) -> Iterator[str]:
    if any(row.config.model == "nano" for row in rows):
        yield NANO
    if any(row.oracle for row in rows):
        yield ORACLE
    if not rows[0].config.report_metric:
        yield f"No other judge was asked: scores are by the search reward ({rows[0].config.reward}) itself."
    for row in rows:
        unjudged = sum(found.unjudged for found in row.runs)
        if unjudged:
            yield (f"{row.title}: {unjudged} returned pictures were never shown to {metric_of(row.config)}; they are "
                   "unscored.")  # fmt: skip
    if len(budgets := sorted({budget_of(row) for row in rows})) > 1:
        told = ", ".join(map(str, budgets))
        yield f"Rows were allowed different numbers of pictures ({told}): the curves compare them at equal numbers."
    silent = [row.title for row in rows if row.config.report_metric and not row.config.metric_identity]
    if silent and len(silent) < len(rows):
        yield f"Which version of {rows[0].config.report_metric} judged is not known for {'; '.join(silent)}."


def _left_out(rows: Sequence[Row], common: Sequence[SampleKey]) -> Iterator[str]:
    edition = EDITIONS.get(rows[0].config.benchmark)
    if edition and (lacking := absent(common, edition)):
        yield (f"{len(lacking)} of {edition.name}'s 1000 prompts are not compared (the first is {lacking[0]}), and "
               "without them it has no overall score.")  # fmt: skip
    for row in rows:
        planned = sum(found.run.config.prompt_count * found.run.config.samples for found in row.runs)
        if planned != len(common):
            yield (f"Partial: {len(common)} of the {planned} samples of {row.title} are compared, those that all rows "
                   "have.")  # fmt: skip


def _machines(rows: Sequence[Row]) -> Iterator[str]:
    for kind in ("versions", "machine"):
        known = [getattr(sitting, kind) for row in rows for sitting in row.sittings]
        names = sorted({name for values in known for name in values})
        differing = {name: sorted({values.get(name, "absent") for values in known}) for name in names}
        told = [f"{name} {', '.join(values)}" for name, values in differing.items() if len(values) > 1]
        if told:
            yield f"{'Package versions differ' if kind == 'versions' else 'Machines differ'}: {'; '.join(told)}."


def _speeds(rows: Sequence[Row]) -> Iterator[str]:
    known = {row.title: row.in_flight for row in rows}
    if len(set(known.values())) > 1 or any(len(counts) > 1 for counts in known.values()):
        told = "; ".join(f"{title} {' and '.join(map(str, counts)) or 'not known'}" for title, counts in known.items())
        yield f"Searches in flight differ, so seconds are not comparable: {told}."
    elif not any(known.values()):
        yield "How many searches were in flight is not known; seconds depend on it."
