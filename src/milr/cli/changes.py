"""What changed at a step of a search and up to the picture that it returned, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from milr.types import Step

NOTHING_CHANGED = "drawn again, nothing changed"
Moved = Mapping[str, int | None]  # modality to its number of changed tokens; None: the method does not say


def moved_tokens(step: Step) -> Moved:
    """Each modality whose latents an update really moved, with how many of its free tokens changed.

    Empty at the first picture, and where pictures are only drawn again (an update of length 0 moves nothing).
    """
    moved: dict[str, int | None] = {}
    for name in step.moved:
        info = step.info.get(name)
        if info is None or info.update_norm > 0:
            moved[name] = info.tokens_changed if info else None
    return moved


def describe_step(index: int, moved: Moved, *, new_text: bool = False) -> str:
    """What an update did before the picture of step `index` was drawn.

    `new_text` says that the visualisation differs from that of the step before.
    """
    if index == 0:
        return "first picture"
    if not moved:
        return "drawn again from a new text" if new_text else "drawn again"
    latents = " and ".join(moved)
    if None in moved.values():
        return f"{latents} moved"
    counts = [f"{count} {name} token{'' if count == 1 else 's'}" for name, count in moved.items() if count]
    if not counts:
        return f"{latents} moved; no token changed: drawn again"
    return f"{latents} moved; {' and '.join(counts)} changed"


def describe_returned(moved: Sequence[Moved], *, new_text: bool = False) -> str:
    """How the returned picture came about, from what moved at every step up to it; "" where it is the first one.

    `new_text` says that its visualisation differs from the first picture's.
    """
    if len(moved) < 2:
        return ""
    if any(count != 0 for step in moved for count in step.values()):
        return "drawn after updates that changed tokens"
    return "drawn again from a new text" if new_text else NOTHING_CHANGED


def describe_outcome(steps: Sequence[Step], returned: int) -> str:
    """`describe_returned` of the picture at position `returned`."""
    texts = [step.rollout.visualisation for step in (steps[0], steps[returned])]
    first, last = (text.text if text else "" for text in texts)
    return describe_returned([moved_tokens(step) for step in steps[: returned + 1]], new_text=first != last)
