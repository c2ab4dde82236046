"""Judges a folder of pictures that any tool made, into an ordinary run folder: `milr report` and `compare` read it.

Everything is checked before the first judgement: holes, foreign pictures, metadata, pictures that cannot be read.
What no folder can tell stays neutral in the records: no visualisation, no tokens, nothing moved, no token-steps and no
model seconds. Each picture counts as one picture, which is the least it can have cost, and the metric stands as search
reward and as report metric, although nothing was searched.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from milr.base import Benchmark, Reward, UnifiedModel, World
from milr.catalog import world_needed
from milr.engine.studio import Studio
from milr.inputs.pictures import decode_picture, read_picture_file
from milr.runs.config import RunConfig, digest_of, prompts_digest
from milr.runs.events import Listener, Listeners
from milr.runs.official_pictures import OfficialPicture, find_pictures
from milr.runs.runner import Job, run
from milr.runs.store import RunStore, name_of
from milr.types import Cost, ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, UsageError
from milr.workflows.picture_list import read_picture_list
from milr.workflows.prepare import refuse_comparison
from milr.workflows.prompt_list import LIST
from milr.workflows.prompts import complete

if TYPE_CHECKING:
    from PIL.Image import Image

METHOD, MODEL = "pictures", "folder"
READERS = 4  # threads that decode pictures while the folder is checked
OnChecked = Callable[[int, int], None]  # pictures read, of how many


@dataclass(frozen=True)
class FolderJudge:
    """The metric that judges a folder, with its name and identity in the run's configuration.

    `notes` are sentences about how its scores come about. The catalogue knows all three: `catalog.reward_identity`,
    `catalog.notes_of`. Without a name it is the reward's own.
    """

    reward: Reward
    given_name: str = ""
    identity: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name that tables show."""
        return self.given_name or self.reward.name


@dataclass(frozen=True)
class Selection:
    """Which pictures of a folder count.

    `prompts` are those of the benchmark that count (None: all), `samples` how many pictures each has (None: as many as
    are found), `seed` what the pictures are filed under, so that they can be paired with a run's. `partial` leaves out
    what is missing or unreadable instead of refusing the folder.
    """

    prompts: tuple[Prompt, ...] | None = None
    samples: int | None = None
    seed: int = 0
    partial: bool = False


EVERYTHING = Selection()


@dataclass(frozen=True)
class CheckedFolder:
    """A folder whose pictures can be judged. `missing` samples are absent or cannot be read (only if allowed).

    `digest` is that of all pictures' bytes with the samples they belong to.
    """

    prompts: tuple[Prompt, ...]
    samples: int
    pictures: Mapping[str, OfficialPicture]
    jobs: tuple[Job, ...]
    missing: int
    digest: str


@dataclass(frozen=True)
class ScoredFolder:
    """How many pictures have a judgement in the run folder `out`, how many of them had one before, and the holes."""

    pictures: int
    found: int
    missing: int
    samples: int
    out: Path


class _NoModel:
    """Stands where a studio has its model: a folder can answer nothing."""

    name = MODEL
    was_asked = False

    def answer(self, *arguments: Any, **settings: Any) -> list[Any]:
        """Remember the question, because a reward may take the error for a failed judgement; UsageError."""
        self.was_asked = True
        raise UsageError("there is no model to ask")


async def score_folder(benchmark: Benchmark, folder: Path, judge: FolderJudge, *, out: Path,
                       selection: Selection = EVERYTHING, in_flight: int = 8, on_checked: OnChecked | None = None,
                       listener: Listener = Listeners()) -> ScoredFolder:  # fmt: skip
    """Judge the pictures in `folder`, laid out as the benchmark's evaluator wants them, and keep each in `out`.

    The same call resumes; UsageError, before any judgement, where the folder is not what it should be.
    """
    world = world_needed(judge.reward)
    checked = await asyncio.to_thread(
        lambda: check_folder(benchmark, folder, selection, on_checked=on_checked, world=world)
    )
    config = _config(benchmark.name, checked, judge, folder.resolve().name, selection.seed)
    return await _score(checked, judge, config, out=out, in_flight=in_flight, listener=listener)


