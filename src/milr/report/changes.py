"""Sentences about what updates changed: which latents moved, which tokens and words are new. Loads no heavy module.

Latents have moved where an update had a norm above zero, so `frozen` (learning rate 0) moves none, although its image
prefix is sampled again at every step.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from milr.types import Modality, ModalityInfo, Step

if TYPE_CHECKING:
    from milr.runs.records import StepRecord

NOTHING_CHANGED = "drawn again, nothing changed"
NEW_TEXT = "drawn again from a new text"
MODALITIES: tuple[Modality, ...] = ("text", "image")


def describe_changes(moved: Collection[Modality], tokens_changed: Mapping[Modality, int], text_changed: bool, *,
                     free_tokens: Mapping[Modality, int] | None = None) -> str:  # fmt: skip
    """What an update changed, as a phrase such as "3 of 9 free text tokens and 1 of 1 free image token changed".

    `moved` are the modalities whose latents moved (see `moved_latents`). `tokens_changed` counts the changed tokens of
    each prefix; counts of modalities that did not move are ignored. A modality without a count, because its method
    reports none, just "moved". `free_tokens` is the length of each prefix.
    `text_changed` says whether the visualisation is another one; without moved latents it was sampled anew.
    """
    free = free_tokens or {}
    counts = [(modality, tokens_changed.get(modality, 0)) for modality in MODALITIES if modality in moved]
    changed = [_count_tokens(modality, count, free.get(modality)) for modality, count in counts if count]
    uncounted = [modality for modality in MODALITIES if modality in moved and modality not in tokens_changed]
    phrases = [f"{' and '.join(changed)} changed"] if changed else []
    phrases += [f"{' and '.join(uncounted)} latents moved"] if uncounted else []
    if phrases:
        return ", ".join(phrases)
    if text_changed:
        return "the text changed" if "text" in moved else NEW_TEXT
    return NOTHING_CHANGED


def _count_tokens(modality: Modality, changed: int, free: int | None) -> str:
    counts = str(changed) if free is None else f"{changed} of {free} free"
    return f"{counts} {modality} token{'' if (free or changed) == 1 else 's'}"


def describe_step(step: Step | StepRecord) -> str:
    """What a step changed, compared with the step before it; step 0 is the "first picture"."""
    if step.index == 0:
        return "first picture"
    return describe_changes(
        moved_latents(step),
        {modality: _tokens_changed(modality, info) for modality, info in step.info.items()},
        step.text_changed,
        free_tokens={modality: info.free_tokens for modality, info in step.info.items()},
    )


def describe_result(steps: Sequence[Step] | Sequence[StepRecord], returned: int) -> str:
    """What all updates up to the returned step changed, compared with the first picture."""
    if returned == 0:
        return "the first picture was kept"
    first, result = steps[0], steps[returned]
    updates = steps[1 : returned + 1]
    info = {modality: info for step in updates for modality, info in step.info.items()}  # the last of each
    return describe_changes(
        {modality for step in updates for modality in moved_latents(step)},
        {modality: _tokens_changed_since(first, result, modality, last) for modality, last in info.items()},
        token_ids(first, "text") != token_ids(result, "text"),
        free_tokens={modality: last.free_tokens for modality, last in info.items()},
    )


def moved_latents(step: Step | StepRecord) -> tuple[Modality, ...]:
    """The modalities whose latents moved: those with an update above zero, or with no numbers of their update."""
    return tuple(name for name in step.moved if name not in step.info or step.info[name].update_norm != 0)


def token_ids(step: Step | StepRecord, modality: Modality) -> tuple[int, ...]:
    """The token ids of the visualisation (none: ()) or of the image."""
    if not isinstance(step, Step):
        return step.text_ids if modality == "text" else step.image_ids
    if modality == "image":
        return step.rollout.image.ids
    return step.rollout.visualisation.ids if step.rollout.visualisation else ()


def _tokens_changed(modality: Modality, info: ModalityInfo) -> int:
    """The tokens that updates changed at this step: of the text those that differ from the step before.

    Image tokens are sampled anew at every step: those count that differ from what latents without any update give with
    the same noise, which older records do not say.
    """
    return info.tokens_changed if modality == "text" or info.tokens_by_updates is None else info.tokens_by_updates


def _tokens_changed_since(first: Step | StepRecord, result: Step | StepRecord, modality: Modality,
                          info: ModalityInfo) -> int:  # fmt: skip
    """The free tokens of `result` that updates changed; `info` is that of the modality's last update."""
    if modality == "image":
        return _tokens_changed(modality, info)
    before, after = (token_ids(step, modality)[: info.free_tokens] for step in (first, result))
    return sum(a != b for a, b in zip(before, after, strict=False)) + abs(len(before) - len(after))


class WordChange(NamedTuple):
    """Consecutive words that are in both texts, only in the new one ("ins") or only in the old one ("del")."""

    kind: Literal["same", "ins", "del"]
    text: str


def word_diff(old: str, new: str) -> list[WordChange]:
    """The difference of two texts by words; a space belongs to the word before it."""
    before, after = re.findall(r"\S+\s*", old), re.findall(r"\S+\s*", new)
    matcher = difflib.SequenceMatcher(None, [w.strip() for w in before], [w.strip() for w in after], autojunk=False)
    changes = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            changes.append(WordChange("same", "".join(after[k:m])))
            continue
        changes += [WordChange("del", "".join(before[i:j])), WordChange("ins", "".join(after[k:m]))]
    return [change for change in changes if change.text]
