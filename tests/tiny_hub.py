"""Small random checkpoints for every hub name that the judges use, laid out as the hub's own cache, and a small spaCy
package in place of en_core_web_sm: the whole loading path runs, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import spacy
import torch
from spacy.language import Language
from spacy.tokens import Doc

import tiny_geneval
import tiny_judges
import tiny_qwen
from milr.rewards.vision import pinned
from milr.rewards.vision.pinned import CHECKPOINTS
from milr.rules.coco import GENEVAL_NAMES

SPACY_MODEL = "en_core_web_sm"
SEEN = "bus"  # the class that the small Mask2Former sees in every picture
ANSWER = "Final Score:4"  # of the small Qwen, to whatever it is asked; no letter twice
_COMMIT = "0123456789abcdef" * 2 + "01234567"  # what "main" stands for in the cache


# --- The hub's cache


def save(cache: Path) -> Path:
    """A cache folder with every repository of CHECKPOINTS at its revision."""
    clip = tiny_geneval.save_clip
    save_as = {
        pinned.MASK2FORMER: lambda to: _mask2former().save_pretrained(to),
        pinned.CLIP_L14: lambda to: clip(to, 1),
        pinned.CLIP_B32: lambda to: clip(to, 2),
        pinned.PICKSCORE: lambda to: tiny_geneval.clip_network(3).save_pretrained(to),
        pinned.PICKSCORE_INPUTS: lambda to: _inputs(to),
        pinned.BLIP: lambda to: tiny_judges.saved(
            to, tiny_judges.blip(), tiny_judges.tokenizer()),
        pinned.GROUNDING_DINO: lambda to: tiny_judges.saved(
            to, tiny_judges.grounding_dino(), tiny_judges.tokenizer(), tiny_judges.grounding_processor()),
        pinned.DPT: lambda to: tiny_judges.saved(to, tiny_judges.dpt(), tiny_judges.dpt_processor()),
        pinned.GIT: lambda to: tiny_judges.saved(
            to, tiny_judges.git(), tiny_judges.tokenizer(), tiny_judges.git_processor()),
        pinned.UNIFIED: _save_qwen,
        pinned.QWEN3_VL: tiny_qwen.save_qwen3,
    }  # fmt: skip
    assert set(save_as) == set(CHECKPOINTS), "a checkpoint has no small stand-in"
    for name, make in save_as.items():
        folder = snapshot_folder(cache, name)
        folder.mkdir(parents=True)
        make(folder)
    return cache


def snapshot_folder(cache: Path, name: str) -> Path:
    """Where the cache holds a repository at its pinned revision; a branch is a note of its commit."""
    repository, revision = cache / f"models--{name.replace('/', '--')}", CHECKPOINTS[name].revision
    if revision == "main":
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / revision).write_text(_COMMIT)
        revision = _COMMIT
    return repository / "snapshots" / revision


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let the hub's client know this cache and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def _mask2former() -> Any:
    """It sees SEEN wherever it sees something, and is sure of it; where, depends on the picture."""
    network = tiny_geneval.mask2former()
    with torch.no_grad():
        network.class_predictor.bias[GENEVAL_NAMES.index(SEEN)] += 20.0
    return network


def _inputs(folder: Path) -> None:
    """Tokenizer, image processor and configuration, without weights."""
    for part in (tiny_geneval.clip_network().config, tiny_geneval.clip_tokenizer(), tiny_geneval.clip_processor()):
        part.save_pretrained(folder)


def _save_qwen(folder: Path) -> None:
    """Each letter of ANSWER follows the one before it, whatever was asked; a turn ends with a new line."""
    judge = tiny_qwen.judge()
    inner = judge.network.model.language_model
    tokens = ["\u010a", *ANSWER.replace(" ", "\u0120"), "<|im_end|>"]  # new line and space as a byte tokenizer's
    ids = judge.tokenizer.convert_tokens_to_ids(tokens)
    steps = torch.eye(inner.embed_tokens.embedding_dim)[: len(ids)]
    with torch.no_grad():
        for layer in inner.layers:  # what a token says is then all that the last one knows
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        inner.embed_tokens.weight[ids] = steps
        judge.network.lm_head.weight[ids[1:]] = steps[:-1] * 10
    tiny_judges.saved(folder, judge.network, judge.processor, judge.tokenizer)


# --- spaCy's model

KINDS = {
    ("DET", "DT"): "a an the two",
    ("ADJ", "JJ"): "red blue green big small wooden round",
    ("ADP", "IN"): "on in of with under over near next to",
    ("AUX", "VBZ"): "is",
    ("CCONJ", "CC"): "and",
    ("PUNCT", "."): ", .",
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words.split()}


@Language.component("tiny_grammar")
def tiny_grammar(document: Doc) -> Doc:
    """Every unknown word is a noun; determiners and adjectives hang on the noun after them, all else on the first."""
    for token in document:
        token.pos_, token.tag_ = KIND_OF.get(token.lower_, ("NOUN", "NN"))
    nouns = [token for token in document if token.pos_ == "NOUN"]
    for token in document:
        after = next((noun for noun in nouns if noun.i > token.i), None)
        if token.pos_ in ("DET", "ADJ") and after:
            token.head, token.dep_ = after, "det" if token.pos_ == "DET" else "amod"
        elif nouns and token is not nouns[0]:
            token.head, token.dep_ = nouns[0], "pobj" if token.pos_ == "NOUN" else "dep"
        else:
            token.dep_ = "ROOT"
    return document


def install_spacy_model(folder: Path) -> Path:
    """An installed package, as pip leaves it, when `folder` is on Python's path."""
    pipeline = spacy.blank("en", meta={"lang": "en", "name": "core_web_sm", "version": "3.8.0"})
    pipeline.add_pipe("tiny_grammar")
    package = folder / SPACY_MODEL
    package.mkdir(parents=True)
    pipeline.to_disk(package / f"{SPACY_MODEL}-3.8.0")
    (package / "meta.json").write_text(json.dumps(pipeline.meta))
    (package / "__init__.py").write_text(
        "from spacy.util import load_model_from_init_py\n\n\n"
        "def load(**overrides):\n    return load_model_from_init_py(__file__, **overrides)\n"
    )
    about = folder / f"{SPACY_MODEL}-3.8.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {SPACY_MODEL}\nVersion: 3.8.0\n")
    return folder
