"""Names of the rows of a comparison: the method in plain words, and only what tells the rows apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from milr.runs.config import RunConfig, digest_of

ORACLE = "(oracle)"
TEXTS = {"redraw_plain": "plain prompt", "redraw_greedy": "greedy text", "redraw_sampled": "sampled text"}
SINGLE = frozenset({"plain", "text_enhanced"})
OF_SEARCHES = frozenset({"pictures", "token_steps", "reward_calls", "threshold", "returns"})
OF_LATENTS = frozenset({"schedule", "steps", "text_ratio", "image_ratio", "learning_rate", "l2", "credit", "epsilon",
                        "dtype"})  # fmt: skip


def method_name(config: RunConfig) -> str:
    """The method in plain words; drawing again is `resample` under a threshold and `best of N` without one."""
    text = TEXTS.get(config.method)
    if text is None:
        return config.method
    return f"{'best of N' if config.settings.get('threshold') is None else 'resample'} ({text})"


def names_of(configs: Sequence[RunConfig]) -> list[str]:
    """A name for each configuration, all different: the label, else the method and the settings that differ."""
    facts = [_facts(config) for config in configs]
    told = [_told(facts, place) for place in range(len(configs))]
    named = [_labelled(config, words) if config.label else ", ".join([method_name(config), *words.values()])
             for config, words in zip(configs, told, strict=True)]  # fmt: skip
    return _numbered(_told_apart(configs, named))


def titled(name: str, oracle: bool) -> str:
    """The name as it is shown: with the oracle label where the search reward is also the report metric."""
    return f"{name} {ORACLE}" if oracle else name


def _labelled(config: RunConfig, told: dict[str, str]) -> str:
    """The label; the model is added where models differ and the label does not say it."""
    model = told.get("model", "")
    return f"{config.label}, {model}" if model and _shown(config.model) not in config.label else config.label


def _facts(config: RunConfig) -> dict[str, Any]:
    """What could be worth saying about a row, by name: settings that its method does not use are left out."""
    settings = {name: value for name, value in config.settings.items() if _is_used(config, name)}
    return {"model": config.model, "reward": config.reward, **settings}


def _is_used(config: RunConfig, name: str) -> bool:
    if config.method in SINGLE and name in OF_SEARCHES | OF_LATENTS:
        return False
    if config.method in TEXTS and name in OF_LATENTS:
        return False
    if config.method == "frozen" and name == "learning_rate":
        return False
    if name == "threshold" and config.method in TEXTS and config.settings[name] is None:
        return False
    return name != "steps" or config.settings.get("pictures") is None  # the budget says it already


def _told(facts: Sequence[dict[str, Any]], place: int) -> dict[str, str]:
    """The facts of one row in which some other row differs. Thresholds are compared under the same reward only."""
    own = facts[place]
    differing = {
        name: value for name, value in own.items()
        if any(name in other and digest_of(other[name]) != digest_of(value)
               for other in facts if name != "threshold" or other["reward"] == own["reward"])
    }  # fmt: skip
    return {name: _said(name, value) for name, value in differing.items()}


def _said(name: str, value: Any) -> str:
    if name == "threshold" and value is None:
        return "no stop"
    return f"{name} {_shown(value)}"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return PurePath(text).name if "/" in text else text if len(text) <= 32 else text[:12]


def _told_apart(configs: Sequence[RunConfig], names: Sequence[str]) -> list[str]:
    """Names that occur twice, with everything else in which their configurations differ."""
    counts = Counter(names)
    return [name if counts[name] == 1 else _with_rest(configs, names, place) for place, name in enumerate(names)]


def _with_rest(configs: Sequence[RunConfig], names: Sequence[str], place: int) -> str:
    own = configs[place].identity()
    namesakes = [config.identity() for config, name in zip(configs, names, strict=True) if name == names[place]]
    rest = [name for name in sorted(own) if name != "seed"
            and any(digest_of(other.get(name)) != digest_of(own[name]) for other in namesakes)]  # fmt: skip
    return ", ".join([names[place], *(_said(name, own[name]) for name in rest)])


def _numbered(names: Sequence[str]) -> list[str]:
    """Whatever is still the same gets a number."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return found
