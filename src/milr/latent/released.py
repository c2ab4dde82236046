"""Where the authors' release leaves its paper, in one record; docs/released.md has a row for each, with its test.

The facts are those of the release as it behaves when its recorded trajectories are replayed (miyapeng/MILR; it has no
licence, and none of its code is here). The preset `released` sets them all (`presets.RELEASED`), no other preset any.
What a user may choose under any preset is not here but a setting: credit, epsilon, dtype, returned picture, role tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from milr.latent.schedules import IMAGE, TEXT, Schedule
from milr.policy import free_tokens
from milr.templates import RoleTags, drawing
from milr.types import DrawRequest, Key, LogitsDtype, ReasonRequest


@dataclass(frozen=True)
class Quirks:
    """What the release does otherwise; the defaults are what every other preset does.

    `open_prefix`: whatever a forced text prefix holds, one to max_new_tokens + 1 tokens follow it.
    `bare_image_only`: where only the image moves, pictures are drawn from the bare prompt.
    `later_role_tags`: where only the text moves, role tags of all pictures but the first (None: as the first).
    `logits_dtype`: "model" computes guidance, softmax and log-probability in the dtype of the weights.
    `strip_content`: the drawing content "c. t" is built of the text as decoded, then stripped as a whole.
    `no_minimum`: a ratio that frees not one token ends the search after its first picture.
    `compare_rewards`: the search stops at score - 1 > threshold - 1, as floating-point numbers say it.
    """

    open_prefix: bool = False
    bare_image_only: bool = False
    later_role_tags: RoleTags | None = None
    logits_dtype: LogitsDtype = "float32"
    strip_content: bool = False
    no_minimum: bool = False
    compare_rewards: bool = False

    @staticmethod
    def of(settings: Mapping[str, Any]) -> Quirks:
        """The quirks that resolved settings name, if they name any."""
        return Quirks(**settings.get("quirks", {}))

    def writes_text(self, schedule: Schedule) -> bool:
        """Whether pictures are drawn from a visualisation at all."""
        return not (self.bare_image_only and schedule.modalities == IMAGE)

    def reason_request(self, prompt: str, key: Key, **request: Any) -> ReasonRequest:
        """The request for a visualisation from its beginning."""
        return ReasonRequest(prompt, key, strip=not self.strip_content, logits_dtype=self.logits_dtype, **request)

    def continue_request(self, prompt: str, key: Key, prefix: tuple[int, ...]) -> ReasonRequest:
        """The request for what follows the prefix of moved latents."""
        return self.reason_request(prompt, key, prefix=prefix, open_prefix=self.open_prefix)

    def rewrites(self, text: tuple[int, ...], prefix: tuple[int, ...], end_of_text: int) -> bool:
        """Whether an unchanged prefix of `text` may be continued otherwise: the text was cut at its limit, or all of it
        is prefix."""
        return self.open_prefix and (text[-1] != end_of_text or len(text) <= len(prefix))

    def draw_request(self, prompt: str, text: str | None, key: Key, guidance_scale: float,
                     **request: Any) -> DrawRequest:  # fmt: skip
        """The request for a picture of `prompt` with the visualisation `text`."""
        content = drawing(prompt, text)
        if self.strip_content and text is not None:
            content = f"{prompt}. {text}".strip()
        return DrawRequest(content, key, guidance_scale, logits_dtype=self.logits_dtype, **request)

    def role_tags(self, schedule: Schedule, index: int) -> RoleTags | None:
        """The role tags of the picture of step `index`, where they are not the model's."""
        return self.later_role_tags if index and schedule.modalities == TEXT else None

    def free_tokens(self, ratio: float, length: int) -> int:
        """How many of `length` latents a ratio frees."""
        return min(length, int(ratio * length)) if self.no_minimum else free_tokens(ratio, length)

    def threshold(self, threshold: float | None) -> float | None:
        """The number that a score is strictly above where the search stops.

        The release compares score - 1 with a reward threshold such as -0.1: 0.9 - 1 is -0.09999999999999998, so that it
        stops at a score of 0.9 and, exactly so, does not stop at 0.75.
        """
        if threshold is None or not self.compare_rewards:
            return threshold
        reward_threshold = round(threshold - 1, 12)
        below, above = threshold - 1e-9, threshold + 1e-9
        while (middle := (below + above) / 2) not in (below, above):
            below, above = (below, middle) if middle - 1 > reward_threshold else (middle, above)
        return below
