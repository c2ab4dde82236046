"""Prompts parsed by spaCy as T2I-CompBench's scores need them: parts of speech and noun phrases."""

from __future__ import annotations

from typing import Any, Protocol

from milr.rewards.vision.pinned import SPACY_MODEL
from milr.rules.t2i_compbench import ParsedPrompt, Token
from milr.types import MissingError


class PromptParser(Protocol):
    """Splits a prompt into tokens with their parts of speech, and finds its noun phrases."""

    def identity(self) -> dict[str, Any]:
        """What tells two parsers apart, as plain data."""

    def __call__(self, text: str) -> ParsedPrompt:
        """The parsed text."""


class SpacyParser:
    """A `PromptParser` on a spaCy pipeline; each text is parsed once."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._parsed: dict[str, ParsedPrompt] = {}

    def identity(self) -> dict[str, Any]:
        """The pipeline's name and version: another version tags and chunks some prompts differently."""
        return {"parser": "{lang}_{name} {version}".format(**self.pipeline.meta)}

    def __call__(self, text: str) -> ParsedPrompt:
        """The parsed text."""
        if text not in self._parsed:
            self._parsed[text] = from_spacy(self.pipeline(text))
        return self._parsed[text]


def from_spacy(document: Any) -> ParsedPrompt:
    """The tokens and noun chunks of a tagged and parsed spaCy Doc."""
    tokens = tuple(Token(token.text, token.pos_) for token in document)
    return ParsedPrompt(tokens, tuple(chunk.text for chunk in document.noun_chunks))


def load_spacy_parser(model: str = SPACY_MODEL) -> SpacyParser:
    """T2I-CompBench's parser; MissingError, naming what to install, where spaCy or its model is not here."""
    try:
        import spacy
    except ImportError as error:
        raise MissingError("T2I-CompBench's scores need spaCy; install milr[bench].") from error
    try:
        return SpacyParser(spacy.load(model))
    except OSError as error:
        raise MissingError(f"spaCy's model {model} is not here; fetch it with `milr doctor --fetch` or "
                           f"`python -m spacy download {model}`.") from error  # fmt: skip
    except (ValueError, ImportError) as error:
        raise MissingError(f"spaCy's model {model} is damaged or made for another spaCy; fetch it again with "
                           f"`python -m spacy download {model}`.") from error  # fmt: skip
