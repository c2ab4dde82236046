"""One self-contained page about a run: report.html, with report.json and table.csv beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from milr.report import words
from milr.report.failures import looks_hacked, marks
from milr.report.figures import first_against_best, inline, score_curve
from milr.report.pictures import LARGE, THUMBNAIL, Embedded, embed
from milr.report.summary import Summary, summarise, to_csv, to_json
from milr.runs.config import shown
from milr.runs.store import Record, Run, RunStore, StepRecord, write_atomically
from milr.types import UsageError

FULL = 50  # samples shown with every step; the others show their first and best pictures
OPEN = 3  # up to so many samples are unfolded at once
OnSample = Callable[[int, int], None]


@dataclass(frozen=True)
class StepView:
    """A step as the page shows it. `changes` is empty when the text stayed as it was."""

    title: str
    score: str
    facts: tuple[tuple[str, str], ...]
    marks: tuple[str, ...]
    returned: bool
    alt: str
    thumbnail: Embedded
    visualisation: str | None
    changes: tuple[words.Change, ...]


@dataclass(frozen=True)
class SampleView:
    """A sample as the page shows it; `steps` is empty beyond the first FULL samples."""

    anchor: str
    record: Record
    marks: tuple[str, ...]
    before: tuple[str, str, Embedded]
    after: tuple[str, str, Embedded]
    steps: tuple[StepView, ...]
    curve: Markup


def write_report(run_folder: Path | str, *, on_sample: OnSample | None = None) -> Path:
    """Write report.html, report.json and table.csv of the samples finished so far; the path of the page.

    `on_sample(done, total)` hears of progress: a page of hundreds takes some seconds.
    """
    store = RunStore(run_folder)
    run, records = store.run(), store.records()
    if not records:
        raise UsageError(f"{run_folder} has no finished sample yet: run the same command again to go on.")
    summary = summarise(records, threshold_of=run.config.threshold_of)
    page = store.folder / "report.html"
    files = {
        "table.csv": to_csv(records),
        "report.json": to_json(summary, digest=run.digest, config=run.config.model_dump(mode="json")),
        page.name: render(store.folder, run, records, summary, on_sample=on_sample).encode(),
    }
    try:
        for name, content in files.items():
            write_atomically(store.folder / name, content)
    except OSError as error:
        raise UsageError(f"{page} cannot be written ({error.strerror}): mend that and ask again.") from error
    return page


def render(folder: Path, run: Run, records: Sequence[Record], summary: Summary, *,
           on_sample: OnSample | None = None) -> str:  # fmt: skip
    """The page as text."""
    samples = []
    for place, record in enumerate(records):
        samples.append(_sample(folder, record, place, run.config.threshold_of(record.prompt.category)))
        if on_sample:
            on_sample(place + 1, len(records))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_resource("template.html.j2"))
    return template.render(
        run=run,
        summary=summary,
        samples=samples,
        settings=_settings(run),
        planned=run.config.prompt_count * run.config.samples,
        overview=_overview(records),
        style=Markup(_resource("style.css")),
        words=words,
        full=FULL,
        unfold=len(samples) <= OPEN,
    )


def _resource(name: str) -> str:
    return resources.files("milr.report").joinpath(name).read_text(encoding="utf-8")


def _settings(run: Run) -> list[tuple[str, str]]:
    """Every value that makes this run what it is, then with what it was run."""
    told = sorted(run.config.identity().items())
    known = [(shown(name), _plain(value)) for name, value in told if value not in ("", None)]
    for sitting in run.sittings:
        known.append((f"versions, {sitting.started}", _plain(sitting.versions)))
        known.append((f"machine, {sitting.started}", _plain(sitting.machine)))
    return known


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(item)}" for name, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _overview(records: Sequence[Record]) -> Markup:
    """First against best score; empty for a single sample, whose own curve says more."""
    if len(records) == 1:
        return Markup("")
    return Markup(inline(first_against_best(records), "First against best score of each sample"))


def _sample(folder: Path, record: Record, place: int, threshold: float | None) -> SampleView:
    side = LARGE if place < FULL else THUMBNAIL
    best = record.returned if record.best is None else record.best
    after = ("Returned" if best == record.returned else "Best", record.steps[best])
    return SampleView(
        anchor=f"sample-{place}",
        record=record,
        marks=_sample_marks(record),
        before=("First", words.number(record.first.score), embed(folder / record.first.picture, side)),
        after=(after[0], words.number(after[1].score), embed(folder / after[1].picture, side)),
        steps=_steps(folder, record) if place < FULL else (),
        curve=_curve(record, threshold) if place < FULL and len(record.steps) > 1 else Markup(""),
    )


def _curve(record: Record, threshold: float | None) -> Markup:
    return Markup(inline(score_curve(record, threshold=threshold), f"Score by step for {record.prompt.text}"))


def _sample_marks(record: Record) -> tuple[str, ...]:
    found = dict.fromkeys(mark for step in record.steps for mark in marks(step))
    if looks_hacked(record):
        found["possible reward hacking"] = None
    return tuple(found)


def _steps(folder: Path, record: Record) -> tuple[StepView, ...]:
    texts = [None, *(step.visualisation for step in record.steps)]
    return tuple(_step(folder, record, place, texts[place]) for place in range(len(record.steps)))


def _step(folder: Path, record: Record, place: int, previous: str | None) -> StepView:
    step = record.steps[place]
    text = step.visualisation
    changed = previous is not None and text is not None and text != previous
    return StepView(
        title=f"Step {step.index}",
        score=words.number(step.score),
        facts=_facts(step),
        marks=tuple(marks(step)),
        returned=place == record.returned,
        alt=f"Step {step.index} for “{record.prompt.text}”, score {words.number(step.score)}",
        thumbnail=embed(folder / step.picture, THUMBNAIL),
        visualisation=text if text != previous else None,
        changes=tuple(words.word_diff(previous, text)) if changed and previous and text else (),
    )


def _facts(step: StepRecord) -> tuple[tuple[str, str], ...]:
    """What is known of a step, in words; facts that say nothing are left out."""
    facts = [(name, words.number(value)) for name, value in step.parts.items()]
    facts += [("reason", step.reason)] if step.reason else []
    if step.judged is not None:
        facts.append(("report metric", words.number(step.judged.score)))
    facts.append(("moved", " and ".join(step.moved) or "nothing"))
    for modality, info in step.info.items():
        facts.append((f"{modality} tokens changed", f"{info.tokens_changed} of {info.free_tokens} free"))
        facts.append((f"{modality} update", f"loss {info.loss:.3g}, gradient {info.gradient_norm:.3g}, "
                      f"norm {info.update_norm:.3g}, distance {info.distance:.3g}"))  # fmt: skip
        if info.surprise is not None:
            facts.append((f"{modality} surprise", f"{info.surprise:.2f} nats per token"))
    ties = len(step.text_near_ties) + len(step.image_near_ties)
    facts += [("repetition", words.number(step.repetition))] if step.repetition else []
    facts += [("near ties", str(ties))] if ties else []
    return (*facts, ("cost", words.cost(step.cost)))
