"""Any diffusers pipeline as a model that draws: small random weights in its own classes, a prompt model beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny_pipelines
from milr import catalog
from milr.base import ABILITIES, UnifiedModel, abilities, image_rows
from milr.models import pipeline_loading
from milr.models.pipeline import PREFIX, PipelineModel
from milr.models.pipeline_recipe import Recipe
from milr.options import Options
from milr.randomness import seed_of
from milr.types import DrawRequest, Key, MissingError, UsageError
from milr.workflows.abilities import check_abilities
from milr.workflows.auto import resolve_auto
from test_shards import masked

pytest.importorskip("diffusers")
Milr = Callable[..., tuple[int, str, str]]
KEY = Key(7, "a red star")
JUDGE = """from PIL import ImageStat

def bright(picture, prompt):
    return ImageStat.Stat(picture.convert("L")).mean[0] / 255
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pipelines")
    return {"sd": tiny_pipelines.save_stable_diffusion(folder / "sd"),
            "sdxl": tiny_pipelines.save_stable_diffusion_xl(folder / "sdxl")}  # fmt: skip


@pytest.fixture(scope="module")
def models(folders: dict[str, Path]) -> dict[str, PipelineModel]:
    return {name: PipelineModel.load(str(folder), device="cpu", denoising_steps=2) for name, folder in folders.items()}


def pictures(model: PipelineModel, *requests: DrawRequest) -> list[bytes]:
    return [picture.tobytes() for picture in model.render([image.ids for image in model.draw(requests)])]


# Drawing


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_picture_is_the_pipelines_own(models: dict[str, PipelineModel], name: str) -> None:
    from diffusers import DiffusionPipeline

    direct = DiffusionPipeline.from_pretrained(models[name]._loaded.folder)
    direct.set_progress_bar_config(disable=True)
    wanted = direct("a red star", num_inference_steps=2, guidance_scale=4.5,
                    generator=torch.Generator().manual_seed(seed_of(KEY, PREFIX))).images[0]  # fmt: skip
    assert pictures(models[name], DrawRequest("a red star", KEY, 4.5)) == [wanted.tobytes()]


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_picture_belongs_to_its_request(models: dict[str, PipelineModel], name: str) -> None:
    model = models[name]
    requests = [DrawRequest("a red star", KEY, 5.0), DrawRequest("a blue circle and a longer text", KEY.at(1), 5.0),
                DrawRequest("a red star", KEY.at(1), 5.0), DrawRequest("a red star", KEY, 1.0)]  # fmt: skip
    together = pictures(model, *requests)
    assert together == [each for request in requests for each in pictures(model, request)]
    assert len(set(together)) == 4
    assert {image.num_decoded for image in model.draw(requests)} == {2}


def test_a_recipe_comes_back_from_its_numbers() -> None:
    recipe = Recipe("ein Käfer, 甲虫", 2**63 - 1, 7.5)
    assert Recipe.of(recipe.ids()) == recipe and all(0 <= number < 2**16 for number in recipe.ids())
    assert Recipe.of(Recipe("", 0, 0.0).ids()) == Recipe("", 0, 0.0)
    for numbers in ((), (1, 2), (0,) * 6 + (300,), (0,) * 6 + (255,), (70_000,) * 8):
        with pytest.raises(UsageError, match="not a picture of a diffusers pipeline"):
            Recipe.of(numbers)


def test_it_says_what_it_is(models: dict[str, PipelineModel], folders: dict[str, Path], tmp_path: Path) -> None:
    model = models["sd"]
    assert isinstance(model, UnifiedModel) and model.guidance_scale == 7.5 and models["sdxl"].guidance_scale == 5.0
    assert model.image_tokens == 0 and image_rows(model) == 0 and abilities(model) == frozenset()
    identity = json.loads(json.dumps(dict(model.identity())))
    assert identity["pipeline"] == "StableDiffusionPipeline" and identity["denoising_steps"] == 2
    other = tiny_pipelines.save_stable_diffusion(tmp_path / "other", seed=1)
    assert PipelineModel.load(str(other)).identity()["weights"] != identity["weights"]
    copied = Path(shutil.copytree(folders["sd"], tmp_path / "copied"))
    scheduler = copied / "scheduler" / "scheduler_config.json"
    scheduler.write_text(
        scheduler.read_text().replace("0.00085", "0.0009").replace('"beta_start": 0.0001', '"beta_start": 0.0002')
    )
    assert PipelineModel.load(str(copied)).identity()["files"] != identity["files"]


