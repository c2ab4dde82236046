"""What a search came to, in words on a terminal or as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from milr.types import Outcome, Score

if TYPE_CHECKING:
    from milr.workflows.prepare import PreparedRun


def _picture_path(outcome: Outcome, folder: Path) -> Path:
    from milr.runs.store import name_of

    return folder / "images" / name_of(outcome.prompt, outcome.key.sample) / f"{outcome.returned:03d}.png"


def tell(console: Console, outcomes: list[Outcome], folder: Path, prepared: PreparedRun) -> None:
    """What became of each prompt, where the pictures are, and who judged them."""
    if len(outcomes) == 1:
        _one(console, outcomes[0], folder, prepared)
    else:
        _many(console, outcomes, prepared)
    console.print(f"report   {folder / 'report.html'}", soft_wrap=True)


def _one(console: Console, outcome: Outcome, folder: Path, prepared: PreparedRun) -> None:
    from milr.report.words import STOPS

    first, best, cost = outcome.first_score, outcome.score, outcome.cost
    console.print(f"score    {number(first.value)} -> {number(best.value)}{_label(prepared)}")
    if outcome.judged:
        before, after = outcome.judged[0], outcome.judged[outcome.returned]
        console.print(f"judged   {number(before.value)} -> {number(after.value)} (by {prepared.metric_name})")
    console.print(f"stopped  {STOPS[outcome.stop]}")
    console.print(f"cost     {cost.pictures} pictures, {cost.token_steps} token-steps, {cost.reward_calls} reward "
                  f"calls, {cost.model_seconds:.1f} s model, {cost.reward_seconds:.1f} s reward")  # fmt: skip
    console.print(f"picture  {_picture_path(outcome, folder)}", soft_wrap=True)


def _many(console: Console, outcomes: list[Outcome], prepared: PreparedRun) -> None:
    table = Table("prompt", "sample", "first", "best", "pictures", "stopped", box=None)
    for outcome in outcomes[:40]:
        table.add_row(outcome.prompt.text, str(outcome.key.sample), number(outcome.first_score.value),
                      number(outcome.score.value), str(len(outcome.steps)), outcome.stop)  # fmt: skip
    console.print(table)
    _means(console, "score", [(outcome.first_score, outcome.score) for outcome in outcomes], _label(prepared))
    judged = [(outcome.judged[0], outcome.judged[outcome.returned]) for outcome in outcomes if outcome.judged]
    _means(console, "judged", judged, f" (by {prepared.metric_name})")


def _means(console: Console, what: str, pairs: Sequence[tuple[Score, Score]], label: str) -> None:
    scored = [(first.value, best.value) for first, best in pairs if first.value is not None and best.value is not None]
    if scored:
        first, best = (sum(values) / len(scored) for values in zip(*scored, strict=True))
        console.print(f"mean {what} {first:.3f} -> {best:.3f}{label}, {len(scored)} scored of {len(pairs)}")


def _label(prepared: PreparedRun) -> str:
    return (
        " (oracle: the reward that guides is also the judge)"
        if prepared.oracle
        else f" (search reward {prepared.reward_name})"
    )


def number(value: float | None) -> str:
    """A score with two digits, or "unscored"."""
    return "unscored" if value is None else f"{value:.2f}"


def as_json(outcome: Outcome, folder: Path, prepared: PreparedRun) -> dict[str, Any]:
    """The result with every step's tokens and scores."""
    steps = [
        {"index": step.index, "score": step.score.value, "moved": list(step.moved),
         "visualisation": step.rollout.visualisation.text if step.rollout.visualisation else None,
         "text_ids": list(step.rollout.visualisation.ids) if step.rollout.visualisation else [],
         "image_ids": list(step.rollout.image.ids)}
        for step in outcome.steps
    ]  # fmt: skip
    judged = outcome.judged[outcome.returned].value if outcome.judged else None
    return {
        "prompt": outcome.prompt.text, "sample": outcome.key.sample, "seed": outcome.key.seed,
        "first_score": outcome.first_score.value, "score": outcome.score.value, "returned": outcome.returned,
        "stop": outcome.stop, "reward": prepared.reward_name, "oracle": prepared.oracle,
        "metric": prepared.metric_name, "judged": judged,
        "picture": str(_picture_path(outcome, folder)), "report": str(folder / "report.html"),
        "cost": dataclasses.asdict(outcome.cost), "steps": steps,
    }  # fmt: skip
