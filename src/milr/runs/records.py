"""The record of one finished sample, as JSON. It holds no tensors, so reading one does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from milr.types import Cost, Modality, ModalityInfo, Outcome, Prompt, Score, Step, StopReason, TextTrace

VERSION: Final = 1


class Judgement(BaseModel):
    """A score in [0, 1] by the report metric; `score` None is unscored."""

    model_config = ConfigDict(frozen=True)

    score: float | None
    parts: dict[str, float] = {}
    reason: str = ""


class StepRecord(BaseModel):
    """One step of a sample. `picture` is a path relative to the run's folder.

    `judged` is the report metric's score of the picture (None: it was not asked). `visualisation` None: the picture was
    drawn from the bare prompt. `tokens_by_updates` {}: not counted, as in records of older versions.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    index: int
    score: float | None
    parts: dict[str, float] = {}
    reason: str = ""
    visualisation: str | None
    text_ids: tuple[int, ...] = ()
    image_ids: tuple[int, ...] = ()
    moved: tuple[Modality, ...] = ()
    info: dict[Modality, ModalityInfo] = {}
    tokens_by_updates: dict[Modality, int] = {}
    text_changed: bool = False
    repetition: float = 0.0
    text_near_ties: tuple[int, ...] = ()
    image_near_ties: tuple[int, ...] = ()
    cost: Cost = Cost()
    picture: str
    judged: Judgement | None = None


class Record(BaseModel):
    """One finished sample: `best` and `returned` are positions in `steps`; `best` None when nothing was scored."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    version: Literal[1] = VERSION
    prompt: Prompt
    seed: int
    sample: int
    steps: tuple[StepRecord, ...]
    best: int | None
    returned: int
    stop: StopReason
    cost: Cost

    @model_validator(mode="after")
    def _check_positions(self) -> Self:
        positions = {self.returned, self.returned if self.best is None else self.best}
        if not positions <= set(range(len(self.steps))):
            raise ValueError("best and returned must be positions in steps")
        return self

    @property
    def unjudged(self) -> bool:
        """Whether a judge gave up on this sample, so that the next run asks it again."""
        judgements = [step.judged for step in self.steps if step.judged]
        return self.stop == "judge_failed" or any(judgement.score is None for judgement in judgements)

    @property
    def first(self) -> StepRecord:
        """Step 0, before any update."""
        return self.steps[0]

    @property
    def result(self) -> StepRecord:
        """The step whose picture the search returned."""
        return self.steps[self.returned]


def to_record(outcome: Outcome, pictures: Sequence[str]) -> Record:
    """The record of `outcome`; `pictures` are the paths of its steps' pictures, relative to the run's folder."""
    steps = (
        _to_step_record(step, picture, outcome.judged.get(index))
        for index, (step, picture) in enumerate(zip(outcome.steps, pictures, strict=True))
    )
    return Record(
        prompt=outcome.prompt,
        seed=outcome.key.seed,
        sample=outcome.key.sample,
        steps=tuple(steps),
        best=outcome.best,
        returned=outcome.returned,
        stop=outcome.stop,
        cost=outcome.cost,
    )


def _to_step_record(step: Step, picture: str, judged: Score | None) -> StepRecord:
    text = step.rollout.visualisation or TextTrace("", ())
    return StepRecord(
        index=step.index,
        score=step.score.value,
        parts=dict(step.score.parts),
        reason=step.score.reason,
        visualisation=text.text if step.rollout.visualisation else None,
        text_ids=text.ids,
        image_ids=step.rollout.image.ids,
        moved=step.moved,
        info=dict(step.info),
        tokens_by_updates=dict(step.tokens_by_updates),
        text_changed=step.text_changed,
        repetition=step.repetition,
        text_near_ties=text.near_ties,
        image_near_ties=step.rollout.image.near_ties,
        cost=step.cost,
        picture=picture,
        judged=_to_judgement(judged),
    )


def _to_judgement(score: Score | None) -> Judgement | None:
    return None if score is None else Judgement(score=score.value, parts=dict(score.parts), reason=score.reason)
