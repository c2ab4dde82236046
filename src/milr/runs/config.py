"""The identity of a run: everything that determines its tokens and scores, and nothing else.

What may change when a run is resumed (how many samples are in flight, the folder, the machine, package versions) is
not part of the identity; the store writes machine and versions to run.json beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue

from milr.types import Prompt

OUTSIDE_IDENTITY = frozenset({"command", "label", "notes", "thresholds"})
NOT_SET = "not set"
RECORDED_LATER = {"model files": "not recorded",
                  **{f"{owner} own temperature": "not recorded" for owner in ("reward", "metric")}}  # fmt: skip
"""What is said of values that runs of earlier versions lack although they had them."""
MAX_VALUE_LENGTH = 48


def to_json_value(value: Any) -> Any:
    """`value` as it comes back from JSON: lists, string keys, whole floats as integers, nan and infinity as strings."""
    if isinstance(value, Mapping):
        return {str(name): to_json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in value]
    if isinstance(value, float):
        return _to_json_number(value)
    return value


def _to_json_number(value: float) -> float | int | str:
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() else float(value)


def digest_of(value: Any) -> str:
    """The sha256 of `value` as canonical JSON, in hexadecimal digits."""
    text = json.dumps(to_json_value(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def prompts_digest(prompts: Iterable[Prompt]) -> str:
    """The digest of the prompts with their metadata, in order."""
    return digest_of([[prompt.id, prompt.text, prompt.category, prompt.metadata] for prompt in prompts])


JsonMapping = Annotated[dict[str, JsonValue], BeforeValidator(to_json_value)]


class RunConfig(BaseModel):
    """The configuration of a run. `settings` are the values of method and stop rule after presets and flags.

    `notes` say what a score cannot be compared with. `thresholds` maps a category to the score above which a picture
    is right. Both follow from the other fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    command: str = "generate"
    label: str = ""
    benchmark: str = ""
    prompts_digest: str
    prompt_count: int
    model: str
    model_identity: JsonMapping = {}
    reward: str
    reward_identity: JsonMapping = {}
    report_metric: str = ""
    metric_identity: JsonMapping = {}
    oracle: bool = False
    method: str
    preset: str = ""
    settings: JsonMapping = {}
    seed: int = 0
    samples: int = 1
    role_tags: str = ""
    dtype: str = ""
    device: str = ""
    notes: tuple[str, ...] = ()
    thresholds: dict[str, float] = {}

    def threshold_of(self, category: str) -> float | None:
        """The search-reward score above which a picture of this category is right; None where no threshold is set."""
        default = self.settings.get("threshold")
        is_score = isinstance(default, (int, float)) and abs(default) <= 1
        return self.thresholds.get(category, float(default) if is_score else None)  # type: ignore[arg-type]

    def identity(self) -> dict[str, Any]:
        """The values that the digest covers and `describe_differences` compares, by flat name."""
        fields = {name: value for name, value in self.model_dump(mode="json").items() if name not in OUTSIDE_IDENTITY}
        settings = fields.pop("settings")
        flat = {f"setting {name}" if name in fields else name: value for name, value in settings.items()}
        for owner in ("model", "reward", "metric"):
            flat |= _flatten(owner, fields.pop(f"{owner}_identity"))
        count = fields.pop("prompt_count")
        fields["prompts"] = f"{count} ({fields.pop('prompts_digest')})"
        return {**flat, **fields}

    @property
    def digest(self) -> str:
        """The sha256 of the identity: configurations with equal digests give the same tokens and scores."""
        return digest_of(self.identity())


def _flatten(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one mapping; a name is the path of keys, separated by spaces."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(f"{prefix} {name}", value) if isinstance(value, Mapping) else {f"{prefix} {name}": value}
    return flat


def describe_differences(old: RunConfig, new: RunConfig) -> list[str]:
    """One phrase for each value in which two configurations differ: `learning_rate: 0.03 there, 0.1 here`."""
    there, here = to_json_value(old.identity()), to_json_value(new.identity())
    names = sorted(there.keys() | here.keys())
    return [
        f"{display_name(name)}: "
        f"{_describe_difference(there.get(name, RECORDED_LATER.get(name, NOT_SET)), here.get(name, NOT_SET))}"
        for name in names
        if digest_of(there.get(name, NOT_SET)) != digest_of(here.get(name, NOT_SET))
    ]


def other_code(old: RunConfig, new: RunConfig) -> list[str]:
    """The judges of `new` whose code, and so perhaps whose verdicts, are another than in `old`."""
    there, here = old.identity(), new.identity()
    names = {"reward": new.reward, "metric": new.report_metric}
    same_names = (old.reward, old.report_metric) == (new.reward, new.report_metric)
    differing = [name.split()[0] for name in here.keys() & there.keys()
                 if name.split()[-1] == "sources" and here[name] != there[name]]  # fmt: skip
    return sorted({names[owner] for owner in differing if owner in names}) if same_names else []


def display_name(name: str) -> str:
    """The name of an identity value as a reader sees it: `metric own wording` becomes `metric wording`."""
    return name.replace(" own ", " ")


def _describe_difference(there: Any, here: Any) -> str:
    first, second = _display_value(there), _display_value(here)
    if max(len(first), len(second)) <= MAX_VALUE_LENGTH:
        return f"{first} there, {second} here"
    first, second = _truncate(first), _truncate(second)
    return f"{first} there, {second} here" if first != second else f"{first} there, another value here"


def _display_value(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _truncate(text: str) -> str:
    return text if len(text) <= 24 else text[:21] + "..."
