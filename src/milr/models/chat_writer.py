"""Any chat model of transformers as a prompt model: it writes what a drawing model is to draw, and does not draw.

One that sees pictures, too (a vision-language model), answers questions about them. Requests are run one after the
other by the library's own `generate`; chance is the request's own. There are no latents.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from milr.models.checkpoint_errors import reading
from milr.models.checkpoint_files import settings_digest, weight_files, weights_digest
from milr.models.devices import choose_device, choose_dtype, prepare_cuda
from milr.models.loading import find_folder
from milr.randomness import seed_of
from milr.templates import JANUS, Templates, fill
from milr.types import Answer, MissingError, ReasonRequest, TextTrace, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

FILES = ["*.json", "*.safetensors", "tokenizer*", "*.jinja", "*.model", "*.txt"]
ANSWER_TOKENS = 8  # of an answer whose length nobody asked for: its first token is the verdict
YES, NO = ("yes", "Yes", " yes", " Yes"), ("no", "No", " no", " No")


class ChatWriter:
    """The part of a `UnifiedModel` that writes and, where `sees`, answers. Use `ChatWriter.load`."""

    image_tokens = 0
    guidance_scale = 1.0
    follows_instructions = True

    def __init__(self, network: Any, processor: Any, *, name: str, identity: Mapping[str, Any], sees: bool,
                 templates: Templates = JANUS) -> None:  # fmt: skip
        self.name, self.network, self.templates = name, network, templates
        self._processor, self._identity = processor, dict(identity)
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self.abilities = frozenset({"write", "answer"} if sees else {"write"})

    @classmethod
    def load(cls, folder_or_hub_name: str | Path, *, dtype: str = "auto", device: str = "auto",
             reasoning_prompt: str | None = None) -> ChatWriter:  # fmt: skip
        """Load a folder or hub name; MissingError where it is not here, or no chat model that transformers knows."""
        from transformers import (
            AutoConfig,
            AutoModelForCausalLM,
            AutoModelForImageTextToText,
            AutoProcessor,
            AutoTokenizer,
        )

        chosen_device = choose_device(device)
        chosen_dtype = choose_dtype(dtype, chosen_device)
        if chosen_device.startswith("cuda"):
            prepare_cuda()
        name, folder = find_folder(folder_or_hub_name, FILES)
        files = weight_files(folder, name)
        local: dict[str, Any] = {"local_files_only": True}
        with reading(f"the files of {name}", "name a chat model that transformers has a class for"):
            sees = type(AutoConfig.from_pretrained(folder, **local)) in AutoModelForImageTextToText._model_mapping
            kind: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
            processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(folder, **local)
            network = kind.from_pretrained(folder, dtype=chosen_dtype, use_safetensors=True, **local)
            network = network.requires_grad_(False).eval().to(chosen_device)
        if not getattr(processor, "chat_template", None):
            raise MissingError(f"{name} has no chat template, so it cannot be told what to write: name a chat model.")
        identity = {"name": name, "weights": weights_digest(files), "files": settings_digest(folder),
                    "dtype": str(chosen_dtype).removeprefix("torch."), "device": chosen_device}  # fmt: skip
        return cls(network, processor, name=name, identity=identity, sees=sees,
                   templates=JANUS.override(reasoning=reasoning_prompt))  # fmt: skip

    def identity(self) -> Mapping[str, Any]:
        """Checkpoint, dtype and device."""
        return self._identity

    def question(self, prompt: str) -> str:
        """The yes/no question about a picture of `prompt`."""
        return self.templates.judge(prompt)

    def check(self, text: str) -> None:
        """Any text can be read."""

    def decode_text(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Text to token ids, without special tokens."""
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def end_of_text(self) -> int:
        """The id that ends a visualisation."""
        return int(self._tokenizer.eos_token_id)

    # Writing

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """Write visualisations, or what an `instruction` says; UsageError where latents are to be kept."""
        return [self._write(request) for request in requests]

    def _write(self, request: ReasonRequest) -> TextTrace:
        if request.num_latents != 0:
            raise UsageError(f"{self.name} writes for another model, and its latents cannot be moved: choose "
                             "redraw_sampled or revise as the method.")  # fmt: skip
        start = time.perf_counter()
        ids = request.prefix
        if self.end_of_text not in ids and len(ids) < request.max_new_tokens:
            ids = self._continue(self._told(request), request)
        text = self.decode_text(ids)
        return TextTrace(text=text.strip() if request.strip else text, ids=ids,
                         num_decoded=len(ids) - len(request.prefix), seconds=time.perf_counter() - start)  # fmt: skip

    def _told(self, request: ReasonRequest) -> str:
        """The user turn: the request's instruction, or the one that asks for a visualisation."""
        if request.instruction is not None:
            return request.instruction
        return "\n\n".join(filter(None, (self.templates.reasoning_system,
                                         fill(self.templates.reasoning, request.prompt))))  # fmt: skip

    def _continue(self, told: str, request: ReasonRequest) -> tuple[int, ...]:
        """The forced tokens and those that follow them."""
        content: Any = [{"type": "text", "text": told}] if "answer" in self.abilities else told
        written = self._turn(content)
        inputs = self._tokenizer(written, add_special_tokens=False, return_tensors="pt").to(self.network.device)
        known = torch.cat([inputs["input_ids"], inputs["input_ids"].new_tensor([request.prefix], dtype=torch.long)], 1)
        chance = {"do_sample": True, "temperature": request.temperature, "top_k": 0, "top_p": 1.0}
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(seed_of(request.key, "text"))
            found = self.network.generate(
                known, attention_mask=torch.ones_like(known), eos_token_id=self.end_of_text,
                max_new_tokens=request.max_new_tokens - len(request.prefix), pad_token_id=self.end_of_text,
                **(chance if request.temperature else {"do_sample": False}),
            )  # fmt: skip
        return tuple(found[0, inputs["input_ids"].shape[1] :].tolist())

    def _turn(self, content: Any) -> str:
        """One user turn and the start of the assistant's, in the checkpoint's own template; it is not to think."""
        return str(self._processor.apply_chat_template([{"role": "user", "content": content}], tokenize=False,
                                                       add_generation_prompt=True, enable_thinking=False))  # fmt: skip

    # Answering

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
               ) -> list[Answer]:  # fmt: skip
        """Greedy answers; P(yes) of the first token. UsageError for a model that sees no pictures."""
        if "answer" not in self.abilities:
            raise UsageError(f"{self.name} sees no pictures: choose another --reward, or a vision-language model as "
                             "--prompt-model.")  # fmt: skip
        return [self._answer(*each, max_new_tokens or ANSWER_TOKENS) for each in zip(pictures, questions, strict=True)]

    def _answer(self, picture: Image, question: str, max_new_tokens: int) -> Answer:
        start = time.perf_counter()
        written = self._turn([{"type": "image"}, {"type": "text", "text": question}])
        inputs = self._processor(images=[picture], text=[written], return_tensors="pt").to(self.network.device)
        with torch.inference_mode():
            found = self.network.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens, output_logits=True,
                                          return_dict_in_generate=True, pad_token_id=self.end_of_text)  # fmt: skip
        ids = found.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        yes, no = (found.logits[0][0, self._first_ids(words)].float().logsumexp(-1) for words in (YES, NO))
        return Answer(self.decode_text(ids).strip(), float(torch.sigmoid(yes - no)), time.perf_counter() - start,
                      complete=ids[-1] == self.end_of_text)  # fmt: skip

    def _first_ids(self, words: Sequence[str]) -> list[int]:
        return sorted({self.encode_text(word)[0] for word in words})
