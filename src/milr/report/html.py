"""The page of a run: report.html, in one file with all its pictures, beside report.json and table.csv."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from milr.report import words
from milr.report.cards import (
    CardMark,
    card_marks,
    category_filters,
    category_numbers,
    found_at,
    mark_filters,
    sample_marks,
)
from milr.report.changes import WordChange, count_free, describe_result, describe_step, moved_latents, word_diff
from milr.report.failures import failure_marks
from milr.report.figures import first_against_best, first_and_best, inline, score_curve
from milr.report.judges import judge_of
from milr.report.methods import explain_method, other_model
from milr.report.page_template import render_template
from milr.report.pictures import LARGE, MIDDLE, THUMBNAIL, EmbeddedPicture, embed_step
from milr.report.summary import Summary, summarise, to_csv, to_json
from milr.runs.config import display_name
from milr.runs.files import no_garbage
from milr.runs.store import Damage, Record, RunFile, RunStore, StepRecord, write_atomically
from milr.types import UsageError

FULL = 50  # samples shown with every step; the others show their first and returned pictures
PICTURED = 300  # samples whose first and returned pictures are shown; the cards of the others link to the file
CURVES = 3  # samples with a curve of their scores, where a run has more than PICTURED; each takes a tenth of a second
FEW_POINTS = 5  # below this number of different points no figure is drawn
OPEN = 3  # up to this number of samples, all are unfolded
OnProgress = Callable[[int, int], None]  # samples done, number of all samples
OnDamage = Callable[[Sequence[Damage]], None]


@dataclass(frozen=True)
class StepView:
    """A step as the page shows it. `word_changes` is empty when the text stayed the same."""

    title: str
    score: str
    change: str
    facts: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]
    returned: bool
    alt: str
    embedded: EmbeddedPicture
    visualisation: str | None
    word_changes: tuple[WordChange, ...]


@dataclass(frozen=True)
class PictureView:
    """A picture as the page shows it: its caption ("First", "Returned"), its score, and its data."""

    caption: str
    score: str
    embedded: EmbeddedPicture


@dataclass(frozen=True)
class SampleView:
    """A sample as the page shows it; `steps` is empty beyond the first FULL samples.

    `judge` names the judge where the search reward is one of two. `change` says what the updates changed. `card` are
    the marks of its card, `marks` those of them that name failures; `found` is the step that it is sorted by.
    `judgement` is what the judge said of the returned picture.
    """

    anchor: str
    record: Record
    judge: str
    change: str
    card: tuple[CardMark, ...]
    marks: tuple[str, ...]
    found: int | None
    before: PictureView
    after: PictureView
    judgement: list[tuple[str, str]]
    steps: tuple[StepView, ...]
    curve: Markup


@no_garbage()
def write_report(run_folder: Path | str, *, step_links: bool = True, on_progress: OnProgress | None = None,
                 on_damage: OnDamage | None = None) -> Path:  # fmt: skip
    """Write report.html, report.json and table.csv of the samples finished so far; returns the path of the page.

    `step_links`: samples beyond the first FULL link to the pictures of their steps; otherwise the page needs of
    these no other files than the first and the returned ones.
    `on_progress(done, total)` is called after each sample: a page of hundreds takes some seconds. `on_damage` is told
    what is damaged. UsageError where no sample is finished or a file cannot be written.
    """
    store = RunStore(run_folder)
    run, stored = store.run(), store.read(tokens=False)
    records = stored.records
    if on_damage:
        on_damage(stored.damage)
    if not records:
        raise UsageError(f"{run_folder} has no finished sample yet: run the same command again to go on.")
    summary = summarise(
        records, threshold_of=run.config.threshold_of, judge_of=lambda prompt: judge_of(run.config.reward, prompt)
    )
    records = store.in_prompt_order(records)
    page = store.folder / "report.html"
    files = {
        "table.csv": to_csv(records),
        "report.json": to_json(summary, digest=run.digest, config=run.config.model_dump(mode="json")),
        page.name: render(
            store.folder,
            run,
            records,
            summary=summary,
            damage=stored.damage,
            step_links=step_links,
            on_progress=on_progress,
        ).encode(),  # fmt: skip
    }
    try:
        for name, content in files.items():
            write_atomically(store.folder / name, content)
    except OSError as error:
        raise UsageError(f"{page} cannot be written ({error.strerror}): mend that and ask again.") from error
    return page


def render(folder: Path, run: RunFile, records: Sequence[Record], *, summary: Summary, damage: Sequence[Damage] = (),
           step_links: bool = True, on_progress: OnProgress | None = None) -> str:  # fmt: skip
    """The page as text; the samples are in the order of `records`."""
    samples, names = [], [record.prompt.category for record in records]
    numbers = category_numbers(names)
    for index, record in enumerate(records):
        curve = index < (FULL if len(records) <= PICTURED else CURVES)
        samples.append(_sample_view(folder, run, record, index=index, curve=curve))
        if on_progress:
            on_progress(index + 1, len(records))
    return render_template(
        "score.html.j2" if run.config.command == "score" else "report.html.j2",
        run=run,
        summary=summary,
        samples=samples,
        numbers=numbers,
        limited=any(run.config.threshold_of(category) is not None for category in numbers),
        categories=category_filters(names, numbers),
        marks=mark_filters(sample.card for sample in samples),
        explanation=explain_method(run.config),
        other_model=other_model(run.config),
        settings=_settings(run),
        planned=run.num_samples,
        overview=_overview(records),
        counted=any(step.tokens_by_updates for record in records for step in record.steps),
        words=words,
        full=FULL,
        step_links=step_links,
        unfold=len(samples) <= OPEN,
        pictured=PICTURED,
        damage=damage,
    )


def _settings(run: RunFile) -> list[tuple[str, str]]:
    """Name and value of everything in the run's identity, then versions and machine of each period of work."""
    identity = sorted(run.config.identity().items())
    settings = [(display_name(name), _display_value(value)) for name, value in identity if value not in ("", None)]
    for period in run.sittings:
        settings.append((f"versions, {period.started}", _display_value(period.versions)))
        settings.append((f"machine, {period.started}", _display_value(period.machine)))
    return settings


