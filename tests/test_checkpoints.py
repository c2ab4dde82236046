"""Judges' weights: pinned, safetensors only, and one sentence about what is not here."""

import json
import re
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPModel
from transformers.utils import logging

import tiny_geneval
from milr.rewards.vision import checkpoints
from milr.rewards.vision.checkpoints import fetch, is_here, load_image_processor, load_network, load_tokenizer
from milr.rewards.vision.pinned import CHECKPOINTS, CLIP_B32, MASK2FORMER, PICKSCORE_INPUTS
from milr.types import MissingError, UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_geneval.save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty hub cache, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def copied(folder: Path, to: Path, *left_out: str) -> Path:
    to.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name not in left_out:
            (to / path.name).write_bytes(path.read_bytes())
    return to


def test_every_repository_has_a_revision_and_a_licence() -> None:
    for name, one in CHECKPOINTS.items():
        assert re.fullmatch(r"main|[0-9a-f]{40}", one.revision), name
        assert one.licence and one.size and one.purpose, name
    assert "NC" in CHECKPOINTS[MASK2FORMER].licence


def test_a_folder_is_loaded_frozen_in_float32_and_evaluation_mode(folder: Path) -> None:
    network = load_network(CLIPModel, str(folder), device="cpu")
    assert isinstance(network, CLIPModel) and not network.training
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert not any(weight.requires_grad for weight in network.parameters())
    same = tiny_geneval.clip_network()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


def test_another_dtype_can_be_asked_for(folder: Path) -> None:
    assert load_network(CLIPModel, str(folder), device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16


def test_the_inputs_of_a_folder(folder: Path) -> None:
    assert load_tokenizer(str(folder))("ab")["input_ids"] == tiny_geneval.clip_tokenizer()("ab")["input_ids"]
    processor = load_image_processor(str(folder))
    assert type(processor) is CLIPImageProcessorPil and processor.crop_size["height"] == 32


@pytest.mark.parametrize(
    ("config", "class_name"),
    [
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, "CLIPImageProcessorPil"),  # as in OpenAI's files
        ({"image_processor_type": "CLIPImageProcessorFast"}, "CLIPImageProcessorPil"),
        ({"image_processor_type": "BlipImageProcessor"}, "BlipImageProcessorPil"),
        ({"image_processor_type": "GroundingDinoImageProcessor"}, "GroundingDinoImageProcessorPil"),
        ({"image_processor_type": "Qwen2_5_VLImageProcessor"}, "Qwen2VLImageProcessorPil"),
    ],
)
def test_image_processors_are_always_pillows(tmp_path: Path, config: dict[str, str], class_name: str) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    assert type(load_image_processor(str(tmp_path))).__name__ == class_name


def test_inputs_need_no_weights_but_a_network_does(folder: Path, tmp_path: Path) -> None:
    bare = copied(folder, tmp_path / "bare", "model.safetensors")
    assert load_tokenizer(str(bare)) and load_image_processor(str(bare))
    with pytest.raises(MissingError, match="no safetensors weights.*refs/pr/1"):
        load_network(CLIPModel, str(bare))


def test_a_pickle_is_not_loaded(folder: Path, tmp_path: Path) -> None:
    pickled = copied(folder, tmp_path / "pickled", "model.safetensors")
    torch.save(load_file(folder / "model.safetensors"), pickled / "pytorch_model.bin")
    with pytest.raises(MissingError, match="no safetensors weights"):
        load_network(CLIPModel, str(pickled))


