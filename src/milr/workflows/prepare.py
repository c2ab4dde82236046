"""From options and prompts to everything a run needs, checked: nothing in it can turn out to be wrong later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.engine.replay import resumable
from milr.engine.search import Budget, returnable, search
from milr.engine.studio import OnBatch, Studio
from milr.options import Options
from milr.presets import PRESETS, resolve
from milr.rewards.choice import ChoiceReward
from milr.runs.events import Listener
from milr.types import Key, Outcome, Prompt, UsageError
from milr.workflows.abilities import check_abilities
from milr.workflows.auto import AUTO, describe_auto, resolve_auto
from milr.workflows.finished import request_digest
from milr.workflows.prompts import check_texts, checked_prompts, outside_the_world, world_of
from milr.workflows.searcher import ENGINES, InProcess, Searcher

if TYPE_CHECKING:
    from milr.base import Benchmark, Method, Reward, UnifiedModel
    from milr.runs.config import RunConfig
    from milr.runs.runner import Job
    from milr.runs.unfinished import UnfinishedSearch

MakeReward = Callable[[str, "UnifiedModel | None", Options], "Reward"]
MODEL_OPTIONS = ("model", "dtype", "device", "quantise", "graphs", "threads", "cache_bytes", "reasoning_prompt",
                 "prompt_model", "denoising_steps")  # fmt: skip
"""The options that a loaded model depends on, beside `role_tags`."""
MOST_SEARCHES = 1_000_000  # in one run
GUIDED_BY_METRIC = "The search stops or chooses by {}, which is also the report metric: its score is an upper bound."
MethodFactory = Callable[[Mapping[str, Any], "str | None"], "Method"]


@dataclass(frozen=True)
class PreparedRun:
    """A run, ready to start.

    `threshold` None: the search never stops by itself; `metric` None: the search reward is the only judge. `options`
    name no `auto` any more; `notes` say what it stood for and what a score cannot be compared with. `warnings` are
    sentences that the user should read before the run; `request` is `finished.request_digest`.
    """

    options: Options
    prompts: tuple[Prompt, ...]
    model: UnifiedModel
    reward: Reward
    reward_name: str
    metric: Reward | None
    metric_name: str
    method: Method
    settings: Mapping[str, Any]
    threshold: float | None
    budget: Budget
    benchmark: Benchmark | None = None
    label: str = ""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    request: str = ""

    @property
    def oracle(self) -> bool:
        """Whether the search reward is also the report metric."""
        return self.reward_name == self.metric_name

    @property
    def searches(self) -> int:
        """How many searches run at the same time."""
        return min(self.options.in_flight, len(self.jobs))

    @property
    def jobs(self) -> list[Job]:
        """The samples to search for, in the order of the run: all of them, or those of the options' shard."""
        from milr.runs.runner import jobs_of

        return jobs_of(self.prompts, self.options.samples, self.options.shard)

    @property
    def pictures(self) -> int:
        """The most pictures that all searches may draw together."""
        return len(self.jobs) * (self.budget.pictures or 1)

    def config(self) -> RunConfig:
        """The identity of the run."""
        from milr.runs.config import RunConfig, prompts_digest

        options = self.options
        texts = {"visualisation": options.visualisation, "reasoning_prompt": options.reasoning_prompt}
        limits = {"pictures": self.budget.pictures, "token_steps": self.budget.token_steps,
                  "reward_calls": self.budget.reward_calls}  # fmt: skip
        return RunConfig(
            prompts_digest=prompts_digest(self.prompts), prompt_count=len(self.prompts), model=self.model.name,
            model_identity=dict(self.model.identity()), reward=self.reward_name,
            reward_identity=catalog.reward_identity(self.reward_name, self.reward), oracle=self.oracle,
            report_metric=self.metric_name, metric_identity=catalog.reward_identity(self.metric_name, self.metric),
            method=options.method, preset=options.preset, label=self.label,
            benchmark=self.benchmark.name if self.benchmark else "",
            settings={**self.settings, **texts, **limits, "threshold": self.threshold}, seed=options.seed,
            samples=options.samples, role_tags=self.settings["role_tags"], dtype=options.dtype, device=options.device,
            notes=(*self.notes, *catalog.notes_of(self.benchmark, self.metric, self.reward), *self.warnings),
            thresholds=self._thresholds(),
        )  # fmt: skip

    def _thresholds(self) -> dict[str, float]:
        """By category, where the reward has several."""
        if not hasattr(self.reward, "threshold_of"):
            return {}
        categories = sorted({prompt.category for prompt in self.prompts})
        thresholds = {category: self.threshold_for(Prompt("", category=category)) for category in categories}
        return {category: value for category, value in thresholds.items() if value is not None}

    def threshold_for(self, prompt: Prompt) -> float | None:
        """Above which score the search stops at this prompt: the user's, or the reward's for its category."""
        by_category = getattr(self.reward, "threshold_of", None)
        of_the_user = not self.options.stop or self.options.threshold is not None
        return self.threshold if of_the_user or by_category is None else by_category(prompt.category)

    @asynccontextmanager
    async def open_studio(self, on_batch: OnBatch | None = None) -> AsyncIterator[Studio]:
        """A studio of the run's size, closed at the end; `on_batch(kind, rows, seconds)` hears of its batches."""
        studio = Studio(self.model, self.reward, searches=self.searches, pictures=self.pictures, on_batch=on_batch)
        try:
            yield studio
        finally:
            studio.close()

    @asynccontextmanager
    async def open_searcher(self, on_batch: OnBatch | None = None) -> AsyncIterator[Searcher]:
        """This process, with such a studio."""
        async with self.open_studio(on_batch) as studio:
            yield InProcess(self, studio)

    async def search_one(self, studio: Studio, prompt: Prompt, sample: int, listener: Listener,
                         unfinished: UnfinishedSearch | None = None) -> Outcome:  # fmt: skip
        """One sample of one prompt, from its first picture to its stop, judged by the report metric.

        A search that was interrupted goes on from what `unfinished` holds.
        """
        from milr.latent.released import Quirks

        key = Key(self.options.seed, prompt.text, sample)
        threshold = Quirks.of(self.settings).threshold(self.threshold_for(prompt))
        method = resumable(self.method, unfinished) if unfinished else self.method
        outcome = await search(studio, prompt, key, method, threshold=threshold,
                               budget=self.budget, returns=self.settings["returns"], listener=listener)  # fmt: skip
        try:
            return await self.judge(studio, outcome)
        except (Exception, asyncio.CancelledError):  # the search has ended, and need not be made again
            if unfinished:
                unfinished.save()
            raise

    async def judge(self, studio: Studio, outcome: Outcome) -> Outcome:
        """The outcome with the report metric's scores, where the metric is another judge than the search reward.

        The metric is asked about the pictures that the search would have returned at some budget, and no others, and
        not again about those that it has scored.
        """
        prompt, judged = outcome.prompt, dict(outcome.judged)
        if self.metric is None or self.oracle or (catalog.world_needed(self.metric) and prompt.metadata is None):
            return outcome
        async with studio.method():
            for index in returnable(outcome, self.settings["returns"]):
                if index not in judged or judged[index].value is None:
                    judged[index] = await studio.score(outcome.steps[index].rollout.picture, prompt, self.metric)
        return replace(outcome, judged=judged)


