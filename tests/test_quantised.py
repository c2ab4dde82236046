"""Weights in 8 and 4 bits, by the real library on a CPU: what is quantised, what is drawn, what the run says."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    JanusConfig,
    JanusForConditionalGeneration,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
)

import tiny_janus
from milr.models import quantised
from milr.models.janus import JanusModel
from milr.models.quantised import KINDS, PACKAGES, quantisation_config
from milr.options import Options
from milr.runs.config import RunConfig, describe_differences
from milr.types import DrawRequest, ImageTrace, Key, MissingError, ReasonRequest, TextTrace, UsageError
from milr.workflows import experiments
from milr.workflows.prepare import load_model

for package in PACKAGES:
    pytest.importorskip(package, reason=f"{package} is not installed; pip install 'milr[quantised]'")

LAYERS = "model.language_model.layers"
PROJECTIONS = {
    f"{LAYERS}.{layer}.{name}"
    for layer in (0, 1)
    for name in (*(f"self_attn.{one}_proj" for one in "qkvo"), *(f"mlp.{one}_proj" for one in ("gate", "up", "down")))
}
PARTS = ("lm_head", "generation_head", "generation_aligner", "aligner", "vision_model", "vqmodel", "embed_tokens")
PROMPTS = ("a red star", "a big blue square under a small green circle", "a star")
CLOSE = {"8bit": 0.1, "4bit": 0.4}  # |quantised - plain| / |plain| of centred logits; at most 0.04 and 0.26 seen
Load = Callable[[str | None], JanusModel]
Milr = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Janus whose widths are whole blocks of 64."""
    narrow = tiny_janus.config

    def wide(vocab: int, placeholder: int) -> JanusConfig:
        made = narrow(vocab, placeholder)
        made.text_config.intermediate_size = 2 * quantised.BLOCK
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_janus, "WIDTH", quantised.BLOCK)
        patch.setattr(tiny_janus, "config", wide)
        return tiny_janus.save(tmp_path_factory.mktemp("quantised"), seed=3)


@pytest.fixture(scope="module")
def load(folder: Path) -> Load:
    """The small Janus as it is (None) or in fewer bits, each loaded once."""
    loaded: dict[str | None, JanusModel] = {}

    def get(kind: str | None) -> JanusModel:
        if kind not in loaded:
            loaded[kind] = fresh(folder, kind)
        return loaded[kind]

    return get


def fresh(folder: Path, kind: str | None) -> JanusModel:
    return JanusModel.load(folder, device="cpu", quantise=kind, templates=tiny_janus.TEMPLATES, name="tiny")


def drawn(model: JanusModel, *texts: str) -> list[ImageTrace]:
    return model.draw([DrawRequest(text, key=Key(0, text), guidance_scale=2.0, num_latents=1) for text in texts])


def written(model: JanusModel, *texts: str) -> list[TextTrace]:
    return model.reason([ReasonRequest(text, key=Key(0, text), max_new_tokens=12, num_latents=1) for text in texts])


def first_logits(model: JanusModel) -> list[Tensor]:
    """Of every prompt, of its picture's and its text's first token: of the same input, whatever is drawn later."""
    found = [model.image_logits(trace, kept(trace), 2.0) for trace in drawn(model, *PROMPTS)]
    return [*found, *(model.text_logits(trace, kept(trace)) for trace in written(model, *PROMPTS))]


def kept(trace: ImageTrace | TextTrace) -> Tensor:
    assert trace.latents is not None and len(trace.latents) == 1
    return trace.latents


def linears(model: JanusModel) -> dict[str, nn.Linear]:
    return {name: part for name, part in model.network.named_modules() if isinstance(part, nn.Linear)}


def distance(one: Tensor, other: Tensor) -> float:
    """How far two rows of logits are apart, their means aside, as a share of the first."""
    one, other = one - one.mean(-1, keepdim=True), other - other.mean(-1, keepdim=True)
    return float((one - other).norm() / one.norm())


# What is quantised


@pytest.mark.parametrize("kind", KINDS)
def test_the_projections_of_the_layers_are_replaced_and_nothing_else(load: Load, kind: str) -> None:
    found = {name: part for name, part in linears(load(kind)).items() if type(part) is not nn.Linear}
    assert set(found) == PROJECTIONS
    assert {type(part).__name__ for part in found.values()} == {"Linear8bitLt" if kind == "8bit" else "Linear4bit"}
    plain = dict(load(None).network.named_parameters())
    same = {name: part for name, part in load(kind).network.named_parameters() if name[: -len(".weight")] not in found}
    assert set(same) == set(plain) - {f"{name}.weight" for name in PROJECTIONS}
    assert all(torch.equal(part, plain[name]) for name, part in same.items())
    assert all(any(part in name for name in same) for part in PARTS)


