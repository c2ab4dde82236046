"""From options and prompts to everything a run needs, checked: nothing in it can turn out to be wrong later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.engine.search import Budget, OnStep, returnable, search
from milr.engine.studio import Studio
from milr.options import Options
from milr.presets import PRESETS, resolve
from milr.types import Key, Outcome, Prompt, UsageError

if TYPE_CHECKING:
    from milr.base import Benchmark, Method, Reward, UnifiedModel
    from milr.runs.config import RunConfig

METRIC = "detector"  # the report metric of nano's world
BY_PROMPT = "held-out or self"  # the default reward of prompts of both kinds


@dataclass(frozen=True)
class Prepared:
    """A run, ready to start. `threshold` None: the search never stops by itself; `metric` None: nothing else judges."""

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

    @property
    def oracle(self) -> bool:
        """Whether the search reward is also the report metric."""
        return self.reward_name == self.metric_name

    @property
    def searches(self) -> int:
        """How many go on at once."""
        return min(self.options.in_flight, len(self.prompts) * self.options.samples)

    @property
    def pictures(self) -> int:
        """How many all searches may draw."""
        return len(self.prompts) * self.options.samples * (self.budget.pictures or 1)

    def config(self) -> RunConfig:
        """The identity of the run."""
        from milr.runs.config import RunConfig, prompts_digest

        options = self.options
        spoken = {"visualisation": options.visualisation, "reasoning_prompt": options.reasoning_prompt}
        limits = {"pictures": self.budget.pictures, "token_steps": self.budget.token_steps,
                  "reward_calls": self.budget.reward_calls}  # fmt: skip
        return RunConfig(
            prompts_digest=prompts_digest(self.prompts), prompt_count=len(self.prompts), model=self.model.name,
            model_identity=dict(self.model.identity()), reward=self.reward_name,
            reward_identity=catalog.reward_identity(self.reward_name, self.reward), oracle=self.oracle,
            report_metric=self.metric_name, metric_identity=catalog.reward_identity(self.metric_name, self.metric),
            method=options.method, preset=options.preset, label=self.label,
            benchmark=self.benchmark.name if self.benchmark else "",
            settings={**self.settings, **spoken, **limits, "threshold": self.threshold}, seed=options.seed,
            samples=options.samples, role_tags=self.settings["role_tags"], dtype=options.dtype, device=options.device,
            notes=catalog.notes_of(self.benchmark, self.metric, self.reward), thresholds=self._thresholds(),
        )  # fmt: skip

    def _thresholds(self) -> dict[str, float]:
        """By category, where the reward has several."""
        if not hasattr(self.reward, "threshold_of"):
            return {}
        names = {prompt.category for prompt in self.prompts}
        found = {name: self.threshold_for(Prompt("", category=name)) for name in sorted(names)}
        return {name: value for name, value in found.items() if value is not None}

    def threshold_for(self, prompt: Prompt) -> float | None:
        """Above which score the search stops at this prompt: the user's, or the reward's for its category."""
        by_category = getattr(self.reward, "threshold_of", None)
        chosen = not self.options.stop or self.options.threshold is not None
        return self.threshold if chosen or by_category is None else by_category(prompt.category)

    async def search_one(self, studio: Studio, prompt: Prompt, sample: int, on_step: OnStep | None) -> Outcome:
        """One sample of one prompt, from its first picture to its stop, judged by the report metric."""
        key = Key(self.options.seed, prompt.text, sample)
        outcome = await search(studio, prompt, key, self.method, threshold=self.threshold_for(prompt),
                               budget=self.budget, returns=self.settings["returns"], on_step=on_step)  # fmt: skip
        return await self.judge(studio, outcome)

    async def judge(self, studio: Studio, outcome: Outcome) -> Outcome:
        """With the report metric's word, where it is another judge than the search reward and has not said it yet.

        It is asked about the pictures that the search would have returned at some budget, and no others.
        """
        prompt, judged = outcome.prompt, dict(outcome.judged)
        if self.metric is None or self.oracle or ("shapes" in self.metric.needs and prompt.metadata is None):
            return outcome
        async with studio.method():
            for place in returnable(outcome, self.settings["returns"]):
                if place not in judged or judged[place].value is None:
                    judged[place] = await studio.score(outcome.steps[place].rollout.picture, prompt, self.metric)
        return replace(outcome, judged=judged)


def prepare(texts: Sequence[str | Prompt], options: Options, *, model: UnifiedModel | None = None,
            benchmark: Benchmark | None = None, label: str = "") -> Prepared:  # fmt: skip
    """Check the options, load model (unless one is given), reward and method, read the prompts; MilrError if not."""
    _check_names(options)
    model = model or load_model(options)
    settings = resolve(options.preset, model.image_tokens, options.overrides())
    prompts = _read(texts, model)
    _check_texts(options, prompts, model)
    reward_name = options.reward or _default_reward(prompts, model)
    reward = _make_reward(reward_name, model, options)
    metric_name = options.metric or (METRIC if any(prompt.metadata for prompt in prompts) and _in_world(model) else "")
    metric = reward if metric_name == reward_name else None
    if metric_name and metric is None:
        metric = _make_reward(metric_name, model, options)
    for name, judge in ((reward_name, reward), (options.metric, metric)):
        if name and judge:
            _refuse_unknown(prompts, model, name, judge)
    return Prepared(
        options, prompts, model, reward, reward_name, metric, metric_name,
        catalog.make_method(options.method, settings, options.visualisation), settings,
        _threshold(options, reward), _budget(options, settings), benchmark, label,
    )  # fmt: skip


def load_model(options: Options) -> UnifiedModel:
    """The model that the options name, in the preset's wording."""
    tags = options.role_tags or PRESETS[options.preset]["role_tags"]
    packing = {"quantise": options.quantise} if options.quantise else {}  # a model of one's own need not know it
    model = catalog.make_model(options.model, dtype=options.dtype, device=options.device, role_tags=tags,
                               reasoning_prompt=options.reasoning_prompt, **packing)  # fmt: skip
    if options.threads and callable(use := getattr(model, "use_threads", None)):
        use(options.threads)
    return model


