"""Janus and Janus-Pro, natively in transformers (>= 5.17): reasoning, drawing, rendering and answering in batches.

CPU runs in float32; cuda in bfloat16 weights with float32 latents and logits, cast at the heads. mps is untested.
Where this differs from transformers' `generate`: latents are kept, tokens can be forced, each row has its own noise,
and sampling is over the full softmax (there, top-k 50 is applied unasked).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from milr.models.decoding.column_major import lay_out
from milr.models.decoding.engine import REMEMBERED, Decoded, Decoder, Head, Row
from milr.models.loading import Checkpoint, SpecialIds, choose_device, choose_dtype
from milr.models.pictures import Preprocessing, to_pictures
from milr.models.quantised import quantisation, quantised_as
from milr.policy import guided_logits
from milr.randomness import NoiseStream
from milr.templates import JANUS, RoleTags, Templates
from milr.types import Answer, DrawRequest, ImageTrace, Key, MissingError, ReasonRequest, TextTrace, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import World

SMALL = 2**24  # parameters: the products of a step are too small to share among threads
MOST_WORKERS = 4
_LONGEST_VISUALISATION = 512
_RENDERED_AT_ONCE = 8


class JanusModel:
    """A Janus checkpoint as a `UnifiedModel`. Use `JanusModel.load`."""

    world: World | None = None  # set by whoever knows that these weights draw one small world only

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: Any,
        tokenizer: Any,
        *,
        templates: Templates = JANUS,
        guidance_scale: float = 5.0,
        name: str | None = None,
    ) -> None:
        config = network.config
        self.recipe: dict[str, Any] | None = None  # what `load` was told, if it was
        self.name = name or checkpoint.name
        self.guidance_scale = guidance_scale
        self.image_tokens: int = config.vq_config.num_patches**2
        self.templates = templates
        self.network, self.tokenizer = network, tokenizer
        self.ids = SpecialIds.of(tokenizer)
        self._checkpoint = checkpoint
        self._picture_tokens = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        self._positions: int = config.text_config.max_position_embeddings
        self._preprocess = Preprocessing.of(checkpoint.folder, config.vision_config.image_size)
        lay_out(network)
        if network.device.type == "cpu":
            network.model.vqmodel.to(memory_format=torch.channels_last)  # a sixth quicker there
        self._decoder = Decoder(network.model.language_model)
        self.use_threads(torch.get_num_threads())
        self._text = Head(network.get_input_embeddings(), lambda latents, _: self._spoken(latents[:, 0]), self.ids.end,
                          of_text=True)  # fmt: skip
        self._image = Head(
            network.prepare_embeddings_for_image_generation,
            lambda latents, guidance: self._guided(latents, guidance[:, None]),
        )

    @classmethod
    def load(
        cls,
        folder_or_hub_name: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        quantise: str | None = None,
        role_tags: RoleTags | None = None,
        reasoning_prompt: str | None = None,
        question: str | None = None,
        templates: Templates = JANUS,
        guidance_scale: float = 5.0,
        name: str | None = None,
    ) -> JanusModel:
        """Load from a folder or a hub name. `reasoning_prompt` and `question` replace the templates' wording.

        `quantise` "8bit" or "4bit" (None: as they are) holds the weights of the language model's layers in fewer bits.
        """
        recipe = {name: value for name, value in locals().items() if name != "cls"}
        spoken = templates.override(role_tags=role_tags, reasoning=reasoning_prompt, question=question)
        place = choose_device(device)
        numbers = choose_dtype(dtype, place)
        packing = quantisation(quantise, numbers, place)
        checkpoint = Checkpoint.find(folder_or_hub_name)
        tokenizer = checkpoint.tokenizer()
        with one_thread():
            network = checkpoint.network(dtype=numbers, device=place, quantisation=packing)
        model = cls(checkpoint, network, tokenizer, templates=spoken, guidance_scale=guidance_scale, name=name)
        model.recipe = recipe | {"folder_or_hub_name": checkpoint.folder.resolve(), "name": model.name}
        return model

    # What it is

    @property
    def end_of_text(self) -> int:
        """The id that ends a visualisation."""
        return self.ids.end

    def use_threads(self, count: int) -> None:
        """Decode with `count` threads of a CPU: a small model with as many batches, a large one in each step."""
        size = sum(parameter.numel() for parameter in self.network.model.language_model.parameters())
        here = self.network.device.type == "cpu"
        self.workers = min(MOST_WORKERS, count) if here and size < SMALL else 1
        self.threads = 1 if self.workers > 1 else count
        self._decoder.draw_ahead(not here or _cores() > self.workers * self.threads)

    def on_worker(self) -> None:
        """Called on each thread that decodes."""
        torch.set_num_threads(self.threads)

    def work_apart(self, processes: int) -> None:
        """Be one of so many processes: one thread each, and as much less to remember."""
        self.use_threads(1)
        self.on_worker()
        self._decoder.draw_ahead(_cores() > processes)
        self._decoder.remember(REMEMBERED // processes)

    def fingerprint(self) -> str:
        """What two models must share to give the same: every weight, the wording, the guidance."""
        about = blake2b(repr((dict(self.identity()), self.templates, self.guidance_scale)).encode(), digest_size=16)
        for tensor in filter(torch.is_tensor, self.network.state_dict().values()):
            about.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return about.hexdigest()

    def free_memory(self) -> None:
        """Let go of what is only held to be quick."""
        self._decoder.forget()
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()

    def identity(self) -> Mapping[str, Any]:
        """Name, hash of the weights ("sized:" where files over 1 GB count by size, time and header), dtype, device."""
        return {
            "name": self.name,
            "weights": self._checkpoint.digest,
            "dtype": str(self.network.dtype).removeprefix("torch."),
            "device": self.network.device.type,
            **quantised_as(self.network),
            "templates": blake2b(repr(self.templates).encode(), digest_size=8).hexdigest(),
        }

    def question(self, prompt: str) -> str:
        """The yes/no question with which this model judges its own picture of `prompt`."""
        return self.templates.judge(prompt)

    def check(self, text: str) -> None:
        """Raise UsageError for a prompt that is empty, in unknown words, with control tokens, or too long."""
        if not text.strip():
            raise UsageError("the prompt is empty; say what to draw.")
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        pieces = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        unknown = [text[start:end] for token, (start, end) in pieces if token == self.tokenizer.unk_token_id]
        if unknown:
            words = ", ".join(repr(word) for word in dict.fromkeys(unknown))
            raise UsageError(
                f"{self.name} does not know {words}; use other words, or a model that knows them, "
                "such as --model deepseek-community/Janus-Pro-1B."
            )
        control = [text[start:end] for token, (start, end) in pieces if token in self.tokenizer.all_special_ids]
        if control:
            raise UsageError(f"the prompt contains the control token {control[0]}; take it out.")
        if len(pieces) > (limit := self._longest_prompt()):
            raise UsageError(f"the prompt has {len(pieces)} tokens and {self.name} reads at most {limit}; shorten it.")

    def decode_text(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Text to token ids, without special tokens."""
        return tuple(self.tokenizer.encode(text, add_special_tokens=False))

    # Writing, drawing, rendering, answering

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """Write visualisations; greedy unless a request says otherwise, until end of text or its `max_tokens`."""
        began = time.perf_counter()
        rows = [self._text_row(request) for request in requests]
        results = self._decoder.decode(self._text, rows)
        shares = _shares(results, time.perf_counter() - began)
        return [
            TextTrace(
                text=self.decode_text(result.ids),
                ids=result.ids,
                latents=None if result.latents is None else result.latents[:, 0],
                near_ties=result.near_ties,
                decoded=result.decoded,
                seconds=seconds,
            )
            for result, seconds in zip(results, shares, strict=True)
        ]

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """Draw image tokens under classifier-free guidance."""
        began = time.perf_counter()
        rows = [self._image_row(request) for request in requests]
        results = self._decoder.decode(self._image, rows)
        shares = _shares(results, time.perf_counter() - began)
        return [
            ImageTrace(result.ids, result.latents, result.near_ties, result.decoded, seconds)
            for result, seconds in zip(results, shares, strict=True)
        ]

    @torch.inference_mode()
    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """Image tokens, N per row, to pictures."""
        pictures: list[Image] = []
        for first in range(0, len(image_ids), _RENDERED_AT_ONCE):
            ids = torch.tensor([list(row) for row in image_ids[first : first + _RENDERED_AT_ONCE]])
            pictures += to_pictures(self.network.decode_image_tokens(ids.to(self.network.device)))
        return pictures

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], room: int | None = None) -> list[Answer]:
        """Answer one question about each picture, greedily, in at most `room` tokens (None: the templates').

        `yes` is P(yes) / (P(yes) + P(no)) at the first token.

        A model that compares aloud (`Templates.verdict` "every") says yes where every one of its comparisons does:
        the product over all its yes and no (None where it compared nothing, or did not come to an end).
        """
        if not pictures:
            return []
        began = time.perf_counter()
        count = min(room, self._room()) if room else self.templates.answer_tokens
        keep = count if self.templates.verdict == "every" else 1
        rows = [Row(prompt, count=count, keep=keep) for prompt in self._seen(pictures, questions)]
        results = self._decoder.decode(self._text, rows)
        yes, no = self._spellings("yes"), self._spellings("no")
        chances = [self._chance_of_yes(result, yes, no) for result in results]
        shares = _shares(results, time.perf_counter() - began)
        return [
            Answer(self.decode_text(result.ids), chance, seconds)
            for result, chance, seconds in zip(results, chances, shares, strict=True)
        ]

    # From latents to logits

    def text_logits(self, trace: TextTrace, latents: Tensor) -> Tensor:
        """(n, d) text latents to (n, V) logits in fp32, differentiable."""
        return self._spoken(latents)

    def image_logits(self, trace: ImageTrace, latents: Tensor, guidance_scale: float) -> Tensor:
        """(n, 2, d) image latents to (n, V) guided logits in fp32, differentiable."""
        return self._guided(latents, guidance_scale)

    def _spoken(self, latents: Tensor) -> Tensor:
        """(n, d) -> (n, V)"""
        logits: Tensor = self.network.lm_head(latents.to(self.network.dtype)).float()
        return logits

    def _guided(self, latents: Tensor, guidance_scale: float | Tensor) -> Tensor:
        """(n, 2, d) -> (n, V)"""
        pair = self.network.model.generation_head(latents.to(self.network.dtype)).float()
        return guided_logits(pair[:, 0], pair[:, 1], guidance_scale)

    # From requests to rows

    def _text_row(self, request: ReasonRequest) -> Row:
        count = min(request.max_tokens, self._room())
        prompt = self._encode(self.templates.reason(request.prompt))
        return Row(
            self._embed([prompt]),
            count=count,
            prefix=request.prefix,
            keep=count if request.keep is None else request.keep,
            temperature=request.temperature,
            noise=self._noise(request.key, "text", request),
            keys=(tuple(prompt),),
        )

    def _image_row(self, request: DrawRequest) -> Row:
        conditional = [*self._encode(self.templates.draw(request.text)), self.ids.begin_image]
        unconditional = [conditional[0], *[self.ids.pad] * (len(conditional) - 2), conditional[-1]]
        count = self.image_tokens if request.count is None else min(request.count, self.image_tokens)
        return Row(
            self._embed([conditional, unconditional]),
            count=count,
            prefix=request.prefix,
            keep=count if request.keep is None else request.keep,
            temperature=request.temperature,
            guidance_scale=request.guidance_scale,
            noise=self._noise(request.key, "image", request),
            keys=(tuple(conditional), tuple(unconditional)),
        )

    def _noise(self, key: Key, role: str, request: ReasonRequest | DrawRequest) -> NoiseStream | None:
        """The request's noise; a greedy one needs none."""
        if not request.temperature:
            return None
        config = self.network.config
        vocab = config.vq_config.num_embeddings if role == "image" else config.text_config.vocab_size
        return NoiseStream(key, role, vocab, override=request.noise)

    def _encode(self, text: str) -> list[int]:
        """Begin of sentence, then the text's ids."""
        return [self.ids.begin, *self.encode_text(text)]

    @torch.no_grad()
    def _embed(self, streams: Sequence[Sequence[int]]) -> Tensor:
        """Streams of text ids, embedded. (G, L, d)"""
        embedded: Tensor = self.network.get_input_embeddings()(torch.tensor(streams, device=self.network.device))
        return embedded

    def _room(self) -> int:
        """How many tokens a visualisation may have: all but the picture's places, shared evenly with the prompt."""
        return min(_LONGEST_VISUALISATION, max(1, (self._positions - self.image_tokens) // 2))

    def _longest_prompt(self) -> int:
        """How many prompt tokens leave room for the templates, a visualisation, the picture, and a question."""
        writing = len(self._encode(self.templates.reason(""))) + self._room()
        drawing = len(self._encode(self.templates.draw(". "))) + 1 + self._room() + self.image_tokens
        asking = len(self._encode(self.templates.ask(self.question(""), ""))) + 2 + self._picture_tokens
        longest: int = max(writing, drawing, asking + self.templates.answer_tokens)
        return self._positions - longest

    # Looking at pictures

    @torch.no_grad()
    def _seen(self, pictures: Sequence[Image], questions: Sequence[str]) -> list[Tensor]:
        """The embedded prompts that show each picture and ask its question. Each (1, L, d)"""
        pixels = self._preprocess(pictures).to(self.network.device, self.network.dtype)
        features = self.network.model.get_image_features(pixels, return_dict=True).pooler_output
        prompts = []
        for question, seen in zip(questions, features, strict=True):
            ids = self._encode(self.templates.ask(question, self._placeholders()))
            prompt = self._embed([ids])
            prompt[0, torch.tensor(ids) == self.ids.placeholder] = seen.to(prompt.dtype)
            prompts.append(prompt)
        return prompts

    def _placeholders(self) -> str:
        begin, placeholder, end = self.tokenizer.convert_ids_to_tokens(
            [self.ids.begin_image, self.ids.placeholder, self.ids.end_image]
        )
        return f"{begin}{placeholder * self._picture_tokens}{end}"

    @torch.no_grad()
    def _chance_of_yes(self, result: Decoded, yes: list[int], no: list[int]) -> float | None:
        """P(yes) / (P(yes) + P(no)) at the first token, or the product over every yes or no of an answer."""
        places = [0]
        if self.templates.verdict == "every":
            places = [place for place, token in enumerate(result.ids) if token in (*yes, *no)]
            if len(places) < 2 or result.ids[-1] != self.ids.end:  # at least a comparison and a verdict, and whole
                return None
        assert result.latents is not None
        spoken = self._spoken(result.latents[places, 0])
        return float(torch.sigmoid(spoken[:, yes].logsumexp(-1) - spoken[:, no].logsumexp(-1)).prod())

    def _spellings(self, word: str) -> list[int]:
        """The ids of every casing, with and without a leading space, that is one known token."""
        spellings = [space + cased for space in ("", " ") for cased in (word, word.capitalize(), word.upper())]
        encoded = map(self.encode_text, spellings)
        ids = {tokens[0] for tokens in encoded if len(tokens) == 1} - {self.tokenizer.unk_token_id}
        if not ids:
            raise MissingError(f"the tokenizer of {self.name} has no single token for {word!r}; it cannot judge.")
        return sorted(ids)


@contextmanager
def one_thread() -> Iterator[None]:
    """A thread that has opened a parallel region slows down those of all others (libgomp); loading can do without."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(results: Sequence[Decoded], seconds: float) -> list[float]:
    """The batch's time, shared by decoded tokens."""
    weights = [1 + result.decoded for result in results]
    return [seconds * weight / sum(weights) for weight in weights]
