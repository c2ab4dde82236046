"""A Qwen2.5-VL (arXiv 2502.13923) on this machine as a judge that is asked in words; UnifiedReward is one.

transformers' own processor class needs a video processor, and that needs torchvision. So the two parts that it would
join, image processor and tokenizer, are joined here: the turn is written as Qwen2.5-VL was trained to read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from milr.rewards.endpoint.question_reward import ParseAnswer
from milr.rewards.vision.judge_thread import JudgeThread
from milr.types import Score

if TYPE_CHECKING:
    from PIL.Image import Image

USER_TURN = "<|im_start|>user\n<|vision_start|>{image_pads}<|vision_end|>{question}<|im_end|>\n<|im_start|>assistant\n"
_IMAGE_PAD = "<|image_pad|>"


class LocalQwen:
    """A `JudgeClient` that answers greedily with `network`, one question at a time, on a thread of its own."""

    chat_template = f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{USER_TURN}"
    network_class = "Qwen2_5_VLForConditionalGeneration"  # of transformers

    def __init__(self, network: Any, processor: Any, tokenizer: Any, *, name: str, max_tokens: int = 512) -> None:
        self.network, self.processor, self.tokenizer = network, processor, tokenizer
        self.name, self.max_tokens = name, max_tokens
        self._thread = JudgeThread(f"the judge {name}")

    @classmethod
    def load(cls, name: str, *, max_tokens: int = 512, device: str = "auto") -> Self:
        """Load a folder or hub repository, such as CodeGoat24/UnifiedReward-qwen-7b, in its own dtype.

        MissingError where it is not here.
        """
        import transformers

        from milr.rewards.vision.checkpoints import load_image_processor, load_network, load_tokenizer

        network = load_network(getattr(transformers, cls.network_class), name, dtype="auto", device=device)
        return cls(network, load_image_processor(name), load_tokenizer(name), name=name, max_tokens=max_tokens)

    def identity(self) -> dict[str, Any]:
        """What tells two judge models apart: checkpoint, dtype and the length of answers."""
        return {"model": self.name, "dtype": str(self.network.dtype), "max_tokens": self.max_tokens}

    async def judge(self, picture: Image, question: str, parse: ParseAnswer) -> Score:
        """The score that `parse` makes of the answer; a greedy answer is not asked for twice."""
        return await self._thread.score(self._judge, picture, question, parse)

    def _judge(self, picture: Image, question: str, parse: ParseAnswer) -> Score:
        answer, is_cut = self._generate(picture, question)
        if is_cut:
            return Score.unscored(f"the judge's answer could not be read, cut at {self.max_tokens} tokens: {answer!r}")
        return parse(answer) or Score.unscored(f"the judge's answer could not be read: {answer!r}")

    def answer(self, picture: Image, question: str) -> str:
        """The network's answer about one picture, decoded greedily."""
        return self._generate(picture, question)[0]

    @torch.inference_mode()
    def _generate(self, picture: Image, question: str) -> tuple[str, bool]:
        """The answer, and whether it stopped at the limit of tokens without an end."""
        inputs = self.inputs(picture, question)
        sequences = self.network.generate(
            **inputs, max_new_tokens=self.max_tokens, do_sample=False, temperature=None, top_p=None, top_k=None
        )
        ids = sequences[0, inputs["input_ids"].shape[1] :]
        ends = self.network.generation_config.eos_token_id
        ended = any(
            int(end) in ids[-1:].tolist() for end in (ends if isinstance(ends, list) else [ends]) if end is not None
        )
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text, len(ids) >= self.max_tokens and not ended

    def inputs(self, picture: Image, question: str) -> dict[str, torch.Tensor]:
        """The network's inputs: one turn of ids (1, T) with a pad token for each merged patch, and the patches."""
        device, pad_id = self.network.device, self.network.config.image_token_id
        image = self.processor([picture.convert("RGB")], return_tensors="pt").to(device)
        num_pads = int(image["image_grid_thw"].prod()) // self.processor.merge_size**2
        turn = self.chat_template.replace("{image_pads}", _IMAGE_PAD * num_pads).replace("{question}", question)
        ids = self.tokenizer([turn], return_tensors="pt")["input_ids"].to(device)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "mm_token_type_ids": (ids == pad_id).int(),
            "pixel_values": image["pixel_values"].to(self.network.dtype),
            "image_grid_thw": image["image_grid_thw"],
        }