@pytest.mark.parametrize(("kind", "share"), [("8bit", 1.0), ("4bit", 0.5)])
def test_the_projections_take_a_byte_or_half_a_byte_for_each_weight(load: Load, kind: str, share: float) -> None:
    plain = linears(load(None))
    for name, part in linears(load(kind)).items():
        if name in PROJECTIONS:
            weight = part.weight
            assert weight.numel() * weight.element_size() == share * plain[name].weight.numel(), name


# The documented memory is counted, not measured

SHARES = {None: 2.0, "8bit": 1.0, "4bit": 0.5 + 4 / quantised.BLOCK}  # bytes of a weight, scales of blocks included


@pytest.mark.parametrize(("kind", "told"), [(None, "14.8 GB"), ("8bit", "8.7 GB"), ("4bit", "6.1 GB")])
def test_the_memory_that_the_page_estimates_for_7b(kind: str | None, told: str) -> None:
    text = LlamaConfig(vocab_size=102400, hidden_size=4096, intermediate_size=11008, num_hidden_layers=30,
                       num_attention_heads=32, num_key_value_heads=32)  # fmt: skip
    vision = JanusVisionConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=384,
                               patch_size=16, projection_dim=4096, num_image_tokens=576)  # fmt: skip
    vq = JanusVQVAEConfig(projection_dim=4096, image_token_embed_dim=4096)
    with torch.device("meta"):
        network: Any = JanusForConditionalGeneration(
            JanusConfig(text_config=text, vision_config=vision, vq_config=vq, tie_word_embeddings=False)
        )
    inside = sum(part.weight.numel() for part in network.get_submodule(LAYERS).modules() if type(part) is nn.Linear)
    total = sum(part.numel() for part in network.parameters())
    assert f"{(SHARES[kind] * inside + 2 * (total - inside)) / 1e9:.1f} GB" == told
    assert told in (Path(__file__).parents[1] / "docs" / "howto" / "small-gpu.md").read_text()


# What is written and drawn


