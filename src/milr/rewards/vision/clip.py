"""CLIP as transformers ships it (Radford et al. 2021, arXiv 2103.00020), and CLIPScore on it, one picture at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from milr.rewards.vision.pinned import CLIP_B32
from milr.types import JudgeError

if TYPE_CHECKING:
    from PIL.Image import Image


class ClipEncoder:
    """A CLIPModel with its tokenizer and image processor; all embeddings are float32 vectors of length 1."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:
        self.network, self.tokenizer, self.processor = network, tokenizer, processor

    @classmethod
    def load(cls, name: str, *, inputs: str = "", device: str = "auto") -> ClipEncoder:
        """Load the weights of a folder or hub repository; MissingError where they are not here.

        `inputs` names the folder or repository of the tokenizer and image processor where that is another one.
        """
        from transformers import CLIPModel

        from milr.rewards.vision.checkpoints import load_image_processor, load_network, load_tokenizer

        network = load_network(CLIPModel, name, device=device)
        return cls(network, load_tokenizer(inputs or name), load_image_processor(inputs or name))

    @property
    def logit_scale(self) -> float:
        """The factor of the cosines that the network learned."""
        return float(self.network.logit_scale.detach().exp())

    @property
    def max_tokens(self) -> int:
        """The length of the network's context, 77 in CLIP's checkpoints."""
        return int(self.network.config.text_config.max_position_embeddings)

    def num_tokens(self, text: str) -> int:
        """How many tokens a text has, its marks of beginning and end included."""
        return len(self.tokenizer(text, verbose=False)["input_ids"])

    @torch.inference_mode()
    def embed_picture(self, picture: Image) -> Tensor:
        """The embedding (d,) of a picture, which is resized and cropped as the checkpoint's processor says."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        output = self.network.get_image_features(pixel_values=pixels.to(self.network.device, self.network.dtype))
        return _unit_vectors(output)[0]

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str], *, truncate: bool = False) -> Tensor:
        """The embeddings (n, d) of n texts.

        JudgeError for a text that is longer than the network's context, unless it may be truncated.
        """
        limit = self.max_tokens
        encoding = self.tokenizer(
            list(texts), padding=True, truncation=truncate, max_length=limit if truncate else None,
            return_tensors="pt", verbose=False,
        )  # fmt: skip
        if (length := encoding["input_ids"].shape[1]) > limit:
            raise JudgeError(f"the text has {length} tokens and CLIP reads {limit}; shorten it.")
        ids, mask = (encoding[name].to(self.network.device) for name in ("input_ids", "attention_mask"))
        return _unit_vectors(self.network.get_text_features(input_ids=ids, attention_mask=mask))


class ClipScore:
    """CLIPScore as T2I-CompBench computes it: the plain cosine of picture and text, about 0.2 to 0.35 in practice.

    Unlike Hessel et al. (2021, arXiv 2104.08718) there is no factor 2.5, no clipping at 0, and no truncation: a text
    of more than 77 tokens is a JudgeError.
    """

    def __init__(self, encoder: ClipEncoder) -> None:
        self.encoder = encoder

    @classmethod
    def load(cls, name: str = CLIP_B32, *, device: str = "auto") -> ClipScore:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        return cls(ClipEncoder.load(name, device=device))

    def __call__(self, picture: Image, text: str) -> float:
        """The cosine in [-1, 1]."""
        return float(self.encoder.embed_texts([text])[0] @ self.encoder.embed_picture(picture))


def _unit_vectors(output: Any) -> Tensor:
    """Projected features (n, d), which transformers 5 wraps in an output object, as float32 unit vectors."""
    features = (output if isinstance(output, Tensor) else output.pooler_output).float()
    if not features.isfinite().all():
        raise JudgeError("CLIP gave numbers that are not finite; check its weights and dtype.")
    return normalize(features, dim=-1)
