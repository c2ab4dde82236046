"""What trackers write of a run besides numbers and pictures, and where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from milr.report.changes import count_free, describe_result, describe_step
from milr.report.words import STOPS, number
from milr.report.words import cost as describe_cost
from milr.runs.events import RunStarted
from milr.types import Outcome, UsageError

if TYPE_CHECKING:
    from milr.runs.config import RunConfig

FOLDER = "track"  # below the run's


def tracking_folder(started: RunStarted, tracker: str) -> Path:
    """Where a tracker writes; UsageError for a run without a folder."""
    if started.folder is None:
        raise UsageError("a tracker writes below a run's folder: name one with out.")
    folder = started.folder / FOLDER / tracker
    if folder.is_symlink() or folder.parent.is_symlink():
        raise UsageError(f"{folder} is a link, and a run is written inside its own folder only: remove it.")
    return folder


def describe_run(config: RunConfig) -> str:
    """What is run, in Markdown."""
    rows = {"method": config.method, "model": config.model, "reward": config.reward, "metric": config.report_metric,
            "benchmark": config.benchmark, "preset": config.preset, "seed": config.seed, "samples": config.samples,
            "prompts": config.prompt_count, "digest": config.digest}  # fmt: skip
    lines = [f"| {name} | {_cell(str(value))} |" for name, value in rows.items() if value != ""]
    return "\n".join(["| | |", "|---|---|", *lines, "", *(_cell(note) + "\n" for note in config.notes)])


def describe_search(outcome: Outcome) -> str:
    """A search step by step, in Markdown: scores, what changed, cost, the model's plan."""
    free = [count_free(outcome.steps[: index + 1]) for index in range(len(outcome.steps))]
    header = ["| step | score | judged | what changed | token-steps | seconds | visualisation |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    rows = []
    for index, step in enumerate(outcome.steps):
        judged = number(outcome.judged[index].value) if index in outcome.judged else ""
        text = step.rollout.visualisation.text if step.rollout.visualisation else ""
        seconds = step.cost.model_seconds + step.cost.reward_seconds
        mark = " (returned)" if index == outcome.returned else ""
        cells = (f"{step.index}{mark}", number(step.score.value), judged, describe_step(step, free[index]),
                 f"{step.cost.token_steps}", f"{seconds:.2f}", text)  # fmt: skip
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join([f"**{_cell(outcome.prompt.text)}**, sample {outcome.key.sample}, seed {outcome.key.seed}", "",
                      *header, *rows, "", f"Ended: {STOPS[outcome.stop]}. {describe_cost(outcome.cost)}. "
                      f"Returned: {describe_result(outcome.steps, outcome.returned)}."])  # fmt: skip


def _cell(text: str) -> str:
    """A text in a table's cell: on one line, and as text, since it is a model's or a user's."""
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(escaped.split())
