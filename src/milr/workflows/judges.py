"""Rewards by name, each made once and kept; objects and functions that a user gave get a name of their own."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.base import Reward, UnifiedModel
    from milr.options import Options


class Judges:
    """Called with a name, a model and options as `catalog.make_reward` is; it gives the same reward again."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}
        self._rewards: dict[Hashable, Reward] = {}

    def add(self, judge: Any) -> str:
        """Keep a reward or a function that a user gave; its name."""
        name = name_of_object(judge)
        if self._objects.setdefault(name, judge) is not judge:  # two lambdas, or a cell of a notebook run again
            self._rewards = {key: reward for key, reward in self._rewards.items() if key != name}
            self._objects[name] = judge
        return name

    def check(self, options: Options) -> None:
        """UsageError for names of rewards that nothing has."""
        for name in filter(None, (options.reward, options.metric)):
            if name not in self._objects:
                catalog.check_part("rewards", name)

    def __call__(self, name: str, model: UnifiedModel | None, options: Options) -> Reward:
        """The reward; UsageError or MissingError where it cannot be made."""
        self.check(dataclasses.replace(options, reward=name, metric=None))
        key = name if name in self._objects else (name, id(model), catalog.reward_options(name, options))
        if key not in self._rewards:
            given = self._objects.get(name)
            self._rewards[key] = (catalog.make_reward(name, model, options) if given is None
                                  else catalog.as_reward(given, name))  # fmt: skip
        return self._rewards[key]


def name_of_object(part: Any) -> str:
    """What a run calls an object that a user gave: its `name`, or the name in its module, never one of the catalogue.

    UsageError for what cannot be a part of a run.
    """
    own = getattr(part, "name", None)
    if isinstance(own, str) and own and not inspect.isclass(part):
        taken = any(own in catalog.menu(kind) for kind in catalog.KINDS)
        return f"{type(part).__module__}.{own}" if taken else own
    if not callable(part):
        raise UsageError(f"{part!r} is neither a name nor a model, a reward, a method or a function.")
    kind = part if hasattr(part, "__qualname__") else type(part)
    return f"{kind.__module__}.{kind.__qualname__}"
