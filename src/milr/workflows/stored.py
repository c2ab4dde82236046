"""Runs on disk as Python objects: their outcomes with pictures, and a table of their steps. Loads no model."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.types import ImageTrace, Key, Outcome, Outcomes, Rollout, Score, Step, TextTrace, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.runs.config import RunConfig
    from milr.runs.records import Record, StepRecord
    from milr.runs.sample_files import EncodedOutcome, SampleFiles
    from milr.runs.store import Damage, StoredRecords


class StoredRollout(Rollout):
    """A rollout of a run's files. `picture` is read, and checked, when it is asked for.

    UsageError where the picture is missing or damaged.
    """

    def __init__(self, visualisation: TextTrace | None, image: ImageTrace, *, read: Callable[[], Image]) -> None:
        for name, value in (("visualisation", visualisation), ("image", image), ("_read", read)):
            object.__setattr__(self, name, value)

    @cached_property
    def picture(self) -> Image:  # type: ignore[override]
        """The picture of the step."""
        return self._read()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Run:
    """A run folder. Damaged and unfinished samples are left out.

    `folder` is where it lies, `config` what was run. A run that still goes on can be read at any time.
    """

    folder: Path
    config: RunConfig

    @cached_property
    def outcomes(self) -> Outcomes:
        """All finished samples, in the order of the prompts, then of the samples; pictures are read when asked for."""
        from milr.runs.store import RunStore

        damaged = {each.path for each in self.damage}
        complete = [record for record in self._stored.records
                    if not any(path in damaged for step in record.steps for path in _paths(step))]  # fmt: skip
        return Outcomes(restore(record, self.folder) for record in RunStore(self.folder).in_prompt_order(complete))

    @property
    def damage(self) -> tuple[Damage, ...]:
        """What is damaged: `path`, relative to `folder`, and `reason` of each record and picture."""
        return tuple(self._stored.damage)

    @cached_property
    def _stored(self) -> StoredRecords:
        from milr.runs.store import RunStore

        return RunStore(self.folder).read()

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


def count_records(folder: Path) -> tuple[int, int]:
    """How many samples of the run in `folder` have records, which are not read, and how many it is to have."""
    from milr.runs.store import read_run

    return sum(1 for _ in (folder / "records").glob("*.json")), read_run(folder).num_samples


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
    return _restore(record, [partial(open_picture, folder, step) for step in record.steps])


def restore_files(files: SampleFiles) -> EncodedOutcome:
    """A finished sample from the bytes of its files, which it keeps; latents are not among them."""
    from milr.runs.record_files import decode_record
    from milr.runs.sample_files import EncodedOutcome

    record = decode_record(files.record, Path(f"{files.name}.json"))
    outcome = _restore(record, [partial(_decode_picture, content) for content in files.pictures])
    return EncodedOutcome(**vars(outcome), files=files)


def _restore(record: Record, pictures: Sequence[Callable[[], Image]]) -> Outcome:
    steps = tuple(_restore_step(step, read) for step, read in zip(record.steps, pictures, strict=True))
    key = Key(record.seed, record.prompt.text, record.sample)
    judged = {index: Score(step.judged.score, step.judged.parts, step.judged.reason)
              for index, step in enumerate(record.steps) if step.judged}  # fmt: skip
    return Outcome(record.prompt, key, steps, record.best, record.returned, record.stop, record.cost, judged)


def _restore_step(step: StepRecord, read: Callable[[], Image]) -> Step:
    text = None if step.visualisation is None else TextTrace(step.visualisation, step.text_ids,
                                                             near_ties=step.text_near_ties)  # fmt: skip
    image = ImageTrace(step.image_ids, near_ties=step.image_near_ties)
    rollout = StoredRollout(text, image, read=read)
    score = Score(step.score, step.parts, step.reason, step.cost.reward_calls, step.cost.reward_seconds)
    return Step(step.index, rollout, score, step.moved, step.info, step.text_changed, step.repetition, step.cost,
                step.tokens_by_updates, step.note, step.chosen)  # fmt: skip


def open_picture(folder: Path, step: StepRecord) -> Image:
    """A step's picture as it was written; UsageError where it is missing or damaged, or has too many pixels."""
    from milr.runs.files import DamagedError
    from milr.runs.record_files import read_picture

    try:
        return _decode_picture(read_picture(folder, step))
    except DamagedError as error:
        raise UsageError(f"{folder / step.picture} {error}: the command that made the run makes it again.") from None


def _decode_picture(content: bytes) -> Image:
    """The picture in a file's content; DamagedError where it is none, or has too many pixels."""
    from PIL import Image, UnidentifiedImageError

    from milr.runs.files import DamagedError
    from milr.runs.record_files import MAX_PIXELS

    try:
        with Image.open(io.BytesIO(content)) as file:
            if file.width * file.height > MAX_PIXELS:
                raise DamagedError(f"has more than {MAX_PIXELS:,} pixels")
            return file.convert("RGB")
    except DamagedError:
        raise
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
        raise DamagedError("is damaged (it is no picture)") from None  # PIL says SyntaxError of a broken chunk


def _paths(step: StepRecord) -> tuple[str, str, str]:
    """The paths that damage of a step's picture may be told of: the picture, and the folders that hold it."""
    parent, _, _ = step.picture.rpartition("/")
    return step.picture, parent, "images"