def _check_names(options: Options) -> None:
    """Bad names and values are told before a model is loaded."""
    from milr.latent.schedules import SCHEDULES

    catalog.one_of("preset", options.preset, list(PRESETS))
    if options.schedule is not None:
        catalog.one_of("schedule", options.schedule, list(SCHEDULES))
    if options.role_tags is not None:
        catalog.one_of("role-tag style", options.role_tags, ["pipe", "plain"])
    resolve(options.preset, 576, options.overrides())
    catalog.check_part("methods", options.method)
    for name in (options.reward, options.metric):
        if name:
            catalog.check_part("rewards", name)


def _threshold(options: Options, reward: Reward) -> float | None:
    if not options.stop:
        return None
    return reward.threshold if options.threshold is None else options.threshold


def _budget(options: Options, settings: Mapping[str, Any]) -> Budget:
    """One picture for single draws, else as many as the longest search of the same settings makes."""
    longest = int(settings["steps"]) + 1
    pictures = 1 if options.method in catalog.SINGLE_DRAW else options.pictures or longest
    if options.method in catalog.STEPPED:
        pictures = min(pictures, longest)
    return Budget(pictures=pictures, token_steps=options.token_steps, reward_calls=options.reward_calls)


def _in_world(model: UnifiedModel) -> bool:
    return model.name == "nano"


def _read(texts: Sequence[str | Prompt], model: UnifiedModel) -> tuple[Prompt, ...]:
    """Prompts the model can read, trimmed, each once; those of nano's grammar with their metadata, for its pictures."""
    from milr.shapes.grammar import to_prompt

    found: dict[str, Prompt] = {}
    for given in texts:
        prompt = given if isinstance(given, Prompt) else Prompt(given)
        prompt = replace(prompt, text=prompt.text.strip())
        _check(prompt.text, model, "prompt")
        if _in_world(model):
            known = to_prompt(prompt.text, prompt.id)
            prompt = replace(known or replace(prompt, metadata=None, category=""), source=prompt.source)
        found.setdefault(f"{prompt.id}\0{prompt.text}", prompt)
    return tuple(found.values())


def _check_texts(options: Options, prompts: Sequence[Prompt], model: UnifiedModel) -> None:
    if options.visualisation is not None:
        _check(options.visualisation, model, "visualisation")
    if options.reasoning_prompt is not None:
        _check(options.reasoning_prompt.replace("{prompt}", prompts[0].text), model, "reasoning prompt")


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


def _default_reward(prompts: Sequence[Prompt], model: UnifiedModel) -> str:
    """Another judge than the report metric, where there is one: in nano's world, for prompts that it can read."""
    known = {prompt.metadata is not None and _in_world(model) for prompt in prompts}
    return BY_PROMPT if len(known) == 2 else "held-out" if True in known else "self"


def _make_reward(name: str, model: UnifiedModel, options: Options) -> Reward:
    from milr.rewards.by_prompt import ByPrompt

    if name == BY_PROMPT:
        return ByPrompt(*(catalog.make_reward(part, model, options) for part in ("held-out", "self")))
    return catalog.make_reward(name, model, options)


def _refuse_unknown(prompts: Sequence[Prompt], model: UnifiedModel, name: str, judge: Reward) -> None:
    """UsageError where the judge can never judge one of the prompts."""
    strange = next((prompt for prompt in prompts if prompt.metadata is None), None)
    if "shapes" in judge.needs and (strange or not _in_world(model)):
        why = "its grammar cannot read" if _in_world(model) else f"it knows nano's pictures, not {model.name}'s:"
        text = (strange or prompts[0]).text
        raise UsageError(f"the reward {name} cannot judge this: {why} {text!r}; use --reward self.")
    if callable(check := getattr(judge, "check", None)):
        for prompt in prompts:
            check(prompt)
