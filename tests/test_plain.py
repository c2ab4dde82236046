"""nano without transformers: the numbers of transformers' Janus, bit for bit, and nothing of it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from milr.models import nano
from milr.models.janus import JanusModel
from milr.models.loading import Checkpoint
from milr.models.plain.loading import is_plain
from milr.models.plain.network import PlainJanus
from milr.models.plain.tokenizer import PlainTokenizer
from milr.templates import NANO
from milr.types import MissingError


@pytest.fixture(scope="module")
def plain() -> nano.NanoModel:
    return nano.load_nano(device="cpu")


@pytest.fixture(scope="module")
def reference() -> JanusModel:
    return JanusModel.load(nano.folder(), dtype="float32", device="cpu", templates=NANO, guidance_scale=nano.GUIDANCE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(nano.folder(), tmp_path / "nano"))


def test_nothing_of_transformers_is_loaded_for_nano() -> None:
    heavy = ("transformers", "torch._dynamo", "sympy", "matplotlib", "scipy.optimize")
    code = f"""
import sys
from milr.models.nano import load_nano
load_nano()
import milr.report.html, milr.rewards.held_out, milr.cli.app
print([name for name in {heavy} if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@torch.inference_mode()
def test_every_part_gives_the_same_bits(plain: nano.NanoModel, reference: JanusModel) -> None:
    ours, theirs = plain.network, reference.network
    assert isinstance(ours, PlainJanus) and not isinstance(theirs, PlainJanus)
    torch.manual_seed(0)
    ids, latents = torch.randint(0, 2374, (3, 64)), torch.randn(5, 192)
    pixels = torch.randn(2, 3, 64, 64)
    for row in ids:
        assert torch.equal(ours.decode_image_tokens(row[None]), theirs.decode_image_tokens(row[None]))
    features = [network.model.get_image_features(pixels, return_dict=True).pooler_output for network in (ours, theirs)]
    assert torch.equal(*features)
    embeds = [network.prepare_embeddings_for_image_generation(ids[0]) for network in (ours, theirs)]
    assert torch.equal(*embeds)
    assert torch.equal(ours.model.generation_head(latents), theirs.model.generation_head(latents))
    assert torch.equal(ours.lm_head(latents), theirs.lm_head(latents))
    for one, other in zip(plain._engine.decoder.rope_tables, reference._engine.decoder.rope_tables, strict=True):
        assert torch.equal(one, other)


def test_every_weight_but_those_of_the_encoder_is_the_same(plain: nano.NanoModel, reference: JanusModel) -> None:
    ours, theirs = plain.network.state_dict(), reference.network.state_dict()
    left_out = theirs.keys() - ours.keys()
    assert left_out and all(key.startswith(("model.vqmodel.encoder.", "model.vqmodel.quant_conv.",
                                            "model.vision_model.embeddings.position_ids"))
                            for key in left_out)  # fmt: skip
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


@pytest.mark.parametrize("text", [
    "a photo of a red star left of a blue circle", "Four  SMALL outlined blue circles.", "a zebra", "",
    "<|User|>: one<end_of_image>two ,three\n", "<image_placeholder>the <unk> picture?", "a\u00a0red\u2028star",
])  # fmt: skip
def test_the_tokenizer_is_that_of_transformers(text: str, plain: nano.NanoModel, reference: JanusModel) -> None:
    ours, theirs = plain.tokenizer, reference.tokenizer
    assert isinstance(ours, PlainTokenizer)
    ids = ours.encode(text, add_special_tokens=False)
    assert ids == theirs.encode(text, add_special_tokens=False)
    for both in ((ours, theirs),):
        first, second = (one(text, add_special_tokens=False, return_offsets_mapping=True) for one in both)
        assert list(first["input_ids"]) == list(second["input_ids"])
        assert list(first["offset_mapping"]) == list(second["offset_mapping"])
    for skipped in (True, False):
        settings = {"skip_special_tokens": skipped, "clean_up_tokenization_spaces": False}
        assert ours.decode(ids, **settings) == theirs.decode(ids, **settings)
    assert ours.convert_ids_to_tokens(ids) == theirs.convert_ids_to_tokens(ids)


def test_the_vocabulary_and_the_special_ids_are_those_of_transformers(plain: nano.NanoModel, reference: JanusModel
                                                                      ) -> None:  # fmt: skip
    ours, theirs = plain.tokenizer, reference.tokenizer
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.unk_token_id == theirs.unk_token_id
    assert set(theirs.all_special_ids) <= set(ours.all_special_ids)


def test_loading_takes_no_random_numbers() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nano.load_nano(device="cpu")
    assert torch.equal(torch.rand(3), expected)


def _change(folder: Path, part: str, **values: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    content[part] |= values
    (folder / "config.json").write_text(json.dumps(content))


@pytest.mark.parametrize("change", [
    lambda folder: _change(folder, "vision_config", use_qk_norm=True),
    lambda folder: _change(folder, "text_config", hidden_act="gelu"),
    lambda folder: _change(folder, "text_config", rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}),
    lambda folder: _change(folder, "vq_config", double_latent=True),
])  # fmt: skip
def test_another_configuration_is_left_to_transformers(change: Callable[[Path], None], copy: Path) -> None:
    assert is_plain(Checkpoint("nano", copy))
    change(copy)
    assert not is_plain(Checkpoint("nano", copy))


@pytest.mark.parametrize("key", ["model.vqmodel.encoder.conv_in.weight", "lm_head.weight"])
def test_weights_that_are_no_numbers_are_refused(key: str, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_file(copy / "model.safetensors")
    weights[key][0] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(nano, "folder", lambda: copy)
    with pytest.raises(MissingError, match=f"{key} holds values that are infinite"):
        nano.load_nano()


def test_weights_of_another_shape_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _change(copy, "text_config", intermediate_size=511)
    monkeypatch.setattr(nano, "folder", lambda: copy)
    with pytest.raises(MissingError, match="cannot be read .*size mismatch"):
        nano.load_nano()
