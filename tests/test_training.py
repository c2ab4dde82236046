"""Training nano's parts, a few steps each: seeded, resumable from a round, and each part moves its own weights only."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file

from milr.models.nano import load_nano
from milr.shapes.detector import detect
from milr.shapes.grammar import parse
from milr.shapes.planning import sample_scene
from milr.shapes.sampling import training_prompt
from milr.shapes.scenes import Appearance
from milr.shapes.splits import is_held_out
from milr.shapes.training import language_model, train
from milr.shapes.training.examples import Examples, corrupted_tokens
from milr.shapes.training.language_model import (
    Batch,
    Schedule,
    make_optimisers,
    rate_at,
    text_loss,
    train_round,
    verdict_weights,
)
from milr.shapes.training.loop import to_pixels
from milr.shapes.training.network import attribute_rows, make_network, make_tokenizer
from milr.shapes.training.own_drawings import own_drawings
from milr.shapes.training.patches import codebook, mosaic, scene_tokens
from milr.shapes.training.vision_tower import CLASSES, code_labels, make_head, vision_loss
from milr.shapes.training.vq import token_batch

SMALL = Batch(reason=1, planned=1, bare=1, answer=1)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Rounds of two steps with one example of each task; a folder with an untrained vision tower."""
    monkeypatch.setattr(train, "ROUND", 2)
    monkeypatch.setattr(language_model, "ROUND", 2)
    monkeypatch.setattr(train, "Batch", lambda: SMALL)
    tower = make_network(make_tokenizer(), 0).model.vision_model
    train._save(tower.state_dict(), tmp_path / train.EYES)
    return tmp_path


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(short: Path) -> None:
    train.language(short, steps=4)
    whole = load_file(short / train.LANGUAGE)
    (short / train.LANGUAGE).unlink()
    stopped = language_model.train_round

    def killed(*arguments: object, first: int, **settings: object) -> None:
        if first:
            raise KeyboardInterrupt
        stopped(*arguments, first=first, **settings)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "train_round", killed)
        train.language(short, steps=4)
    half = load_file(short / train.LANGUAGE)
    assert any(not torch.equal(half[name], whole[name]) for name in whole)
    train.language(short, steps=4)
    again = load_file(short / train.LANGUAGE)
    assert all(torch.equal(again[name], whole[name]) for name in whole)


def test_language_leaves_eyes_and_tokenizer_alone() -> None:
    tokenizer = make_tokenizer()
    network = make_network(tokenizer, 0)
    moved = {id(tensor) for optimiser in make_optimisers(network, 1e-3) for group in optimiser.param_groups
             for tensor in group["params"]}  # fmt: skip
    for name, tensor in network.named_parameters():
        assert (id(tensor) in moved) != name.startswith(("model.vqmodel", "model.vision_model")), name
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    train_round(network, Examples(tokenizer, 0), Schedule(1, 1e-2, SMALL), first=0, report=lambda line: None)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and name.startswith(("model.vqmodel", "model.vision_model")):
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(network.lm_head.weight, before["lm_head.weight"])


def test_every_answer_about_a_picture_is_learned_and_no_question() -> None:
    tokenizer = make_tokenizer()
    network = make_network(tokenizer, 0)
    source = Examples(tokenizer, 4)
    example = next(example for example in (source.answer() for _ in range(50)) if example.turns)
    features = torch.zeros(1, 64, network.config.text_config.hidden_size)
    with torch.no_grad():  # a head that says one thing everywhere: the loss tells which targets were counted
        network.lm_head.weight.zero_()
        network.lm_head.bias = torch.nn.Parameter(torch.arange(len(tokenizer)).float() / 50)
        found = text_loss(network, [example], features)
        nll = -torch.log_softmax(network.lm_head.bias, -1)
    answers = [token for target in (example.target, *(answer for _, answer in example.turns)) for token in target]
    assert len(example.turns) == 3  # four questions about one picture
    assert found.item() == pytest.approx(nll[answers].mean().item(), abs=1e-5)


def test_a_folder_of_another_recipe_is_refused(short: Path) -> None:
    train.language(short, steps=2)
    for changed in ({"seed": 1}, {"rate": 1e-3}, {"steps": 4}):
        with pytest.raises(typer.BadParameter, match=next(iter(changed))):
            train.language(short, **({"steps": 2} | changed))


def test_the_rate_warms_up_each_round_and_falls_at_the_end() -> None:
    rates = [rate_at(step, Schedule(3000, 1.0)) for step in range(3000)]
    assert rates[0] < 0.05 and rates[100] == 1.0 and rates[500] < 0.05 and rates[2000 + 100] == 1.0
    assert rates[2250 + 375] == pytest.approx(0.5, abs=0.01) and rates[-1] <= 0.01


