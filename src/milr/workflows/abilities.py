"""Whether a model can do what the method and the judges of a run ask of it, said before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.base import abilities, image_rows
from milr.types import UsageError

if TYPE_CHECKING:
    from milr.base import UnifiedModel
    from milr.options import Options

WORDS = {
    "write": "writes no visualisations",
    "answer": "answers no questions about pictures",
    "text_latents": "has no text latents",
    "image_latents": "has no image tokens that could be forced or moved",
    "partial": "has no rows of tokens that could be judged before a picture is finished",
}
OF_THE_PROMPT_MODEL = ("write", "answer", "text_latents")


def check_abilities(options: Options, settings: Mapping[str, Any], judges: tuple[str, ...], model: UnifiedModel
                    ) -> None:  # fmt: skip
    """UsageError where the run's method, one of its `judges` (by name) or an option asks what the model cannot do.

    A method or judge of another package is not known to ask for anything.
    """
    able = _able(model)
    needed = catalog.method_abilities(options.method, settings["schedule"], options.visualisation)
    if missing := _missing(needed, able):
        others = [name for name in catalog.METHODS if name != "auto" and not _missing(
            catalog.method_abilities(name, settings["schedule"], options.visualisation), able)]  # fmt: skip
        raise UsageError(f"{model.name} {WORDS[missing]}, which {options.method} needs: choose "
                         f"{_one_of(others)}{_or_prompt_model(model, missing)}.")  # fmt: skip
    for judge in judges:
        if missing := _missing(catalog.reward_abilities(judge), able):
            raise UsageError(f"{model.name} {WORDS[missing]}, which the reward {judge} needs: name another judge with "
                             f"--reward and --metric{_or_prompt_model(model, missing)}.")  # fmt: skip
    if options.temperature is not None and not model.image_tokens:
        raise UsageError(f"{model.name} draws no image tokens, so there is no temperature: leave it out.")


def can_judge_itself(name: str, model: UnifiedModel) -> bool:
    """Whether the model can do what the reward `name` asks of it."""
    return not _missing(catalog.reward_abilities(name), _able(model))


def _able(model: UnifiedModel) -> frozenset[str]:
    return abilities(model) | ({"partial"} if image_rows(model) else frozenset())


def _missing(needed: frozenset[str], able: frozenset[str]) -> str:
    """The first ability, in the order of `WORDS`, that is needed and lacking; "" for none."""
    return next((ability for ability in WORDS if ability in needed - able), "")


def _one_of(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _or_prompt_model(model: UnifiedModel, missing: str) -> str:
    """The other remedy, for a model that may have another one beside it."""
    may = missing in OF_THE_PROMPT_MODEL and hasattr(model, "prompt_model")
    return ", or a --prompt-model that does" if may else ""
