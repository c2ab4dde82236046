"""The identity of a run: everything that determines its tokens and scores, and nothing else.

What may change between two sittings of the same run (how many prompts are in flight, the folder, the machine,
package versions) is not part of it; the store writes machine and versions beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue

from milr.types import Prompt

LABELS = frozenset({"command", "label", "notes", "thresholds"})
NOT_SET = "not set"
LONGEST = 48


def plain(value: Any) -> Any:
    """`value` as JSON would give it back: lists, string keys, whole floats as integers, odd floats as words."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return _plain_number(value)
    return value


def _plain_number(value: float) -> float | int | str:
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() else float(value)


def digest_of(value: Any) -> str:
    """The sha256 of `value` as canonical JSON."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def prompts_digest(prompts: Iterable[Prompt]) -> str:
    """The digest of the prompts with their metadata, in order."""
    return digest_of([[prompt.id, prompt.text, prompt.category, prompt.metadata] for prompt in prompts])


Plain = Annotated[dict[str, JsonValue], BeforeValidator(plain)]


class RunConfig(BaseModel):
    """What a run is. `settings` are the method's and the search's values after presets and flags are resolved.

    `notes` say what a score cannot be compared with, `thresholds` above what a picture is right, by category; both
    follow from the rest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    command: str = "generate"
    label: str = ""
    benchmark: str = ""
    prompts_digest: str
    prompt_count: int
    model: str
    model_identity: Plain = {}
    reward: str
    reward_identity: Plain = {}
    report_metric: str = ""
    metric_identity: Plain = {}
    oracle: bool = False
    method: str
    preset: str = ""
    settings: Plain = {}
    seed: int = 0
    samples: int = 1
    role_tags: str = ""
    dtype: str = ""
    device: str = ""
    notes: tuple[str, ...] = ()
    thresholds: dict[str, float] = {}

    def threshold_of(self, category: str) -> float | None:
        """Above which score of the search reward a picture of this category is right; None: not known."""
        whole = self.settings.get("threshold")
        return self.thresholds.get(category, float(whole) if isinstance(whole, (int, float)) else None)

    def identity(self) -> dict[str, Any]:
        """Flat names to values: what the digest covers and what `differences` compares."""
        fields = {name: value for name, value in self.model_dump(mode="json").items() if name not in LABELS}
        settings = fields.pop("settings")
        flat = {f"setting {name}" if name in fields else name: value for name, value in settings.items()}
        for owner in ("model", "reward", "metric"):
            flat |= _flat(owner, fields.pop(f"{owner}_identity"))
        count = fields.pop("prompt_count")
        fields["prompts"] = f"{count} ({fields.pop('prompts_digest')})"
        return {**flat, **fields}

    @property
    def digest(self) -> str:
        """Two configurations with one digest make the same tokens and scores."""
        return digest_of(self.identity())


def _flat(owner: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """One name for each value, however deep it lies."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(f"{owner} {name}", value) if isinstance(value, Mapping) else {f"{owner} {name}": value}
    return found


def differences(old: RunConfig, new: RunConfig) -> list[str]:
    """What tells two configurations apart, in words: `learning_rate: 0.03 there, 0.1 here`."""
    there, here = plain(old.identity()), plain(new.identity())
    names = sorted(there.keys() | here.keys())
    return [
        f"{shown(name)}: {_told_apart(there.get(name, NOT_SET), here.get(name, NOT_SET))}"
        for name in names
        if digest_of(there.get(name, NOT_SET)) != digest_of(here.get(name, NOT_SET))
    ]


def shown(name: str) -> str:
    """The name of a part of the identity in words: `metric own wording` is the metric's wording, whoever wrote it."""
    return name.replace(" own ", " ")


def _told_apart(there: Any, here: Any) -> str:
    if max(len(_shown(there)), len(_shown(here))) <= LONGEST:
        return f"{_shown(there)} there, {_shown(here)} here"
    first, second = _cut(_shown(there)), _cut(_shown(here))
    return f"{first} there, {second} here" if first != second else f"{first} there, another value here"


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."
