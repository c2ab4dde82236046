"""Janus and Janus-Pro, natively in transformers (>= 5.17): reasoning, drawing, rendering and answering in batches.

CPU runs in float32; cuda in bfloat16 weights with float32 latents and logits, cast at the heads. mps is untested.
Where this differs from transformers' `generate`: latents are kept, tokens can be forced, each request has its own
noise, and sampling is over the full softmax (there, top-k 50 is applied unasked).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import torch
from torch import Tensor

from milr.models.checkpoint_errors import explained
from milr.models.cpu_threads import num_cores, one_thread
from milr.models.decoding.column_major import use_column_major
from milr.models.decoding.engine import CACHE_BYTES, DecodeEngine
from milr.models.decoding.request import DecodeRequest, DecodeResult, Head
from milr.models.devices import choose_device, choose_dtype, default_cache_bytes, free_unused
from milr.models.float32_logits import float32_image_logits, float32_logits
from milr.models.janus_prompts import JanusPrompts
from milr.models.janus_requests import JanusRequests, kind_of_batch
from milr.models.janus_traces import image_trace, open_prefix, text_trace
from milr.models.loading import Checkpoint, check_vocabulary
from milr.models.pictures import Preprocessing, render_each_alone
from milr.models.quantised import quantisation_config, quantisation_identity
from milr.models.yes_or_no import YesOrNo
from milr.policy import guided_logits
from milr.templates import JANUS, RoleTags, Templates
from milr.types import Answer, DrawRequest, ImageTrace, LogitsDtype, ReasonRequest, TextTrace

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import World

MAX_SMALL_PARAMETERS = 2**24  # the products of a smaller model's decode step are too small to share among threads
MAX_WORKERS = 4


class TemplateChanges(TypedDict, total=False):
    """The wording that a user may change: `reasoning_prompt` and `question` replace the template's."""

    role_tags: RoleTags | None
    reasoning_prompt: str | None
    question: str | None


