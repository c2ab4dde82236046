"""Names of the rows of a comparison: the method's own name, and the settings in which rows differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from milr.runs.config import RunConfig, digest_of

ORACLE = "(oracle)"
REDRAWING = frozenset({"redraw_plain", "redraw_greedy", "redraw_sampled"})
SINGLE_DRAW = frozenset({"plain", "text_enhanced"})
SEARCH_SETTINGS = frozenset({"pictures", "token_steps", "reward_calls", "threshold", "returns"})
LATENT_SETTINGS = frozenset({"schedule", "steps", "text_ratio", "image_ratio", "learning_rate", "l2", "credit",
                             "epsilon", "dtype"})  # fmt: skip


def row_names(configs: Sequence[RunConfig]) -> list[str]:
    """A different name for each configuration: its label, else its method and the settings that differ."""
    settings = [_used_settings(config) for config in configs]
    differing = [_differing_settings(settings, index) for index in range(len(configs))]
    names = [_labelled(config, words) if config.label else ", ".join([config.method, *words.values()])
             for config, words in zip(configs, differing, strict=True)]  # fmt: skip
    return _number_duplicates(_separate_duplicates(configs, names))


def title_of(name: str, oracle: bool) -> str:
    """The name as tables show it: with the oracle label where the search reward is also the report metric."""
    return f"{name} {ORACLE}" if oracle else name


def _labelled(config: RunConfig, differing: dict[str, str]) -> str:
    """The label; the model is added where models differ and the label does not contain its name."""
    model = differing.get("model", "")
    return f"{config.label}, {model}" if model and _short_value(config.model) not in config.label else config.label


def _used_settings(config: RunConfig) -> dict[str, Any]:
    """Model, reward and the settings that the method uses, by name."""
    settings = {name: value for name, value in config.settings.items() if _is_used(config, name)}
    return {"model": config.model, "reward": config.reward, **settings}


def _is_used(config: RunConfig, name: str) -> bool:
    if config.method in SINGLE_DRAW and name in SEARCH_SETTINGS | LATENT_SETTINGS:
        return False
    if config.method in REDRAWING and name in LATENT_SETTINGS:
        return False
    if config.method == "frozen" and name == "learning_rate":
        return False
    return name != "steps" or config.settings.get("pictures") is None  # the number of pictures implies it


def _differing_settings(settings: Sequence[dict[str, Any]], index: int) -> dict[str, str]:
    """The settings of one row in which some other row differs, in words.

    Thresholds are compared between rows of one reward only.
    """
    row = settings[index]
    differing = {
        name: value for name, value in row.items()
        if any(name in other and digest_of(other[name]) != digest_of(value)
               for other in settings if name != "threshold" or other["reward"] == row["reward"])
    }  # fmt: skip
    return {name: _describe(name, value) for name, value in differing.items()}


def _describe(name: str, value: Any) -> str:
    if name == "threshold" and value is None:
        return "no stop"
    return f"{name} {_short_value(value)}"


def _short_value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return PurePath(text).name if "/" in text else text if len(text) <= 32 else text[:12]


def _separate_duplicates(configs: Sequence[RunConfig], names: Sequence[str]) -> list[str]:
    """Adds to names that occur twice everything else in which their configurations differ."""
    counts = Counter(names)
    return [
        name if counts[name] == 1 else _with_all_differences(configs, names, index) for index, name in enumerate(names)
    ]


def _with_all_differences(configs: Sequence[RunConfig], names: Sequence[str], index: int) -> str:
    identity = configs[index].identity()
    others = [config.identity() for config, name in zip(configs, names, strict=True) if name == names[index]]
    differing = [name for name in sorted(identity) if name != "seed"
                 and any(digest_of(other.get(name)) != digest_of(identity[name]) for other in others)]  # fmt: skip
    return ", ".join([names[index], *(_describe(name, identity[name]) for name in differing)])


def _number_duplicates(names: Sequence[str]) -> list[str]:
    """Appends a number to names that are still the same."""
    counts: Counter[str] = Counter()
    numbered = []
    for name in names:
        counts[name] += 1
        numbered.append(name if counts[name] == 1 else f"{name} #{counts[name]}")
    return numbered