async def score_list(file: Path, judge: FolderJudge, *, out: Path, selection: Selection = EVERYTHING,
                     in_flight: int = 8, on_checked: OnChecked | None = None,
                     listener: Listener = Listeners()) -> ScoredFolder:  # fmt: skip
    """Judge the pictures that `file` lists with their prompts (`read_picture_list`), and keep each in `out`.

    Of the selection, `seed` and `partial` count. The same call resumes; UsageError, before any judgement, where the
    list or a picture cannot be read.
    """
    world = world_needed(judge.reward)
    checked = await asyncio.to_thread(lambda: check_list(file, selection, on_checked=on_checked, world=world))
    config = _config(LIST, checked, judge, file.resolve().stem, selection.seed)
    return await _score(checked, judge, config, out=out, in_flight=in_flight, listener=listener)


async def _score(checked: CheckedFolder, judge: FolderJudge, config: RunConfig, *, out: Path, in_flight: int,
                 listener: Listener) -> ScoredFolder:  # fmt: skip
    """Judge what was checked and has no judgement yet."""
    _refuse_unjudgeable(checked.prompts, judge)
    model = _NoModel()
    studio = Studio(cast(UnifiedModel, model), judge.reward)

    async def judge_picture(prompt: Prompt, sample: int) -> Outcome:
        picture = await asyncio.to_thread(_reopen, checked.pictures[name_of(prompt, sample)])
        score = await studio.score(picture, prompt)
        if model.was_asked:
            raise UsageError(f"the metric {judge.name} asks the model that drew, and a folder of pictures has none: "
                             "choose another --metric.")  # fmt: skip
        return _outcome(prompt, Key(config.seed, prompt.text, sample), picture, score)

    try:
        planned = len(checked.jobs) + checked.missing
        with RunStore(out).open(config, checked.prompts, in_flight=in_flight, planned=planned) as store:
            tally = await run(checked.jobs, store=store, search_one=judge_picture, in_flight=in_flight,
                              listener=listener)  # fmt: skip
    finally:
        studio.close()
    return ScoredFolder(tally.total, tally.existing, checked.missing, checked.samples, out)


def check_folder(benchmark: Benchmark, folder: Path, selection: Selection = EVERYTHING, *,
                 on_checked: OnChecked | None = None, world: World | None = None) -> CheckedFolder:  # fmt: skip
    """Read the whole folder once; UsageError where it cannot be judged as it is.

    What prompts lack of category and metadata comes from `world`, which the judge knows.
    """
    all_prompts = [complete(prompt, world) for prompt in benchmark.prompts()]
    chosen = all_prompts if selection.prompts is None else selection.prompts
    prompts = tuple(complete(prompt, world) for prompt in chosen)
    keys = {(prompt.id, prompt.text) for prompt in prompts}
    all_pictures = find_pictures(folder, all_prompts, benchmark.layout, samples=selection.samples)
    pictures = [picture for picture in all_pictures if (picture.prompt.id, picture.prompt.text) in keys]
    if not pictures:
        raise UsageError(f"{folder} holds no picture of these prompts in layout {benchmark.layout}: name a folder as "
                         f"milr export --layout {benchmark.layout} makes it.")  # fmt: skip
    samples = selection.samples or 1 + max(picture.sample for picture in all_pictures)
    expected = [Job(prompt, sample) for sample in range(samples) for prompt in prompts]
    return _checked(folder, prompts, pictures, expected, partial=selection.partial, on_checked=on_checked)


def check_list(file: Path, selection: Selection = EVERYTHING, *, on_checked: OnChecked | None = None,
               world: World | None = None) -> CheckedFolder:  # fmt: skip
    """Read all pictures of a list once; UsageError where one cannot be judged as it is."""
    pictures = [dataclasses.replace(picture, prompt=complete(picture.prompt, world))
                for picture in read_picture_list(file)]  # fmt: skip
    prompts = tuple({picture.prompt.text: picture.prompt for picture in pictures}.values())
    expected = [Job(picture.prompt, picture.sample) for picture in pictures]
    return _checked(file, prompts, pictures, expected, partial=selection.partial, on_checked=on_checked)


def _checked(source: Path, prompts: tuple[Prompt, ...], pictures: Sequence[OfficialPicture], expected: Sequence[Job],
             *, partial: bool, on_checked: OnChecked | None) -> CheckedFolder:  # fmt: skip
    """The `expected` samples of a folder or a list whose `pictures` are read."""
    digests = dict(_digests(pictures, partial, on_checked or (lambda done, total: None)))
    jobs = _readable(source, expected, digests, partial=partial)
    by_name = {name_of(picture.prompt, picture.sample): picture for picture in pictures}
    samples = 1 + max(job.sample for job in expected)
    return CheckedFolder(prompts, samples, by_name, tuple(jobs), len(expected) - len(jobs),
                         digest_of(sorted(digests.items())))  # fmt: skip