@pytest.mark.parametrize("kind", KINDS)
def test_it_writes_and_draws_the_same_twice(load: Load, folder: Path, kind: str) -> None:
    one, other = load(kind), fresh(folder, kind)
    assert [trace.ids for trace in drawn(one, *PROMPTS)] == [trace.ids for trace in drawn(other, *PROMPTS)]
    assert [trace.ids for trace in written(one, *PROMPTS)] == [trace.ids for trace in written(other, *PROMPTS)]
    assert len(drawn(one, PROMPTS[0])[0].ids) == one.image_tokens


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_large_numbers_changes_nothing_for_its_neighbours(load: Load, kind: str) -> None:
    """With LLM.int8's usual outlier columns it would: they are sought over the whole batch."""
    projection = linears(load(kind))[f"{LAYERS}.0.mlp.down_proj"]
    rows = torch.randn(4, projection.in_features, generator=torch.Generator().manual_seed(0))
    large = torch.full((1, projection.in_features), 50.0)
    with torch.no_grad():
        alone, beside = projection(rows), projection(torch.cat([rows, large]))[:4]
    torch.testing.assert_close(beside, alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_rearranges_no_weights(load: Load, folder: Path, kind: str) -> None:
    """They are rearranged at their first call; several workers at once would spoil them."""
    model = fresh(folder, kind)

    def places() -> dict[str, tuple[int, torch.Size]]:
        return {name: (part.weight.data_ptr(), part.weight.shape) for name, part in linears(model).items()}

    before = places()
    drawn(model, *PROMPTS)
    assert places() == before
    states = [part.weight for name, part in linears(model).items() if name in PROJECTIONS]
    assert all(getattr(state, "CB", None) is None for state in states)


@pytest.mark.parametrize("kind", KINDS)
def test_it_draws_in_silence(load: Load, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        drawn(load(kind), PROMPTS[0])
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("kind", KINDS)
def test_its_logits_are_close_to_those_of_the_plain_model(load: Load, kind: str) -> None:
    first = [first_logits(load(one)) for one in (None, kind)]
    apart = [distance(one, other) for one, other in zip(*first, strict=True)]
    assert min(apart) > 0 and max(apart) < CLOSE[kind], apart


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_latents_through_the_heads(load: Load, kind: str) -> None:
    model = load(kind)
    text, image = written(model, PROMPTS[0])[0], drawn(model, PROMPTS[0])[0]
    for latents, logits in (
        (kept(text).clone().requires_grad_(), lambda moving: model.text_logits(text, moving)),
        (kept(image).clone().requires_grad_(), lambda moving: model.image_logits(image, moving, 2.0)),
    ):
        logits(latents).log_softmax(-1)[:, 0].sum().backward()
        assert latents.grad is not None and latents.grad.norm() > 0
    assert all(part.grad is None for part in model.network.parameters())


# What a run says


@pytest.fixture
def generate(milr: Milr, folder: Path, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """One MILR step on the small Janus, in a folder of this name: exit code and complaint."""
    (tmp_path / "judge.py").write_text("def score(picture, prompt):\n    return 0.5\n")

    def run(name: str, *more: str) -> tuple[int, str]:
        ratios = ("--text-ratio", 0.2, "--image-ratio", 0.2)
        code, _, err = milr("generate", "a red star", "--model", folder, "--device", "cpu", "--out", name,
                            "--reward", "judge.py:score", "--steps", 1, *ratios, *more)  # fmt: skip
        return code, err

    return run


def config_of(run: Path) -> RunConfig:
    return RunConfig.model_validate(json.loads((run / "run.json").read_text())["config"])


@pytest.mark.parametrize("kind", KINDS)
def test_one_milr_step_runs_and_run_report_and_comparison_say_it(
    generate: Callable[..., tuple[int, str]], milr: Milr, tmp_path: Path, kind: str
) -> None:
    assert generate("plain") == (0, "") and generate("packed", "--quantise", kind) == (0, "")
    plain, packed = config_of(tmp_path / "plain"), config_of(tmp_path / "packed")
    said = f"{kind} (bitsandbytes {'.'.join(version('bitsandbytes').split('.')[:2])})"
    assert "quantised" not in plain.model_identity
    assert packed.model_identity == {**plain.model_identity, "quantised": said}
    assert describe_differences(plain, packed) == [f"model quantised: not set there, {said} here"]
    assert said in (tmp_path / "packed" / "report.html").read_text()
    assert said not in (tmp_path / "plain" / "report.html").read_text()
    code, out, err = milr("compare", "plain", "packed", "--out", "compared")
    assert code == 0 and f"model quantised {said}" in out, err


def test_a_run_is_not_resumed_in_other_bits(generate: Callable[..., tuple[int, str]]) -> None:
    assert generate("run", "--quantise", "8bit")[0] == 0
    code, err = generate("run", "--quantise", "4bit")
    assert code != 0 and "model quantised: 8bit" in err


def test_rows_of_an_experiment_in_other_bits_share_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded: list[str | None] = []
    monkeypatch.setattr(experiments, "load_model", lambda options: loaded.append(options.quantise) or object())
    monkeypatch.setattr(experiments, "prepare", lambda prompts, options, **more: more["model"])
    experiment = experiments.Experiment(
        title="bits", benchmark="shapes", limit=1, rows={"plain": {}, "again": {}, "packed": {"quantise": "4bit"}}
    )
    runs = experiments.experiment_runs(experiment, tmp_path)
    models = [model for _, model in experiments.prepare_runs(experiment, runs)]
    assert loaded == [None, "4bit"] and models[0] is models[1] is not models[2]


# What cannot be


@pytest.mark.parametrize("package", PACKAGES)
def test_an_absent_package_is_named_before_any_checkpoint_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    real = quantised.find_spec
    monkeypatch.setattr(quantised, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(MissingError, match=rf"need the package {package}: pip install 'milr\[quantised\]'\.$"):
        JanusModel.load("nobody/nothing", device="cpu", quantise="4bit")
    assert quantisation_config(None, torch.float32, "cpu") is None


def test_a_device_without_kernels_and_an_unknown_kind_are_refused() -> None:
    with pytest.raises(UsageError, match="run on cuda and on the CPU, not on mps:0; leave --quantise out"):
        quantisation_config("8bit", torch.float32, "mps:0")
    with pytest.raises(UsageError, match="the quantisation '3bit' is unknown; use 8bit or 4bit, or leave it out"):
        quantisation_config("3bit", torch.float32, "cpu")


def test_widths_that_are_no_whole_blocks_go_into_8_bits_only(tiny_folder: Path) -> None:
    with pytest.raises(UsageError, match="multiple of 64, not 32; use --quantise 8bit"):
        fresh(tiny_folder, "4bit")
    assert len(drawn(fresh(tiny_folder, "8bit"), "a star")[0].ids) == 16


def test_nano_stays_as_it_is() -> None:
    with pytest.raises(UsageError, match="nano is small as it is; leave --quantise out"):
        load_model(Options(quantise="8bit"))


def test_a_model_of_ones_own_need_not_know_the_setting(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def make(dtype, device, role_tags, reasoning_prompt):\n    return 'made'\n")
    own: Any = f"{tmp_path / 'own.py'}:make"
    assert load_model(Options(model=own)) == "made"