def prepare(texts: Sequence[str | Prompt], options: Options, *, model: UnifiedModel | None = None,
            make_reward: MakeReward = catalog.make_reward, method: MethodFactory | None = None,
            benchmark: Benchmark | None = None, label: str = "") -> PreparedRun:  # fmt: skip
    """Check the options, load the model (unless one is given), make rewards and method, read the prompts.

    `make_reward` maps a reward's name, the model and the options to the reward; `method` stands in for the factory that
    the options name. MilrError, in one sentence, where anything of it cannot be.
    """
    asked = options
    check_names(options, rewards=make_reward is catalog.make_reward, method=method is None)
    if not texts:
        raise UsageError("there are no prompts.")
    if len(texts) * options.samples > MOST_SEARCHES:
        raise UsageError(f"{len(texts)} prompts of {options.samples} samples are more than the {MOST_SEARCHES} "
                         "searches of a run: take fewer.")  # fmt: skip
    model = model or load_model(options)
    settings = resolve(options.preset, model.image_tokens, options.overrides())
    prompts = checked_prompts(texts, model)
    options = resolve_auto(options, _reward_names(options, prompts, model), model, prompts)
    check_texts(options, prompts, model)
    reward_name, metric_name = _reward_names(options, prompts, model)
    check_abilities(options, settings, tuple(filter(None, (reward_name, metric_name, options.choose))), model)
    notes = [describe_auto(options, reward_name)] if asked.method == AUTO else []
    reward = make_reward(reward_name, model, options)
    metric = reward if metric_name == reward_name else None
    if metric_name and metric is None:
        metric = make_reward(metric_name, model, options)
    choosing = make_reward(options.choose, model, options) if options.choose else None
    for role, name, judge in (("reward", reward_name, reward), ("metric", options.metric, metric),
                              ("choose", options.choose, choosing)):  # fmt: skip
        if name and judge:
            refuse_comparison(role, name, judge)
            _refuse_unknown(prompts, model, f"{role} {name}", judge)
    if options.choose and choosing:
        reward = ChoiceReward((reward_name, reward), (options.choose, choosing), options.threshold)
        chosen_by = catalog.judges_in(options.choose) if options.choose.startswith(catalog.MIXTURES) else ()
        if metric_name in (reward_name, options.choose, *chosen_by):
            notes.append(GUIDED_BY_METRIC.format(metric_name))
        reward_name = reward.name
    make_method = method or (lambda *arguments: catalog.make_method(options.method, *arguments))
    bound_method = make_method(settings, options.visualisation)
    if code := catalog.method_code(options.method, method):
        settings = {**settings, "method_code": code}
    elif method is None:
        settings = {**settings, **catalog.fixed_settings(options.method)}
    return PreparedRun(
        options, prompts, model, reward, reward_name, metric, metric_name,
        bound_method, settings, _threshold(options, reward),
        _budget(options, settings), benchmark, label, tuple(notes), outside_the_world(prompts, model),
        request_digest(asked, texts),
    )  # fmt: skip


