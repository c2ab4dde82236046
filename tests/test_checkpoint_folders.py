"""What a checkpoint's folder may hold and what tells two apart: weights inside it only, every file in the identity."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
import transformers.utils.chat_template_utils as chat
from jinja2.exceptions import SecurityError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel

import tiny_geneval
import tiny_janus
from milr.catalog.models import model_files
from milr.latent import update
from milr.models import checkpoint_errors, devices, loading, nano
from milr.models.checkpoint_errors import reading
from milr.models.checkpoint_files import SETTINGS, settings_digest
from milr.models.devices import choose_device
from milr.models.hub_names import is_hub_name, plain_name
from milr.models.janus import JanusModel
from milr.rewards.vision import checkpoints
from milr.rewards.vision.checkpoints import load_network, load_tokenizer, loaded_revision
from milr.types import DrawRequest, JudgeError, Key, MissingError, ReasonRequest, UsageError

Milr = Callable[..., tuple[int, str, str]]
Damage = Callable[[Path], object]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_janus.save(tmp_path_factory.mktemp("saved"), seed=2)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "folder"))


def load(folder: Path | str) -> JanusModel:
    return JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def split(folder: Path, first: str = "model-00001-of-00002.safetensors") -> Path:
    """The weights in two files with an index, the first of which has this name in the index. -> the index"""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [first, "model-00002-of-00002.safetensors"]
    weight_map = {key: names[index % 2] for index, key in enumerate(tensors)}
    for name in names:
        part = {key: tensors[key] for key in tensors if weight_map[key] == name}
        if name.endswith(".safetensors"):
            save_file(part, folder / name, metadata={"format": "pt"})
        else:
            torch.save(part, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


# Inside the folder


def test_weights_in_several_files_are_the_same_weights_and_all_of_them_are_hashed(folder: Path) -> None:
    before = load(folder).network.state_dict()
    index = split(folder)
    after = load(folder)
    assert all(torch.equal(before[key], value) for key, value in after.network.state_dict().items())
    digest = after.identity()["weights"]
    other = load_file(folder / "model-00002-of-00002.safetensors")
    save_file({key: value + 0.5 for key, value in other.items()}, folder / "model-00002-of-00002.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    assert load(folder).identity()["weights"] != digest
    save_file(other, folder / "model-00002-of-00002.safetensors", metadata={"format": "pt"})
    save_file({"x": torch.zeros(1)}, folder / "unused.safetensors")
    assert load(folder).identity()["weights"] == digest and index.is_file()


@pytest.mark.parametrize("name", ["a.bin", "../a.safetensors", "sub/../../a.safetensors"])
def test_an_index_names_safetensors_files_beside_it_only(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    split(folder, name)
    with pytest.raises(MissingError, match="beside it only"):
        load(folder)


def test_an_index_with_an_absolute_path_or_without_names_is_refused(folder: Path, tmp_path: Path) -> None:
    index = split(folder)
    shutil.move(folder / "model-00001-of-00002.safetensors", tmp_path / "away.safetensors")
    text = index.read_text()
    index.write_text(text.replace("model-00001-of-00002.safetensors", str(tmp_path / "away.safetensors")))
    with pytest.raises(MissingError, match="beside it only"):
        load(folder)
    index.write_text(text)
    with pytest.raises(MissingError, match="model-00001-of-00002.safetensors of .* is missing"):
        load(folder)
    for content in ("{}", "[]", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', "[" * 100_000):
        index.write_text(content)
        with pytest.raises(MissingError):
            load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.move(folder / name, tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(MissingError, match="outside its folder"):
        load(folder)


def test_links_inside_the_folder_and_into_the_hubs_blobs_are_followed(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--janus"
    snapshot, blobs = repository / "snapshots" / ("0" * 40), repository / "blobs"
    for parent in (snapshot, blobs):
        parent.mkdir(parents=True)
    for index, path in enumerate(sorted(folder.iterdir())):
        shutil.copy(path, blobs / f"{index:064x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{index:064x}")
    before = load(folder).identity()
    assert load(snapshot).identity() == before
    (tmp_path / "link").symlink_to(snapshot)
    assert load(tmp_path / "link").identity() == before
    (folder / "real.json").write_bytes((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("real.json")
    assert load(folder).identity() == before


def test_a_pickle_beside_the_weights_is_not_read(folder: Path) -> None:
    before = load(folder).identity()
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle at all")
    (folder / ".metadata").write_bytes(b"not a pickle at all")
    assert load(folder).identity() == before
    edit(folder / "config.json", lambda c: c.update(transformers_weights="pytorch_model.bin"))
    with pytest.raises(MissingError, match="names files of its own"):
        load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "processor_config.json"])
def test_a_pointer_of_git_lfs_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    with pytest.raises(MissingError, match=f"{name} of .* only a git-lfs pointer.*git lfs pull"):
        load(folder)


def test_an_adapter_is_named(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    with pytest.raises(MissingError, match="adapter .LoRA.*merge"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(MissingError, match="adapter .LoRA"):
        load(folder)


def test_the_judges_folders_are_held_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = tiny_geneval.save_clip(tmp_path / "judges" / "own" / "clip")
    monkeypatch.setenv("MILR_CHECKPOINTS", str(tmp_path / "judges"))
    before = loaded_revision("own/clip")
    assert loaded_revision("own/clip") == before and str(tmp_path) not in before
    edit(clip / "preprocessor_config.json", lambda c: c.update(image_mean=[0.1, 0.2, 0.3]))
    assert loaded_revision("own/clip") != before
    tensors = load_file(clip / "model.safetensors")
    broken = tensors | {"visual_projection.weight": torch.full_like(tensors["visual_projection.weight"], torch.nan)}
    save_file(broken, clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingError, match="infinite or no numbers"):
        load_network(CLIPModel, "own/clip", device="cpu")
    (clip / "model.safetensors").unlink()
    torch.save(tensors, clip / "model.bin")
    (clip / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, "model.bin")}))  # fmt: skip
    with pytest.raises(MissingError):
        load_network(CLIPModel, "own/clip", device="cpu")
    (clip / "tokenizer.json").write_text(POINTER)
    with pytest.raises(MissingError, match="git-lfs"):
        load_tokenizer("own/clip")


def test_a_judge_that_is_far_larger_than_its_weights_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    clip = tiny_geneval.save_clip(tmp_path / "clip")
    edit(clip / "config.json", lambda c: c["text_config"].update(vocab_size=2_000_000_000))
    with pytest.raises(MissingError, match="describes .* weights and its files hold"):
        load_network(CLIPModel, str(clip), device="cpu")
    edit(clip / "config.json", lambda c: c["text_config"].update(vocab_size=100, num_hidden_layers=10**9))
    with pytest.raises(MissingError, match="num_hidden_layers = 1000000000"):
        load_network(CLIPModel, str(clip), device="cpu")


def test_a_tokenizer_with_code_of_its_own_is_loaded_without_it_and_without_a_question(tmp_path: Path) -> None:
    clip = tiny_geneval.save_clip(tmp_path / "clip")
    foreign = {"tokenizer_class": "Foreign", "auto_map": {"AutoTokenizer": ["foreign.Foreign", None]}}
    edit(clip / "tokenizer_config.json", lambda c: c.update(foreign))
    (clip / "foreign.py").write_text("raise SystemExit('foreign code ran')\n")
    try:
        load_tokenizer(str(clip))
    except MissingError as error:
        assert "\n" not in str(error)


# The identity


@pytest.mark.parametrize("name", SETTINGS)
def test_every_file_beside_the_weights_is_part_of_the_identity(folder: Path, name: str) -> None:
    before = settings_digest(folder)
    (folder / name).write_text((folder / name).read_text() + " " if (folder / name).exists() else "{}")
    assert settings_digest(folder) != before


def test_a_changed_configuration_or_tokenizer_does_not_go_on(folder: Path, tmp_path: Path, milr: Milr) -> None:
    command = ("generate", "a red star", "--model", folder, "--out", tmp_path / "run", "--steps", 1, "--no-stop")
    assert milr(*command)[0] == 0
    assert milr(*command)[0] == 0
    original = (folder / "config.json").read_text()
    edit(folder / "config.json", lambda c: c["text_config"]["rope_parameters"].update(rope_theta=20000.0))
    code, _, err = milr(*command)
    assert code == 2 and "model files: sha256:" in err
    (folder / "config.json").write_text(original)
    assert milr(*command)[0] == 0

    def exchange(content: Any) -> None:
        words = content["model"]["vocab"]
        words["red"], words["blue"] = words["blue"], words["red"]

    edit(folder / "tokenizer.json", exchange)
    code, _, err = milr(*command)
    assert code == 2 and "model files: sha256:" in err


def test_a_run_of_the_version_before_says_that_it_did_not_record_the_files(
    folder: Path, tmp_path: Path, milr: Milr
) -> None:
    from milr.runs.config import RunConfig

    command = ("generate", "a red star", "--model", folder, "--out", tmp_path / "run", "--steps", 1, "--no-stop")
    assert milr(*command)[0] == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    del run["config"]["model_identity"]["files"]
    run["digest"], run["request"] = RunConfig(**run["config"]).digest, ""
    (tmp_path / "run" / "run.json").write_text(json.dumps(run))
    code, _, err = milr(*command)
    assert code == 2 and "model files: not recorded there, sha256:" in err


def test_nano_is_what_it_was_to_earlier_runs_until_one_of_its_files_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"sha256:{settings_digest(nano.folder())}" == nano.SHIPPED_FILES
    assert "files" not in nano.load_nano().identity()
    copy = Path(shutil.copytree(nano.folder(), tmp_path / "nano"))
    edit(copy / "generation_config.json", lambda c: c.update(note="changed"))
    monkeypatch.setattr(nano, "folder", lambda: copy)
    assert nano.load_nano().identity()["files"] != nano.SHIPPED_FILES


# Names


@pytest.mark.parametrize(("written", "plain"), [
    ("deepseek-community/Janus-Pro-1B/", "deepseek-community/Janus-Pro-1B"),
    ("https://huggingface.co/deepseek-community/Janus-Pro-1B", "deepseek-community/Janus-Pro-1B"),
    ("https://huggingface.co/deepseek-community/Janus-Pro-1B/tree/main", "deepseek-community/Janus-Pro-1B"),
    ("hf.co/deepseek-community/Janus-Pro-1B/?x=1", "deepseek-community/Janus-Pro-1B"),
    ("/weights/janus/", "/weights/janus"), ("/", "/"), ("janus", "janus"),
])  # fmt: skip
def test_the_ways_to_write_a_name(written: str, plain: str) -> None:
    assert plain_name(written) == plain


def test_a_hub_name_is_found_however_it_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: {"some/janus": str(folder)}[name])
    for written in ("some/janus", "some/janus/", "https://huggingface.co/some/janus"):
        assert loading.Checkpoint.find(written) == loading.Checkpoint("some/janus", folder)
    for strange in ("https://example.com/some/janus", "some/janus/tree/v2", "~nobody-here/x/y", "x" * 5000, "a\0b"):
        assert not is_hub_name(plain_name(strange))
        with pytest.raises(MissingError, match="there is no folder"):
            load(strange)
    assert load(f"{folder}/").identity()["name"] == "tiny"
    assert model_files(f"{folder}/") and not model_files("https://huggingface.co/not/here")


# Numbers that are none


def fill(folder: Path, key: str, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors[key].view(-1)[2] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    "key", ["lm_head.weight", "model.vqmodel.decoder.conv_out.bias", "model.language_model.norm.weight"]
)
def test_weights_that_are_no_numbers_are_refused(folder: Path, key: str, value: float) -> None:
    fill(folder, key, value)
    with pytest.raises(MissingError, match=f"damaged: {key} holds values that are infinite or no numbers"):
        load(folder)


@pytest.mark.parametrize("kind", ["8bit", "4bit"])
def test_quantised_weights_that_are_no_numbers_are_refused(folder: Path, kind: str) -> None:
    pytest.importorskip("bitsandbytes")
    fill(folder, "model.language_model.layers.0.self_attn.q_proj.weight", torch.nan)
    with pytest.raises((MissingError, UsageError), match="no numbers|multiple of 64"):
        JanusModel.load(folder, device="cpu", quantise=kind, templates=tiny_janus.TEMPLATES)


def test_weights_that_overflow_are_refused_at_the_first_logits(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] *= 1e38
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MissingError, match="gives text logits that are infinite or no numbers: choose another --dtype"):
        load(folder)


def test_logits_that_are_no_numbers_inside_a_search_are_a_typed_error(folder: Path) -> None:
    model = load(folder)
    with torch.no_grad():
        model.network.lm_head.weight[0, 0] = torch.nan
        model.network.model.generation_head.vision_head.weight[:] = torch.inf
    for temperature in (0.0, 1.0):
        with pytest.raises(JudgeError, match="logits that are infinite or no numbers"):
            model.reason([ReasonRequest("a red star", Key(0, "a"), temperature=temperature, max_new_tokens=3)])
        with pytest.raises(JudgeError, match="logits that are infinite or no numbers"):
            model.draw([DrawRequest("a red star", Key(0, "a"), 2.0, temperature=temperature)])
    with torch.no_grad():
        model.network.model.vqmodel.decoder.conv_out.bias[:] = torch.nan
    with pytest.raises(JudgeError, match="drew pixels that are infinite or no numbers"):
        model.render([[0] * 16])


@pytest.mark.parametrize("broken", ["logits", "learning rate"])
def test_an_update_that_is_no_number_is_a_typed_error(broken: str) -> None:
    state = update.start(torch.ones(2, 3), (0, 1))
    weights = torch.eye(3) * (torch.nan if broken == "logits" else 1.0)

    def logits(latents: Tensor) -> Tensor:
        return latents @ weights

    with pytest.raises(JudgeError, match="choose a smaller --learning-rate"):
        update.update(state, logits, -0.5, learning_rate=torch.inf if broken == "learning rate" else 0.1)


# Devices and memory


@pytest.mark.parametrize(
    "device", ["cuda:x", "cuda:7", "cuda:-1", "cpu:3", "meta", "", "xla", "cuda:0:1", "CUDA", "cpu "]
)
def test_a_device_that_is_not_here_says_what_there_is(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="there is cpu, cuda:0, cuda:1; use --device auto"):
        choose_device(device)
    assert [choose_device(name) for name in ("auto", "cuda", "cuda:1", "cpu", "cpu:0")] == [
        "cuda", "cuda", "cuda:1", "cpu", "cpu:0"]  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="there is cpu, and no CUDA GPU"):
        choose_device(device)
    monkeypatch.setattr(devices, "_num_devices", lambda kind: {"cuda": 8, "cpu": 1, "mps": 0}[kind])
    assert devices._describe_devices() == "cpu, cuda:0, ... cuda:7"


@pytest.mark.parametrize("error", [
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried ..."),
])  # fmt: skip
def test_too_little_memory_is_called_so(error: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(transformers.JanusForConditionalGeneration, "from_pretrained", fail)
    with pytest.raises(JudgeError, match="memory does not hold the weights of .*smaller model") as caught:
        load(folder)
    assert "fetch" not in str(caught.value)
    monkeypatch.setattr(checkpoints, "_check_size", fail)
    clip = tiny_geneval.save_clip(folder / "clip")
    with pytest.raises(JudgeError, match="memory does not hold"):
        load_network(CLIPModel, str(clip), device="cpu")


def test_a_mistake_of_ours_is_no_damaged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes: tuple[tuple[type[Exception], Callable[[], object]], ...] = (
        (NameError, lambda: not_there),  # type: ignore[name-defined]  # noqa: F821
        (AttributeError, lambda: JanusModel.not_there), (AttributeError, lambda: loading.not_there),
        (ModuleNotFoundError, lambda: __import__("not_there")),
    )  # fmt: skip
    for _, mistake in mistakes:
        with pytest.raises(MissingError, match="cannot be read"), reading("it"):
            mistake()  # as if a library had made it
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_errors, "_PACKAGE", Path(__file__).parent)
        for kind, mistake in mistakes:
            with pytest.raises(kind, match="not_there"), reading("it"):
                mistake()
        content: Any = ["a list where an object should be"]
        for use in (lambda: content.get("x"), lambda: content + 1, lambda: content[3], lambda: {}["x"]):
            with pytest.raises(MissingError, match="cannot be read"), reading("it"):
                use()
    for damage in (OSError("gone"), ValueError("no number"), KeyError("vocab"), EOFError("end"), RuntimeError("shape")):
        with pytest.raises(MissingError, match="it cannot be read"), reading("it"):
            raise damage


def test_an_interrupt_while_loading_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), reading("it"):
        raise KeyboardInterrupt


# Templates


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ messages.append(1) }}",
    "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
])  # fmt: skip
def test_chat_templates_run_in_a_sandbox(template: str) -> None:
    with pytest.raises(SecurityError):
        chat.render_jinja_template(conversations=[[{"role": "user", "content": "x"}]], chat_template=template)


def test_loading_renders_no_template(folder: Path, tmp_path: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ cycler.__init__.__globals__.os.system('touch ran') }}")
    model = load(folder)
    model.reason([ReasonRequest("a red star", Key(0, "a"), max_new_tokens=2)])
    assert not Path("ran").exists()