def test_what_only_token_models_can_do_is_refused(models: dict[str, PipelineModel]) -> None:
    model = models["sd"]
    for change in ({"prefix": (1,)}, {"num_latents": 1}, {"max_new_tokens": 4}):
        with pytest.raises(UsageError, match="whole pictures"):
            model.draw([DrawRequest("a", KEY, 5.0, **change)])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--prompt-model"):
        model.reason([])
    with pytest.raises(UsageError, match="--prompt-model"):
        model.answer([Image.new("RGB", (8, 8))], ["?"])


# With another model beside it


@pytest.fixture(scope="module")
def with_nano(folders: dict[str, Path]) -> UnifiedModel:
    return catalog.make_model(f"{PREFIX}{folders['sd']}", prompt_model="nano", denoising_steps=2, device="cpu",
                              role_tags="pipe", reasoning_prompt=None)  # fmt: skip


def test_texts_and_answers_are_the_prompt_models(with_nano: UnifiedModel) -> None:
    from milr.types import ReasonRequest

    nano = catalog.make_model("nano", device="cpu")
    requests = [ReasonRequest("a red star", KEY, num_latents=2)]
    (text,), (other,) = with_nano.reason(requests), nano.reason(requests)
    assert text.ids == other.ids and text.latents is not None
    assert torch.equal(with_nano.text_logits(text, text.latents), nano.text_logits(other, other.latents))  # type: ignore[arg-type]
    assert abilities(with_nano) == ABILITIES - {"image_latents"}
    identity = with_nano.identity()
    assert identity["prompt_model_weights"] == nano.identity()["weights"]
    with pytest.raises(UsageError, match="does not know 'platypus'"):
        with_nano.check("a platypus")


SETTINGS = {"schedule": "joint"}


@pytest.mark.parametrize(("method", "beside", "schedule", "problem"), [
    ("redraw_plain", False, "joint", ""), ("plain", False, "joint", ""), ("redraw_sampled", True, "joint", ""),
    ("revise", True, "joint", ""), ("latent_reasoning", True, "text", ""), ("repair_new_text", True, "joint", ""),
    ("redraw_sampled", False, "joint", "writes no visualisations, which redraw_sampled needs: choose plain or "
     "redraw_plain, or a --prompt-model that does"),
    ("latent_reasoning", True, "joint", "no image tokens that could be forced or moved"),
    ("repair", True, "joint", "no image tokens"), ("parm", True, "joint", "no image tokens"),
])  # fmt: skip
def test_methods_that_cannot_work_are_named_with_those_that_can(
    models: dict[str, PipelineModel], with_nano: UnifiedModel, method: str, beside: bool, schedule: str, problem: str
) -> None:
    model = with_nano if beside else models["sd"]
    options = Options(method=method)
    if not problem:
        check_abilities(options, {"schedule": schedule}, ("pickscore",), model)
        return
    with pytest.raises(UsageError) as refused:
        check_abilities(options, {"schedule": schedule}, ("pickscore",), model)
    assert problem in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("judge", "problem"), [
    ("self", "answers no questions about pictures, which the reward self needs"), ("weighted:clip=1,seen=1", "seen"),
    ("likelihood:contrast", "writes no visualisations"), ("held-out or self", "held-out or self"), ("clip", ""),
])  # fmt: skip
def test_judges_that_cannot_work_are_named(models: dict[str, PipelineModel], judge: str, problem: str) -> None:
    def check() -> None:
        check_abilities(Options(method="redraw_plain"), SETTINGS, (judge,), models["sd"])

    if problem:
        with pytest.raises(UsageError, match=problem):
            check()
    else:
        check()


