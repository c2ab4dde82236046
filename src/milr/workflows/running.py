"""A prepared run is run: in memory, or into a folder whose finished samples are kept and not made again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.engine.studio import OnBatch
from milr.runs.events import Listeners, RunFinished, RunStarted, SearchFailed, SearchFinished, SearchStarted
from milr.runs.files import no_garbage
from milr.types import Outcome, Prompt
from milr.workflows.finished import result_options, words_of
from milr.workflows.searcher import RunPlan, Searcher
from milr.workflows.stored import restore

if TYPE_CHECKING:
    from milr.runs.store import RunStore, SharedPart


async def run(prepared: RunPlan, *, out: str | Path | None = None, tokens: bool = True,
              listeners: Listeners = Listeners(), on_batch: OnBatch | None = None) -> list[Outcome]:  # fmt: skip
    """All outcomes of a prepared run, or of its shard: sample 0 of every prompt, then sample 1, and so on.

    With `out`, a run folder: what is finished there is not made again, and a report is written. There `tokens` False
    leaves out the outcomes' token ids, most of their size. `on_batch(kind, rows, seconds)`: the model did a batch of
    work.
    """
    async with prepared.open_searcher(on_batch) as searcher:
        return await outcomes_of(prepared, searcher, out, listeners, tokens=tokens)


async def outcomes_of(prepared: RunPlan, searcher: Searcher, out: str | Path | None,
                      listeners: Listeners, *, tokens: bool = True) -> list[Outcome]:  # fmt: skip
    """`run` with a searcher that is there already."""
    if out is not None:
        await run_into(Path(out), prepared, searcher, listeners)
        return _stored_outcomes(prepared, Path(out), tokens=tokens)
    return await _in_memory(prepared, searcher, listeners)


async def _in_memory(prepared: RunPlan, searcher: Searcher, listeners: Listeners) -> list[Outcome]:
    """`run` without a folder."""
    limit = asyncio.Semaphore(searcher.in_flight)
    jobs = prepared.jobs
    done, total = 0, len(jobs)

    async def search_one(prompt: Prompt, sample: int) -> Outcome:
        nonlocal done
        async with limit:
            listeners(SearchStarted(prompt, sample, done, total))
            try:
                outcome = await searcher.search(prompt, sample, listeners)
            except Exception as error:
                listeners(SearchFailed(prompt, sample, error, done, total))
                raise
        done += 1
        listeners(SearchFinished(outcome, done, total))
        return outcome

    listeners(RunStarted(prepared.config(), total, None))
    try:
        return await _all_or_none([search_one(job.prompt, job.sample) for job in jobs])
    finally:
        listeners(RunFinished(done, total, None))


async def _all_or_none(searches: Sequence[Coroutine[Any, Any, Outcome]]) -> list[Outcome]:
    """All outcomes in order; when one search fails, the others are ended before its error is raised."""
    tasks = [asyncio.ensure_future(search) for search in searches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@no_garbage()
def _stored_outcomes(prepared: RunPlan, out: Path, *, tokens: bool) -> list[Outcome]:
    """All outcomes of the finished run in the folder `out`, whose report is written."""
    from milr.report.html import write_report
    from milr.runs.store import RunStore

    if prepared.jobs:  # a shard of fewer samples than parts may have none
        write_report(out)
    return stored_outcomes(RunStore(out), prepared, tokens=tokens)


def stored_outcomes(store: RunStore, prepared: RunPlan, *, tokens: bool = True) -> list[Outcome]:
    """The outcomes of a run that is finished, in its order; their pictures are read when they are asked for."""
    from milr.runs.store import name_of

    records = {name_of(record.prompt, record.sample): record for record in store.records(tokens=tokens)}
    return [restore(records[name_of(job.prompt, job.sample)], store.folder) for job in prepared.jobs]


async def run_into(out: Path, prepared: RunPlan, searcher: Searcher, listeners: Listeners, *,
                   finished: Collection[str] = (), is_alone: bool = True) -> RunStore:  # fmt: skip
    """Search for every sample that the folder `out` does not hold yet; `finished` as in `runner.run`.

    `is_alone` False: the process has other runs at work, too, so that its memory is not this run's and is not noted.
    Returns the run's store, closed.
    """
    from milr.runs.runner import run as run_jobs
    from milr.runs.store import RunStore

    async def search_one(prompt: Prompt, sample: int) -> Outcome:
        record = await asyncio.to_thread(store.record, prompt, sample)
        if record and record.stop != "judge_failed":  # searched, and not judged by the report metric
            return await searcher.judge(restore(record, out))
        return await searcher.search(prompt, sample, listeners, partial(store.unfinished, prompt, sample))

    with await _opened(RunStore(out, part=_part_of(prepared)), prepared, searcher) as store:
        tally = await run_jobs(prepared.jobs, store=store, search_one=search_one, in_flight=searcher.in_flight,
                               listener=listeners, finished=finished)  # fmt: skip
        if tally.new and is_alone:
            await asyncio.to_thread(store.record_peak_memory, await searcher.peak_memory())
    return store


def _part_of(prepared: RunPlan) -> SharedPart | None:
    """What this process writes of the run; None: all of it."""
    from milr.runs.store import SharedPart, name_of

    if prepared.options.shard is None:
        return None
    label = prepared.options.shard.strip().replace("/", "-of-")
    return SharedPart(label, frozenset(name_of(job.prompt, job.sample) for job in prepared.jobs))


async def _opened(store: RunStore, prepared: RunPlan, searcher: Searcher) -> RunStore:
    """The store, opened for this run on another thread, so that other runs of the loop need not wait for the disk."""
    opening = asyncio.ensure_future(asyncio.to_thread(
        lambda: store.open(prepared.config(), prepared.prompts, in_flight=searcher.in_flight, workers=searcher.workers,
                           request=prepared.request, options=result_options(prepared.options))))  # fmt: skip
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        await asyncio.wait([opening])
        store.close()
        raise


def default_folder(prepared: RunPlan) -> Path:
    """runs/WORDS-DIGEST: the same command finds its own run again."""
    return Path("runs") / f"{words_of(prepared.prompts[0].text)}-{prepared.config().digest[:8]}"
