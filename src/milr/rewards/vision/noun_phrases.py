"""Prompts taken apart by spaCy, as T2I-CompBench's scores need them: parts of speech and noun chunks."""

from __future__ import annotations

from typing import Any, Protocol

from milr.rewards.vision.pinned import SPACY_MODEL
from milr.rules.t2i_compbench import Parsed, Token
from milr.types import MissingError


class Parser(Protocol):
    """Whoever takes prompts apart."""

    def identity(self) -> dict[str, Any]:
        """What makes two parsers the same."""

    def __call__(self, text: str) -> Parsed:
        """The parsed text."""


class SpacyParser:
    """A `Parser` by a spaCy pipeline; each text is parsed once."""

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self._known: dict[str, Parsed] = {}

    def identity(self) -> dict[str, Any]:
        """The pipeline's name and version: another version tags and chunks some prompts otherwise."""
        return {"parser": "{lang}_{name} {version}".format(**self.pipeline.meta)}

    def __call__(self, text: str) -> Parsed:
        """The parsed text."""
        if text not in self._known:
            self._known[text] = parsed(self.pipeline(text))
        return self._known[text]


def parsed(document: Any) -> Parsed:
    """A tagged and parsed spaCy Doc as plain words."""
    tokens = tuple(Token(token.text, token.pos_) for token in document)
    return Parsed(tokens, tuple(chunk.text for chunk in document.noun_chunks))


def spacy_parser(model: str = SPACY_MODEL) -> SpacyParser:
    """The parser T2I-CompBench uses; MissingError, naming what to install, where spaCy or its model is not here."""
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
