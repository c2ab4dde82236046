"""The record of one finished sample, as JSON. It holds no tensors, so reading one does not load torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from milr.types import Cost, Modality, ModalityInfo, Outcome, Prompt, Score, Step, StopReason, TextTrace

VERSION: Final = 1
MAX_COUNT = 2**53  # of anything that a record counts: more is damage, and no float holds it

MAX_SEED = 2**64

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Value = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]  # of a score


def _check_cost(cost: Cost) -> Cost:
    """ValueError where a cost holds a number that no search can cost."""
    for name in cost.__dataclass_fields__:
        if not 0 <= getattr(cost, name) <= MAX_COUNT:  # NaN, too
            raise ValueError(f"{name} must lie between 0 and {MAX_COUNT}")
    return cost


def _check_info(info: ModalityInfo) -> ModalityInfo:
    for name in ("tokens_changed", "free_tokens"):
        if not 0 <= getattr(info, name) <= MAX_COUNT:
            raise ValueError(f"{name} must lie between 0 and {MAX_COUNT}")
    return info


SpentCost = Annotated[Cost, AfterValidator(_check_cost)]
UpdateInfo = Annotated[ModalityInfo, AfterValidator(_check_info)]


class Judgement(BaseModel):
    """A score in [0, 1] by the report metric; `score` None is unscored."""

    model_config = ConfigDict(frozen=True)

    score: Value | None
    parts: dict[str, float] = {}
    reason: str = ""


class StepRecord(BaseModel):
    """One step of a sample. `picture` is a path relative to the run's folder, `picture_sha256` and `picture_bytes` the
    hash and the size of the file there ("" and 0: a record of an older version).

    `chosen` is the position of the best step up to this one, where the reward compares pictures (None: the highest
    score). `judged` is the report metric's score of the picture (None: it was not asked). `visualisation` None: the
    picture was drawn from the bare prompt. `tokens_by_updates` {}: not counted, as in records of older versions.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    index: Count
    score: Value | None
    parts: dict[str, float] = {}
    reason: str = ""
    visualisation: str | None
    text_ids: tuple[Count, ...] = ()
    image_ids: tuple[Count, ...] = ()
    moved: tuple[Modality, ...] = ()
    info: dict[Modality, UpdateInfo] = {}
    tokens_by_updates: dict[Modality, Count] = {}
    text_changed: bool = False
    repetition: float = 0.0
    note: str = ""
    chosen: Count | None = None
    text_near_ties: tuple[Count, ...] = ()
    image_near_ties: tuple[Count, ...] = ()
    cost: SpentCost = Cost()
    picture: str
    picture_sha256: str = ""
    picture_bytes: Count = 0
    judged: Judgement | None = None


class Record(BaseModel):
    """One finished sample: `best` and `returned` are positions in `steps`; `best` None when nothing was scored.

    `checksum` is the SHA-256 of the rest of the record's file, `run` the digest of the run's identity ("": a record of
    an older version has neither).
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    checksum: str = ""
    version: Literal[1] = VERSION
    run: str = ""
    prompt: Prompt
    seed: Annotated[int, Field(ge=-MAX_SEED, le=MAX_SEED)]
    sample: Count
    steps: tuple[StepRecord, ...]
    best: int | None
    returned: int
    stop: StopReason
    cost: SpentCost

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


class StepWithoutTokens(StepRecord):
    """A step whose `text_ids` and `image_ids`, most of its size and of the time to read it, are left in the file."""

    text_ids: ClassVar[tuple[int, ...]] = ()  # type: ignore[misc]
    image_ids: ClassVar[tuple[int, ...]] = ()  # type: ignore[misc]


class RecordWithoutTokens(Record):
    """A record for reports, read in half the time."""

    steps: tuple[StepWithoutTokens, ...]


@dataclass(frozen=True)
class PictureFile:
    """A written picture: its path relative to the run's folder, the SHA-256 of its bytes, and how many they are."""

    path: str
    sha256: str = ""
    num_bytes: int = 0


def to_record(outcome: Outcome, pictures: Sequence[PictureFile], run: str = "") -> Record:
    """The record of `outcome`; `pictures` are the files of its steps' pictures, `run` is the digest of the run."""
    steps = (
        _to_step_record(step, picture, outcome.judged.get(index))
        for index, (step, picture) in enumerate(zip(outcome.steps, pictures, strict=True))
    )
    return Record(
        run=run,
        prompt=outcome.prompt,
        seed=outcome.key.seed,
        sample=outcome.key.sample,
        steps=tuple(steps),
        best=outcome.best,
        returned=outcome.returned,
        stop=outcome.stop,
        cost=outcome.cost,
    )


def _to_step_record(step: Step, picture: PictureFile, judged: Score | None) -> StepRecord:
    text = step.rollout.visualisation or TextTrace("", ())
    return StepRecord(
        index=step.index,
        score=step.score.value,
        parts=dict(step.score.parts),
        reason=_printable(step.score.reason),
        visualisation=_printable(text.text) if step.rollout.visualisation else None,
        text_ids=text.ids,
        image_ids=step.rollout.image.ids,
        moved=step.moved,
        info=dict(step.info),
        tokens_by_updates=dict(step.tokens_by_updates),
        text_changed=step.text_changed,
        repetition=step.repetition,
        note=_printable(step.note),
        chosen=step.chosen,
        text_near_ties=text.near_ties,
        image_near_ties=step.rollout.image.near_ties,
        cost=step.cost,
        picture=picture.path,
        picture_sha256=picture.sha256,
        picture_bytes=picture.num_bytes,
        judged=_to_judgement(judged),
    )


def _to_judgement(score: Score | None) -> Judgement | None:
    if score is None:
        return None
    return Judgement(score=score.value, parts=dict(score.parts), reason=_printable(score.reason))


def _printable(text: str) -> str:
    """`text` with question marks for lone surrogates, which no file can hold."""
    return text.encode(errors="replace").decode()
