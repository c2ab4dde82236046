"""JanusModel against transformers' own Janus: the same tokens, latents, pictures and answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny_janus
from milr.base import UnifiedModel
from milr.models import nano
from milr.models.decoding.request import DecodeResult
from milr.models.janus import JanusModel
from milr.models.loading import SPECIAL_TOKENS, Checkpoint
from milr.models.pictures import Preprocessing, to_pictures
from milr.templates import NANO
from milr.types import DrawRequest, ImageTrace, Key, MissingError, ReasonRequest, TextTrace, UsageError

KEY = Key(seed=0, prompt="p")
PROMPTS = ["a red star", "a big blue square under a small green circle and two red star", "a"]
Trace = TextTrace | ImageTrace


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_janus.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(folder: Path) -> JanusModel:
    return JanusModel.load(folder, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")


def assert_same(one: Trace, other: Trace) -> None:
    """Equal ids, or a near tie on record at the first difference."""
    pairs = zip(one.ids, other.ids, strict=False)
    differs = next((index for index, (left, right) in enumerate(pairs) if left != right), None)
    if differs is None:
        assert len(one.ids) == len(other.ids)
    else:
        assert differs in one.near_ties + other.near_ties, f"{one.ids} and {other.ids} differ without a tie"


def padded(model: JanusModel, texts: Sequence[str], end: str = "") -> dict[str, Tensor]:
    """What transformers is given: begin of sentence, the text, `end`, padded on the left."""
    strings = [SPECIAL_TOKENS["begin"] + text + end for text in texts]
    return dict(
        model.tokenizer(strings, add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    )


def drawn_by_transformers(model: JanusModel, contents: Sequence[str], guidance_scale: float, **settings: Any) -> Tensor:
    inputs = padded(model, [model.templates.draw(content) for content in contents], SPECIAL_TOKENS["begin_image"])
    inputs.pop("token_type_ids", None)
    tokens: Tensor = model.network.generate(
        **inputs, generation_mode="image", guidance_scale=guidance_scale, **settings
    )
    return tokens


def draws(contents: Sequence[str], guidance_scale: float = 5.0, **settings: Any) -> list[DrawRequest]:
    return [DrawRequest(content, Key(0, content), guidance_scale, **settings) for content in contents]


def reasons(prompts: Sequence[str], **settings: Any) -> list[ReasonRequest]:
    return [ReasonRequest(prompt, Key(0, prompt), **{"max_new_tokens": 12, **settings}) for prompt in prompts]


# Writing


@pytest.mark.parametrize("prompts", [PROMPTS[:1], PROMPTS])
def test_greedy_text_and_its_latents_equal_generate(model: JanusModel, prompts: list[str]) -> None:
    inputs = padded(model, [model.templates.reason(prompt) for prompt in prompts])
    inputs.pop("token_type_ids", None)
    expected = model.network.generate(
        **inputs,
        generation_mode="text",
        do_sample=False,
        max_new_tokens=12,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )
    states = torch.stack([step[-1][:, -1] for step in expected.hidden_states], dim=1)
    start = inputs["input_ids"].shape[1]
    for index, trace in enumerate(model.reason(reasons(prompts, num_latents=None))):
        assert trace.latents is not None and trace.latents.shape == (len(trace.ids), tiny_janus.WIDTH)
        assert list(trace.ids) == expected.sequences[index, start : start + len(trace.ids)].tolist()
        assert len(trace.ids) == 12 or trace.ids[-1] == model.end_of_text
        assert torch.allclose(trace.latents, states[index, : len(trace.ids)], atol=1e-5)


def test_text_latents_predict_their_tokens_forced_ones_included(model: JanusModel) -> None:
    free = model.reason(reasons(PROMPTS, num_latents=None))
    again = model.reason(
        [ReasonRequest(p, KEY, t.ids[:4], 12, num_latents=6) for p, t in zip(PROMPTS, free, strict=True)]
    )
    for first, second in zip(free, again, strict=True):
        assert_same(first, second)
        assert second.latents is not None
        assert model.text_logits(second, second.latents).argmax(-1).tolist() == list(first.ids[:6])


def test_text_is_decoded_without_special_tokens(model: JanusModel) -> None:
    ids = model.tokenizer.encode("a red star .", add_special_tokens=False)
    assert model.encode_text("a red star .") == tuple(ids)
    assert model.decode_text([*ids, model.end_of_text]) == "a red star ."
    trace = model.reason([ReasonRequest("a", KEY, prefix=(*ids, model.end_of_text, 9))])[0]
    assert trace.text == "a red star ."
    assert trace.ids == (*ids, model.end_of_text)
    assert trace.num_decoded == 0


def test_text_can_be_sampled_with_keyed_noise(model: JanusModel) -> None:
    def write(seed: int) -> tuple[int, ...]:
        request = ReasonRequest("a red star", Key(seed, "a red star"), max_new_tokens=12, temperature=1.0)
        return model.reason([request])[0].ids

    assert write(0) == write(0)
    assert write(0) != write(1)


# Drawing


@pytest.mark.parametrize("contents", [PROMPTS[:1], PROMPTS])
def test_greedy_pictures_equal_generate(model: JanusModel, contents: list[str]) -> None:
    expected = drawn_by_transformers(model, contents, 5.0, do_sample=False)
    traces = model.draw(draws(contents, temperature=0.0))
    assert [list(trace.ids) for trace in traces] == expected.tolist()


@pytest.mark.parametrize("contents", [PROMPTS[:1], PROMPTS])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_pictures_equal_generate_with_the_same_draws(
    model: JanusModel, contents: list[str], temperature: float
) -> None:
    torch.manual_seed(5)
    expected = drawn_by_transformers(model, contents, 3.0, do_sample=True, top_k=0, temperature=temperature)
    torch.manual_seed(5)
    steps = [torch.empty(len(contents), tiny_janus.IMAGE_VOCAB).exponential_() for _ in range(model.image_tokens)]
    noise = torch.stack(steps, dim=1)
    requests = [
        DrawRequest(content, KEY, 3.0, temperature=temperature, noise=rows)
        for content, rows in zip(contents, noise, strict=True)
    ]
    assert [list(trace.ids) for trace in model.draw(requests)] == expected.tolist()


def test_batched_pictures_equal_single_ones_whatever_the_order(model: JanusModel) -> None:
    requests = [
        *draws(PROMPTS),
        *draws(PROMPTS[:2], 1.5, temperature=0.8, num_latents=5),
        *draws(PROMPTS[1:], temperature=0.0, max_new_tokens=7),
    ]
    alone = [model.draw([request])[0] for request in requests]
    for one, other in zip(alone, model.draw(requests), strict=True):
        assert_same(one, other)
    for one, other in zip(alone, reversed(model.draw(requests[::-1])), strict=True):
        assert_same(one, other)


def test_a_forced_prefix_goes_on_as_the_free_run_did(model: JanusModel) -> None:
    free = model.draw(draws(PROMPTS, num_latents=None))
    for forced in (1, 5, 16):
        requests = [
            DrawRequest(content, Key(0, content), 5.0, prefix=trace.ids[:forced], num_latents=None)
            for content, trace in zip(PROMPTS, free, strict=True)
        ]
        for one, other in zip(free, model.draw(requests), strict=True):
            assert_same(one, other)
            assert other.num_decoded == 16 - forced
            assert one.latents is not None and other.latents is not None
            assert torch.allclose(one.latents, other.latents, atol=1e-4)


def test_the_first_tokens_only(model: JanusModel) -> None:
    whole = model.draw(draws(PROMPTS))
    for one, first in zip(whole, model.draw(draws(PROMPTS, max_new_tokens=5)), strict=True):
        assert first.ids == one.ids[:5]
        assert first.num_decoded == 5


def test_noise_belongs_to_the_request(model: JanusModel) -> None:
    same = model.draw([DrawRequest("a red star", Key(0, "x", step=step), 1.0) for step in (0, 0, 1)])
    assert same[0].ids == same[1].ids != same[2].ids


def test_injected_noise_covers_the_first_positions_only(model: JanusModel) -> None:
    plain = model.draw([DrawRequest("a", KEY, 1.0)])[0]
    noise = torch.ones(1, tiny_janus.IMAGE_VOCAB)
    noise[0, 7] = 1e-9
    forced = model.draw([DrawRequest("a", KEY, 1.0, noise=noise)])[0]
    again = model.draw([DrawRequest("a", KEY, 1.0, prefix=(7,))])[0]
    assert forced.ids[0] == 7 != plain.ids[0]
    assert forced.ids == again.ids


def test_image_latents_are_pairs_that_predict_greedy_tokens(model: JanusModel) -> None:
    trace = model.draw(draws(["a red star"], 2.0, temperature=0.0, num_latents=None))[0]
    assert trace.latents is not None and trace.latents.shape == (16, 2, tiny_janus.WIDTH)
    assert model.image_logits(trace, trace.latents, 2.0).argmax(-1).tolist() == list(trace.ids)
    swapped = model.image_logits(trace, trace.latents.flip(1), 2.0).argmax(-1)
    assert swapped.tolist() != list(trace.ids)


def test_conditional_latents_do_not_depend_on_guidance_and_unconditional_ones_not_on_the_words(
    model: JanusModel,
) -> None:
    one, other = model.draw([DrawRequest(words, KEY, 5.0, num_latents=1) for words in ("a red star", "a blue circle")])
    assert one.latents is not None and other.latents is not None
    assert torch.allclose(one.latents[0, 1], other.latents[0, 1], atol=1e-5)
    assert not torch.allclose(one.latents[0, 0], other.latents[0, 0], atol=1e-2)


def test_with_guidance_1_the_conditional_sequence_is_decoded_alone(model: JanusModel) -> None:
    (pair,) = model.draw(draws(["a red star"], temperature=0.0, guidance_scale=1 + 1e-6, num_latents=None))
    (alone, other) = model.draw([*draws(["a red star"], 1.0, temperature=0.0, num_latents=None), *draws(["a cat"])])
    assert alone.ids == pair.ids != other.ids
    assert alone.latents is not None and pair.latents is not None and alone.latents.shape[1] == 1
    torch.testing.assert_close(alone.latents[:, 0], pair.latents[:, 0], atol=1e-5, rtol=1e-5)
    assert alone.log_probs == pytest.approx(pair.log_probs, abs=1e-4)
    logits = model.image_logits(alone, alone.latents, 1.0)
    expected = torch.log_softmax(logits, -1)[torch.arange(len(alone.ids)), torch.tensor(alone.ids)]
    assert alone.log_probs == pytest.approx(expected.tolist(), abs=1e-5)


def test_gradients_reach_the_latents_and_no_parameter(model: JanusModel) -> None:
    (written,) = model.reason(reasons(PROMPTS[:1], num_latents=3))
    (drawn,) = model.draw(draws(PROMPTS[:1], num_latents=3))
    assert written.latents is not None and drawn.latents is not None
    text, image = written.latents.clone().requires_grad_(), drawn.latents.clone().requires_grad_()
    logits = model.text_logits(written, text)
    logits[:, 7].sum().backward()
    model.image_logits(drawn, image, 3.0)[:, 7].sum().backward()
    assert logits.dtype == torch.float32
    assert text.grad is not None and torch.allclose(text.grad, model.network.lm_head.weight[7].expand(3, -1))
    assert image.grad is not None and image.grad[:, 0].norm() > 0 and image.grad[:, 1].norm() > 0
    assert all(parameter.grad is None for parameter in model.network.parameters())


# Prompt strings, pictures and answers


def test_both_role_tag_styles_reach_the_tokens(model: JanusModel, folder: Path) -> None:
    plain = JanusModel.load(folder, device="cpu", role_tags="plain")
    ids = plain.prompts.encode(plain.templates.draw("a star"))
    read = " ".join(plain.tokenizer.convert_ids_to_tokens(ids))
    assert read == SPECIAL_TOKENS["begin"] + " User : a star Assistant :"
    requests = draws(["a star"], max_new_tokens=4)
    assert plain.draw(requests)[0].ids != model.draw(requests)[0].ids


def test_render_decodes_every_row(model: JanusModel) -> None:
    rows = [trace.ids for trace in model.draw(draws([*PROMPTS * 3]))]
    pictures = model.render(rows)
    assert len(pictures) == 9 and model.render([]) == []
    pixels = model.network.decode_image_tokens(torch.tensor([rows[8]]))[0].detach()
    expected = ((pixels + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).numpy()
    assert pictures[8].mode == "RGB"
    assert numpy.abs(numpy.asarray(pictures[8]).astype(int) - expected).max() <= 1


def test_pixels_are_clipped_and_truncated() -> None:
    pixels = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5, 0.999]).view(1, 1, 2, 3)
    assert numpy.asarray(to_pictures(pixels)[0]).ravel().tolist() == [0, 0, 127, 255, 255, 254]


@pytest.mark.parametrize("shape", [(32, 32), (50, 50), (60, 31), (21, 64)])
def test_preprocessing_equals_transformers(shape: tuple[int, int]) -> None:
    values = numpy.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=numpy.uint8)
    mean, deviation = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    processors = pytest.importorskip("transformers.models.janus.image_processing_pil_janus")
    theirs = processors.JanusImageProcessorPil(size={"height": 32, "width": 32}, image_mean=mean, image_std=deviation)
    expected = theirs(Image.fromarray(values), return_tensors="pt")["pixel_values"]
    ours = Preprocessing(32, mean, deviation)([Image.fromarray(values)])
    assert ours.shape == expected.shape
    assert torch.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_preprocessing_is_read_from_the_processor_file(tmp_path: Path, nested: bool) -> None:
    settings = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "size": {"height": 8, "width": 8}, "resample": 2}
    name = "processor_config.json" if nested else "preprocessor_config.json"
    (tmp_path / name).write_text(json.dumps({"image_processor": settings} if nested else settings))
    assert Preprocessing.of(tmp_path, 32) == Preprocessing(8, (0.1, 0.2, 0.3), (1, 1, 1), resample=2)
    assert Preprocessing.of(tmp_path / "nothing", 32) == Preprocessing(32)


def test_answers_equal_a_forward_of_transformers_model(model: JanusModel) -> None:
    pictures = model.render([trace.ids for trace in model.draw(draws(PROMPTS))])
    questions = [model.question(prompt) for prompt in PROMPTS]
    seen = SPECIAL_TOKENS["begin_image"] + SPECIAL_TOKENS["placeholder"] * 16 + SPECIAL_TOKENS["end_image"]
    vocabulary = model.tokenizer.get_vocab()
    answers = model.answer(pictures, questions)
    for picture, question, answer in zip(pictures, questions, answers, strict=True):
        inputs = padded(model, [f"<|User|>: {seen}\n{question}\n\n<|Assistant|>:"])
        logits = model.network(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            pixel_values=model._requests._preprocess([picture]),
        ).logits[0, -1]
        probabilities = logits.softmax(-1)
        yes, no = (sum(probabilities[vocabulary[word]] for word in words) for words in (("yes", "Yes"), ("no", "No")))
        assert answer.yes == pytest.approx(float(yes / (yes + no)), abs=1e-5)
        first = model.tokenizer.decode([int(logits.argmax())], skip_special_tokens=True)
        assert answer.text.startswith(first)
    assert len({round(answer.yes, 4) for answer in answers}) == 3


def test_an_answer_says_whether_its_limit_cut_it_off(model: JanusModel, monkeypatch: pytest.MonkeyPatch) -> None:
    black = Image.new("RGB", (8, 8))
    (whole,) = model.answer([black], ["is it red ?"], max_new_tokens=3)
    (longer,) = model.answer([black], ["is it red ?"], max_new_tokens=4)
    assert not whole.complete and longer.text.startswith(whole.text)
    third = model._engine.generate(model._text_head, list(model._requests.answers(
        [black], ["is it red ?"], max_new_tokens=3, num_latents=0)))[0].token_ids[-1]  # fmt: skip
    monkeypatch.setattr(model, "ids", replace(model.ids, end=third))
    assert model.answer([black], ["is it red ?"], max_new_tokens=3)[0].complete


def test_the_answer_depends_on_the_picture(model: JanusModel) -> None:
    black, white = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white")
    one, other = model.answer([black, white], ["is it red ?"] * 2)
    assert abs(one.yes - other.yes) > 1e-4
    assert model.answer([], []) == []


def test_a_comparison_made_aloud_is_a_yes_where_every_part_of_it_is(model: JanusModel, folder: Path) -> None:
    thinking = JanusModel.load(folder, device="cpu", templates=replace(NANO, answer_tokens=30), name="tiny")
    yes, no = thinking.prompts.ids_of_word("yes"), thinking.prompts.ids_of_word("no")
    latents = torch.randn(5, 1, thinking.network.config.text_config.hidden_size)
    with torch.no_grad():
        spoken = thinking.network.lm_head(latents[:, 0]).softmax(-1)
    likely = spoken[:, yes].sum(-1) / spoken[:, yes + no].sum(-1)
    end = thinking.ids.end
    other = next(token for token in range(60) if token not in (*yes, *no, end))
    for ids, places in (((other, no[0], other, yes[0], end), [1, 3]), ((yes[0], no[0], yes[0], no[0], end), range(4))):
        probability = thinking._probability_of_yes(DecodeResult(ids, latents, (), 5))
        assert probability == pytest.approx(float(likely[list(places)].prod()), abs=1e-6)
    for nothing in ((other, other, other, yes[0], end), (yes[0], other, yes[0], other, other)):
        assert thinking._probability_of_yes(DecodeResult(nothing, latents, (), 5)) is None


# What it refuses


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("  ", "empty"),
        ("a purple star of zorgs", "'purple', 'zorgs'"),
        ("a purple star", "deepseek-community/Janus-Pro-1B"),
        ("a <end_of_image> star", "control token <end_of_image>"),
        ("star " * 200, "at most"),
    ],
)
def test_prompts_that_cannot_be_read_are_refused(model: JanusModel, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        model.check(text)


def test_the_longest_prompt_leaves_room_for_everything(model: JanusModel) -> None:
    limit = model.prompts.max_prompt_tokens
    model.check("star " * limit)
    with pytest.raises(UsageError, match=str(limit)):
        model.check("star " * (limit + 1))
    content = "star " * limit + ". " + "star " * model.prompts.max_text_tokens
    drawing = len(model.prompts.encode(model.templates.draw(content))) + 1 + model.image_tokens
    assert drawing <= model.network.config.text_config.max_position_embeddings


def test_the_contract_is_kept(model: JanusModel) -> None:
    assert isinstance(model, UnifiedModel)
    assert (model.name, model.image_tokens, model.guidance_scale) == ("tiny", 16, 5.0)


# Loading


def test_identity_follows_the_weights_and_the_wording(model: JanusModel, folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    same = JanusModel.load(copied, device="cpu", templates=tiny_janus.TEMPLATES, name="tiny")
    assert dict(same.identity()) == dict(model.identity())
    other = tiny_janus.load(
        tmp_path / "other", seed=1, templates=tiny_janus.TEMPLATES, name="tiny", question="is it {prompt}"
    )
    assert other.identity()["weights"] != model.identity()["weights"]
    assert other.identity()["templates"] != model.identity()["templates"]
    assert model.identity()["dtype"] == "float32"


def test_large_files_are_known_by_size_time_and_header(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milr.models.checkpoint_files.SIZED_FROM", 10)
    assert Checkpoint.find(folder).digest.startswith("sized:")


def test_hub_blobs_are_known_by_their_name(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob, snapshot = tmp_path / "blobs" / ("0123456789abcdef" * 4), tmp_path / "snapshots" / "main"
    blob.parent.mkdir()
    snapshot.mkdir(parents=True)
    shutil.copy(folder / "model.safetensors", blob)
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr("milr.models.checkpoint_files.SIZED_FROM", 10)
    assert Checkpoint.find(snapshot).digest.startswith("sha256:")


def test_bfloat16_weights_keep_float32_latents(folder: Path) -> None:
    model = JanusModel.load(folder, dtype="bfloat16", device="cpu", templates=tiny_janus.TEMPLATES)
    trace = model.draw(draws(["a red star"], temperature=0.0, num_latents=None))[0]
    assert model.network.dtype == torch.bfloat16 and model.identity()["dtype"] == "bfloat16"
    assert trace.latents is not None and trace.latents.dtype == torch.float32
    assert model.image_logits(trace, trace.latents, 5.0).dtype == torch.float32
    assert model.render([trace.ids])[0].size == (8, 8)
    assert 0 <= model.answer(model.render([trace.ids]), ["is it red ?"])[0].yes <= 1


def truncate(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def garble(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights at all")


def edit_weights(folder: Path, **changes: Tensor | None) -> None:
    tensors = load_file(folder / "model.safetensors") | {name: t for name, t in changes.items() if t is not None}
    kept = {name: tensor for name, tensor in tensors.items() if not (name in changes and changes[name] is None)}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**told, "model_type": "llama"}))


def lose_special_token(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_text(path.read_text().replace(SPECIAL_TOKENS["begin_image"], "<something_else>"))


DAMAGE = {
    "truncated": (truncate, "cannot be read"),
    "garbled": (garble, "cannot be read"),
    "missing tensor": (lambda f: edit_weights(f, **{"lm_head.weight": None}), "1 missing tensors .lm_head"),
    "unexpected tensor": (lambda f: edit_weights(f, foreign=torch.zeros(2)), "1 unexpected tensors .foreign"),
    "wrong shape": (
        lambda f: edit_weights(f, **{"lm_head.weight": torch.zeros(3, 3)}),
        "do not fit its config.json: lm_head",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no safetensors weights"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "cannot be read"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer.json"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "cannot be read"),
    "another model": (edit_config, "llama checkpoint"),
    "no image tokens": (lose_special_token, "<begin_of_image>"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_checkpoints_are_one_sentence(
    folder: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, says = DAMAGE[kind]
    damaged = shutil.copytree(folder, tmp_path / "damaged")
    damage(damaged)
    with pytest.raises(MissingError, match=says) as caught:
        JanusModel.load(damaged, device="cpu")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(MissingError, match="there is no folder ./nowhere"):
        JanusModel.load("./nowhere")


def test_a_hub_name_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingError, match="not.* available from the hub|nor available from the hub"):
        JanusModel.load("deepseek-community/Janus-Pro-1B")


@pytest.mark.parametrize("wrong", [{"dtype": "int8"}, {"device": "tpu"}, {"role_tags": "angle"}])
def test_wrong_settings_are_refused(folder: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        JanusModel.load(folder, **{"device": "cpu", **wrong})  # type: ignore[arg-type]


def test_nano_loads_its_own_folder_with_its_own_words(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "folder", lambda: folder)
    loaded = nano.load_nano()
    assert loaded.name == "nano" and loaded.templates == NANO
    assert (loaded.identity()["device"], loaded.identity()["dtype"]) == ("cpu", "float32")
    monkeypatch.setattr(nano, "folder", lambda: folder / "absent")
    with pytest.raises(MissingError, match="nano's weights"):
        nano.load_nano()
