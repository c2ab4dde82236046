"""Name to factory: the whole menu, and the only file that names every part.

A part is one of the names below, one that an installed package offers through the entry point group `milr.models`,
`milr.rewards` or `milr.methods`, or `path/to/file.py:name`. Factories import what they need when they are called.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.types import MilrError, MissingError, UsageError

if TYPE_CHECKING:
    from milr.base import Benchmark, Method, Reward, UnifiedModel
    from milr.methods.latent_reasoning import Settings as LatentSettings


@dataclass(frozen=True)
class Part:
    """One line of the menu: how to make it, and what `milr list` says about it."""

    make: Callable[..., Any]
    summary: str
    needs: str = ""
    licence: str = ""


def _nano(**settings: Any) -> UnifiedModel:
    from milr.models.nano import load_nano

    return load_nano(**settings)


def _hub(name: str) -> Callable[..., UnifiedModel]:
    def make(**settings: Any) -> UnifiedModel:
        from milr.models.janus import JanusModel

        return JanusModel.load(name, **settings)

    return make


def _detector(model: UnifiedModel, seed: int) -> Reward:
    from milr.rewards.detection import shapes_detector

    return shapes_detector()


def _held_out(model: UnifiedModel, seed: int) -> Reward:
    from milr.rewards.detection import held_out_judge

    return held_out_judge()


def _self_judge(model: UnifiedModel, seed: int) -> Reward:
    from milr.rewards.self_judge import SelfJudge

    return SelfJudge(model.question)


def _noisy(model: UnifiedModel, seed: int, rates: str = "") -> Reward:
    from milr.rewards.noisy import NoisyJudge, parse

    return NoisyJudge(_detector(model, seed), *parse(rates), seed)


def _redraw(visualise: str) -> Callable[..., Method]:
    def make(settings: Mapping[str, Any], visualisation: str | None) -> Method:
        from milr.methods.redraw import redraw

        return redraw(visualise=visualise, guidance_scale=settings["guidance_scale"],  # type: ignore[arg-type]
                      temperature=settings["temperature"], visualisation=visualisation)  # fmt: skip

    return make


def _latent_settings(settings: Mapping[str, Any], visualisation: str | None, **fixed: Any) -> LatentSettings:
    from milr.latent.schedules import SCHEDULES
    from milr.methods.latent_reasoning import Settings

    names = ("steps", "text_ratio", "image_ratio", "learning_rate", "l2", "guidance_scale", "temperature", "credit",
             "epsilon", "dtype")  # fmt: skip
    chosen = {name: settings[name] for name in names} | fixed
    return Settings(SCHEDULES[settings["schedule"]], visualisation=visualisation, **chosen)


def _latent_reasoning(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.latent_reasoning import latent_reasoning

    return latent_reasoning(_latent_settings(settings, visualisation))


def _frozen(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.latent_reasoning import latent_reasoning

    return latent_reasoning(_latent_settings(settings, visualisation, learning_rate=0.0))


def _random_walk(settings: Mapping[str, Any], visualisation: str | None) -> Method:
    from milr.methods.random_walk import random_walk

    return random_walk(_latent_settings(settings, visualisation))


def _shapes(split: str = "test") -> Benchmark:
    from milr.benchmarks.shapes import Shapes

    return Shapes(split)


JANUS_LICENCE = "DeepSeek Model License (its own; see the model's page)"
MODELS = {
    "nano": Part(_nano, "the embedded model: 64 x 64 pictures of coloured shapes, CPU", licence="Apache-2.0"),
    "deepseek-community/Janus-Pro-1B": Part(
        _hub("deepseek-community/Janus-Pro-1B"), "Janus-Pro 1B, or a folder with its weights",
        "about 4 GB of weights", JANUS_LICENCE),
    "deepseek-community/Janus-Pro-7B": Part(
        _hub("deepseek-community/Janus-Pro-7B"), "Janus-Pro 7B, or a folder with its weights",
        "about 15 GB of weights, a GPU", JANUS_LICENCE),
}  # fmt: skip
REWARDS = {
    "detector": Part(_detector, "the shapes world's detector under GenEval's rules; for nano an oracle",
                     "a prompt of the shapes grammar", "Apache-2.0"),
    "held-out": Part(_held_out, "a small network's eye on the shapes world, under GenEval's rules; independent of nano",
                     "a prompt of the shapes grammar", "Apache-2.0"),
    "self": Part(_self_judge, "the generating model's own yes or no", "nothing", "that of the model"),
    "noisy": Part(_noisy, "noisy:P,Q: the detector, but right pictures fail with P and wrong ones pass with Q",
                  "a prompt of the shapes grammar", "Apache-2.0"),
}  # fmt: skip
METHODS = {
    "latent_reasoning": Part(_latent_reasoning, "MILR: policy gradients on the first text and image latents"),
    "plain": Part(_redraw("none"), "one picture from the bare prompt"),
    "text_enhanced": Part(_redraw("greedy"), "one picture from the prompt and its greedy visualisation"),
    "redraw_plain": Part(_redraw("none"), "again and again from the bare prompt: resample, or Best-of-N (--no-stop)"),
    "redraw_greedy": Part(_redraw("greedy"), "again and again from the greedy visualisation"),
    "redraw_sampled": Part(_redraw("sampled"), "again and again, from a newly sampled visualisation each time"),
    "frozen": Part(_frozen, "latent_reasoning at learning rate 0: its redrawing without its updates"),
    "random_walk": Part(_random_walk, "latent_reasoning whose updates go anywhere, as far as the gradient's"),
}
BENCHMARKS = {
    "shapes": Part(_shapes, "nano's world under GenEval's rules: 328 test prompts; --split hard: 300 harder ones",
                   "--model nano", "Apache-2.0"),
}  # fmt: skip
DETECTOR_SOURCES = ("shapes/detector.py", "shapes/drawing.py", "shapes/judge.py", "rules/geneval.py")
HELD_OUT_SOURCES = ("shapes/held_out.py", "shapes/held_out.safetensors", *DETECTOR_SOURCES)
BARE = ("plain", "redraw_plain")  # methods that write no visualisation
STEPPED = ("latent_reasoning", "frozen", "random_walk")  # methods that end after their steps
SINGLE_DRAW = ("plain", "text_enhanced")
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


def nearest_name(name: str, known: Sequence[str]) -> str:
    """ "; did you mean X?" or the list of what there is."""
    close = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."


def one_of(kind: str, name: str, known: Sequence[str]) -> str:
    """`name`, or a UsageError with the nearest known one."""
    if name not in known:
        raise UsageError(f"no {kind} is called {name!r}; {nearest_name(name, list(known))}")
    return name


def check_part(kind: str, name: str) -> None:
    """UsageError where no part of the menu has this name (a file's part is checked when it is loaded)."""
    if not _is_file_part(name):
        known = name.partition(":")[0] if kind == "rewards" else name
        one_of(kind[:-1], known, list(menu(kind)))


def make_model(name: str, **settings: Any) -> UnifiedModel:
    """A model by name, folder, hub name, or path/to/file.py:name."""
    if _is_file_part(name):
        made: UnifiedModel = _call(name, _from_file(name), **settings)
        return made
    part = menu("models").get(name)
    if part is None and "/" not in name and not Path(name).exists():
        one_of("model", name, list(menu("models")))
    loaded: UnifiedModel = part.make(**settings) if part else _hub(name)(**settings)
    return loaded


def make_reward(name: str, model: UnifiedModel, seed: int = 0) -> Reward:
    """A reward by name (noisy:P,Q with its rates), or path/to/file.py:name (a Reward, its class, or a function)."""
    if _is_file_part(name):
        return _as_reward(_from_file(name), name)
    known, _, rates = name.partition(":")
    factory = menu("rewards")[one_of("reward", known, list(menu("rewards")))].make
    if known == "noisy":
        noisy: Reward = factory(model, seed, rates)
        return noisy
    made: Reward = factory(model, seed) if known in REWARDS else factory(model)
    return made


def make_benchmark(name: str, **settings: Any) -> Benchmark:
    """A benchmark by name, or path/to/file.py:name."""
    if _is_file_part(name):
        made: Benchmark = _call(name, _from_file(name), **settings)
        return made
    found: Benchmark = menu("benchmarks")[one_of("benchmark", name, list(menu("benchmarks")))].make(**settings)
    return found


def make_method(name: str, settings: Mapping[str, Any], visualisation: str | None = None) -> Method:
    """A method by name, or path/to/file.py:name (a factory of settings and visualisation)."""
    if _is_file_part(name):
        made: Method = _call(name, _from_file(name), settings, visualisation)
        if not callable(made) or inspect.iscoroutinefunction(made):
            raise UsageError(
                f"{name} makes no method; it must return an async generator function of studio, prompt, key."
            )
        return made
    found = menu("methods")[one_of("method", name, list(menu("methods")))]
    method: Method = found.make(settings, visualisation)
    return method


def reward_identity(name: str) -> dict[str, Any]:
    """What makes two runs' rewards the same: a hash of the file, or of what a judge of shapes is made of."""
    if _is_file_part(name):
        files = [Path(name.rpartition(":")[0])]
    else:
        own = {"self": ("rewards/self_judge.py",), "noisy": ("rewards/noisy.py",)}.get(name.partition(":")[0], ())
        by_detector = "detector" in name or name.startswith("noisy:")
        sources = HELD_OUT_SOURCES if "held-out" in name else DETECTOR_SOURCES if by_detector else ()
        files = [Path(__file__).parent / part for part in (*own, *sources)]
    return {"sources": hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()} if files else {}


def _is_file_part(name: str) -> bool:
    return name.rpartition(":")[0].endswith(".py")


def _from_file(name: str) -> Any:
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}; write path/to/file.py:name.")
    mark = hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"milr_part_{Path(path).stem}_{mark}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} does not load: {type(error).__name__}: {error}.") from error
    if not hasattr(module, attribute):
        known = [found for found in vars(module) if not found.startswith("_")]
        raise UsageError(f"{path} has no {attribute!r}; {nearest_name(attribute, known)}")
    return getattr(module, attribute)


def _call(name: str, factory: Any, *arguments: Any, **settings: Any) -> Any:
    """What a factory from a file makes; its own errors in one sentence."""
    try:
        return factory(*arguments, **settings)
    except MilrError:
        raise
    except Exception as error:
        raise UsageError(f"{name} cannot be made: {type(error).__name__}: {error}.") from error


def _as_reward(found: Any, name: str) -> Reward:
    if inspect.isclass(found) or (inspect.isfunction(found) and not inspect.signature(found).parameters):
        found = _call(name, found)
    if hasattr(found, "score"):
        absent = [field for field in ("name", "range", "threshold", "needs", "licence") if not hasattr(found, field)]
        if absent:
            raise UsageError(f"{name} is no whole reward; it lacks {', '.join(absent)} (see milr.base.Reward).")
        reward: Reward = found
        return reward
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise UsageError(f"{name} is no reward; it must be a Reward, or a plain function of picture and prompt.")
    from milr.rewards.function import FunctionReward

    return FunctionReward(found, name)
