"""From texts to the token ids that a Janus reads: its tokenizer, its templates, and how long each part may be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from milr.models.loading import SpecialIds
from milr.templates import RoleTags, Templates
from milr.types import MissingError, UsageError

MAX_TEXT_TOKENS = 512  # of a visualisation


class JanusPrompts:
    """Encodes every kind of prompt. `name` is what errors call the model; `config` is the network's."""

    def __init__(self, name: str, tokenizer: Any, templates: Templates, config: Any) -> None:
        self._name, self._tokenizer, self._templates = name, tokenizer, templates
        self.special_ids = SpecialIds.of(tokenizer)
        self.num_image_tokens: int = config.vq_config.num_patches**2
        self._num_vision_tokens: int = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
        self.max_positions: int = config.text_config.max_position_embeddings

    # Text and token ids

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Text to token ids, without special tokens."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode_text(self, token_ids: Sequence[int], *, strip: bool = True) -> str:
        """Token ids to text, special tokens left out; `strip` removes blanks at both ends."""
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip() if strip else text

    def ids_of_word(self, word: str) -> list[int]:
        """The ids of every casing of a word, with and without a leading space, that is one known token.

        MissingError when there is none.
        """
        spellings = [space + cased for space in ("", " ") for cased in (word, word.capitalize(), word.upper())]
        encoded = map(self.encode_text, spellings)
        ids = {tokens[0] for tokens in encoded if len(tokens) == 1} - {self._tokenizer.unk_token_id}
        if not ids:
            raise MissingError(f"the tokenizer of {self._name} has no single token for {word!r}; it cannot judge.")
        return sorted(ids)

    # Prompts

    def reasoning(self, prompt: str) -> list[int]:
        """The prompt for a visualisation."""
        return self.encode(self._templates.reason(prompt))

    def instruction(self, instruction: str) -> list[int]:
        """The prompt that tells the model what to write; UsageError where it leaves no position to write at."""
        ids = self.encode(self._templates.turn(instruction))
        if len(ids) >= self.max_positions:
            raise UsageError(f"an instruction has {len(ids)} tokens, and {self._name} reads and writes at most "
                             f"{self.max_positions}: use a shorter prompt.")  # fmt: skip
        return ids

    def drawing(self, content: str, role_tags: RoleTags | None = None) -> tuple[list[int], list[int]]:
        """The conditional and the unconditional prompt for a picture, of equal length; None: the model's tags."""
        templates = self._templates.override(role_tags=role_tags)
        conditional = [*self.encode(templates.draw(content)), self.special_ids.begin_image]
        padding = [self.special_ids.pad] * (len(conditional) - 2)
        return conditional, [conditional[0], *padding, conditional[-1]]

    def question(self, question: str) -> list[int]:
        """The prompt that asks a question about a picture, with placeholders for the picture's tokens."""
        begin, placeholder, end = self._tokenizer.convert_ids_to_tokens(
            [self.special_ids.begin_image, self.special_ids.placeholder, self.special_ids.end_image]
        )
        picture = f"{begin}{placeholder * self._num_vision_tokens}{end}"
        return self.encode(self._templates.ask(question, picture))

    def encode(self, text: str) -> list[int]:
        """Begin of sentence, then the text's ids."""
        return [self.special_ids.begin, *self.encode_text(text)]

    # Lengths

    @property
    def max_text_tokens(self) -> int:
        """How many tokens a visualisation may have: half of what the picture's tokens leave, the other half for the
        prompt."""
        return min(MAX_TEXT_TOKENS, max(1, self.max_positions_beside_picture // 2))

    @property
    def max_positions_beside_picture(self) -> int:
        """How many positions the picture's tokens leave to the prompt and the visualisation."""
        return self.max_positions - self.num_image_tokens

    @cached_property
    def max_prompt_tokens(self) -> int:
        """How many tokens of a user's prompt fit beside the templates, a visualisation, the picture, and a question."""
        templates = self._templates
        reasoning = len(self.encode(templates.reason(""))) + self.max_text_tokens
        drawing = len(self.encode(templates.draw(". "))) + 1 + self.max_text_tokens + self.num_image_tokens
        asking = len(self.encode(templates.ask(templates.judge(""), ""))) + 2 + self._num_vision_tokens
        longest: int = max(reasoning, drawing, asking + templates.answer_tokens)
        return self.max_positions - longest

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        return frozenset(self._tokenizer.all_special_ids)

    def check(self, text: str) -> None:
        """Raise UsageError for a prompt that is empty, in unknown words, with control tokens, or too long."""
        if not text.strip():
            raise UsageError("the prompt is empty; say what to draw.")
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = list(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
        unknown_id = self._tokenizer.unk_token_id
        unknown = [text[start:end] for token, (start, end) in tokens if token == unknown_id]
        if unknown:
            words = ", ".join(repr(word) for word in dict.fromkeys(unknown))
            raise UsageError(
                f"{self._name} does not know {words}; use other words, or a model that knows them, "
                "such as --model deepseek-community/Janus-Pro-1B."
            )
        control = [text[start:end] for token, (start, end) in tokens if token in self._control_ids]
        if control:
            raise UsageError(f"the prompt contains the control token {control[0]}; take it out.")
        if len(tokens) > (limit := self.max_prompt_tokens):
            raise UsageError(f"the prompt has {len(tokens)} tokens and {self._name} reads at most {limit}; shorten it.")
