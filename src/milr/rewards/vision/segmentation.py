"""Mask2Former as GenEval's detector: a picture to scored boxes and masks of 80 classes.

What mmdet 2.x does around the network (its Mask2Former configurations, mask head and fusion head) is done here by hand:
transformers' own processor would stretch the picture to a multiple of 32 instead of padding it, and its
post-processing shrinks masks to 384 x 384, may let them overwrite one another, and drops low scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as images
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
MEAN, SPREAD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet, in grey levels
MOST_PAIRS = 100  # (query, class) pairs kept
EPSILON = 1e-6
Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Frame:
    """Sizes (height, width) of a picture: as given, as resized, and as padded for the network."""

    given: Size
    resized: Size
    padded: Size


def prepare(picture: Image) -> tuple[np.ndarray, Frame]:
    """A picture to the network's input, float32 (3, H, W) with H and W multiples of 32."""
    width, height = picture.size
    scale = min(LONG_SIDE / max(width, height), SHORT_SIDE / min(width, height))
    resized = (max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1))
    padded = (-(-resized[0] // MULTIPLE) * MULTIPLE, -(-resized[1] // MULTIPLE) * MULTIPLE)
    levels = np.full((*padded, 3), PADDING, np.float32)
    small = picture.convert("RGB").resize(resized[::-1], images.Resampling.BILINEAR)
    levels[: resized[0], : resized[1]] = np.asarray(small)
    normal = (levels - np.array(MEAN, np.float32)) / np.array(SPREAD, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)), Frame((height, width), resized, padded)


def instances(class_logits: Tensor, mask_logits: Tensor, frame: Frame) -> list[tuple[int, Detection]]:
    """(Q, C + 1) class logits, the last "no object", and (Q, h, w) mask logits to the 100 likeliest instances.

    One query may appear with several classes, and nothing is suppressed. score = class probability x mean mask
    probability inside the mask; boxes are tight and half-open; an empty mask has a zero box and score 0.
    """
    if not (class_logits.isfinite().all() and mask_logits.isfinite().all()):
        raise JudgeError("the detector gave numbers that are not finite; check its weights and dtype.")
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    best = probabilities.flatten().topk(min(MOST_PAIRS, probabilities.numel()))
    queries, classes = (best.indices // probabilities.shape[1]).tolist(), best.indices % probabilities.shape[1]
    seen = {query: _mask(mask_logits[query].float(), frame) for query in set(queries)}
    found = []
    for query, kind, probability in zip(queries, classes.tolist(), best.values, strict=True):
        mask, certainty = seen[query]
        found.append((kind, Detection(tight_box(mask), float(probability * certainty), mask)))
    return found


def _mask(logits: Tensor, frame: Frame) -> tuple[np.ndarray, Tensor]:
    """(h, w) logits to the mask at the picture's own size, and its score in [0, 1]."""
    padded = interpolate(logits[None, None], frame.padded, mode="bilinear", align_corners=False)
    cropped = padded[..., : frame.resized[0], : frame.resized[1]]
    own = interpolate(cropped, frame.given, mode="bilinear", align_corners=False)[0, 0]
    inside = own > 0
    certainty = (own.sigmoid() * inside).sum() / (inside.sum() + EPSILON)
    return inside.cpu().numpy(), certainty


def tight_box(mask: np.ndarray) -> Box:
    """(H, W) bool to (x1, y1, x2, y2), half-open; zeros for an empty mask."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


class Segmenter:
    """A Mask2FormerForUniversalSegmentation over COCO's 80 classes: picture -> detections by GenEval's names."""

    def __init__(self, network: Any) -> None:
        if network.config.num_labels != len(GENEVAL_NAMES):
            raise MissingError(
                f"this detector knows {network.config.num_labels} classes and GenEval needs COCO's 80 instance "
                f"classes; use {MASK2FORMER}."
            )
        self.network = network

    @classmethod
    def load(cls, name: str = MASK2FORMER, *, device: str = "auto") -> Segmenter:
        """From a folder or hub repository; MissingError where the weights are not here."""
        from transformers import Mask2FormerForUniversalSegmentation

        from milr.rewards.vision.checkpoints import pretrained

        return cls(pretrained(Mask2FormerForUniversalSegmentation, name, device=device))

    @torch.inference_mode()
    def __call__(self, picture: Image) -> dict[str, list[Detection]]:
        """All instances of one picture by class name, with masks of its size, whatever their score."""
        pixels, frame = prepare(picture)
        inputs = torch.from_numpy(pixels)[None].to(self.network.device, self.network.dtype)
        seen = self.network(pixel_values=inputs)
        found: dict[str, list[Detection]] = {}
        for kind, detection in instances(seen.class_queries_logits[0], seen.masks_queries_logits[0], frame):
            found.setdefault(GENEVAL_NAMES[kind], []).append(detection)
        return found
