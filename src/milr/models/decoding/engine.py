"""The batched decode loop, once for both modalities.

A row is one request. It has one stream (text) or a guidance pair of streams (image: conditional, unconditional) that
read different prompts and are fed the same tokens. Forced tokens are read together with the prompt in one forward, and
what an earlier row of this decoder began with is not read again. What was written last after a prompt is a draft of
what a greedy text will be. A finished row leaves the batch. On the accelerator an image is decoded without waiting for
the device; text waits once a step, to see which rows have ended, and for its drafts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from milr.models.decoding.batch import LARGE_GROWTH, Batch, Stream
from milr.models.decoding.cuda_graphs import Capture, StepGraphs
from milr.models.decoding.draft_cache import Drafts
from milr.models.decoding.llama import Stack
from milr.models.decoding.prefix_cache import Key, Prefixes
from milr.randomness import NEAR_TIE, NoiseStream, choose, noise_of

REMEMBERED = 2**30  # bytes of keys and values, unless told otherwise
WORTH = 2  # tokens; a guess that brought fewer twice is not followed further


@dataclass(frozen=True)
class Head:
    """How one modality reads latents and is fed tokens.

    `embed` maps ids (n,) to inputs (n, d); `logits` maps fp32 latents (B, G, d) of G streams and the rows' guidance
    scales (B,) to fp32 logits (B, V); `end` is the id that finishes a row before its count, if there is one. `of_text`:
    tokens have the ids and inputs that prompts have.
    """

    embed: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor, Tensor], Tensor]
    end: int | None = None
    of_text: bool = False

    def key(self, ids: Sequence[int]) -> Key:
        """Names of the tokens among all that a sequence may hold."""
        return tuple(ids) if self.of_text else tuple(-2 - one for one in ids)


@dataclass(frozen=True)
class Row:
    """One request: the embedded prompt of each stream (G, L, d), and how to go on after it.

    `prefix` is forced; the row ends with `count` tokens, prefix included; the first `keep` latents are returned.
    Temperature 0 is greedy and needs no noise. `keys` are the ids of each stream's prompt, where it is all ids.
    """

    prompt: Tensor
    count: int
    prefix: tuple[int, ...] = ()
    keep: int = 0
    temperature: float = 0.0
    guidance_scale: float = 1.0
    noise: NoiseStream | None = None
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True)
class Decoded:
    """A finished row: all ids, fp32 latents (kept, G, d) that predict the first of them, and what was not certain."""

    ids: tuple[int, ...]
    latents: Tensor | None
    near_ties: tuple[int, ...]
    decoded: int


class Decoder:
    """Decodes with one transformer (transformers' `LlamaModel`), and remembers `room` bytes of keys and values.

    Several threads may decode at once, on CUDA one after the other. Weights that change in place are noticed where
    torch counts it; after other changes (`.data`, fused optimisers) call `forget`.
    """

    def __init__(self, transformer: Any, room: int = REMEMBERED) -> None:
        self.stack = Stack(transformer)
        self._graphs, self._device = None, transformer.device
        if self._device.type == "cuda":
            self._graphs = StepGraphs(self.stack, Capture(self._device))
        self._lock = Lock()
        self._weights = list(transformer.parameters())
        self._prefixes, self._version = Prefixes(room), -1
        self._drafts = Drafts()
        self._ahead: ThreadPoolExecutor | None = None

    def decode(self, head: Head, rows: Sequence[Row]) -> list[Decoded]:
        """Decode all rows in one batch over one key-value cache; each row's result is its own."""
        if self._graphs is None:
            found = self._decode(head, rows)
        else:
            with self._lock, torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext():
                found = self._decode(head, rows)
        return [decoded if decoded.latents is None else replace(decoded, latents=decoded.latents.clone())
                for decoded in found]  # whoever trains them cannot do with those of inference mode  # fmt: skip

    @torch.inference_mode()
    def _decode(self, head: Head, rows: Sequence[Row]) -> list[Decoded]:
        progress = [_Progress(row, head.end) for row in rows]
        work = [row for row in progress if row.waiting]
        if work:
            self._forget_other_weights()
            work = self._follow_drafts(head, work)
        if work:
            longest = max(row.row.count for row in work)
            room = min(longest, LARGE_GROWTH) if head.end is not None else longest
            batch = Batch(self.stack, self._prefixes, [_streams(head, row) for row in work], room,
                          self._graphs)  # fmt: skip
            for row in work:
                row.known = ()
            _Loop(head, batch, work, self._ahead).run()
            batch.close()
        found = [row.result() for row in progress]
        for asked, decoded in zip(rows, found, strict=True):
            if _draftable(head, asked):
                self._drafts.keep(asked.keys[0], decoded.ids)
        return found

    def _follow_drafts(self, head: Head, work: list[_Progress]) -> list[_Progress]:
        """Take what is right in the drafts of greedy texts. -> the rows with work left"""
        for row in work:
            if not row.done and _draftable(head, row.row):
                row.guess = self._drafts.of(row.row.keys[0])
        while drafted := [row for row in work if not row.done and row.draft]:
            batch = Batch(self.stack, self._prefixes, [_streams(head, row) for row in drafted], 0)
            for index, (row, states) in enumerate(zip(drafted, batch.read(), strict=True)):
                row.check(head, states)
                key = row.row.keys[0] + head.key(row.fixed[:-1])
                row.known = batch.held(index, len(key))
                if row.done:
                    self._prefixes.keep(key, row.known[0])
            batch.close()
        return [row for row in work if row.waiting]

    def draw_ahead(self, ahead: bool) -> None:
        """Draw the next step's noise while this one is read, on a thread that needs a core of its own."""
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="milr-noise") if ahead else None

    def remember(self, room: int) -> None:
        """Hold `room` bytes of keys and values, from nothing on."""
        self._prefixes = Prefixes(room)

    def forget(self) -> None:
        """Let go of all keys and values."""
        self._prefixes.clear()
        self._drafts.clear()
        self.stack.forget()
        if self._graphs:
            self._graphs.forget()

    def _forget_other_weights(self) -> None:
        """Weights that were trained since the last call make other keys and values."""
        version = sum(weight._version for weight in self._weights)
        if version != self._version:
            self._prefixes.clear()
            self._version = version