def _display_value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_display_value(item)}" for name, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _overview(records: Sequence[Record]) -> Markup:
    """The figure of first against best scores; empty where few of them differ, as with a judge that says yes or no."""
    if len(set(map(first_and_best, records))) < FEW_POINTS or all(len(record.steps) == 1 for record in records):
        return Markup("")
    return Markup(inline(first_against_best(records), "First against best score of each sample"))


def _sample_view(folder: Path, run: RunFile, record: Record, *, index: int, curve: bool) -> SampleView:
    threshold = run.config.threshold_of(record.prompt.category)
    change = describe_result(record.steps, record.returned)
    large = index < FULL and len(record.steps) == 1
    side = LARGE if large else THUMBNAIL if index < PICTURED else 0
    after = _picture_view(folder, record.result, "Returned" if record.returned else "First, kept", side=side)
    return SampleView(
        anchor=f"sample-{index}",
        record=record,
        judge=judge_of(run.config.reward, record.prompt),
        change=change,
        card=card_marks(record, threshold, change),
        marks=sample_marks(record),
        found=found_at(record, threshold),
        before=_picture_view(folder, record.first, "First", side=side) if record.returned else after,
        after=after,
        judgement=_judgement(record.result),
        steps=_step_views(folder, record) if index < FULL else (),
        curve=_curve(run, record) if curve and len(record.steps) > 1 else Markup(""),
    )


def _picture_view(folder: Path, step: StepRecord, caption: str, *, side: int) -> PictureView:
    """`side` 0: the picture is not shown."""
    embedded = embed_step(folder, step, side) if side else EmbeddedPicture("", False)
    return PictureView(caption, words.number(step.score), embedded)


def _curve(run: RunFile, record: Record) -> Markup:
    threshold = run.config.threshold_of(record.prompt.category)
    return Markup(inline(score_curve(record, threshold=threshold), f"Score by step for {record.prompt.text}"))


def _step_views(folder: Path, record: Record) -> tuple[StepView, ...]:
    previous_texts = [None, *(step.visualisation for step in record.steps)]
    return tuple(
        _step_view(folder, record, index, previous=previous_texts[index]) for index in range(len(record.steps))
    )


def _step_view(folder: Path, record: Record, index: int, *, previous: str | None) -> StepView:
    step = record.steps[index]
    text = step.visualisation
    return StepView(
        title=f"Step {step.index}",
        score=words.number(step.score),
        change=describe_step(step, count_free(record.steps[: index + 1])),
        facts=_facts(step),
        marks=tuple(failure_marks(step)),
        returned=index == record.returned,
        alt=f"Step {step.index} for “{record.prompt.text}”, score {words.number(step.score)}",
        embedded=embed_step(folder, step, LARGE if index in (0, record.returned) else MIDDLE),
        visualisation=text if text != previous else None,
        word_changes=tuple(word_diff(previous, text)) if previous and text and text != previous else (),
    )


def _judgement(step: StepRecord) -> list[tuple[str, str]]:
    """The named parts of the score, and the judge's reason."""
    parts = [(name, words.verdict(value)) for name, value in step.parts.items()]
    return parts + ([("reason", step.reason)] if step.reason else [])


def _facts(step: StepRecord) -> tuple[tuple[str, str], ...]:
    """Name and value of what the record says of a step; empty values are left out."""
    facts = _judgement(step)
    if step.judged is not None:
        facts.append(("report metric", words.number(step.judged.score)))
    updates = [(modality, step.info[modality]) for modality in moved_latents(step) if modality in step.info]
    for modality, info in updates:
        facts.append((f"{modality} update", f"loss {info.loss:.3g}, gradient {info.gradient_norm:.3g}, "
                      f"norm {info.update_norm:.3g}, distance {info.distance:.3g}"))  # fmt: skip
        if info.surprise is not None:
            facts.append((f"{modality} surprise", f"{info.surprise:.2f} nats per token"))
    ties = len(step.text_near_ties) + len(step.image_near_ties)
    facts += [("repetition", words.number(step.repetition))] if step.repetition else []
    facts += [("near ties", str(ties))] if ties else []
    return (*facts, ("cost", words.cost(step.cost)))
