"""`generate` and `agenerate`: from options to outcomes. The command line is a thin layer over this file."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.options import Options
from milr.presets import PRESETS, resolve
from milr.search import Budget, OnStep, search
from milr.studio import OnBatch, Studio
from milr.types import ImageTrace, Key, Outcome, Prompt, Rollout, Score, Step, TextTrace, UsageError

if TYPE_CHECKING:
    from milr.base import Method, Reward, UnifiedModel
    from milr.runs.config import RunConfig
    from milr.runs.records import Record, StepRecord
    from milr.runs.runner import OnEvent

BY_PROMPT = "detector or self"  # the default reward of prompts of both kinds


@dataclass(frozen=True)
class Prepared:
    """Everything a run needs, checked: no prompt or option in it can turn out to be wrong later."""

    options: Options
    prompts: tuple[Prompt, ...]
    model: UnifiedModel
    reward: Reward
    reward_name: str
    method: Method
    settings: Mapping[str, Any]
    threshold: float

    @property
    def oracle(self) -> bool:
        """Whether the search reward is also what judges the result, for every prompt."""
        return self.reward_name == "detector"

    def guided_by_its_judge(self, prompt: Prompt) -> bool:
        """Whether this prompt's search reward is also what judges its result."""
        return self.oracle or (self.reward_name == BY_PROMPT and prompt.metadata is not None)

    def config(self) -> RunConfig:
        """The identity of the run."""
        from milr.runs.config import RunConfig, prompts_digest

        options = self.options
        spoken = {"visualisation": options.visualisation, "reasoning_prompt": options.reasoning_prompt}
        return RunConfig(
            prompts_digest=prompts_digest(self.prompts), prompt_count=len(self.prompts), model=self.model.name,
            model_identity=dict(self.model.identity()), reward=self.reward_name,
            reward_identity=catalog.reward_identity(self.reward_name), oracle=self.oracle,
            report_metric="detector" if any(prompt.metadata for prompt in self.prompts) else "",
            method=options.method, preset=options.preset,
            settings={**self.settings, **spoken, "threshold": self.threshold}, seed=options.seed,
            samples=options.samples, role_tags=self.settings["role_tags"], dtype=options.dtype, device=options.device,
        )  # fmt: skip

    async def search_one(self, studio: Studio, prompt: Prompt, sample: int, on_step: OnStep | None) -> Outcome:
        """One sample of one prompt, from its first picture to its stop."""
        key = Key(self.options.seed, prompt.text, sample)
        budget = Budget(pictures=1) if self.options.method in catalog.SINGLE_DRAW else Budget()
        outcome = await search(studio, prompt, key, self.method, threshold=self.threshold, budget=budget,
                               returns=self.settings["returns"], on_step=on_step)  # fmt: skip
        return self._judged(outcome)

    def _judged(self, outcome: Outcome) -> Outcome:
        """With the report metric's word on every picture, where it is another judge than the search reward."""
        if outcome.prompt.metadata is None or self.guided_by_its_judge(outcome.prompt):
            return outcome
        from milr.shapes.judge import judge

        metadata = outcome.prompt.metadata
        judged = {place: judge(step.rollout.picture, metadata) for place, step in enumerate(outcome.steps)}
        return replace(outcome, judged=judged)