def load_model(options: Options) -> UnifiedModel:
    """The model that the options name, in the preset's wording."""
    asked = {name: getattr(options, name) for name in ("quantise", "prompt_model", "denoising_steps")}
    packing = {name: value for name, value in asked.items() if value}  # a model of one's own need not know them
    model = catalog.make_model(options.model, dtype=options.dtype, device=options.device, role_tags=role_tags(options),
                               reasoning_prompt=options.reasoning_prompt, **packing)  # fmt: skip
    if options.threads and callable(use := getattr(model, "set_num_threads", None)):
        use(options.threads)
    if options.cache_bytes and callable(use := getattr(model, "set_cache_bytes", None)):
        use(options.cache_bytes)
    if not options.graphs and callable(leave_out := getattr(model, "without_graphs", None)):
        leave_out()
    return model


def model_key(options: Options) -> tuple[Any, ...]:
    """What two runs have alike that can share a loaded model."""
    return *(getattr(options, name) for name in MODEL_OPTIONS), role_tags(options)


def role_tags(options: Options) -> str:
    """The role tags that the options or their preset ask for."""
    return options.role_tags or str(PRESETS[options.preset]["role_tags"])


def check_loaded(model: UnifiedModel, options: Options) -> None:
    """UsageError where options ask for another model than the object that was given."""
    identity = model.identity()
    for name in ("dtype", "device"):
        if getattr(options, name) not in ("auto", identity.get(name)):
            raise UsageError(f"the model that was given has {name} {identity.get(name)}, not {getattr(options, name)}: "
                             f"leave {name} out, or name the model.")  # fmt: skip
    for name in ("quantise", "threads", "cache_bytes", "reasoning_prompt", "role_tags", "prompt_model",
                 "denoising_steps"):  # fmt: skip
        if getattr(options, name) is not None:
            raise UsageError(f"{name} is chosen when a model is loaded, and this one was given as an object: leave it "
                             "out, or name the model.")  # fmt: skip
    own = getattr(getattr(model, "templates", None), "role_tags", None)
    if own and own != role_tags(options):
        raise UsageError(f"the model that was given has role tags {own!r}, and the preset {options.preset} wants "
                         f"{role_tags(options)!r}: load it with these.")  # fmt: skip


