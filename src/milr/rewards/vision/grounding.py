"""GroundingDINO (arXiv 2303.05499), an open-vocabulary detector: a picture and names in, boxes out.

Scores are MILR's: the mean over a name's tokens (`rules.grounding`), where transformers' own post-processing takes the
maximum over all tokens and reconstructs the names from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from milr.rewards.vision.pinned import GROUNDING_DINO
from milr.rules.grounding import THRESHOLD, GroundedBox, caption_of, ground
from milr.types import JudgeError

if TYPE_CHECKING:
    from PIL.Image import Image

FindObjects = Callable[["Image", Sequence[str]], Mapping[str, Sequence[GroundedBox]]]  # each name to its boxes


class GroundingDino:
    """A GroundingDinoForObjectDetection; `processor` resizes pictures (shorter side 800, longer at most 1333)."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any, *, threshold: float = THRESHOLD) -> None:
        self.network, self.tokenizer, self.processor, self.threshold = network, tokenizer, processor, threshold

    @classmethod
    def load(cls, name: str = GROUNDING_DINO, *, device: str = "auto") -> GroundingDino:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        from transformers import GroundingDinoForObjectDetection

        from milr.rewards.vision.checkpoints import load_image_processor, load_network, load_tokenizer

        network = load_network(GroundingDinoForObjectDetection, name, device=device)
        return cls(network, load_tokenizer(name), load_image_processor(name))

    @torch.inference_mode()
    def __call__(self, picture: Image, names: Sequence[str]) -> Mapping[str, list[GroundedBox]]:
        """The boxes that score above the threshold for each name, best first; every name is a key."""
        names = list(dict.fromkeys(names))
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt").to(self.network.device)
        text = self.tokenizer(caption_of(names), return_offsets_mapping=True, return_tensors="pt")
        offsets = text.pop("offset_mapping")[0].tolist()
        output = self.network(**pixels, **text.to(self.network.device))
        probabilities, boxes = output.logits[0].float().sigmoid(), output.pred_boxes[0].float()
        if not (probabilities.isfinite().all() and boxes.isfinite().all()):
            raise JudgeError("the detector gave numbers that are not finite; check its weights and dtype.")
        return ground(probabilities.cpu().numpy(), boxes.cpu().numpy(), offsets, names=names, threshold=self.threshold)
