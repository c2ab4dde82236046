"""What was written last after a prompt: a guess at what will be written next.

When MILR moves a text's first tokens, most of what follows stays. A guess is read in one forward and kept up to the
first token that the model itself would not have written (greedy speculative decoding, Leviathan et al. 2022, without a
second model): the tokens are those of a decode step by step, near ties aside (which bf16 has more of), and only the
number of forwards is another.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from milr.models.decoding.prefix_cache import Key

PROMPTS = 2**12  # remembered; the one longest unused goes first


class Drafts:
    """The last text after each prompt, by the prompt's ids."""

    def __init__(self, prompts: int = PROMPTS) -> None:
        self._most = prompts
        self._texts: OrderedDict[Key, tuple[int, ...]] = OrderedDict()
        self._lock = Lock()

    def of(self, prompt: Key) -> tuple[int, ...]:
        """What was written last after this prompt, or nothing."""
        with self._lock:
            return self._texts.get(prompt, ())

    def keep(self, prompt: Key, text: tuple[int, ...]) -> None:
        """This was written after the prompt."""
        with self._lock:
            self._texts[prompt] = text
            self._texts.move_to_end(prompt)
            if len(self._texts) > self._most:
                self._texts.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._texts.clear()
