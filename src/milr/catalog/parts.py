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
    `threshold` is a reward's own, on its score; `seeded`: it draws at random by the run's seed.
    """

    make: Callable[..., Any]
    summary: str
    needs: str = ""
    licence: str = ""
    threshold: float | None = None
    checkpoints: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    seeded: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a reward is made from: the generating model (None: a folder of pictures has none), the run's options, what
    stands after the colon of its name, and `make`, by name, for a reward that is made of others."""

    model: UnifiedModel | None
    options: Options
    argument: str
    make: Callable[[str], Reward]
