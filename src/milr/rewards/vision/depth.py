"""How near each pixel of a picture is, by DPT (arXiv 2103.13413), the network of T2I-CompBench++'s depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from milr.rewards.vision.pinned import DPT
from milr.types import JudgeError

if TYPE_CHECKING:
    from PIL.Image import Image

EstimateDepth = Callable[["Image", int], np.ndarray]  # picture and side to a map (side, side), larger is nearer


class DepthEstimator:
    """A DPTForDepthEstimation with its image processor."""

    def __init__(self, network: Any, processor: Any) -> None:
        self.network, self.processor = network, processor

    @classmethod
    def load(cls, name: str = DPT, *, device: str = "auto") -> DepthEstimator:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        from transformers import DPTForDepthEstimation

        from milr.rewards.vision.checkpoints import load_image_processor, load_network

        return cls(load_network(DPTForDepthEstimation, name, device=device), load_image_processor(name))

    @torch.inference_mode()
    def __call__(self, picture: Image, side: int) -> np.ndarray:
        """The inverse depth (side, side) in the network's own unit, float32: larger is nearer."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        depth = self.network(pixel_values=pixels.to(self.network.device, self.network.dtype)).predicted_depth.float()
        if not depth.isfinite().all():
            raise JudgeError("the depth network gave numbers that are not finite; check its weights and dtype.")
        resized = torch.nn.functional.interpolate(depth[None], size=(side, side), mode="bicubic", align_corners=False)
        found: np.ndarray = resized[0, 0].cpu().numpy()
        return found