def test_parameters_that_would_be_random_are_refused(folder: Path, tmp_path: Path) -> None:
    partial = copied(folder, tmp_path / "partial")
    tensors = load_file(partial / "model.safetensors")
    lost = tensors.pop("visual_projection.weight")
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingError, match=r"lack 1 tensors \(visual_projection.weight"):
        load_network(CLIPModel, str(partial))
    more = {"visual_projection.weight": lost, "text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file(tensors | more, partial / "model.safetensors", metadata={"format": "pt"})
    assert load_network(CLIPModel, str(partial), device="cpu")  # OpenAI's checkpoints carry such buffers


def test_a_folder_without_its_configuration(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no config.json"):
        load_network(CLIPModel, str(copied(folder, tmp_path / "bare", "config.json")), device="cpu")


@pytest.mark.parametrize("damage", ["truncated", "garbled", "broken config"])
def test_damage_is_one_sentence(folder: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = copied(folder, tmp_path / "damaged")
    weights = damaged / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "garbled":
        weights.write_bytes(b"not weights at all")
    else:
        (damaged / "config.json").write_text("{")
    with pytest.raises(MissingError, match="cannot be read") as caught:
        load_network(CLIPModel, str(damaged), device="cpu")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_broken_inputs_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    damaged = copied(folder, tmp_path / "damaged", "preprocessor_config.json")
    (damaged / "tokenizer.json").write_text(json.dumps({"nothing": 1}))
    with pytest.raises(MissingError, match="the image processor of .* cannot be read"):
        load_image_processor(str(damaged))
    (damaged / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "OtherImageProcessor"}))
    with pytest.raises(MissingError, match="the image processor of .* cannot be read .*OtherImageProcessorPil"):
        load_image_processor(str(damaged))
    with pytest.raises(MissingError, match="the tokenizer of .* cannot be read"):
        load_tokenizer(str(damaged))


def test_what_is_here_is_known_without_a_network(folder: Path, cache: Path, tmp_path: Path) -> None:
    inputs = PICKSCORE_INPUTS
    assert not is_here(CLIP_B32) and not is_here(inputs) and not is_here("./nowhere")
    for name in (CLIP_B32, inputs):
        snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / CHECKPOINTS[name].revision
        copied(folder, snapshot, "model.safetensors")
    assert not is_here(CLIP_B32) and is_here(inputs)  # of the second only the inputs are used
    fetch(inputs)
    with pytest.raises(MissingError, match="no safetensors"):
        fetch(CLIP_B32)
    assert is_here(str(folder)) and not is_here(str(tmp_path))


@pytest.mark.parametrize(
    "load", [lambda name: load_network(CLIPModel, name), load_tokenizer, load_image_processor, fetch]
)
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(load, name: str, cache: Path) -> None:
    with pytest.raises(MissingError) as caught:
        load(name)
    message, one = str(caught.value), CHECKPOINTS[name]
    assert f"hf download {name} --revision {one.revision}" in message and one.size in message
    assert f"models--{name.replace('/', '--')} into {cache}" in message and "HF_HUB_CACHE" in message
    assert "\n" not in message


def test_an_unknown_hub_name_is_asked_for_at_main(cache: Path) -> None:
    with pytest.raises(MissingError, match="hf download some/clip --revision main"):
        load_network(CLIPModel, "some/clip")


def test_what_is_no_folder_and_no_hub_name() -> None:
    with pytest.raises(MissingError, match="there is no folder ./nowhere"):
        load_tokenizer("./nowhere")


def test_the_hub_cache_is_read_at_the_pinned_revision(folder: Path, cache: Path) -> None:
    snapshot = cache / f"models--{CLIP_B32.replace('/', '--')}" / "snapshots"
    copied(folder, snapshot / ("0" * 40))
    with pytest.raises(MissingError, match=CHECKPOINTS[CLIP_B32].revision):
        load_network(CLIPModel, CLIP_B32)
    copied(folder, snapshot / CHECKPOINTS[CLIP_B32].revision)
    assert isinstance(load_network(CLIPModel, CLIP_B32, device="cpu"), CLIPModel)
    assert load_tokenizer(CLIP_B32)("ab") and load_image_processor(CLIP_B32)


def test_a_device_that_is_not_here_is_a_usage_error_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="'tpu' is not available"):
        load_network(CLIPModel, "./nowhere", device="tpu")


def test_transformers_settings_are_put_back(folder: Path) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_network(CLIPModel, str(folder), device="cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_a_folder_can_stand_for_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = CLIP_B32
    monkeypatch.setenv("MILR_CHECKPOINTS", str(tmp_path))
    assert checkpoints.loaded_revision(name) == CHECKPOINTS[name].revision
    (tmp_path / name).mkdir(parents=True)
    assert checkpoints._folder(name, ["*.json"]) == tmp_path / name
