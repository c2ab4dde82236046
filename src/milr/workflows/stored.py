"""Runs on disk as Python objects: their outcomes with pictures, and a table of their steps. Loads no model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.types import ImageTrace, Key, Outcome, Outcomes, Rollout, Score, Step, TextTrace, UsageError

if TYPE_CHECKING:
    from milr.runs.config import RunConfig
    from milr.runs.records import Record, StepRecord


@dataclass(frozen=True)
class Run:
    """A run folder. Damaged and unfinished samples are left out.

    `folder` is where it lies, `config` what was run. A run that still goes on can be read at any time.
    """

    folder: Path
    config: RunConfig

    @cached_property
    def outcomes(self) -> Outcomes:
        """All finished samples, in the order of the prompts, then of the samples."""
        from milr.runs.store import RunStore

        store = RunStore(self.folder)
        records = store.records_in_prompt_order()
        complete = [record for record in records if store.record(record.prompt, record.sample)]
        return Outcomes(restore(record, self.folder) for record in complete)

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with a row for each picture, in the order of `outcomes`.

        Columns: prompt, id, category, sample, seed, step (0 is the untouched first picture), score (NaN: unscored),
        judged (the report metric's, NaN where it was not asked), returned (whether the search returned this picture),
        text_changed, tokens_by_updates (free tokens that are others than without any update), visualisation, picture
        (its path), stop, and what the step cost: token_steps, reward_calls, model_seconds, reward_seconds. ImportError
        without pandas.
        """
        import pandas

        return pandas.DataFrame([row for outcome in self.outcomes for row in _rows(outcome, self.folder)])

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.config.method} on {self.config.model}, {len(self.outcomes)} outcomes)"

    def _repr_html_(self) -> str:
        return self.outcomes._repr_html_()


def load_run(folder: Path | str) -> Run:
    """The run in `folder`, which `--out` or `out=` made; UsageError, naming the file, where there is none."""
    from milr.runs.store import read_run

    return Run(Path(folder), read_run(folder).config)


def _rows(outcome: Outcome, folder: Path) -> list[dict[str, Any]]:
    from milr.runs.store import name_of

    pictures = folder / "images" / name_of(outcome.prompt, outcome.key.sample)
    return [
        {
            "prompt": outcome.prompt.text, "id": outcome.prompt.id, "category": outcome.prompt.category,
            "sample": outcome.key.sample, "seed": outcome.key.seed, "step": step.index, "score": step.score.value,
            "judged": outcome.judged[index].value if index in outcome.judged else None,
            "returned": index == outcome.returned, "text_changed": step.text_changed,
            "tokens_by_updates": step.num_tokens_by_updates,
            "visualisation": step.rollout.visualisation.text if step.rollout.visualisation else None,
            "picture": str(pictures / f"{index:03d}.png"), "stop": outcome.stop,
            "token_steps": step.cost.token_steps, "reward_calls": step.cost.reward_calls,
            "model_seconds": step.cost.model_seconds, "reward_seconds": step.cost.reward_seconds,
        }
        for index, step in enumerate(outcome.steps)
    ]  # fmt: skip


def restore(record: Record, folder: Path) -> Outcome:
    """A finished sample from its record, with pictures; latents are not kept."""
    steps = tuple(_restore_step(step, folder) for step in record.steps)
    key = Key(record.seed, record.prompt.text, record.sample)
    judged = {index: Score(step.judged.score, step.judged.parts, step.judged.reason)
              for index, step in enumerate(record.steps) if step.judged}  # fmt: skip
    return Outcome(record.prompt, key, steps, record.best, record.returned, record.stop, record.cost, judged)


def _restore_step(step: StepRecord, folder: Path) -> Step:
    from PIL import Image

    try:
        with Image.open(folder / step.picture) as file:
            picture = file.convert("RGB")
    except (OSError, SyntaxError) as error:  # PIL says SyntaxError of a broken chunk
        raise UsageError(f"{folder / step.picture} is damaged: delete it, and the same command makes it again."
                         ) from error  # fmt: skip
    text = None if step.visualisation is None else TextTrace(step.visualisation, step.text_ids,
                                                             near_ties=step.text_near_ties)  # fmt: skip
    rollout = Rollout(text, ImageTrace(step.image_ids, near_ties=step.image_near_ties), picture)
    score = Score(step.score, step.parts, step.reason, step.cost.reward_calls, step.cost.reward_seconds)
    return Step(step.index, rollout, score, step.moved, step.info, step.text_changed, step.repetition, step.cost,
                step.tokens_by_updates)  # fmt: skip
