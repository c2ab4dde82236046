"""Judges a folder of pictures that any tool made, into an ordinary run folder: `milr report` and `compare` read it.

Everything is checked before the first judgement: holes, foreign pictures, metadata, pictures that cannot be read.
What no folder can tell stays neutral in the records: no visualisation, no tokens, nothing moved, no token-steps and no
model seconds. Each picture counts as one picture, which is the least it can have cost, and the metric stands as search
reward and as report metric, although nothing was searched.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from milr.base import Benchmark, Reward, UnifiedModel
from milr.engine.studio import Studio
from milr.runs.config import RunConfig, digest_of, prompts_digest
from milr.runs.official_pictures import OfficialPicture, find_pictures
from milr.runs.runner import Job, OnEvent, run
from milr.runs.store import RunStore, name_of
from milr.shapes.grammar import to_prompt
from milr.types import Cost, ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

METHOD, MODEL = "pictures", "folder"
READERS = 4  # pictures decoded at once while the folder is checked
OnChecked = Callable[[int, int], None]  # pictures read, of how many


@dataclass(frozen=True)
class Checked:
    """A folder whose pictures can be judged. `missing` samples are absent or cannot be read (only if allowed).

    `digest` is that of all pictures' bytes with whose they are.
    """

    prompts: tuple[Prompt, ...]
    samples: int
    pictures: Mapping[str, Path]
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
    asked = False

    def answer(
        self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
    ) -> list[Any]:
        """Remembers that it was asked: a reward may take the error for a failed judgement."""
        self.asked = True
        raise UsageError("there is no model to ask")


async def score_folder(benchmark: Benchmark, folder: Path, metric: Reward, *, out: Path, metric_name: str = "",
                       metric_identity: Mapping[str, Any] | None = None, prompts: Sequence[Prompt] | None = None,
                       samples: int | None = None, seed: int = 0, partial: bool = False, in_flight: int = 8,
                       notes: Sequence[str] = (), on_checked: OnChecked | None = None, on_event: OnEvent | None = None
                       ) -> ScoredFolder:  # fmt: skip
    """Judge the pictures in `folder`, laid out as the benchmark's evaluator wants them, and keep each in `out`.

    `prompts` are those of the benchmark that count (None: all), `samples` how many pictures each has (None: as many as
    are found), `seed` what the pictures are filed under, so that they can be paired with a run's. `metric_name`,
    `metric_identity` and `notes` are the catalogue's. `partial` leaves out what is missing or unreadable instead of
    refusing. The same call resumes; UsageError, before any judgement, where the folder is not what it should be.
    """
    checked = await asyncio.to_thread(
        lambda: check(benchmark, folder, prompts, samples, partial=partial, on_checked=on_checked)
    )
    name = metric_name or metric.name
    _refuse_unjudgeable(checked.prompts, metric, name)
    config = _config(benchmark, checked, name, metric_identity or {}, folder.resolve().name, seed)
    config = config.model_copy(update={"notes": tuple(notes)})
    model = _NoModel()
    studio = Studio(cast(UnifiedModel, model), metric)

    async def judge(prompt: Prompt, sample: int) -> Outcome:
        path = checked.pictures[name_of(prompt, sample)]
        picture = await asyncio.to_thread(_reopened, path)
        score = await studio.score(picture, prompt)
        if model.asked:
            raise UsageError(f"the metric {name} asks the model that drew, and a folder of pictures has none: "
                             "choose another --metric.")  # fmt: skip
        return _outcome(prompt, Key(seed, prompt.text, sample), picture, score)

    try:
        with RunStore(out).open(config, checked.prompts, in_flight=in_flight) as store:
            tally = await run(checked.jobs, store=store, search_one=judge, in_flight=in_flight, on_event=on_event)
    finally:
        studio.close()
    return ScoredFolder(tally.total, tally.found, checked.missing, checked.samples, out)


def check(benchmark: Benchmark, folder: Path, prompts: Sequence[Prompt] | None = None, samples: int | None = None, *,
          partial: bool = False, on_checked: OnChecked | None = None) -> Checked:  # fmt: skip
    """Read the whole folder once; UsageError where it cannot be judged as it is."""
    every = benchmark.prompts()
    wanted = every if prompts is None else prompts
    names = {(prompt.id, prompt.text) for prompt in wanted}
    everything = find_pictures(folder, every, benchmark.layout, samples)
    found = [one for one in everything if (one.prompt.id, one.prompt.text) in names]
    if not found:
        raise UsageError(f"{folder} holds no picture of these prompts in layout {benchmark.layout}: name a folder as "
                         f"milr export --layout {benchmark.layout} makes it.")  # fmt: skip
    each = samples or 1 + max(one.sample for one in everything)
    digests = dict(_digests(found, partial, on_checked or (lambda done, total: None)))
    jobs = [Job(prompt, sample) for sample in range(each) for prompt in wanted]
    there = [job for job in jobs if name_of(job.prompt, job.sample) in digests]
    if len(there) < len(jobs) and not partial:
        first = next(job for job in jobs if name_of(job.prompt, job.sample) not in digests)
        raise UsageError(
            f"{folder} lacks {len(jobs) - len(there)} of {len(jobs)} pictures, the first of them sample "
            f"{first.sample} of '{first.prompt.text}': add them, or judge what is there with --partial."
        )
    if not there:
        raise UsageError(f"{folder} holds no picture that can be read: make them again.")
    paths = {name_of(one.prompt, one.sample): one.path for one in found}
    digest = digest_of(sorted(digests.items()))
    return Checked(tuple(wanted), each, paths, tuple(there), len(jobs) - len(there), digest)


def _refuse_unjudgeable(prompts: Sequence[Prompt], metric: Reward, name: str) -> None:
    """UsageError where the metric can never judge one of the prompts."""
    for prompt in prompts:
        if "shapes" in metric.needs and to_prompt(prompt.text) is None:
            raise UsageError(f"the metric {name} knows nano's world alone, and {prompt.text!r} is none of its prompts: "
                             "choose another --metric.")  # fmt: skip
        if callable(refuse := getattr(metric, "check", None)):
            refuse(prompt)


def _digests(found: Sequence[OfficialPicture], partial: bool, on_checked: OnChecked) -> Iterator[tuple[str, str]]:
    """The hash of every picture that can be read, by its sample's name; UsageError at the first that cannot."""
    readers = ThreadPoolExecutor(READERS)
    try:
        for done, (one, told) in enumerate(zip(found, readers.map(_digest, found), strict=True), 1):
            on_checked(done, len(found))
            if isinstance(told, str):
                yield name_of(one.prompt, one.sample), told
            elif not partial:
                raise UsageError(f"{one.path} cannot be read as a picture ({type(told).__name__}): make it again, or "
                                 "leave it out with --partial.")  # fmt: skip
    finally:
        readers.shutdown(cancel_futures=True)


