"""Any vision-language model that transformers has a class for, on this machine, of which the first token is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from milr.rewards.first_token import GREEDY
from milr.rewards.vision.judge_thread import JudgeThread
from milr.rules.geneval2 import soft_score
from milr.types import JudgeError, MissingError, Score

if TYPE_CHECKING:
    from PIL.Image import Image


class LocalImageText:
    """A `FirstTokenJudge` of one user turn, a picture and a question, written by the checkpoint's own chat template."""

    deviations: tuple[str, ...] = ()

    def __init__(self, network: Any, processor: Any, *, name: str) -> None:
        self.network, self.processor, self.name = network, processor, name
        self._thread = JudgeThread(f"the judge {name}")

    @classmethod
    def load(cls, name: str, *, device: str = "auto") -> LocalImageText:
        """Load a folder or hub repository in its own dtype; MissingError where it is not here, or no such model."""
        from milr.rewards.vision.checkpoints import image_text_class, load_network, load_processor

        network = load_network(image_text_class(name), name, dtype="auto", device=device)
        processor = load_processor(name)
        if not getattr(processor, "chat_template", None):
            raise MissingError(f"{name} has no chat template, so a question cannot be put to it: name a chat model.")
        return cls(network, processor, name=name)

    def identity(self) -> dict[str, Any]:
        """What tells two judge models apart: checkpoint and dtype."""
        return {"model": self.name, "dtype": str(self.network.dtype)}

    async def first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        """The probability in [0, 1] that the answer begins as one of `variants`, with the part GREEDY."""
        return await self._thread.score(self._first_token, picture, question, variants)

    def _first_token(self, picture: Image, question: str, variants: Sequence[str]) -> Score:
        return first_token_score(self.probabilities(picture, question), self.processor.tokenizer, variants)

    @torch.inference_mode()
    def probabilities(self, picture: Image, question: str) -> torch.Tensor:
        """The probability of each token (V,) to be the first of the answer, in float32 on the CPU."""
        content = [{"type": "image", "image": picture.convert("RGB")}, {"type": "text", "text": question}]
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        ).to(self.network.device, self.network.dtype)  # fmt: skip
        return first_probabilities(self.network(**inputs, logits_to_keep=1).logits)


def first_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """The probabilities (V,) after the last of the positions (1, T, V); JudgeError where they are no numbers."""
    last = logits[0, -1].float().cpu()
    if not last.isfinite().all():
        raise JudgeError("the judge gave numbers that are not finite; check its weights and dtype.")
    return last.softmax(-1)


def first_token_score(probabilities: torch.Tensor, tokenizer: Any, variants: Sequence[str]) -> Score:
    """The sum of the probabilities (V,) of the first token of each variant, and whether the likeliest token is one."""
    ids = [tokenizer(variant, add_special_tokens=False)["input_ids"][0] for variant in variants]
    greedy = tokenizer.decode([int(probabilities.argmax())])
    value = soft_score(probabilities[ids].tolist())
    return Score(value, {GREEDY: float(greedy in variants)}, f"the judge's likeliest first token is {greedy!r}")
