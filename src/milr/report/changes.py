"""Sentences about what updates changed: which latents moved, which tokens and words are new. Loads no heavy module.

Tokens are compared with those that the latents without any update give at the same step with the same noise, so that
image tokens that were only sampled again do not count, and a changed text counts for as long as it is in force.
Latents have moved where an update had a norm above zero, so `frozen` (learning rate 0) moves none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from milr.types import Modality, Step

if TYPE_CHECKING:
    from milr.runs.records import StepRecord

NOTHING_CHANGED = "drawn again, nothing changed"
NEW_TEXT = "drawn again from a new text"
Cause = Literal["kept", "update", "luck", "noted"]
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


def describe_step(step: Step | StepRecord, num_free: Mapping[Modality, int] | None = None) -> str:
    """What all updates up to a step changed, against latents without any update; step 0 is the "first picture".

    A step with a note of its method is described by that.

    `num_free` is `count_free` of the steps so far (None: of this step). Where the method or an older record does not
    count by updates, the tokens are compared with those of the step before.
    """
    if step.index == 0:
        return "first picture"
    if step.note:
        return step.note
    free = count_free([step]) if num_free is None else num_free
    if step.tokens_by_updates:
        return describe_changes(step.tokens_by_updates, step.tokens_by_updates, False, free_tokens=free)
    changed = {modality: info.tokens_changed for modality, info in step.info.items()}
    return describe_changes(moved_latents(step), changed, step.text_changed, free_tokens=free)


def describe_result(steps: Sequence[Step] | Sequence[StepRecord], returned: int) -> str:
    """The description of the returned step, which is a position in `steps`."""
    if returned == 0:
        return "the first picture was kept"
    return describe_step(steps[returned], count_free(steps[: returned + 1]))


def cause_of(result: Step | StepRecord, change: str) -> Cause:
    """Why the returned picture is another than the first, by its description: see `describe_result`.

    "kept": it is the first. "update": updates changed tokens or moved latents. "luck": it was drawn again, and no
    update changed anything. "noted": its method's note says how it was made.
    """
    if result.index == 0:
        return "kept"
    if result.note:
        return "noted"
    return "luck" if change in (NOTHING_CHANGED, NEW_TEXT) else "update"


def count_free(steps: Sequence[Step | StepRecord]) -> dict[Modality, int]:
    """The number of free tokens of each modality that has moved in `steps`; the others are not recorded."""
    return {modality: info.free_tokens for step in steps for modality, info in step.info.items()}


def moved_latents(step: Step | StepRecord) -> tuple[Modality, ...]:
    """The modalities whose latents moved: those with an update above zero, or with no numbers of their update."""
    return tuple(name for name in step.moved if name not in step.info or step.info[name].update_norm != 0)


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
