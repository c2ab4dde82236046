"""GroundingDINO as a detector of whatever it is told: names in, scored places out.

Scores are MILR's: the mean over a name's tokens (`rules.grounding`), where transformers' own post-processing takes the
maximum over all tokens and guesses the words again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from milr.rewards.vision.pinned import GROUNDING_DINO
from milr.rules.grounding import THRESHOLD, Grounded, caption_of, grounded
from milr.types import JudgeError

if TYPE_CHECKING:
    from PIL.Image import Image


class Grounding:
    """A GroundingDinoForObjectDetection; `processor` resizes pictures (shorter side 800, longer at most 1333)."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any, *, threshold: float = THRESHOLD) -> None:
        self.network, self.tokenizer, self.processor, self.threshold = network, tokenizer, processor, threshold

    @classmethod
    def load(cls, name: str = GROUNDING_DINO, *, device: str = "auto") -> Grounding:
        """From a folder or hub repository; MissingError where the weights are not here."""
        from transformers import GroundingDinoForObjectDetection

        from milr.rewards.vision.checkpoints import image_processor, pretrained, tokenizer

        network = pretrained(GroundingDinoForObjectDetection, name, device=device)
        return cls(network, tokenizer(name), image_processor(name))

    @torch.inference_mode()
    def __call__(self, picture: Image, names: Sequence[str]) -> Mapping[str, list[Grounded]]:
        """What scores above the threshold for each name, best first; every name is a key."""
        names = list(dict.fromkeys(names))
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt").to(self.network.device)
        text = self.tokenizer(caption_of(names), return_offsets_mapping=True, return_tensors="pt")
        offsets = text.pop("offset_mapping")[0].tolist()
        seen = self.network(**pixels, **text.to(self.network.device))
        chances, boxes = seen.logits[0].float().sigmoid(), seen.pred_boxes[0].float()
        if not (chances.isfinite().all() and boxes.isfinite().all()):
            raise JudgeError("the detector gave numbers that are not finite; check its weights and dtype.")
        return grounded(chances.cpu().numpy(), boxes.cpu().numpy(), offsets, names, threshold=self.threshold)