def _draftable(head: Head, row: Row) -> bool:
    return head.of_text and bool(row.keys) and not row.temperature


def _streams(head: Head, row: _Progress) -> list[Stream]:
    """Each stream's prompt, its tokens so far and its draft."""
    prompts, given = row.row.prompt, (*row.fixed, *row.draft)
    inputs = head.embed(torch.tensor(given, device=prompts.device)).to(prompts.dtype) if given else None
    fresh = 1 + len(row.draft) + (len(row.forced) if row.keep and not row.kept else 0)
    keys, known = row.row.keys or (None,) * len(prompts), row.known or (None,) * len(prompts)
    return [Stream(prompt if inputs is None else torch.cat([prompt, inputs]),
                   None if key is None else key + head.key(given), fresh, held)
            for prompt, key, held in zip(prompts, keys, known, strict=True)]  # fmt: skip


class _Loop:
    """The rows of one batch, step by step. What does not change while the same rows are at work is made once."""

    def __init__(self, head: Head, batch: Batch, work: list[_Progress], ahead: ThreadPoolExecutor | None) -> None:
        self.head, self.batch, self.work, self.ahead = head, batch, work, ahead
        self.noise: Future[Tensor] | None = None

    def run(self) -> None:
        """Decode until every row is done."""
        latest = []
        for index, (row, states) in enumerate(zip(self.work, self.batch.read(), strict=True)):
            row.keep_forced(states)
            latest.append(states[:, -1])
            if not self.head.of_text:
                self.batch.keep(index)
        latents = self._leave(torch.stack(latest).float())
        while self.work:
            tokens = self._leave(self._extend(latents))
            if self.work:
                latents = self.batch.step(self.head.embed(tokens)).float()

    def _extend(self, latents: Tensor) -> Tensor:
        """Choose the next token of every row and write it down. (B, G, d) -> (B,)"""
        logits = self.head.logits(latents, self.guidance)
        tokens, leads = choose(logits, self.temperatures, self._draw(logits))
        self.tokens.append(tokens)
        self.leads.append(leads)
        ended = [False] * len(self.work) if self.head.end is None else (tokens == self.head.end).tolist()
        for index, row in enumerate(self.work):
            row.count_one(latents, index, ended=ended[index])
        return tokens

    def _draw(self, logits: Tensor) -> Tensor | None:
        """The rows' noise at their own positions (B, V); rows without any get ones. None when no row has any.

        The next step's is drawn beside this one's reading, where a core is left for it.
        """
        if all(row.row.noise is None for row in self.work):
            return None
        now = [(row.row.noise, row.length) for row in self.work]
        found = self.noise.result() if self.noise else _noise(now, logits)
        if self.ahead:
            self.noise = self.ahead.submit(_noise, [(stream, place + 1) for stream, place in now], logits)
        return found

    def _leave(self, tensor: Tensor) -> Tensor:
        """Finished rows leave the work, the cache and `tensor` (B, ...)."""
        live = [index for index, row in enumerate(self.work) if not row.done]
        if len(live) < len(self.work) or not hasattr(self, "tokens"):
            self._settle()
            if live and len(live) < len(self.work):
                self.batch.select(live)
                tensor = tensor[live]
                self.noise = self.noise and _chosen(self.noise, live)
            self.work = [self.work[index] for index in live]
            self._begin(tensor.device)
        return tensor

    def _begin(self, device: torch.device) -> None:
        self.tokens: list[Tensor] = []
        self.leads: list[Tensor] = []
        self.guidance = torch.tensor([row.row.guidance_scale for row in self.work], device=device)
        self.temperatures = torch.tensor([row.row.temperature for row in self.work], device=device)

    def _settle(self) -> None:
        """Hand every row what was drawn for it; later batches may share the texts that are done."""
        if getattr(self, "tokens", None):
            for row, tokens, leads in zip(self.work, torch.stack(self.tokens, 1), torch.stack(self.leads, 1),
                                          strict=True):  # fmt: skip
                row.drawn.append(tokens)
                row.leads.append(leads)
        for index, row in enumerate(self.work):
            if self.head.of_text and row.done:
                self.batch.keep(index, self.head.key(row.ids()[len(row.fixed) : -1]))