def test_labels_of_codes_are_those_of_the_appearances() -> None:
    labels = code_labels()
    shared = 0
    for appearance, ids in codebook()[1].items():
        words = (appearance.shape, appearance.colour, appearance.size, appearance.fill)
        for code in ids[ids > 0]:
            named = tuple(names[index] for names, index in zip(CLASSES, labels[code].tolist(), strict=True))
            shared += named != words
            assert named[1] == appearance.colour
    assert shared < 0.1 * 4 * len(codebook()[1])
    assert labels[0].tolist() == [0, -100, -100, -100]


def test_codes_of_similar_appearances_start_alike() -> None:
    torch.manual_seed(0)
    rows, initialised = attribute_rows(64)
    codes = codebook()[1]
    red, blue, other = (codes[appearance][0] for appearance in (
        Appearance("star", "red"), Appearance("star", "blue"), Appearance("moon", "blue", "small", "striped")
    ))  # fmt: skip
    near = torch.nn.functional.cosine_similarity(rows[red], rows[blue], dim=0)
    far = torch.nn.functional.cosine_similarity(rows[red], rows[other], dim=0)
    assert near > far and initialised.sum() == len(codebook()[0]) - 64


def test_the_vision_tower_learns() -> None:
    torch.manual_seed(0)
    tower = make_network(make_tokenizer(), 0).model.vision_model
    head = make_head(tower)
    optimiser = torch.optim.AdamW([*tower.parameters(), *head.parameters()], lr=2e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(25):
        tokens = token_batch(rng, 4)
        loss, _ = vision_loss(tower, head, torch.from_numpy(tokens), to_pixels(mosaic(codebook()[0][tokens])))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])


def test_a_corrupted_picture_differs_in_one_cell_at_most() -> None:
    rng = np.random.default_rng(0)
    changed = 0
    for _ in range(50):
        request, _ = training_prompt(rng, lambda request: False)
        scene = sample_scene(request, rng)
        clean, picture = (mosaic(codebook()[0][ids]) for ids in (scene_tokens(scene), corrupted_tokens(scene, rng)))
        cells = (clean != picture).reshape(4, 16, 4, 16, 3).any((1, 3, 4))
        assert cells.sum() <= 1
        changed += int(cells.sum())
    assert changed > 20


def test_every_picture_asked_about_is_rendered() -> None:
    rendered: list[np.ndarray] = []

    def render(ids: np.ndarray) -> np.ndarray:
        rendered.append(ids)
        return mosaic(codebook()[0][ids])

    source = Examples(make_tokenizer(), 3, render=render)
    examples = [source.answer() for _ in range(20)]
    assert len(rendered) == 20
    for ids, example in zip(rendered, examples, strict=True):
        assert example.picture is not None and np.array_equal(example.picture, mosaic(codebook()[0][ids]))


def test_own_drawings_are_the_models_own_and_never_of_what_is_held_out() -> None:
    model = load_nano()
    drawings = own_drawings(model, 34, 5)
    assert len(drawings) == 34 and not any(is_held_out(drawing.request) for drawing in drawings)
    again = own_drawings(model, 34, 5)
    assert all(np.array_equal(one.picture, other.picture) for one, other in zip(drawings, again, strict=True))
    for drawing in drawings[:3] + drawings[-2:]:
        assert parse(drawing.text) == drawing.request or drawing.request.riddle
        assert detect(drawing.picture) == drawing.detections
    source = Examples(make_tokenizer(), 3, own_drawings=drawings[:1])
    pictures = [source.answer().picture for _ in range(20)]
    assert sum(np.array_equal(picture, drawings[0].picture) for picture in pictures if picture is not None) > 8


def test_yes_and_no_have_the_verdict_weight() -> None:
    source = Examples(make_tokenizer(), 0)
    weights = verdict_weights(source, 10.0)
    heavy = {source.tokenizer.convert_ids_to_tokens(int(place)) for place in (weights == 10).nonzero()}
    assert heavy == {"yes", "no"} and weights.sum() == len(weights) + 18


def test_verdicts_go_on_from_the_language_in_three_rounds(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "VERDICTS", SMALL)
    train.language(short, steps=2)
    train._save(make_network(make_tokenizer(), 0).model.vqmodel.state_dict(), short / train.VQ)
    train.verdicts(short, steps=(1, 1, 1), drawings=4)
    parts = [load_file(short / name) for name in (train.LANGUAGE, *train.VERDICT_ROUNDS)]
    assert all(any(not torch.equal(one[name], other[name]) for name in one) for one, other in pairwise(parts))
    (short / train.FINAL).unlink()
    train.verdicts(short, steps=(1, 1, 1), drawings=4)  # goes on from its second round
    again = load_file(short / train.FINAL)
    assert all(torch.equal(again[name], parts[-1][name]) for name in again)
    joined = train.joined(short).state_dict()
    assert all(torch.equal(joined[name], tensor) for name, tensor in parts[-1].items())
