"""Draft tokens for speculative decoding: the text that was generated last after a prompt.

When MILR moves the first tokens of a text, most of what follows stays. A draft is read in one forward and accepted up
to the first token that the model itself would not have generated (greedy speculative decoding, Leviathan et al. 2022,
without a second model). The tokens are those of decoding step by step, near ties aside (bf16 has more of them); only
the number of forwards differs.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from milr.models.decoding.prefix_cache import TokenIds

MAX_PROMPTS = 2**12


class DraftCache:
    """The last text after each prompt, by the prompt's ids; the least recently written prompt is evicted first."""

    def __init__(self, max_prompts: int = MAX_PROMPTS) -> None:
        self._max_prompts = max_prompts
        self._drafts: OrderedDict[TokenIds, TokenIds] = OrderedDict()
        self._lock = Lock()

    def get(self, prompt_ids: TokenIds) -> TokenIds:
        """The text that was generated last after this prompt, or ()."""
        with self._lock:
            return self._drafts.get(prompt_ids, ())

    def put(self, prompt_ids: TokenIds, token_ids: TokenIds) -> None:
        """Store the text that was generated after this prompt."""
        with self._lock:
            self._drafts[prompt_ids] = token_ids
            self._drafts.move_to_end(prompt_ids)
            if len(self._drafts) > self._max_prompts:
                self._drafts.popitem(last=False)

    def clear(self) -> None:
        """Remove all drafts."""
        with self._lock:
            self._drafts.clear()
