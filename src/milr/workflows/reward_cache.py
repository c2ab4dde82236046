"""Rewards are made once and kept: by name with all that decides what is made, and objects that a user gave."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from milr import catalog

if TYPE_CHECKING:
    from milr.base import Reward, UnifiedModel
    from milr.options import Options


class RewardCache:
    """Called with a name, a model and options as `catalog.make_reward` is; it gives the same reward again.

    The least recently used of more than `SIZE` rewards is let go.
    """

    SIZE = 16

    def __init__(self) -> None:
        self._rewards: OrderedDict[Hashable, tuple[Any, Reward]] = OrderedDict()
        self._lock = threading.RLock()  # calls are prepared on several threads

    def __call__(self, name: str, model: UnifiedModel | None, options: Options) -> Reward:
        """The reward; UsageError or MissingError where it cannot be made."""
        catalog.check_part("rewards", name)
        key = (name, id(model), catalog.reward_options(name, options))
        return self._keep(key, model, lambda: catalog.make_reward(name, model, options))

    def of_object(self, part: Any, name: str, seconds: float | None = None) -> Reward:
        """A reward or a function that a user gave, as a reward of this name; see `catalog.as_reward` for `seconds`."""
        return self._keep(("object", id(part), name, seconds), part, lambda: catalog.as_reward(part, name, seconds))

    def _keep(self, key: Hashable, owner: Any, make: Any) -> Reward:
        """The reward of `key`; `owner`, whose id is in the key, is held as long as that."""
        with self._lock:
            if key not in self._rewards:
                self._rewards[key] = (owner, make())
                if len(self._rewards) > self.SIZE:
                    self._rewards.popitem(last=False)
            self._rewards.move_to_end(key)
            return self._rewards[key][1]


@dataclasses.dataclass(frozen=True)
class CallRewards:
    """The rewards of one call, as `prepare` asks for them: `objects` by the names that the call gave them."""

    cache: RewardCache
    objects: Mapping[str, Any]

    def __call__(self, name: str, model: UnifiedModel | None, options: Options) -> Reward:
        """The reward that this call means by `name`."""
        if name in self.objects:
            return self.cache.of_object(self.objects[name], name, options.reward_seconds)
        return self.cache(name, model, options)
