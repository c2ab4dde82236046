"""Broken configurations of a Janus give one sentence and exit code 3, or a model that works; nothing hangs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_janus
from milr.models.janus import JanusModel
from milr.types import DrawRequest, JudgeError, Key, MissingError

ODD = st.sampled_from([0, -1, 1, 3, 10**9, 10**30, 0.5, 1e308, float("nan"), float("inf"), "x", "", None, True, [], [1],
                       {}, {"a": 1}, "os.system", "../x"])  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_janus.save(tmp_path_factory.mktemp("saved"), seed=2)


@pytest.fixture(scope="module")
def folder(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(saved, tmp_path_factory.mktemp("broken") / "folder"))


def paths(content: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every value of a configuration by the keys that lead to it, the parts themselves among them."""
    found = [(key,) for key in content]
    for key, value in content.items():
        if isinstance(value, dict):
            found += [(key, *inner) for inner in paths(value)]
    return found


def load_or_say(folder: Path) -> None:
    """Load and draw, or one sentence with exit code 3 (4 where numbers overflow in use)."""
    try:
        model = JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES)
        trace = model.draw([DrawRequest("a red star", Key(0, "a"), 2.0)])[0]
        model.answer(model.render([trace.ids]), ["is it red ?"])
    except (MissingError, JudgeError) as error:
        assert "\n" not in str(error) and len(str(error)) < 600


CASES: dict[str, tuple[tuple[str, ...], Any]] = {
    "wide": (("text_config", "hidden_size"), 10**9),
    "text for a number": (("text_config", "hidden_size"), "x"),
    "no heads": (("text_config", "num_attention_heads"), 0),
    "no heads in the tower": (("vision_config", "num_attention_heads"), 0),
    "a list": (("text_config",), [1, 2]),
    "an id beyond": (("image_token_id",), 10**6),
    "deep": (("text_config", "num_hidden_layers"), 10**9),
    "deep tower": (("vision_config", "num_hidden_layers"), 10**9),
    "many blocks": (("vq_config", "num_res_blocks"), 10**9),
    "long": (("text_config", "max_position_embeddings"), 10**9),
    "short": (("text_config", "max_position_embeddings"), 8),
    "no angles": (("text_config", "rope_parameters", "rope_theta"), 0),
    "another activation": (("text_config", "hidden_act"), "x"),
    "code from elsewhere": (("attn_implementation",), "someone/kernels"),
    "quantised": (("quantization_config",), {"quant_method": "gptq"}),
    "endless number": (("text_config", "hidden_size"), 10**400),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_broken_configuration_is_one_sentence(folder: Path, saved: Path, kind: str) -> None:
    keys, value = CASES[kind]
    change(folder, saved, "config.json", keys, value)
    with pytest.raises(MissingError) as caught:
        JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3


@pytest.mark.parametrize(("keys", "value"), [
    (("image_processor", "min_size"), 10**9), (("image_processor", "image_mean"), [0.5]),
    (("image_processor", "image_std"), [0, 0, 0]), (("image_processor", "size"), "x"),
    (("image_processor", "size"), {"height": 10**9}), (("image_processor", "resample"), 99),
    (("image_processor",), [1]),
])  # fmt: skip
def test_a_broken_processor_is_one_sentence(folder: Path, saved: Path, keys: tuple[str, ...], value: Any) -> None:
    (folder / "config.json").write_bytes((saved / "config.json").read_bytes())
    processor = {"image_processor": {"size": {"height": 32}, "min_size": 4}}
    set_value(processor, keys, value)
    (folder / "processor_config.json").write_text(json.dumps(processor))
    try:
        with pytest.raises(MissingError) as caught:
            JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES)
        assert "\n" not in str(caught.value)
    finally:
        (folder / "processor_config.json").unlink()


def test_a_tokenizer_with_ids_beyond_the_vocabulary_is_one_sentence(folder: Path, saved: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(saved, tmp_path / "other"))
    content = json.loads((other / "tokenizer.json").read_text())
    content["model"]["vocab"]["star"] = 10_000
    (other / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(MissingError, match="writes 'star' as 10000, and the model knows"):
        JanusModel.load(other, device="cpu", templates=tiny_janus.TEMPLATES)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_configuration_gives_a_raw_error(folder: Path, saved: Path, data: st.DataObject) -> None:
    content = json.loads((saved / "config.json").read_text())
    for keys in data.draw(st.lists(st.sampled_from(paths(content)), min_size=1, max_size=2)):
        set_value(content, keys, data.draw(ODD))
    (folder / "config.json").write_text(json.dumps(content))
    load_or_say(folder)


def change(folder: Path, saved: Path, name: str, keys: tuple[str, ...], value: Any) -> None:
    content = json.loads((saved / name).read_text())
    set_value(content, keys, value)
    (folder / name).write_text(json.dumps(content))


def set_value(content: Any, keys: tuple[str, ...], value: Any) -> None:
    """Set the value that the keys lead to, as far as they lead anywhere."""
    for key in keys[:-1]:
        content = content.get(key) if isinstance(content, dict) else None
    if isinstance(content, dict):
        content[keys[-1]] = value
