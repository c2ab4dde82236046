"""Parts that a user names as `path/to/file.py:name`."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr.base import describe_error
from milr.catalog.names import nearest_name
from milr.types import MilrError, Prompt, UsageError

if TYPE_CHECKING:
    from milr.base import Benchmark, Reward


def is_file_part(name: str) -> bool:
    """Whether a part's name is that of an object in a Python file."""
    return name.rpartition(":")[0].endswith(".py")


def file_hash(name: str) -> str:
    """SHA-256 of the file of path/to/file.py:name; "" where there is none."""
    try:
        return hashlib.sha256(Path(name.rpartition(":")[0]).read_bytes()).hexdigest()
    except OSError:
        return ""


def from_file(name: str) -> Any:
    """The object that path/to/file.py:name names; UsageError where there is none."""
    path, _, attribute = name.rpartition(":")
    if not Path(path).is_file():
        raise UsageError(f"there is no file {path}; write path/to/file.py:name.")
    mark = hashlib.sha256(str(Path(path).resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"milr_part_{Path(path).stem}_{mark}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    with user_code(f"{path} does not load"):
        spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        public_names = [key for key in vars(module) if not key.startswith("_")]
        raise UsageError(f"{path} has no {attribute!r}; {nearest_name(attribute, public_names)}")
    return getattr(module, attribute)


def call(name: str, factory: Any, *arguments: Any, **settings: Any) -> Any:
    """What a factory from a file makes; its own errors in one sentence."""
    with user_code(f"{name} cannot be made"):
        return factory(*arguments, **settings)


@contextmanager
def user_code(problem: str) -> Iterator[None]:
    """Whatever the user's code inside raises becomes a UsageError: the problem, the error, and where it was raised.

    MilrError and an interrupt pass.
    """
    try:
        yield
    except (MilrError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit() in a user's file, too
        raise UsageError(f"{problem}: {describe_error(error)}.") from error


def as_reward(judge: Any, name: str, seconds: float | None = None) -> Reward:
    """A Reward, its class, or a plain function of picture and prompt, as a reward.

    A function's judgement that takes longer than `seconds` (None: no limit) is unscored.
    """
    if inspect.isclass(judge) or (inspect.isfunction(judge) and not inspect.signature(judge).parameters):
        judge = call(name, judge)
    if hasattr(judge, "score"):
        absent = [field for field in ("name", "range", "threshold", "needs", "licence") if not hasattr(judge, field)]
        if absent:
            raise UsageError(f"{name} is no whole reward; it lacks {', '.join(absent)} (see milr.base.Reward).")
        reward: Reward = judge
        return reward
    if not callable(judge) or inspect.iscoroutinefunction(judge):
        raise UsageError(f"{name} is no reward; it must be a Reward, or a plain function of picture and prompt.")
    from milr.rewards.function import FunctionReward

    return FunctionReward(judge, name, seconds)


class FileBenchmark:
    """A benchmark from a user's file: what its `prompts` raises or returns is checked; the rest is the benchmark's."""

    def __init__(self, benchmark: Benchmark, source: str) -> None:
        absent = [field for field in ("name", "metric", "layout", "prompts") if not hasattr(benchmark, field)]
        if absent:
            raise UsageError(f"{source} is no whole benchmark; it lacks {', '.join(absent)} (see milr.base.Benchmark).")
        self._benchmark, self._source = benchmark, source
        self.name, self.metric, self.layout = benchmark.name, benchmark.metric, benchmark.layout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._benchmark, name)

    def prompts(self) -> list[Prompt]:
        """The benchmark's prompts; UsageError where its code raises, or returns anything but prompts."""
        with user_code(f"the prompts of {self._source} cannot be made"):
            prompts = list(self._benchmark.prompts())
        for prompt in prompts:
            if not isinstance(prompt, Prompt) or not all(
                isinstance(text, str) for text in (prompt.text, prompt.id, prompt.category)
            ):
                raise UsageError(f"the prompts of {self._source} must be milr.types.Prompt with texts, not {prompt!r}.")
        if not prompts:
            raise UsageError(f"{self._source} has no prompts.")
        return prompts