def test_auto_takes_what_the_model_can_do(models: dict[str, PipelineModel], with_nano: UnifiedModel) -> None:
    for model, method in ((models["sd"], "redraw_plain"), (with_nano, "redraw_sampled")):
        options = resolve_auto(Options(), ("vqa", ""), model, [])
        assert (options.method, options.choose) == (method, None)
    nano = catalog.make_model("nano", device="cpu")
    assert resolve_auto(Options(), ("vqa", ""), nano, []).choose == "own"


# The whole path


def test_a_run_and_what_is_left_of_one(milr: Milr, folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "p.txt").write_text("a red star\na green circle")
    command = ("generate", "--prompts", "p.txt", "--model", f"{PREFIX}{folders['sd']}", "--denoising-steps", 2,
               "--reward", "judge.py:bright", "--pictures", 3, "--no-stop", "--samples", 2)  # fmt: skip
    code, printed, error = milr(*command, "--out", "run")
    assert code == 0, error
    run = tmp_path / "run"
    assert (run / "report.html").exists() and len(list((run / "records").glob("*.json"))) == 4
    whole = masked(run)
    record = json.loads(next((run / "records").glob("*.json")).read_text())
    assert (
        record["cost"]["token_steps"] == 3 * 2
        and len({*map(str, (step["image_ids"] for step in record["steps"]))}) == 3
    )
    lost = sorted((run / "records").glob("*.json"))[1]
    shutil.rmtree(run / "images" / lost.stem)
    lost.unlink()
    assert milr(*command, "--out", "run")[0] == 0
    assert masked(run) == whole
    code, printed, error = milr("rerun", "run")
    assert code == 0 and "4 of 4" in printed, (printed, error)


def test_searches_with_a_prompt_model(milr: Milr, folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text(JUDGE)
    common = ("generate", "a red star", "--model", f"{PREFIX}{folders['sd']}", "--denoising-steps", 2, "--reward",
              "judge.py:bright", "--no-stop", "--prompt-model", "nano")  # fmt: skip
    assert milr(*common, "--method", "redraw_sampled", "--pictures", 2, "--out", "a")[0] == 0
    assert milr(*common, "--method", "latent_reasoning", "--schedule", "text", "--steps", 2, "--out", "b")[0] == 0
    record = json.loads(next((tmp_path / "b" / "records").glob("*.json")).read_text())
    assert record["steps"][1]["moved"] == ["text"]
    code, _, error = milr(*common, "--method", "latent_reasoning")
    assert code == 2 and "choose plain, text_enhanced" in error


# What is refused


def test_folders_that_are_no_pipeline(milr: Milr, folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, code, problem in (("empty", 3, "holds no model_index.json"), ("nowhere/at/all", 3, "there is no folder")):
        found, _, error = milr("generate", "a", "--model", f"{PREFIX}{name}", "--reward", "clip")
        assert found == code and problem in error and "Traceback" not in error
    pickled = Path(shutil.copytree(folders["sd"], tmp_path / "pickled"))
    weights = pickled / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(MissingError, match="cannot be read"):
        PipelineModel.load(str(pickled))


def test_options_that_do_not_belong(milr: Milr, folders: dict[str, Path]) -> None:
    sd = f"{PREFIX}{folders['sd']}"
    for arguments, problem in (
        (("--model", "nano", "--prompt-model", "nano"), "prompt_model is for a model that only draws"),
        (("--model", "nano", "--denoising-steps", 4), "denoising_steps is for a model that only draws"),
        (("--model", sd, "--quantise", "4bit"), "not quantised"),
        (("--model", sd, "--prompt-model", sd), "draws and does not write"),
        (("--model", sd, "--temperature", 0.5, "--reward", "clip"), "no temperature"),
        (("--model", sd, "--denoising-steps", 0), "denoising_steps must be at least 1"),
    ):
        code, _, error = milr("generate", "a", *arguments)
        assert code == 2 and problem in error, error


def test_a_pipeline_that_needs_a_picture_and_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inpainting:
        def __call__(self, prompt: str, image: Any) -> None: ...

    with pytest.raises(UsageError, match="draws no picture from a text alone"):
        pipeline_loading._check_call(Inpainting(), "x")
    monkeypatch.setattr(pipeline_loading, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'milr\[diffusers\]'"):
        PipelineModel.load("x")
