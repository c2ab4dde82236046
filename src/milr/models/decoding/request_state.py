"""How far a request has been decoded: its tokens, its latents, and the draft that is left to verify."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from milr.models.decoding.prefix_cache import TokenIds
from milr.models.decoding.request import DecodeRequest, DecodeResult, Head
from milr.models.finite import ADVICE
from milr.randomness import NEAR_TIE, comparable_margins, sample_tokens
from milr.types import JudgeError

MIN_ACCEPTED = 2  # tokens; after two drafts of which fewer were accepted, a request is decoded without
MAX_POOR_DRAFTS = 2


class RequestState:
    """One request while it is decoded. Sampled tokens stay on the device until they are asked for.

    `known_ids` are the tokens that were forced or accepted from drafts, `cached` the keys and values of each sequence
    up to the last of them, and `expected_ids` the text that the request is expected to become.
    """

    def __init__(self, request: DecodeRequest, end_token_id: int | None) -> None:
        forced = request.prefix[: request.max_new_tokens]
        has_end = end_token_id in forced
        self.request, self._end_token_id = request, end_token_id
        self.forced_ids = forced[: forced.index(end_token_id) + 1] if has_end and end_token_id is not None else forced
        self.known_ids = self.forced_ids
        self.expected_ids: TokenIds = ()
        self.cached: tuple[Tensor, ...] = ()
        self.num_tokens = len(self.forced_ids)
        self.is_finished = has_end or self.num_tokens >= request.max_new_tokens
        self.num_latents = min(request.num_latents, self.num_tokens if self.is_finished else request.max_new_tokens)
        self.tokens: list[Tensor] = []
        self.margins: list[Tensor] = []
        self.log_probs: list[Tensor] = []
        self._latents: list[Tensor] = []
        self._num_poor_drafts = 0

    @property
    def has_latents(self) -> bool:
        """Whether any latents are kept so far."""
        return bool(self._latents)

    @property
    def needs_forward(self) -> bool:
        """Whether tokens or latents are still to be computed."""
        return not self.is_finished or len(self._latents) < self.num_latents

    @property
    def draft_ids(self) -> TokenIds:
        """The expected tokens still to be verified. The token after them is sampled in any case, so the last that is
        allowed is left out, and so is an end of text, which nothing follows."""
        expected = self.expected_ids[: self.request.max_new_tokens - 1]
        return expected[self.num_tokens : -1 if expected and expected[-1] == self._end_token_id else None]

    def verify_draft(self, head: Head, hidden_states: Tensor) -> None:
        """Accept draft tokens up to the first that the model would not generate, and take its own token there.

        `hidden_states` (G, n, d) end with those of the token before the draft and of the draft.
        """
        draft_ids = self.draft_ids
        latents = hidden_states.transpose(0, 1).float()
        start = len(latents) - len(draft_ids) - 1
        prefix_latents, latents = latents[:start], latents[start:]
        guidance_scales = latents.new_full((len(latents),), self.request.guidance_scale)
        greedy, logits = latents.new_zeros(len(latents)), head.logits(latents, guidance_scales)
        tokens, margins = sample_tokens(logits, greedy)
        margins = comparable_margins(margins, logits, head.dtype, guidance_scales, greedy)
        token_ids = tokens.tolist()
        differing = (index for index, draft_id in enumerate(draft_ids) if token_ids[index] != draft_id)
        num_accepted = next(differing, len(draft_ids))
        token_ids = token_ids[: num_accepted + 1]
        if self._end_token_id in token_ids:
            token_ids = token_ids[: token_ids.index(self._end_token_id) + 1]
        missing = max(0, self.num_latents - len(self._latents))
        self._latents.extend([*prefix_latents, *latents[: len(token_ids)]][:missing])
        self.known_ids = (*self.known_ids, *token_ids)
        self.num_tokens = len(self.known_ids)
        self.is_finished = token_ids[-1] == self._end_token_id or self.num_tokens >= self.request.max_new_tokens
        self.tokens.append(tokens[: len(token_ids)])
        self.margins.append(margins[: len(token_ids)])
        self._num_poor_drafts += num_accepted < min(MIN_ACCEPTED, len(draft_ids))
        if self._num_poor_drafts == MAX_POOR_DRAFTS:
            self.expected_ids = ()

    def add_prefix_latents(self, hidden_states: Tensor) -> None:
        """Keep the latents that predict the forced tokens, where they are wanted. (G, 1 + n, d)"""
        if self.num_latents and not self._latents:
            self._latents.extend(hidden_states[:, :-1].transpose(0, 1)[: self.num_latents].float())

    def append_token(self, latents: Tensor, index: int, *, is_end: bool) -> None:
        """Count one more token, which `latents[index]` (G, d) predicts. (B, G, d)"""
        if self.num_tokens < self.num_latents:
            self._latents.append(latents[index])
        self.num_tokens += 1
        self.is_finished = is_end or self.num_tokens >= self.request.max_new_tokens

    def token_ids(self) -> TokenIds:
        """All tokens so far; on an accelerator this waits for the device."""
        return (*self.forced_ids, *(torch.cat(self.tokens).tolist() if self.tokens else ()))

    def result(self) -> DecodeResult:
        """The finished request; JudgeError where a token was chosen by logits that are no numbers."""
        margins = torch.cat(self.margins).tolist() if self.margins else []
        if any(map(math.isnan, margins)):  # best minus second best; with logits of +inf it is NaN, too
            raise JudgeError(f"the model gave logits that are infinite or no numbers: {ADVICE}.")
        first = len(self.forced_ids)
        near_ties = tuple(first + index for index, margin in enumerate(margins) if margin < NEAR_TIE)
        latents = torch.stack(self._latents) if self._latents else None
        log_probs = torch.cat(self.log_probs).tolist() if self.log_probs else ()
        return DecodeResult(self.token_ids(), latents, near_ties, len(margins), tuple(log_probs))