def _noise(asked: Sequence[tuple[NoiseStream | None, int]], logits: Tensor) -> Tensor:
    """The noise on the logits' device; the way there waits for nothing."""
    noise = noise_of(asked, logits.shape[-1])
    if logits.device.type == "cuda":
        noise = noise.pin_memory()
    return noise.to(logits.device, non_blocking=True)


def _chosen(noise: Future[Tensor], rows: Sequence[int]) -> Future[Tensor]:
    """The noise of these rows."""
    chosen: Future[Tensor] = Future()
    chosen.set_result(noise.result()[rows])
    return chosen


class _Progress:
    """What one row has so far. Drawn tokens stay on the device until they are asked for.

    `fixed` are the tokens that were forced or found in drafts, `known` what the cache held of each stream up to the
    last of them, `guess` all that the row is thought to become.
    """

    def __init__(self, row: Row, end: int | None) -> None:
        forced = row.prefix[: row.count]
        ended = end in forced
        self.row, self._end = row, end
        self.forced = forced[: forced.index(end) + 1] if ended and end is not None else forced
        self.fixed = self.forced
        self.guess: tuple[int, ...] = ()
        self.known: tuple[Tensor, ...] = ()
        self.length = len(self.forced)
        self.done = ended or self.length >= row.count
        self.keep = min(row.keep, self.length) if self.done else min(row.keep, row.count)
        self.drawn: list[Tensor] = []
        self.leads: list[Tensor] = []
        self._latents: list[Tensor] = []
        self._poor = 0  # drafts that brought little

    @property
    def kept(self) -> int:
        """How many latents are kept."""
        return len(self._latents)

    @property
    def waiting(self) -> bool:
        """Whether there is something to do."""
        return not self.done or self.kept < self.keep

    @property
    def draft(self) -> tuple[int, ...]:
        """What of the guess is still to be read: the token after it is chosen in any case, and an end needs none."""
        guess = self.guess[: self.row.count - 1]
        return guess[self.length : -1 if guess and guess[-1] == self._end else None]

    def check(self, head: Head, states: Tensor) -> None:
        """Take the draft's tokens as long as they are those that its states choose, and the first that is chosen
        otherwise. (G, fresh, d)"""
        draft = self.draft
        latents = states.transpose(0, 1).float()
        start = len(latents) - len(draft) - 1
        first, latents = latents[:start], latents[start:]
        logits = head.logits(latents, latents.new_full((len(latents),), self.row.guidance_scale))
        tokens, leads = choose(logits, latents.new_zeros(len(latents)))
        found = tokens.tolist()
        right = next((place for place, one in enumerate(draft) if found[place] != one), len(draft))
        found = found[: right + 1]
        found = found[: found.index(self._end) + 1] if self._end in found else found
        self._latents.extend([*first, *latents[: len(found)]][: max(0, self.keep - self.kept)])
        self.fixed = (*self.fixed, *found)
        self.length = len(self.fixed)
        self.done = found[-1] == self._end or self.length >= self.row.count
        self.drawn.append(tokens[: len(found)])
        self.leads.append(leads[: len(found)])
        self._poor += right < min(WORTH, len(draft))
        if self._poor == 2:
            self.guess = ()

    def keep_forced(self, states: Tensor) -> None:
        """Keep the latents that predict the forced tokens, where they are wanted. (G, 1 + n, d)"""
        if self.keep and not self.kept:
            self._latents.extend(states[:, :-1].transpose(0, 1)[: self.keep].float())

    def count_one(self, latents: Tensor, index: int, *, ended: bool) -> None:
        """One more token, predicted by the latent at `index`."""
        if self.length < self.keep:
            self._latents.append(latents[index])
        self.length += 1
        self.done = ended or self.length >= self.row.count

    def ids(self) -> tuple[int, ...]:
        """All tokens so far."""
        return (*self.forced, *(torch.cat(self.drawn).tolist() if self.drawn else ()))

    def result(self) -> Decoded:
        leads = torch.cat(self.leads).tolist() if self.leads else []
        first = len(self.forced)
        ties = tuple(first + index for index, lead in enumerate(leads) if lead < NEAR_TIE)
        latents = torch.stack(self._latents) if self._latents else None
        return Decoded(self.ids(), latents, ties, len(leads))