class JanusModel:
    """A Janus checkpoint as a `UnifiedModel`. Use `JanusModel.load`."""

    world: World | None = None  # set by whoever knows that these weights draw one small world only
    shipped_files = ""  # `files` of the identity that say nothing new, because a package ships the weights with them

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
        self.load_arguments: dict[str, Any] | None = None  # with which `load` gives this model again
        self.name = name or checkpoint.name
        self.guidance_scale = guidance_scale
        self.image_tokens: int = config.vq_config.num_patches**2
        self.templates = templates
        self.network, self.tokenizer = network, tokenizer
        self.prompts = JanusPrompts(self.name, tokenizer, templates, config)
        self.ids = self.prompts.special_ids
        self._checkpoint = checkpoint
        preprocess = Preprocessing.of(checkpoint.folder, config.vision_config.image_size)
        preprocess.check_size(config.vision_config.image_size)
        self._requests = JanusRequests(network, self.prompts, preprocess)
        use_column_major(network)
        if network.device.type == "cpu":
            network.model.vqmodel.to(memory_format=torch.channels_last)  # a sixth faster there
        self._engine = DecodeEngine(network.model.language_model)
        free_unused(network.device)  # what merging the weights has left over
        self.set_cache_bytes(default_cache_bytes(network.device, CACHE_BYTES))
        self.set_num_threads(torch.get_num_threads())
        self._text_head = Head(network.get_input_embeddings(), lambda latents, _: self._logits_of_text(latents[:, 0]),
                               self.ids.end, is_text=True, dtype=network.dtype)  # fmt: skip
        image_head = partial(Head, network.prepare_embeddings_for_image_generation, dtype=network.dtype)
        self._image_head = image_head(lambda latents, scales: self._guided_logits(latents, scales[:, None]))
        self._image_head_in_model_dtype = image_head(
            lambda latents, scales: self._guided_logits(latents, scales[:, None], "model")
        )

    @classmethod
    def load(
        cls,
        folder_or_hub_name: str | Path,
        *,
        dtype: str = "auto",
        device: str = "auto",
        quantise: str | None = None,
        templates: Templates = JANUS,
        guidance_scale: float = 5.0,
        name: str | None = None,
        **wording: Unpack[TemplateChanges],
    ) -> Self:
        """Load from a folder or a hub name; `wording` changes the templates (see `TemplateChanges`).

        `quantise` "8bit" or "4bit" (None: as they are) holds the weights of the language model's layers in fewer bits.
        """
        changes = {"reasoning" if field == "reasoning_prompt" else field: text for field, text in wording.items()}
        templates = templates.override(**changes)  # type: ignore[arg-type]
        arguments = {"dtype": dtype, "device": device, "quantise": quantise, "templates": templates,
                     "guidance_scale": guidance_scale}  # fmt: skip
        chosen_device = choose_device(device)
        chosen_dtype = choose_dtype(dtype, chosen_device)
        quantisation = quantisation_config(quantise, chosen_dtype, chosen_device)
        checkpoint = Checkpoint.find(folder_or_hub_name)
        checkpoint.check_kind()
        with one_thread():
            tokenizer, network = cls._read(checkpoint, chosen_dtype, chosen_device, quantisation)
        with explained(f"the files of {checkpoint.name}"):
            check_vocabulary(tokenizer, network.config.text_config.vocab_size, checkpoint.name)
            model = cls(checkpoint, network, tokenizer, templates=templates, guidance_scale=guidance_scale, name=name)
        folder = checkpoint.folder.resolve()
        model.load_arguments = arguments | {"folder_or_hub_name": folder, "name": model.name}
        return model

    @classmethod
    def _read(cls, checkpoint: Checkpoint, dtype: torch.dtype, device: str, quantisation: Any) -> tuple[Any, Any]:
        """The tokenizer and the frozen network of a checkpoint."""
        return checkpoint.tokenizer(), checkpoint.network(dtype=dtype, device=device, quantisation=quantisation)

    # Identity, threads and memory

    def identity(self) -> Mapping[str, Any]:
        """Name, hash of the weights ("sized:" where files over 1 GiB count by size, time and header), dtype, device.

        `files` is a hash of configuration, tokenizer, processor and templates.
        """
        files = f"sha256:{self._checkpoint.settings_digest}"
        return {
            "name": self.name,
            "weights": self._checkpoint.digest,
            **({} if files == self.shipped_files else {"files": files}),
            "dtype": str(self.network.dtype).removeprefix("torch."),
            "device": self.network.device.type,
            **quantisation_identity(self.network),
            "templates": blake2b(repr(self.templates).encode(), digest_size=8).hexdigest(),
        }

    def fingerprint(self) -> str:
        """A hash of all that decides what the model gives: every weight, the wording, the guidance."""
        identity = {**self.identity(), "files": self._checkpoint.settings_digest}  # also where they are as shipped
        digest = blake2b(repr((sorted(identity.items()), self.templates, self.guidance_scale)).encode(), digest_size=16)
        for tensor in filter(torch.is_tensor, self.network.state_dict().values()):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def set_num_threads(self, num_threads: int) -> None:
        """Decode with this many threads of a CPU: a small model in as many batches at once, a large one in each."""
        num_parameters = sum(parameter.numel() for parameter in self.network.model.language_model.parameters())
        is_cpu = self.network.device.type == "cpu"
        self.num_workers = min(MAX_WORKERS, num_threads) if is_cpu and num_parameters < MAX_SMALL_PARAMETERS else 1
        self.num_threads = 1 if self.num_workers > 1 else num_threads
        self._engine.prefetch_noise(not is_cpu or num_cores() > self.num_workers * self.num_threads)

    def set_cache_bytes(self, cache_bytes: int) -> None:
        """Keep at most so many bytes of keys and values of earlier sequences, beginning with none."""
        self.cache_bytes = cache_bytes
        self._engine.set_cache_bytes(cache_bytes)

    def without_graphs(self) -> None:
        """Decode step by step on CUDA, too."""
        self._engine.without_graphs()

    def init_worker_thread(self) -> None:
        """Called once on each thread that decodes."""
        torch.set_num_threads(self.num_threads)

    def init_worker_process(self, num_processes: int, cache_bytes: int = CACHE_BYTES) -> None:
        """Called once in each of the processes that share the work: one thread, and a share of `cache_bytes`."""
        self.set_num_threads(1)
        self.init_worker_thread()
        self._engine.prefetch_noise(num_cores() > num_processes)
        self.set_cache_bytes(cache_bytes // num_processes)

    def free_memory(self) -> None:
        """Free what only serves speed: cached prefixes, drafts, buffers, graphs."""
        self._engine.free_memory()
        free_unused(self.network.device)

    # Texts and token ids

    @property
    def end_of_text(self) -> int:
        """The id that ends a visualisation."""
        return self.ids.end

    @property
    def follows_instructions(self) -> bool:
        """Whether `reason` takes a request's `instruction`: not where the text path knows one small world only."""
        return self.world is None

    def question(self, prompt: str) -> str:
        """The yes/no question with which this model judges its own picture of `prompt`."""
        return self.templates.judge(prompt)

    def check(self, text: str) -> None:
        """Raise UsageError for a prompt that is empty, in unknown words, with control tokens, or too long."""
        self.prompts.check(text)

    def decode_text(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""
        return self.prompts.decode_text(ids)

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Text to token ids, without special tokens."""
        return self.prompts.encode_text(text)

    # Reasoning, drawing, rendering, answering

    def reason(self, requests: Sequence[ReasonRequest]) -> list[TextTrace]:
        """Write visualisations; greedy unless a request says otherwise, until end of text or its `max_new_tokens`."""
        results, seconds = self._generate(self._text_head, map(self._requests.text, requests))
        texts = [self.prompts.decode_text((*open_prefix(request), *result.token_ids), strip=request.strip)
                 for request, result in zip(requests, results, strict=True)]  # fmt: skip
        return list(map(text_trace, requests, results, texts, seconds))

    def draw(self, requests: Sequence[DrawRequest]) -> list[ImageTrace]:
        """Draw image tokens under classifier-free guidance."""
        kinds = list(dict.fromkeys(map(kind_of_batch, requests)))
        if len(kinds) > 1:
            traces = {kind: iter(self.draw([request for request in requests if kind_of_batch(request) == kind]))
                      for kind in kinds}  # fmt: skip
            return [next(traces[kind_of_batch(request)]) for request in requests]
        is_in_model_dtype = any(request.logits_dtype == "model" for request in requests)
        head = self._image_head_in_model_dtype if is_in_model_dtype else self._image_head
        results, seconds = self._generate(head, map(self._requests.image, requests))
        return list(map(image_trace, requests, results, seconds))

    @torch.inference_mode()
    def render(self, image_ids: Sequence[Sequence[int]]) -> list[Image]:
        """Image tokens, N per row, to pictures: the same bytes for the same tokens, whatever is rendered with them."""
        ids = torch.tensor([list(row) for row in image_ids], device=self.network.device)
        return render_each_alone(ids, self.network.decode_image_tokens, self.name)

    def answer(self, pictures: Sequence[Image], questions: Sequence[str], max_new_tokens: int | None = None
               ) -> list[Answer]:  # fmt: skip
        """Answer one question about each picture, greedily, in at most `max_new_tokens` (None: the templates').

        `yes` is P(yes) / (P(yes) + P(no)) at the first token, or the product over all comparisons of a model that
        compares aloud (`Templates.verdict` "every"; None where it came to no verdict).
        """
        if not pictures:
            return []
        limit = min(max_new_tokens, self.prompts.max_text_tokens) if max_new_tokens else self.templates.answer_tokens
        num_latents = limit if self.templates.verdict == "every" else 1
        requests = self._requests.answers(pictures, questions, max_new_tokens=limit, num_latents=num_latents)
        results, seconds = self._generate(self._text_head, requests)
        return [
            Answer(
                self.decode_text(result.token_ids),
                self._probability_of_yes(result),
                share,
                complete=result.token_ids[-1:] == (self.ids.end,),
            )
            for result, share in zip(results, seconds, strict=True)
        ]

    # From latents to logits

    def text_logits(self, trace: TextTrace, latents: Tensor) -> Tensor:
        """(n, d) text latents to (n, V) logits in fp32 (or as the trace's request asked), differentiable."""
        return self._logits_of_text(latents, trace.context)

    def image_logits(self, trace: ImageTrace, latents: Tensor, guidance_scale: float) -> Tensor:
        """(n, 2, d) image latents to (n, V) guided logits in fp32 (or as the request asked), differentiable."""
        return self._guided_logits(latents, guidance_scale, trace.context)

    def _logits_of_text(self, latents: Tensor, dtype: LogitsDtype | None = None) -> Tensor:
        """(n, d) -> (n, V)"""
        head, latents = self.network.lm_head, latents.to(self.network.dtype)
        return head(latents) if dtype == "model" else float32_logits(head, latents)  # type: ignore[no-any-return]

    def _guided_logits(
        self, latents: Tensor, guidance_scale: float | Tensor, dtype: LogitsDtype | None = None
    ) -> Tensor:
        """(n, 2, d) -> (n, V), or (n, 1, d) with guidance 1"""
        head, latents = self.network.model.generation_head, latents.to(self.network.dtype)
        logits = head(latents) if dtype == "model" else float32_image_logits(head, latents)
        if logits.shape[1] == 1:
            return logits[:, 0]
        return guided_logits(logits[:, 0], logits[:, 1], guidance_scale)

    @torch.no_grad()
    def _probability_of_yes(self, result: DecodeResult) -> float | None:
        """How likely an answer says yes; None where it came to no verdict."""
        positions = self._yes_or_no.positions(result.token_ids)
        if positions is None:
            return None
        assert result.latents is not None
        return self._yes_or_no.probability(self._logits_of_text(result.latents[positions, 0]))

    @cached_property
    def _yes_or_no(self) -> YesOrNo:
        yes_ids, no_ids = self.prompts.ids_of_word("yes"), self.prompts.ids_of_word("no")
        return YesOrNo(yes_ids, no_ids, self.templates.verdict, self.ids.end)

    # To the decode engine

    def _generate(self, head: Head, requests: Iterable[DecodeRequest]) -> tuple[list[DecodeResult], list[float]]:
        """The results, and each request's share of the batch's seconds, by the tokens decoded.

        `requests` are built while they are read, so that embedding the prompts counts, too.
        """
        start = time.perf_counter()
        results = self._engine.generate(head, list(requests))
        seconds, weights = time.perf_counter() - start, [1 + result.num_decoded for result in results]
        return results, [seconds * weight / sum(weights) for weight in weights]
