"""CLIP as transformers ships it: pictures and texts to unit vectors, one picture at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from milr.types import JudgeError

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipEncoder:
    """A CLIPModel with its tokenizer and image processor; all vectors are float32, of length 1."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:
        self.network, self.tokenizer, self.processor = network, tokenizer, processor

    @classmethod
    def load(cls, name: str, *, inputs: str = "", device: str = "auto") -> ClipEncoder:
        """From a folder or hub repository; `inputs` names where tokenizer and image processor are, if elsewhere."""
        from transformers import CLIPModel

        from milr.rewards.vision.checkpoints import image_processor, pretrained, tokenizer

        network = pretrained(CLIPModel, name, device=device)
        return cls(network, tokenizer(inputs or name), image_processor(inputs or name))

    @property
    def scale(self) -> float:
        """What the network learned to multiply cosines with."""
        return float(self.network.logit_scale.detach().exp())

    @torch.inference_mode()
    def picture(self, picture: Image) -> Tensor:
        """One picture to (d,), resized and cropped as the checkpoint's processor says."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        found = self.network.get_image_features(pixel_values=pixels.to(self.network.device, self.network.dtype))
        return _unit(found)[0]

    @torch.inference_mode()
    def texts(self, texts: Sequence[str], *, truncate: bool = False) -> Tensor:
        """Texts to (n, d). A text longer than the network reads is a JudgeError, unless it may be truncated."""
        limit = int(self.network.config.text_config.max_position_embeddings)
        read = self.tokenizer(list(texts), padding=True, truncation=truncate, max_length=limit if truncate else None,
                              return_tensors="pt", verbose=False)  # fmt: skip
        if (length := read["input_ids"].shape[1]) > limit:
            raise JudgeError(f"the text has {length} tokens and CLIP reads {limit}; shorten it.")
        ids, mask = (read[name].to(self.network.device) for name in ("input_ids", "attention_mask"))
        return _unit(self.network.get_text_features(input_ids=ids, attention_mask=mask))


def _unit(found: Any) -> Tensor:
    """(n, d) projected features, which transformers 5 wraps in an output object, to float32 unit vectors."""
    features = (found if isinstance(found, Tensor) else found.pooler_output).float()
    if not features.isfinite().all():
        raise JudgeError("CLIP gave numbers that are not finite; check its weights and dtype.")
    return normalize(features, dim=-1)