def check_names(options: Options, *, rewards: bool = True, method: bool = True) -> None:
    """UsageError for bad names and values, before a model is loaded; rewards and method only where asked."""
    from milr.latent.schedules import SCHEDULES

    catalog.one_of("preset", options.preset, list(PRESETS))
    catalog.one_of("engine", options.engine, list(ENGINES))
    if options.schedule is not None:
        catalog.one_of("schedule", options.schedule, list(SCHEDULES))
    if options.role_tags is not None:
        catalog.one_of("role-tag style", options.role_tags, ["pipe", "plain"])
    resolve(options.preset, 576, options.overrides())
    if method:
        catalog.check_part("methods", options.method)
    for name in filter(None, (options.reward, options.choose, options.metric) if rewards else ()):
        catalog.check_part("rewards", name)


def _threshold(options: Options, reward: Reward) -> float | None:
    if not options.stop:
        return None
    return reward.threshold if options.threshold is None or options.choose else options.threshold


def _budget(options: Options, settings: Mapping[str, Any]) -> Budget:
    """One picture for single draws, else as many as the longest search of the same settings makes."""
    longest = int(settings["steps"]) + 1
    pictures = 1 if options.method in catalog.SINGLE_DRAW else options.pictures or longest
    if options.method in catalog.STEPPED:
        pictures = min(pictures, longest)
    return Budget(pictures=pictures, token_steps=options.token_steps, reward_calls=options.reward_calls)


def _reward_names(options: Options, prompts: Sequence[Prompt], model: UnifiedModel) -> tuple[str, str]:
    """The names of search reward and report metric ("": none but the search reward).

    By default they are the judges of the model's world, which are two, for prompts about it, and else the model's own
    judgement. The judges of a world are told apart by metadata ("A or B"), so the model judges all where a prompt that
    is not about its world has metadata of its own.
    """
    world = world_of(model)
    outside = [prompt for prompt in prompts if world is None or world.read(prompt.text) is None]
    if world is None or len(outside) == len(prompts) or any(prompt.metadata is not None for prompt in outside):
        return options.reward or "self", options.metric or ""
    reward, metric = f"{world.reward} or self" if outside else world.reward, world.metric
    return options.reward or reward, options.metric or metric


def refuse_comparison(role: str, name: str, judge: Reward) -> None:
    """UsageError where a judge that compares the pictures of a search is to be the metric, which sees each alone."""
    if role == "metric" and callable(getattr(judge, "best_of", None)):
        raise UsageError(
            f"{name} compares the pictures of a search and cannot judge one alone: choose another --metric."
        )


def _refuse_unknown(prompts: Sequence[Prompt], model: UnifiedModel, judge_name: str, judge: Reward) -> None:
    """UsageError where the judge can never judge one of the prompts; `judge_name` is "reward NAME" or "metric NAME"."""
    needed, drawn = catalog.world_needed(judge), world_of(model)
    advice = f"use --{judge_name.partition(' ')[0]} self."
    if needed and (drawn is None or drawn.name != needed.name):
        raise UsageError(f"the {judge_name} cannot judge this: it knows pictures of the world {needed.name} only, and "
                         f"{model.name} draws others; {advice}")  # fmt: skip
    unreadable = next((prompt for prompt in prompts if prompt.metadata is None), None)
    if needed and unreadable:
        raise UsageError(f"the {judge_name} cannot judge this: it cannot read {unreadable.text!r}; {advice} "
                         f"{needed.advice(unreadable.text)}")  # fmt: skip
    if callable(check := getattr(judge, "check", None)):
        for prompt in prompts:
            check(prompt)