def _readable(folder: Path, expected: Sequence[Job], digests: Mapping[str, str], *, partial: bool) -> list[Job]:
    """The samples that have a picture; UsageError where one has none, or with `partial` where none has one."""
    readable = [job for job in expected if name_of(job.prompt, job.sample) in digests]
    if len(readable) < len(expected) and not partial:
        first = next(job for job in expected if name_of(job.prompt, job.sample) not in digests)
        raise UsageError(
            f"{folder} lacks {len(expected) - len(readable)} of {len(expected)} pictures, the first of them sample "
            f"{first.sample} of '{first.prompt.text}': add them, or judge what is there with --partial."
        )
    if not readable:
        raise UsageError(f"{folder} holds no picture that can be read: make them again.")
    return readable


def _refuse_unjudgeable(prompts: Sequence[Prompt], judge: FolderJudge) -> None:
    """UsageError where the metric can never judge one of the prompts."""
    refuse_comparison("metric", judge.name, judge.reward)
    check, world = getattr(judge.reward, "check", None), world_needed(judge.reward)
    for prompt in prompts:
        if world and world.read(prompt.text) is None and not _can_judge(check, prompt):
            raise UsageError(f"the metric {judge.name} knows the world {world.name} alone, and {prompt.text!r} is none "
                             "of its prompts: choose another --metric.")  # fmt: skip
        if callable(check):
            check(prompt)


def _can_judge(check: Any, prompt: Prompt) -> bool:
    """Whether a reward's `check` accepts the metadata that a prompt brings."""
    try:
        check(prompt)
    except (UsageError, TypeError):  # TypeError: there is no check
        return False
    return True


def _digests(pictures: Sequence[OfficialPicture], partial: bool, on_checked: OnChecked) -> Iterator[tuple[str, str]]:
    """The hash of every picture that can be read, by its sample's name; UsageError at the first that cannot."""
    readers = ThreadPoolExecutor(READERS)
    try:
        for done, (picture, digest) in enumerate(zip(pictures, readers.map(_digest, pictures), strict=True), 1):
            on_checked(done, len(pictures))
            if isinstance(digest, str):
                yield name_of(picture.prompt, picture.sample), digest
            elif not partial and isinstance(digest, UsageError):
                raise digest
            elif not partial:
                raise UsageError(f"{picture.path} cannot be read as a picture ({type(digest).__name__}): make it "
                                 "again, or leave it out with --partial.")  # fmt: skip
    finally:
        readers.shutdown(cancel_futures=True)


def _digest(picture: OfficialPicture) -> str | Exception:
    try:
        content = read_picture_file(picture.path)
        decode_picture(content, str(picture.path))
    except Exception as error:  # a decoder may raise anything about a damaged file; the caller reports or counts it
        return error
    return hashlib.sha256(content).hexdigest()


def _reopen(picture: OfficialPicture) -> Image:
    try:
        return picture.cut(decode_picture(read_picture_file(picture.path), str(picture.path)))
    except Exception as error:  # it could be read a moment ago
        raise UsageError(f"{picture.path} changed while the folder was judged: restore it, and the same command goes "
                         "on.") from error  # fmt: skip


def _config(benchmark: str, checked: CheckedFolder, judge: FolderJudge, label: str, seed: int) -> RunConfig:
    """The identity of the run: the pictures' bytes are part of it, the folder's path is not."""
    return RunConfig(
        command="score", label=label, benchmark=benchmark, prompts_digest=prompts_digest(checked.prompts),
        prompt_count=len(checked.prompts), model=MODEL, model_identity={"pictures": checked.digest}, reward=judge.name,
        reward_identity=dict(judge.identity), report_metric=judge.name, metric_identity=dict(judge.identity),
        method=METHOD, seed=seed, samples=checked.samples, notes=judge.notes,
    )  # fmt: skip


def _outcome(prompt: Prompt, key: Key, picture: Image, score: Score) -> Outcome:
    """A search that made one picture and ended."""
    cost = Cost(pictures=1, reward_calls=score.calls, reward_seconds=score.seconds)
    step = Step(0, Rollout(None, ImageTrace(()), picture), score, cost=cost)
    if score.value is None:
        return Outcome(prompt, key, (step,), None, 0, "judge_failed", cost, {0: score})
    return Outcome(prompt, key, (step,), 0, 0, "steps", cost, {0: score})
