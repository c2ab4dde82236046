"""`generate` and `agenerate`: from options to outcomes. The command line is a thin layer over this file."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.engine.process_pool import Apart
from milr.engine.search import OnStep
from milr.engine.studio import OnBatch, Studio
from milr.options import Options
from milr.types import ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, TextTrace, UsageError
from milr.workflows.prepare import Prepared, prepare

if TYPE_CHECKING:
    from milr.base import UnifiedModel
    from milr.runs.records import Record, StepRecord
    from milr.runs.runner import OnEvent
    from milr.runs.store import RunStore


async def agenerate(prompts: str | Sequence[str | Prompt], *, out: str | Path | None = None,
                    on_step: OnStep | None = None,
                    on_event: OnEvent | None = None, on_batch: OnBatch | None = None,
                    **options: Any) -> Outcome | list[Outcome]:  # fmt: skip
    """Search for better pictures of one or many prompts, all in flight together.

    With `out`, a run folder: finished samples are kept there and the same call resumes. One prompt and one sample give
    an Outcome, else a list: sample 0 of every prompt, then sample 1, and so on. Options: see `milr.options.Options`.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise UsageError("there are no prompts.")
    prepared = await asyncio.to_thread(prepare, texts, Options(**options))
    outcomes = await run(prepared, out=out, on_step=on_step, on_event=on_event, on_batch=on_batch)
    return outcomes[0] if isinstance(prompts, str) and prepared.options.samples == 1 else outcomes


async def run(prepared: Prepared, *, out: str | Path | None = None, on_step: OnStep | None = None,
              on_event: OnEvent | None = None, on_batch: OnBatch | None = None) -> list[Outcome]:  # fmt: skip
    """Run what was prepared; see `agenerate`."""
    from milr.runs.runner import jobs_of

    jobs = jobs_of(prepared.prompts, prepared.options.samples)
    studio = Studio(
        prepared.model, prepared.reward, searches=prepared.searches, pictures=prepared.pictures, on_batch=on_batch
    )
    try:
        if out is None:
            limit = asyncio.Semaphore(prepared.options.in_flight)

            async def one(prompt: Prompt, sample: int) -> Outcome:
                async with limit:
                    return await prepared.search_one(studio, prompt, sample, on_step)

            return await _all_or_none([one(job.prompt, job.sample) for job in jobs])
        return await _run_stored(prepared, studio, Path(out), on_step, on_event)
    finally:
        studio.close()


async def _all_or_none(searches: Sequence[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """All outcomes in order; when one search fails, the others are ended before its error is raised."""
    tasks = [asyncio.ensure_future(search) for search in searches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run_stored(prepared: Prepared, studio: Studio, out: Path, on_step: OnStep | None,
                      on_event: OnEvent | None) -> list[Outcome]:  # fmt: skip
    from milr.report.html import write_report
    from milr.runs.runner import jobs_of
    from milr.runs.store import name_of

    store = await work_off(prepared, studio, out, on_step=on_step, on_event=on_event)
    write_report(out)
    kept = {name_of(record.prompt, record.sample): record for record in store.records()}
    jobs = jobs_of(prepared.prompts, prepared.options.samples)
    return [restore(kept[name_of(job.prompt, job.sample)], out) for job in jobs]


async def work_off(prepared: Prepared, studio: Studio, out: Path, *, on_step: OnStep | None = None,
                   on_event: OnEvent | None = None) -> RunStore:  # fmt: skip
    """Search for every sample that the folder `out` does not hold yet; the run's store, closed."""
    from milr.runs.runner import jobs_of
    from milr.runs.runner import run as run_jobs
    from milr.runs.store import RunStore

    async def one(prompt: Prompt, sample: int) -> Outcome:
        earlier = await asyncio.to_thread(store.record, prompt, sample)
        if earlier and earlier.stop != "judge_failed":  # searched, and not judged
            return await prepared.judge(studio, restore(earlier, out))
        return await prepared.search_one(studio, prompt, sample, on_step)

    options = prepared.options
    jobs = jobs_of(prepared.prompts, options.samples)
    _forget_peak()
    with RunStore(out).open(prepared.config(), prepared.prompts, in_flight=options.in_flight) as store:
        tally = await run_jobs(jobs, store=store, search_one=one, in_flight=options.in_flight, on_event=on_event)
        if tally.made:
            store.note_memory(_peak_memory(options.device) + _elsewhere(studio.model))
    return store


def _forget_peak() -> None:
    """Let a GPU's peak be that of what comes now; a process's cannot be forgotten."""
    import torch

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.reset_peak_memory_stats()


def _peak_memory(device: str) -> int:
    """The most bytes this process has used: of the GPU where it drew there, else of main memory."""
    import torch

    if device.startswith("cuda") or (device == "auto" and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource  # not on every system
    except ImportError:
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _elsewhere(model: UnifiedModel) -> int:
    """Bytes that the model holds in other processes."""
    return model.memory() if isinstance(model, Apart) else 0


def restore(record: Record, folder: Path) -> Outcome:
    """A finished sample from its record, with pictures; latents are not kept."""
    steps = tuple(_restore_step(step, folder) for step in record.steps)
    key = Key(record.seed, record.prompt.text, record.sample)
    judged = {place: Score(step.judged.score, step.judged.parts, step.judged.reason)
              for place, step in enumerate(record.steps) if step.judged}  # fmt: skip
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
    return Step(step.index, rollout, score, step.moved, step.info, step.text_changed, step.repetition, step.cost)


def generate(prompts: str | Sequence[str | Prompt], **options: Any) -> Outcome | list[Outcome]:
    """`agenerate` as a plain call; it also works where an event loop is already running, as in a notebook."""
    made: Outcome | list[Outcome] = _outside_any_loop(lambda: asyncio.run(agenerate(prompts, **options)))
    return made


def _outside_any_loop(work: Callable[[], Any]) -> Any:
    """Run `work` here, or on a thread of its own when this thread's event loop is busy."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    found: dict[str, Any] = {}

    def inside() -> None:
        try:
            found["result"] = work()
        except BaseException as error:  # handed to the caller below
            found["error"] = error

    thread = threading.Thread(target=inside, name="milr-generate")
    thread.start()
    thread.join()
    if "error" in found:
        raise found["error"]
    return found["result"]


def default_folder(prepared: Prepared) -> Path:
    """runs/WORDS-DIGEST: the same command finds its own run again."""
    words = "".join(c if c.isalnum() else "-" for c in prepared.prompts[0].text.lower())[:40].strip("-")
    return Path("runs") / f"{words}-{prepared.config().digest[:8]}"
