"""A tokenizer read from tokenizer.json alone, with what `JanusPrompts` asks of transformers' own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


class PlainTokenizer:
    """Encodes and decodes as tokenizer.json describes it; `unk_token` stands for what it does not know."""

    def __init__(self, file: Path, unk_token: str | None) -> None:
        self._tokenizer = Tokenizer.from_file(str(file))
        self.unk_token_id: int | None = None if unk_token is None else self._tokenizer.token_to_id(unk_token)

    @cached_property
    def all_special_ids(self) -> list[int]:
        """The ids of the tokens that stand for no text."""
        return [token_id for token_id, token in self._tokenizer.get_added_tokens_decoder().items() if token.special]

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return self._tokenizer.get_vocab()

    def __call__(self, text: str, *, add_special_tokens: bool, return_offsets_mapping: bool
                 ) -> Mapping[str, Sequence[Any]]:  # fmt: skip
        """The ids of a text, and where each begins and ends in it."""
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return {"input_ids": encoding.ids, "offset_mapping": encoding.offsets}

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        """The text of ids; blanks are never cleaned up."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str | None]:
        """The token of each id."""
        return [self._tokenizer.id_to_token(token_id) for token_id in ids]
