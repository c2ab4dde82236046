"""`milr convert`: a Janus under DeepSeek's names becomes the same under transformers', or one sentence says why not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import deepseek_form
import tiny_janus
from milr.models.conversion.deepseek import convert
from milr.models.conversion.keys import new_keys
from milr.models.janus import JanusModel
from milr.types import DrawRequest, Key, MilrError, MissingError, ReasonRequest, UsageError

Milr = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_janus.save(tmp_path_factory.mktemp("tiny"), seed=5)


@pytest.fixture
def original(checkpoint: Path, tmp_path: Path) -> Path:
    deepseek_form.write(checkpoint, tmp_path / "original")
    return tmp_path / "original"


def load(folder: Path) -> JanusModel:
    return JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")


def edit(original: Path, **changes: Tensor | None) -> None:
    weights = torch.load(original / "pytorch_model.bin", weights_only=True) | changes
    torch.save({key: weight for key, weight in weights.items() if weight is not None}, original / "pytorch_model.bin")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_converted_checkpoint_is_the_same_model(checkpoint: Path, tmp_path: Path, shards: int) -> None:
    deepseek_form.write(checkpoint, tmp_path / "original", shards=shards)
    done = convert(tmp_path / "original", tmp_path / "converted")
    before, after = load_file(checkpoint / "model.safetensors"), load_file(tmp_path / "converted" / "model.safetensors")
    assert before.keys() == after.keys() and done.num_tensors == len(before)
    assert all(torch.equal(before[key], after[key]) for key in before)
    left, right = load(checkpoint), load(tmp_path / "converted")
    assert right.network.config.vision_config.to_dict() == left.network.config.vision_config.to_dict()
    assert right.network.config.vq_config.to_dict() == left.network.config.vq_config.to_dict()
    request = DrawRequest("a red star", Key(0, "a"), 2.0, num_latents=None)
    traces = [model.draw([request])[0] for model in (left, right)]
    assert traces[0].ids == traces[1].ids and traces[0].latents is not None and traces[1].latents is not None
    logits = [
        model.image_logits(trace, traces[0].latents, 2.0) for model, trace in zip((left, right), traces, strict=True)
    ]
    assert torch.equal(*logits)
    texts = [model.reason([ReasonRequest("a red star", Key(0, "a"))])[0].ids for model in (left, right)]
    pictures = [model.render([trace.ids])[0] for model, trace in zip((left, right), traces, strict=True)]
    answers = [
        model.answer([picture], ["is it red ?"])[0].yes for model, picture in zip((left, right), pictures, strict=True)
    ]
    assert texts[0] == texts[1] and answers[0] == answers[1]
    assert pictures[0].tobytes() == pictures[1].tobytes()


def test_transformers_reads_it_too(original: Path, tmp_path: Path) -> None:
    from transformers import JanusForConditionalGeneration, JanusProcessor

    convert(original, tmp_path / "converted")
    network, info = JanusForConditionalGeneration.from_pretrained(tmp_path / "converted", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ids = tiny_janus.tokenizer().get_vocab()
    assert network.generation_config.generation_kwargs == {"boi_token_id": ids["<begin_of_image>"]}
    assert network.generation_config.pad_token_id == ids["<｜▁pad▁｜>"]
    processor = JanusProcessor.from_pretrained(tmp_path / "converted")
    assert processor.tokenizer.image_token == "<image_placeholder>" and processor.image_processor.min_size == 4


def test_safetensors_in_the_same_form_are_read(original: Path, tmp_path: Path) -> None:
    weights = torch.load(original / "pytorch_model.bin", weights_only=True)
    (original / "pytorch_model.bin").unlink()
    save_file(weights, original / "model.safetensors", metadata={"format": "pt"})
    assert convert(original, tmp_path / "converted").num_tensors == len(
        load_file(tmp_path / "converted" / "model.safetensors")
    )


def test_every_name_has_its_counterpart(checkpoint: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    converted = [key for old in deepseek_form.original_names(weights) for key in new_keys(old)]
    assert sorted(converted) == sorted(weights)


@pytest.mark.parametrize("key", [
    "language_model.other.weight", "vision_model.vision_tower.blocks.x.norm1.weight", "aligner.layers.1.weight",
    "vision_model.vision_tower.blocks.0.attn.other.weight", "gen_head.other.weight", "lm_head.weight", "",
    "aligner.layers.0.",
])  # fmt: skip
def test_a_name_that_no_janus_has_is_an_error(key: str) -> None:
    with pytest.raises(MissingError, match="none of a Janus"):
        new_keys(key)


def broken_config(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = json.loads((folder / "config.json").read_text())
        change(content)
        (folder / "config.json").write_text(json.dumps(content))

    return damage


class Bomb:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("/tmp/milr-test-bomb"),))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle that runs code": (
        lambda f: (f / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head": Bomb()})), "more than tensors"),
    "a list": (lambda f: torch.save([1, 2], f / "pytorch_model.bin"), "something else than weights"),
    "cut": (lambda f: (f / "pytorch_model.bin").write_bytes((f / "pytorch_model.bin").read_bytes()[:999]), "damaged"),
    "no weights": (lambda f: (f / "pytorch_model.bin").unlink(), "holds no weights"),
    "lost": (lambda f: edit(f, **{"gen_embed.weight": None}), "lacks model.generation_embeddings.weight"),
    "lost where sizes come from": (lambda f: edit(f, **{"aligner.layers.0.weight": None}), "cannot be read"),
    "foreign": (lambda f: edit(f, foreign=torch.zeros(2)), "'foreign' is none of a Janus"),
    "NaN": (lambda f: edit(f, **{"gen_embed.weight": torch.full((48, 8), torch.nan)}), "no numbers"),
    "shape": (lambda f: edit(f, **{"gen_embed.weight": torch.zeros(3, 8)}), "has the shape"),
    "odd qkv": (lambda f: edit(f, **{deepseek_form.LAYER + "0.attn.qkv.bias": torch.zeros(4)}), "three equal parts"),
    "lfs": (lambda f: (f / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\n"), "git-lfs"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "another tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer .* cannot be read"),
    "no language": (broken_config(lambda c: c.pop("language_config")), "no language_config"),
    "list for a part": (broken_config(lambda c: c.update(vision_config=[1])), "vision_config"),
    "text for a size": (broken_config(lambda c: c["language_config"].update(hidden_size="x")), "cannot be read"),
    "another projector": (
        broken_config(lambda c: c["aligner_config"]["params"].update(projector_type="linear")), "mlp_gelu"),
    "another layer": (broken_config(lambda c: c["vision_config"]["params"].update(select_layer=-2)), "another layer"),
    "another model": (broken_config(lambda c: c.update(model_type="llava")), "llava checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_cannot_be_converted_is_one_sentence_and_leaves_nothing(
    original: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, says = DAMAGE[kind]
    damage(original)
    with pytest.raises(MissingError, match=says) as caught:
        convert(original, tmp_path / "converted")
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["original"]
    assert not Path("/tmp/milr-test-bomb").exists()


def test_a_full_folder_and_a_converted_checkpoint_are_refused(original: Path, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something already"):
        convert(original, tmp_path / "full")
    with pytest.raises(UsageError, match="in transformers' form already"):
        convert(checkpoint, tmp_path / "converted")
    with pytest.raises(MilrError, match="cannot be written"):
        convert(original, tmp_path / "full" / "notes.txt" / "converted")
    (tmp_path / "empty").mkdir()
    assert convert(original, tmp_path / "empty").folder == tmp_path / "empty"


def test_the_command_and_the_message_that_names_it(original: Path, tmp_path: Path, milr: Milr) -> None:
    code, _, err = milr("generate", "a red star", "--model", original, "--out", tmp_path / "run")
    assert code == 3 and f"milr convert {original} FOLDER" in err
    code, out, _ = milr("convert", original, tmp_path / "converted")
    assert code == 0 and f"--model {tmp_path / 'converted'}" in out
    code, _, err = milr("convert", tmp_path / "nowhere", tmp_path / "other")
    assert code == 3 and "there is no folder" in err
