"""Mask2Former (arXiv 2112.01527) as GenEval's detector: a picture to scored boxes and masks of 80 classes.

What mmdet 2.x does around the network (its Mask2Former configurations, mask head and fusion head) is done here by hand:
transformers' own processor would stretch the picture to a multiple of 32 instead of padding it, and its
post-processing shrinks masks to 384 x 384, may let them overwrite one another, and drops low scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor
from torch.nn.functional import interpolate

from milr.rewards.vision.pinned import MASK2FORMER
from milr.rules.coco import GENEVAL_NAMES
from milr.rules.geneval import Box, Detection
from milr.types import JudgeError, MissingError

if TYPE_CHECKING:
    from PIL.Image import Image

SHORT_SIDE, LONG_SIDE = 800, 1333  # the picture is resized, its ratio kept, until one of them is reached
MULTIPLE = 32
PADDING = 128  # grey level right of and below the picture; mmdet 2.27 pads before it normalises
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, in grey levels
MAX_PAIRS = 100  # (query, class) pairs that are looked at
EPSILON = 1e-6
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Frame:
    """Sizes (height, width) of a picture: its own, as resized, and as padded for the network."""

    original: Size
    resized: Size
    padded: Size


def preprocess(picture: Image) -> tuple[np.ndarray, Frame]:
    """A picture to the network's input, float32 (3, H, W) with H and W multiples of 32."""
    width, height = picture.size
    scale = min(LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height))
    resized = (max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1))
    padded = (-(-resized[0] // MULTIPLE) * MULTIPLE, -(-resized[1] // MULTIPLE) * MULTIPLE)
    pixels = np.full((*padded, 3), PADDING, np.float32)
    small = picture.convert("RGB").resize(resized[::-1], pil.Resampling.BILINEAR)
    pixels[: resized[0], : resized[1]] = np.asarray(small)
    normalised = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)), Frame((height, width), resized, padded)


def instances(class_logits: Tensor, mask_logits: Tensor, frame: Frame) -> list[tuple[int, Detection]]:
    """The 100 likeliest instances, each with its class index, from the logits of Q queries.

    `class_logits` (Q, C + 1) end with "no object"; `mask_logits` are (Q, h, w). One query may appear with several
    classes, and nothing is suppressed. An instance's score is its class probability times the mean mask probability
    inside the mask; boxes are tight and half-open; an empty mask has a zero box and the score 0.
    """
    if not (class_logits.isfinite().all() and mask_logits.isfinite().all()):
        raise JudgeError("the detector gave numbers that are not finite; check its weights and dtype.")
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    best = probabilities.flatten().topk(min(MAX_PAIRS, probabilities.numel()))
    queries, classes = (best.indices // probabilities.shape[1]).tolist(), best.indices % probabilities.shape[1]
    masks = {query: _mask(mask_logits[query].float(), frame) for query in set(queries)}
    detections = []
    for query, class_index, probability in zip(queries, classes.tolist(), best.values, strict=True):
        mask, mask_score = masks[query]
        detections.append((class_index, Detection(tight_box(mask), float(probability * mask_score), mask)))
    return detections


def _mask(logits: Tensor, frame: Frame) -> tuple[np.ndarray, Tensor]:
    """(h, w) logits to the mask (H, W) at the picture's own size, and its score in [0, 1]."""
    padded = interpolate(logits[None, None], frame.padded, mode="bilinear", align_corners=False)
    cropped = padded[..., : frame.resized[0], : frame.resized[1]]
    logits = interpolate(cropped, frame.original, mode="bilinear", align_corners=False)[0, 0]
    inside = logits > 0
    score = (logits.sigmoid() * inside).sum() / (inside.sum() + EPSILON)
    return inside.cpu().numpy(), score


def tight_box(mask: np.ndarray) -> Box:
    """(H, W) bool to (x1, y1, x2, y2), half-open; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


class Segmenter:
    """A Mask2FormerForUniversalSegmentation over COCO's 80 classes, which are called by GenEval's names."""

    def __init__(self, network: Any) -> None:
        if network.config.num_labels != len(GENEVAL_NAMES):
            raise MissingError(
                f"this detector knows {network.config.num_labels} classes and GenEval needs COCO's 80 instance "
                f"classes; use {MASK2FORMER}."
            )
        self.network = network

    @classmethod
    def load(cls, name: str = MASK2FORMER, *, device: str = "auto") -> Segmenter:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        from transformers import Mask2FormerForUniversalSegmentation

        from milr.rewards.vision.checkpoints import load_network

        return cls(load_network(Mask2FormerForUniversalSegmentation, name, device=device))

    @torch.inference_mode()
    def __call__(self, picture: Image) -> dict[str, list[Detection]]:
        """All instances of one picture by class name, with masks of its size, whatever their score."""
        pixels, frame = preprocess(picture)
        inputs = torch.from_numpy(pixels)[None].to(self.network.device, self.network.dtype)
        output = self.network(pixel_values=inputs)
        detections: dict[str, list[Detection]] = {}
        for index, detection in instances(output.class_queries_logits[0], output.masks_queries_logits[0], frame):
            detections.setdefault(GENEVAL_NAMES[index], []).append(detection)
        return detections