def _digest(one: OfficialPicture) -> str | Exception:
    try:
        content = one.path.read_bytes()
        _decoded(content)
    except Exception as error:  # a decoder may raise anything about a damaged file; it is told or counted
        return error
    return hashlib.sha256(content).hexdigest()


def _decoded(content: bytes) -> Image:
    from PIL import Image as files

    with files.open(io.BytesIO(content)) as file:
        return file.convert("RGB")


def _reopened(path: Path) -> Image:
    try:
        return _decoded(path.read_bytes())
    except Exception as error:  # it could be read a moment ago
        raise UsageError(f"{path} changed while the folder was judged: restore it, and the same command goes on."
                         ) from error  # fmt: skip


def _config(benchmark: Benchmark, checked: Checked, metric: str, identity: Mapping[str, Any], label: str, seed: int
            ) -> RunConfig:  # fmt: skip
    """The identity of the run: the pictures' bytes are part of it, the folder's path is not."""
    return RunConfig(
        command="score", label=label, benchmark=benchmark.name, prompts_digest=prompts_digest(checked.prompts),
        prompt_count=len(checked.prompts), model=MODEL, model_identity={"pictures": checked.digest}, reward=metric,
        reward_identity=dict(identity), report_metric=metric, metric_identity=dict(identity), method=METHOD, seed=seed,
        samples=checked.samples,
    )  # fmt: skip


def _outcome(prompt: Prompt, key: Key, picture: Image, score: Score) -> Outcome:
    """A search that made one picture and ended."""
    cost = Cost(pictures=1, reward_calls=score.calls, reward_seconds=score.seconds)
    step = Step(0, Rollout(None, ImageTrace(()), picture), score, cost=cost)
    if score.value is None:
        return Outcome(prompt, key, (step,), None, 0, "judge_failed", cost, {0: score})
    return Outcome(prompt, key, (step,), 0, 0, "steps", cost, {0: score})
