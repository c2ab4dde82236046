"""A finished run is shown again without loading its model.

What a run was asked for is written down with it as a digest of everything that can be read without a model: options,
prompts, the model's files, wordings, and the code of the rewards and methods. Where the same is asked for again and
every sample is there, the folder answers. Parts whose identity a digest cannot hold (from files, from other packages,
with checkpoints or endpoints of their own) have none: such a run is prepared as ever, and its identity decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.catalog.identity import SOURCES, code_hash, search_code_hash
from milr.options import WHERE, Options
from milr.runs.files import no_garbage
from milr.types import MilrError, Outcome, Prompt
from milr.workflows.stored import restore

if TYPE_CHECKING:
    from milr.runs.records import Record
    from milr.runs.runner import Job
    from milr.runs.store import RunStore, StoredRecords

NOT_RESULTS = (*WHERE, "in_flight", "graphs", "threads", "cache_bytes", "reward_seconds",
               "judge_concurrency")  # options that change no token and no score  # fmt: skip


def request_digest(options: Options, texts: Sequence[str | Prompt]) -> str:
    """What is asked for, in hexadecimal digits; "" where that does not determine the run, or cannot be read."""
    from milr.runs.config import digest_of

    if not _is_determined(options):
        return ""
    choices = result_options(options)
    prompts = [vars(prompt) for prompt in _prompts(texts)]
    try:
        files = [_describe(path) for path in catalog.model_files(options.model)]
        return digest_of([choices, prompts, files, code_hash(tuple(SOURCES)), search_code_hash()]) if files else ""
    except OSError:
        return ""


def result_options(options: Options) -> dict[str, Any]:
    """The options that tokens and scores depend on."""
    return {name: value for name, value in dataclasses.asdict(options).items() if name not in NOT_RESULTS}


def _is_determined(options: Options) -> bool:
    """Whether model files, options and our code say all: our methods, and rewards that load and ask nothing."""
    rewards = {
        word for name in (options.reward, options.choose, options.metric) if name for word in name.split(catalog.OR)
    }
    parts = [catalog.REWARDS.get(name.partition(":")[0]) for name in rewards]
    own = all(part and not part.checkpoints and not part.packages for part in parts)
    simple = not any(name.startswith(("weighted", "rank", "checklist:judge")) or ".py:" in name for name in rewards)
    return (own and simple and not (options.judge_template or options.calibration) and options.method in catalog.METHODS
            and ".py:" not in options.model)  # fmt: skip


def find_finished(
    texts: Sequence[str | Prompt], options: Options, out: Path | None, *, tokens: bool = True
) -> tuple[Path, list[Outcome]] | None:
    """The folder and the outcomes of the run that answers this request, all of it; None where there is none.

    Without `out`, folders runs/WORDS-* of the first prompt's words are looked at. Outcomes are in the order of the run:
    sample 0 of every prompt, then sample 1, and so on; `tokens` False leaves out their token ids, most of their size.
    """
    for folder, records in _answers(texts, options, out, tokens=tokens):
        try:
            return folder, [restore(record, folder) for record in records]
        except MilrError:  # a damaged picture: the run says which
            continue
    return None


def finished_run(prompts: Sequence[Prompt], options: Options, out: Path | None, benchmark: str
                 ) -> tuple[Path, StoredRecords] | None:  # fmt: skip
    """The folder and the records, without tokens, of the finished run of a benchmark that answers this request."""
    from milr.runs.store import StoredRecords

    runs = ((folder, StoredRecords(records, [])) for folder, records in _answers(prompts, options, out, benchmark))
    return next(runs, None)


def _answers(texts: Sequence[str | Prompt], options: Options, out: Path | None, benchmark: str = "", *,
             tokens: bool = False) -> Iterator[tuple[Path, list[Record]]]:  # fmt: skip
    """The folders that answer a request, each with all records of the run in its order."""
    from milr.runs.runner import jobs_of
    from milr.runs.store import RunStore

    prompts = _prompts(texts)
    request = request_digest(options, prompts)
    if not request or not prompts:
        return
    for folder in [out] if out else sorted(Path("runs").glob(f"{words_of(prompts[0].text)}-*")):
        store = RunStore(folder)
        try:
            run = store.run()
            same = run.request == request and (not benchmark or run.config.benchmark == benchmark)
            if same and (records := _all_records(store, jobs_of(prompts, options.samples, options.shard), tokens)):
                yield folder, records
        except MilrError:  # no run, or a damaged one: preparing it says which
            continue


@no_garbage()
def _all_records(store: RunStore, jobs: Sequence[Job], tokens: bool) -> list[Record]:
    """The records of the jobs, or none where one is missing or not judged."""
    whole = []
    if not all(store.has_record(job.prompt, job.sample) for job in jobs):  # known at once
        return []
    for job in jobs:
        record = store.record(job.prompt, job.sample, tokens=tokens)
        if record is None or record.unjudged:
            return []
        whole.append(record)
    return whole


def _prompts(texts: Sequence[str | Prompt]) -> list[Prompt]:
    """The prompts as `checked_prompts` will keep them, as far as their names go: trimmed, each once."""
    prompts = [text if isinstance(text, Prompt) else Prompt(text) for text in texts]
    trimmed = [dataclasses.replace(prompt, text=prompt.text.strip()) for prompt in prompts]
    return list({(prompt.id, prompt.text): prompt for prompt in trimmed}.values())


def _describe(path: Path) -> list[Any]:
    """What tells whether a file has changed: its content, or size and time where it is large."""
    status = path.stat()
    content = hashlib.sha256(path.read_bytes()).hexdigest() if status.st_size < 2**20 else status.st_mtime_ns
    return [str(path.resolve()), status.st_size, content]


def words_of(text: str) -> str:
    """The first words of a prompt as a part of a folder's name."""
    return "".join(c if c.isalnum() else "-" for c in text.lower())[:40].strip("-")
