"""Yes/no questions about a picture: BLIP-VQA (T2I-CompBench's attributes) and GIT (a part of MixedReward).

Both answer with P(yes) / (P(yes) + P(no)) of the first word they would say, one question at a time: transformers 5.23
ignores the padding mask in BLIP's cross-attention, so questions of different lengths must never share a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from milr.rewards.vision.pinned import BLIP, GIT
from milr.types import JudgeError, MissingError

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 480  # pixels of the picture that BLIP sees; its checkpoint was converted at 384
MOST_TOKENS = 35  # of a question to BLIP


class BlipVQA:
    """A BlipForQuestionAnswering as T2I-CompBench asks it: the question starts with [ENC], the answer with [DEC].

    `tokenizer` is BERT's. The picture is stretched to 480 x 480 (bicubic), and the position table interpolated to it.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        from transformers import BlipImageProcessorPil

        self.network, self.tokenizer = network, tokenizer
        self.processor = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
        self._yes_and_no = _yes_and_no(tokenizer)
        self._start = int(network.decoder_start_token_id)  # [DEC]; [ENC] is the id after it

    @classmethod
    def load(cls, name: str = BLIP, *, device: str = "auto") -> BlipVQA:
        """From a folder or hub repository; MissingError where the weights are not here."""
        from transformers import BlipForQuestionAnswering

        from milr.rewards.vision.checkpoints import pretrained, tokenizer

        network = pretrained(BlipForQuestionAnswering, name, device=device, attn_implementation="eager")
        return cls(network, tokenizer(name))

    @torch.inference_mode()
    def answers(self, picture: Image, questions: Sequence[str]) -> list[float]:
        """P(yes) of each question, in [0, 1]; the picture is looked at once."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.network.device, self.network.dtype)
        seen = self.network.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
        return [self._answer(seen, question) for question in questions]

    def _answer(self, seen: Tensor, question: str) -> float:
        ids = self.tokenizer(question, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")["input_ids"]
        ids[:, 0] = self._start + 1
        ids = ids.to(self.network.device)
        read = self.network.text_encoder(
            input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
        ).last_hidden_state  # fmt: skip
        said = self.network.text_decoder(
            input_ids=torch.full_like(ids[:, :1], self._start), encoder_hidden_states=read,
            encoder_attention_mask=torch.ones_like(ids),
        ).logits  # fmt: skip
        return _chance_of_yes(said[0, -1, self._yes_and_no])


class GitVQA:
    """A GitForCausalLM that is asked like MixedReward: [CLS] and the question, no [SEP], then the answer's first word.

    `tokenizer` is BERT's; `processor` prepares the picture as the checkpoint says.
    """

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:
        self.network, self.tokenizer, self.processor = network, tokenizer, processor
        self._yes_and_no = _yes_and_no(tokenizer)

    @classmethod
    def load(cls, name: str = GIT, *, device: str = "auto") -> GitVQA:
        """From a folder or hub repository; MissingError where the weights are not here."""
        from transformers import GitForCausalLM

        from milr.rewards.vision.checkpoints import image_processor, pretrained, tokenizer

        return cls(pretrained(GitForCausalLM, name, device=device), tokenizer(name), image_processor(name))

    @torch.inference_mode()
    def answers(self, picture: Image, questions: Sequence[str]) -> list[float]:
        """P(yes) of each question, in [0, 1]."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.network.device, self.network.dtype)
        return [self._answer(pixels, question) for question in questions]

    def _answer(self, pixels: Tensor, question: str) -> float:
        words = self.tokenizer(question, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[self.tokenizer.cls_token_id, *words]], device=pixels.device)
        said = self.network(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
        return _chance_of_yes(said[0, -1, self._yes_and_no])  # the logits of the picture's own places come first


def _yes_and_no(tokenizer: Any) -> list[int]:
    """The ids of both answers; a vocabulary without them would make every answer an even chance."""
    ids: list[int] = tokenizer.convert_tokens_to_ids(["yes", "no"])
    if tokenizer.unk_token_id in ids:
        raise MissingError("the tokenizer of the model that is asked knows no yes or no; fetch it again.")
    return ids


def _chance_of_yes(logits: Tensor) -> float:
    """P(yes) / (P(yes) + P(no)) from the logits (2,) of both."""
    if not logits.isfinite().all():
        raise JudgeError("the model that is asked gave numbers that are not finite; check its weights and dtype.")
    yes, no = logits.float()
    return float(torch.sigmoid(yes - no))
