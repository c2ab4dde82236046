"""Yes/no questions about a picture: BLIP-VQA (T2I-CompBench's attributes) and GIT (a part of MixedReward).

Both (arXiv 2201.12086 and 2205.14100) give P(yes) / (P(yes) + P(no)) of the first token of their answer, one question
at a time: transformers 5.23 ignores the padding mask in BLIP's cross-attention, so questions of different lengths must
never share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from milr.rewards.vision.pinned import BLIP, GIT
from milr.types import JudgeError, MissingError

if TYPE_CHECKING:
    from PIL.Image import Image

AnswerQuestions = Callable[["Image", Sequence[str]], Sequence[float]]  # questions to P(yes) in [0, 1]
SIDE = 480  # pixels of BLIP's input; its checkpoint was converted at 384
MAX_TOKENS = 35  # of a question to BLIP


class BlipVQA:
    """A BlipForQuestionAnswering as T2I-CompBench asks it: the question starts with [ENC], the answer with [DEC].

    `tokenizer` is BERT's. The picture is stretched to 480 x 480 (bicubic), and the position table interpolated to it.
    """

    def __init__(self, network: Any, tokenizer: Any) -> None:
        from transformers import BlipImageProcessorPil

        self.network, self.tokenizer = network, tokenizer
        self.processor = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
        self._yes_no_ids = _yes_no_ids(tokenizer)
        self._start = int(network.decoder_start_token_id)  # [DEC]; [ENC] is the id after it

    @classmethod
    def load(cls, name: str = BLIP, *, device: str = "auto") -> BlipVQA:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        from transformers import BlipForQuestionAnswering

        from milr.rewards.vision.checkpoints import load_network, load_tokenizer

        network = load_network(BlipForQuestionAnswering, name, device=device, attn_implementation="eager")
        return cls(network, load_tokenizer(name))

    @torch.inference_mode()
    def yes_probabilities(self, picture: Image, questions: Sequence[str]) -> list[float]:
        """P(yes) of each question, in [0, 1]; the picture is encoded once."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.network.device, self.network.dtype)
        patches = self.network.vision_model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state
        return [self._yes_probability(patches, question) for question in questions]

    def _yes_probability(self, patches: Tensor, question: str) -> float:
        """P(yes) from the picture's encoded patches (1, P, d)."""
        ids = self.tokenizer(question, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")["input_ids"]
        ids[:, 0] = self._start + 1
        ids = ids.to(self.network.device)
        question_states = self.network.text_encoder(
            input_ids=ids, attention_mask=torch.ones_like(ids), encoder_hidden_states=patches,
            encoder_attention_mask=torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        ).last_hidden_state  # fmt: skip
        logits = self.network.text_decoder(
            input_ids=torch.full_like(ids[:, :1], self._start), encoder_hidden_states=question_states,
            encoder_attention_mask=torch.ones_like(ids),
        ).logits  # fmt: skip
        return _softmax_of_yes(logits[0, -1, self._yes_no_ids])


class GitVQA:
    """A GitForCausalLM as MixedReward asks it: [CLS] and the question, no [SEP], then the answer's first token.

    `tokenizer` is BERT's; `processor` prepares the picture as the checkpoint says.
    """

    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:
        self.network, self.tokenizer, self.processor = network, tokenizer, processor
        self._yes_no_ids = _yes_no_ids(tokenizer)

    @classmethod
    def load(cls, name: str = GIT, *, device: str = "auto") -> GitVQA:
        """Load the weights of a folder or hub repository; MissingError where they are not here."""
        from transformers import GitForCausalLM

        from milr.rewards.vision.checkpoints import load_image_processor, load_network, load_tokenizer

        network = load_network(GitForCausalLM, name, device=device)
        return cls(network, load_tokenizer(name), load_image_processor(name))

    @torch.inference_mode()
    def yes_probabilities(self, picture: Image, questions: Sequence[str]) -> list[float]:
        """P(yes) of each question, in [0, 1]."""
        pixels = self.processor(images=picture.convert("RGB"), return_tensors="pt")["pixel_values"]
        pixels = pixels.to(self.network.device, self.network.dtype)
        return [self._yes_probability(pixels, question) for question in questions]

    def _yes_probability(self, pixels: Tensor, question: str) -> float:
        words = self.tokenizer(question, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[self.tokenizer.cls_token_id, *words]], device=pixels.device)
        logits = self.network(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).logits
        return _softmax_of_yes(logits[0, -1, self._yes_no_ids])  # those of the picture's patches come first


def _yes_no_ids(tokenizer: Any) -> list[int]:
    """The token ids of "yes" and "no"; MissingError for a vocabulary without them, where P(yes) would always be 0.5."""
    ids: list[int] = tokenizer.convert_tokens_to_ids(["yes", "no"])
    if tokenizer.unk_token_id in ids:
        raise MissingError("the tokenizer of the question-answering model knows no yes or no; fetch it again.")
    return ids


def _softmax_of_yes(logits: Tensor) -> float:
    """P(yes) / (P(yes) + P(no)) from the logits (2,) of both."""
    if not logits.isfinite().all():
        raise JudgeError("the question-answering model gave numbers that are not finite; check its weights and dtype.")
    yes, no = logits.float()
    return float(torch.sigmoid(yes - no))