def prepare(texts: Sequence[str], options: Options) -> Prepared:
    """Check the options, load model, reward and method, and read the prompts. MilrError says what is wrong."""
    from milr.latent.schedules import SCHEDULES

    catalog.one_of("preset", options.preset, list(PRESETS))
    if options.schedule is not None:
        catalog.one_of("schedule", options.schedule, list(SCHEDULES))
    if options.role_tags is not None:
        catalog.one_of("role-tag style", options.role_tags, ["pipe", "plain"])
    resolve(options.preset, 576, options.overrides())  # bad values are told before a model is loaded
    for kind, name in (("methods", options.method), ("rewards", options.reward)):
        if name and ".py:" not in name:
            catalog.one_of(kind[:-1], name, list(catalog.menu(kind)))
    preset = PRESETS[options.preset]
    model = catalog.make_model(options.model, dtype=options.dtype, device=options.device,
                               role_tags=options.role_tags or preset["role_tags"],
                               reasoning_prompt=options.reasoning_prompt)  # fmt: skip
    settings = resolve(options.preset, model.image_tokens, options.overrides())
    prompts = _read(texts, model)
    if options.visualisation is not None:
        _check(options.visualisation, model, "visualisation")
    if options.reasoning_prompt is not None:
        _check(options.reasoning_prompt.replace("{prompt}", prompts[0].text), model, "reasoning prompt")
    reward_name = options.reward or _default_reward(prompts)
    reward = _make_reward(reward_name, model)
    method = catalog.make_method(options.method, settings, options.visualisation)
    threshold = reward.threshold if options.threshold is None else options.threshold
    if "metadata" in reward.needs:
        _refuse_unknown(prompts, model, reward_name)
    return Prepared(options, prompts, model, reward, reward_name, method, settings, threshold)


def _read(texts: Sequence[str], model: UnifiedModel) -> tuple[Prompt, ...]:
    """Prompts the model can read, trimmed, each once; those of nano's grammar with their metadata, for its pictures."""
    from milr.shapes.grammar import to_prompt

    found: dict[str, Prompt] = {}
    for text in map(str.strip, texts):
        _check(text, model, "prompt")
        known = to_prompt(text) if model.name == "nano" else None
        found.setdefault(text, known or Prompt(text))
    return tuple(found.values())


def _check(text: str, model: UnifiedModel, what: str) -> None:
    """UsageError, about `what`, where the model cannot read `text`."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"the {what} is not valid Unicode; write it in UTF-8.")
    if what != "prompt" and not text.strip():
        raise UsageError(f"the {what} is empty; leave it out, or write one.")
    try:
        model.check(text)
    except UsageError as error:
        raise UsageError(str(error).replace("the prompt", f"the {what}", 1)) from error


def _default_reward(prompts: Sequence[Prompt]) -> str:
    known = {prompt.metadata is not None for prompt in prompts}
    return BY_PROMPT if len(known) == 2 else "detector" if True in known else "self"


def _make_reward(name: str, model: UnifiedModel) -> Reward:
    from milr.rewards.by_prompt import ByPrompt

    if name == BY_PROMPT:
        return ByPrompt(*(catalog.make_reward(part, model) for part in ("detector", "self")))
    return catalog.make_reward(name, model)


def _refuse_unknown(prompts: Sequence[Prompt], model: UnifiedModel, reward: str) -> None:
    strange = next((prompt for prompt in prompts if prompt.metadata is None), None)
    if strange:
        why = "its grammar cannot read" if model.name == "nano" else f"it knows nano's pictures, not {model.name}'s:"
        raise UsageError(f"the reward {reward} cannot judge this: {why} {strange.text!r}; use --reward self.")


async def agenerate(prompts: str | Sequence[str], *, out: str | Path | None = None, on_step: OnStep | None = None,
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
    studio = Studio(prepared.model, prepared.reward, on_batch=on_batch)
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
    from milr.runs.runner import run as work_off
    from milr.runs.store import RunStore, name_of

    jobs = jobs_of(prepared.prompts, prepared.options.samples)

    async def one(prompt: Prompt, sample: int) -> Outcome:
        return await prepared.search_one(studio, prompt, sample, on_step)

    with RunStore(out).open(prepared.config()) as store:
        await work_off(jobs, store=store, search_one=one, in_flight=prepared.options.in_flight, on_event=on_event)
        write_report(out)
        kept = {name_of(record.prompt, record.sample): record for record in store.records()}
    return [restore(kept[name_of(job.prompt, job.sample)], out) for job in jobs]


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


def generate(prompts: str | Sequence[str], **options: Any) -> Outcome | list[Outcome]:
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
