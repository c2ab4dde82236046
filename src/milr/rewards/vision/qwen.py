"""A Qwen2.5-VL on this machine as a judge that is asked in words; UnifiedReward is one.

transformers' own processor class wants a video processor and that one torchvision, so the two halves it would join,
image processor and tokenizer, are joined here: the turn is written as Qwen2.5-VL was trained to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from milr.rewards.endpoint.question_reward import Read
from milr.rewards.vision.judge_thread import Worker
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

_TURN = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
)
_PAD = "<|image_pad|>"


class LocalQwen:
    """An `Asker` that answers greedily with `network`, one question at a time, off the event loop's thread."""

    def __init__(self, network: Any, images: Any, tokenizer: Any, *, name: str, max_tokens: int = 512) -> None:
        self.network, self.images, self.tokenizer = network, images, tokenizer
        self.name, self.max_tokens = name, max_tokens
        self._worker = Worker(f"the judge {name}")

    @classmethod
    def load(cls, name: str, *, max_tokens: int = 512, device: str = "auto") -> LocalQwen:
        """A folder or hub name, such as CodeGoat24/UnifiedReward-qwen-7b, in its own dtype; MissingError without it."""
        from transformers import Qwen2_5_VLForConditionalGeneration

        from milr.rewards.vision.checkpoints import image_processor, pretrained, tokenizer

        network = pretrained(Qwen2_5_VLForConditionalGeneration, name, dtype="auto", device=device)
        return cls(network, image_processor(name), tokenizer(name), name=name, max_tokens=max_tokens)

    def identity(self) -> dict[str, Any]:
        """What makes two judges the same: checkpoint, dtype and the length of answers."""
        return {"model": self.name, "dtype": str(self.network.dtype), "max_tokens": self.max_tokens}

    async def judge(self, picture: Image, question: str, read: Read) -> Score:
        """The score that `read` makes of the answer; a greedy answer is not asked for twice."""
        return await self._worker.score(self._judge, picture, question, read)

    def _judge(self, picture: Image, question: str, read: Read) -> Score:
        answer = self.answer(picture, question)
        return read(answer) or Score.unscored(f"the judge's answer could not be read: {answer!r}")

    @torch.inference_mode()
    def answer(self, picture: Image, question: str) -> str:
        """The network's words about one picture."""
        inputs = self.inputs(picture, question)
        written = self.network.generate(
            **inputs, max_new_tokens=self.max_tokens, do_sample=False, temperature=None, top_p=None, top_k=None
        )
        return self.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    def inputs(self, picture: Image, question: str) -> dict[str, torch.Tensor]:
        """What the network reads: one turn of ids (1, T) with a pad for each merged patch, and the patches."""
        device, kind = self.network.device, self.network.config.image_token_id
        seen = self.images([picture.convert("RGB")], return_tensors="pt").to(device)
        places = int(seen["image_grid_thw"].prod()) // self.images.merge_size**2
        turn = _TURN.replace("{pads}", _PAD * places).replace("{question}", question)
        ids = self.tokenizer([turn], return_tensors="pt")["input_ids"].to(device)
        patches = {
            "pixel_values": seen["pixel_values"].to(self.network.dtype),
            "image_grid_thw": seen["image_grid_thw"],
        }
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == kind).int(),
            **patches,
        }
