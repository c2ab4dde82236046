"""spaCy's documents as T2I-CompBench needs them. The documents are made by hand: no model is needed."""

import sys

import pytest
import spacy
from spacy.tokens import Doc

from milr.rewards.vision.noun_phrases import SpacyParser, from_spacy, load_spacy_parser
from milr.rules.t2i_compbench import Token
from milr.types import MissingError

PIPELINE = spacy.blank("en")


def doc(*rows):
    """Rows of (word, coarse part of speech, tag, dependency, head's place)."""
    words, pos, tags, deps, heads = zip(*rows, strict=True)
    return Doc(PIPELINE.vocab, words=words, pos=pos, tags=tags, deps=deps, heads=list(heads))


DOG_LEFT_OF_CAR = doc(
    ("a", "DET", "DT", "det", 2), ("red", "ADJ", "JJ", "amod", 2), ("dog", "NOUN", "NN", "ROOT", 2),
    ("on", "ADP", "IN", "prep", 2), ("the", "DET", "DT", "det", 5), ("left", "NOUN", "NN", "pobj", 3),
    ("of", "ADP", "IN", "prep", 5), ("a", "DET", "DT", "det", 8), ("car", "NOUN", "NN", "pobj", 6),
)  # fmt: skip


def test_a_document_becomes_words_and_chunks():
    prompt = from_spacy(DOG_LEFT_OF_CAR)
    assert prompt.chunks == ("a red dog", "the left", "a car")
    assert prompt.tokens[1] == Token("red", "ADJ") and len(prompt.tokens) == 9
    assert [token.text for token in prompt.tokens if token.pos == "NOUN"] == ["dog", "left", "car"]


class Pipeline:
    meta = {"lang": "en", "name": "core_web_sm", "version": "3.8.0"}

    def __init__(self):
        self.texts = []

    def __call__(self, text):
        self.texts.append(text)
        return DOG_LEFT_OF_CAR


def test_each_text_is_parsed_once():
    parser = SpacyParser(Pipeline())
    assert parser("a") == parser("a") == parser("b")
    assert parser.pipeline.texts == ["a", "b"]


def test_the_model_s_version_is_part_of_its_identity(monkeypatch):
    monkeypatch.setattr(spacy, "load", lambda name: Pipeline() if name == "en_core_web_sm" else None)
    assert load_spacy_parser().identity() == {"parser": "en_core_web_sm 3.8.0"}


def test_an_absent_model_says_how_to_fetch_it():
    with pytest.raises(MissingError, match="milr doctor --fetch.*python -m spacy download xx_no_such_model"):
        load_spacy_parser("xx_no_such_model")


def test_absent_spacy_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingError, match=r"milr\[bench\]"):
        load_spacy_parser()
