"""Name to factory: the whole menu, and the only room that names every part.

A part is one of the names in this room, one that an installed package offers through the entry point group
`milr.models`, `milr.rewards` or `milr.methods`, or `path/to/file.py:name`. Factories import what they need when they
are called.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.catalog.benchmarks import BENCHMARKS
from milr.catalog.files import FileBenchmark, as_reward, call, file_hash, from_file, is_file_part
from milr.catalog.identity import reward_identity
from milr.catalog.methods import BARE, METHODS, SINGLE_DRAW, STEPPED, fixed_settings, method_abilities
from milr.catalog.models import MODELS, PIPELINE, hub, model_files, pipeline, worlds
from milr.catalog.names import nearest_name, one_of
from milr.catalog.notes import notes_of
from milr.catalog.objects import object_identity
from milr.catalog.parts import Part, RewardRequest
from milr.catalog.plugins import entry_points
from milr.catalog.rewards import MIXTURES, REWARDS, judges_in, refuse_rank_inside, reward_abilities
from milr.inputs.files import MEBIBYTE, read_file
from milr.types import MissingError, UsageError

if TYPE_CHECKING:
    from milr.base import Benchmark, Method, Reward, UnifiedModel, World
    from milr.options import Options

__all__ = ["BARE", "BENCHMARKS", "KINDS", "METHODS", "MIXTURES", "MODELS", "OR", "REWARDS", "SINGLE_DRAW", "STEPPED",
           "Part", "as_reward", "check_part", "fixed_settings", "judges_in", "make_benchmark", "make_method",
           "make_model", "make_reward", "menu", "method_abilities", "method_code", "model_files", "nearest_name",
           "notes_of", "one_of", "reward_abilities", "reward_identity", "reward_options",
           "world_needed", "worlds"]  # fmt: skip
OR = " or "  # between two rewards: the first for prompts with metadata, the second for the rest
KINDS: dict[str, dict[str, Part]] = {"models": MODELS, "rewards": REWARDS, "methods": METHODS,
                                     "benchmarks": BENCHMARKS}  # fmt: skip


def menu(kind: str) -> dict[str, Part]:
    """Our parts of a kind with those that installed packages offer."""
    offered = {entry.name: Part(_offered(entry), f"from {entry.value}") for entry in entry_points(group=f"milr.{kind}")}
    return offered | KINDS[kind]


def _offered(entry: EntryPoint) -> Callable[..., Any]:
    """The factory that another package offers, loaded when it is called."""

    def make(*arguments: Any, **settings: Any) -> Any:
        try:
            factory = entry.load()
        except Exception as error:
            raise MissingError(
                f"{entry.name} ({entry.value}) does not load: {type(error).__name__}: {error}."
            ) from error
        return factory(*arguments, **settings)

    return make


def check_part(kind: str, name: str) -> None:
    """UsageError where no part of the menu has this name (a file's part is checked when it is loaded)."""
    if kind == "rewards" and OR in name:
        refuse_rank_inside(name, name.split(OR))
        for inner in name.split(OR):
            check_part(kind, inner)
    elif kind == "rewards" and name.startswith(MIXTURES):
        for inner in judges_in(name):
            check_part(kind, inner)
    elif not is_file_part(name):
        base_name = name.partition(":")[0] if kind == "rewards" else name
        one_of(kind[:-1], base_name, list(menu(kind)))


def make_model(name: str, **settings: Any) -> UnifiedModel:
    """A model by name, folder, hub name, or path/to/file.py:name."""
    if is_file_part(name):
        model: UnifiedModel = call(name, from_file(name), **settings)
        return model
    if name.startswith(PIPELINE):
        return pipeline(name.removeprefix(PIPELINE))(**settings)
    for option in ("prompt_model", "denoising_steps"):
        if settings.get(option) is not None:
            raise UsageError(f"{option} is for a model that only draws, such as {PIPELINE}NAME, and {name} does "
                             "without: leave it out.")  # fmt: skip
    part = menu("models").get(name)
    if part is None and "/" not in name and not Path(name).exists():
        one_of("model", name, list(menu("models")))
    model = part.make(**settings) if part else hub(name)(**settings)
    return model


def make_reward(name: str, model: UnifiedModel | None, options: Options) -> Reward:
    """A reward by name, some with an argument after a colon, or path/to/file.py:name (a Reward, its class, a function).

    "A or B" judges prompts with metadata by A and the others by B. `model` None: there is no generating model to ask.
    """
    if OR in name:
        from milr.rewards.by_prompt import ByPromptReward

        informed, general = (make_reward(part, model, options) for part in name.split(OR, 1))
        return ByPromptReward(informed, general)
    if is_file_part(name) and not name.startswith(MIXTURES):
        return as_reward(from_file(name), name, options.reward_seconds)
    base_name, _, argument = name.partition(":")
    factory = menu("rewards")[one_of("reward", base_name, list(menu("rewards")))].make
    if argument and base_name not in ("noisy", "self", "likelihood", "checklist", "weighted", "rank"):
        raise UsageError(f"the reward {base_name} takes nothing after a colon; write {base_name}.")
    request = RewardRequest(model, options, argument, lambda other: make_reward(other, model, options))
    reward: Reward = factory(request) if base_name in REWARDS else factory(model)
    return reward


def method_code(name: str, factory: Any = None) -> str:
    """What tells a user's own method from another of its name: its code, and the state of an object; "" for ours."""
    if factory is not None:
        return object_identity(factory)
    return file_hash(name) if is_file_part(name) else ""


def reward_options(name: str, options: Options) -> tuple[Any, ...]:
    """What makes another reward of this name: of the options where and how judges are asked, and the seed of those that
    draw at random; the content of the user's files."""
    names = ("judge_", "strict_", "device", "reward_seconds")
    fields = [field for field in options.__dataclass_fields__ if field.startswith(names)]
    rewards = [REWARDS.get(word) for word in re.split(r"[:=,+ ]", name)]
    seed = options.seed if any(part and part.seeded for part in rewards) else None
    files = [file_hash(part) for part in re.split(r"[,=]| or |weighted:|rank:", name) if is_file_part(part)]
    calibration = [read_file(Path(options.calibration), MEBIBYTE)] if options.calibration else []
    return (seed, *(getattr(options, field) for field in fields), *files, *calibration)


def world_needed(judge: Reward) -> World | None:
    """The small world outside which this judge knows nothing; None where it needs none."""
    return next((world for name, world in worlds().items() if name in judge.needs), None)


def make_benchmark(name: str, **settings: Any) -> Benchmark:
    """A benchmark by name, or path/to/file.py:name; UsageError for a setting that it does not take."""
    if is_file_part(name):
        return FileBenchmark(call(name, from_file(name), **settings), name)
    factory = menu("benchmarks")[one_of("benchmark", name, list(menu("benchmarks")))].make
    if name in BENCHMARKS:
        unknown_setting = next((key for key in settings if key not in inspect.signature(factory).parameters), "")
        if unknown_setting:
            raise UsageError(f"the benchmark {name} takes no --{unknown_setting}.")
    benchmark: Benchmark = factory(**settings)
    return benchmark


def make_method(name: str, settings: Mapping[str, Any], visualisation: str | None = None) -> Method:
    """A method by name, or path/to/file.py:name (a factory of settings and visualisation)."""
    if is_file_part(name):
        method: Method = call(name, from_file(name), settings, visualisation)
        if not callable(method) or inspect.iscoroutinefunction(method):
            raise UsageError(
                f"{name} makes no method; it must return an async generator function of studio, prompt, key."
            )
        return method
    part = menu("methods")[one_of("method", name, list(menu("methods")))]
    method = part.make(settings, visualisation)
    return method
