"""What a line of the menu is, and what a reward may be made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milr.base import Reward, UnifiedModel
    from milr.options import Options


@dataclass(frozen=True)
class Part:
    """One line of the menu: how to make it, and what `milr list` says about it.

    `checkpoints` are the hub repositories and `packages` the extra packages without which it does not run here;
    `threshold` is a reward's own, on its score; `seeded`: it draws at random by the run's seed. A benchmark says how
    many `prompts` it has (None: it does not say), who is its `judge`, and how many `judge_calls` it takes to judge one
    picture for each prompt. `abilities` are what a method or reward asks of the model (`base.ABILITIES`, and "partial":
    rows that can be judged before the picture is finished).
    """

    make: Callable[..., Any]
    summary: str
    needs: str = ""
    licence: str = ""
    threshold: float | None = None
    checkpoints: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    seeded: bool = False
    prompts: int | None = None
    judge: str = ""
    judge_calls: str = ""
    abilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class RewardRequest:
    """What a reward is made from.

    `model` is the generating model (None: a folder of pictures has none), `options` are the run's, `argument` is what
    follows the colon in the reward's name, and `make` makes another reward by its name.
    """

    model: UnifiedModel | None
    options: Options
    argument: str
    make: Callable[[str], Reward]
