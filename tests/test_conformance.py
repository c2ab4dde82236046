"""Every part of the catalogue against its contract: one table over models, rewards and methods."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import official_files
from chat_server import on_loopback, says, serving
from milr import catalog
from milr.base import Benchmark, Method, Reward, UnifiedModel
from milr.catalog import identity
from milr.engine.search import Budget, search
from milr.engine.studio import Studio
from milr.models.janus import JanusModel
from milr.options import Options
from milr.presets import resolve
from milr.runs.layouts import LAYOUTS
from milr.shapes.grammar import to_prompt
from milr.types import (
    DrawRequest,
    ImageTrace,
    Key,
    MissingError,
    Outcome,
    Prompt,
    ReasonRequest,
    Score,
    TextTrace,
    UsageError,
)

MODELS = ["tiny", "nano"]
KEY = Key(11, "a red star")
TEXTS = ["a red star", "two green star"]


@pytest.fixture(scope="session")
def models(tiny: JanusModel) -> Callable[[str], UnifiedModel]:
    """A model by name, loaded once."""
    loaded: dict[str, UnifiedModel] = {"tiny": tiny}

    def get(name: str) -> UnifiedModel:
        if name not in loaded:
            loaded[name] = catalog.make_model(name, device="cpu")
        return loaded[name]

    return get


Models = Callable[[str], UnifiedModel]


def parameters(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def assert_satisfies(part: Any, protocol: type) -> None:
    """All of the protocol's attributes, and its methods with its parameter names."""
    assert isinstance(part, protocol)
    for name, declared in vars(protocol).items():
        if inspect.isfunction(declared) and not name.startswith("_"):
            assert parameters(getattr(part, name)) == parameters(declared), name


# Models


@pytest.mark.parametrize("name", MODELS)
def test_a_model_satisfies_its_contract(models: Models, name: str) -> None:
    model = models(name)
    assert_satisfies(model, UnifiedModel)
    assert model.image_tokens > 0 and model.guidance_scale > 0 and isinstance(model.end_of_text, int)
    json.dumps(dict(model.identity()))
    assert set(model.identity()) >= {"name", "weights", "dtype", "device"}
    assert "a red star" in model.question("a red star")
    assert model.decode_text(model.encode_text("a red star")) == "a red star"


def traces(model: UnifiedModel) -> tuple[list[TextTrace], list[ImageTrace]]:
    texts = model.reason(
        [ReasonRequest(text, KEY, max_new_tokens=6, num_latents=None, temperature=1.0) for text in TEXTS]
    )
    draws = [DrawRequest(text, KEY, model.guidance_scale, num_latents=2) for text in TEXTS]
    return texts, model.draw(draws)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_gives_the_same_for_the_same_keys(models: Models, name: str) -> None:
    model = models(name)
    (texts, images), (texts_again, images_again) = traces(model), traces(model)
    assert [text.ids for text in texts] == [text.ids for text in texts_again]
    assert [image.ids for image in images] == [image.ids for image in images_again]
    pictures = model.render([image.ids for image in images])
    assert [one.tobytes() for one in pictures] == [one.tobytes() for one in model.render([i.ids for i in images])]
    questions = [model.question(text) for text in TEXTS]
    answers = model.answer(pictures, questions)
    assert [(one.text, one.yes) for one in answers] == [
        (one.text, one.yes) for one in model.answer(pictures, questions)
    ]
    assert all(0 <= answer.yes <= 1 for answer in answers)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_keeps_what_was_asked_and_leaves_its_input_alone(models: Models, name: str) -> None:
    model = models(name)
    weights = weights_of(model)
    texts, images = traces(model)
    pictures = model.render([image.ids for image in images])
    before = [picture.tobytes() for picture in pictures]
    model.answer(pictures, [model.question(text) for text in TEXTS])
    assert [picture.tobytes() for picture in pictures] == before
    for text, image in zip(texts, images, strict=True):
        assert text.latents is not None and image.latents is not None
        assert text.latents.shape[0] == len(text.ids) and text.latents.dtype == torch.float32
        assert image.latents.shape[:2] == (2, 2) and len(image.ids) == model.image_tokens
    assert weights_of(model) == weights


def weights_of(model: Any) -> float:
    return float(sum(parameter.double().abs().sum() for parameter in model.network.parameters()))


@pytest.mark.parametrize("name", MODELS)
def test_a_models_logits_are_those_it_chose_by_and_have_a_gradient(models: Models, name: str) -> None:
    model = models(name)
    (text,) = model.reason([ReasonRequest(TEXTS[0], KEY, max_new_tokens=6, num_latents=None)])
    (image,) = model.draw(
        [DrawRequest(TEXTS[0], KEY, model.guidance_scale, num_latents=4, max_new_tokens=4, temperature=0.0)]
    )
    assert text.latents is not None and image.latents is not None
    kept = text.latents.clone(), image.latents.clone()
    z, pair = text.latents.requires_grad_(), image.latents.requires_grad_()
    text_logits, image_logits = model.text_logits(text, z), model.image_logits(image, pair, model.guidance_scale)
    assert tuple(text_logits.argmax(-1).tolist()) == text.ids
    assert tuple(image_logits.argmax(-1).tolist()) == image.ids
    assert text_logits.dtype == image_logits.dtype == torch.float32
    gradients = torch.autograd.grad(text_logits.logsumexp(-1).sum() + image_logits.logsumexp(-1).sum(), (z, pair))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert torch.equal(z, kept[0]) and torch.equal(pair, kept[1])


# Rewards


STAR = to_prompt("a photo of a red star")
BUS = Prompt("a photo of a red bus", "geneval-00000", "colors",
             {"tag": "colors", "include": [{"class": "bus", "count": 1, "color": "red"}]})  # fmt: skip
CUP = Prompt("a red cup and a small dog", "color-000", "color")
CUPS = Prompt("two cups", "numeracy-000", "numeracy")
SQUARE = Prompt("a square", "1", "dense", {"questions": [
    {"number": 1, "parents": [0], "category": "entity - whole", "text": "Is there a square?"}]})  # fmt: skip
POINTS = Prompt("a red square", "1", "en", {"testpoints": ["Style", "Style"], "descriptions": ["red", "square"]})
STARS2 = Prompt("two stars", "geneval2-000", "3 atoms", official_files.GENEVAL2[0])
SALT = Prompt("what makes the sea taste", "17", "culture", {"explanation": "salt crystals"})
SIGN = Prompt('a sign that says "OPEN"')
KINDS_OF_NEEDS = {"shapes", "metadata", "judge"}
JUDGED = {
    "detector": STAR, "held-out": STAR, "noisy:0.1,0.2": STAR, "self": SALT, "self:json": SALT, "judge": SALT,
    "seen": STAR, "likelihood": STAR, "likelihood:contrast": STAR, "own": STAR,
    "unified": SALT, "mixed": BUS, "geneval": BUS, "t2i-compbench": CUP, "wise": SALT, "clip": SALT, "pickscore": SALT,
    "wise-verified": SALT, "geneval2": STARS2, "dpg-bench": SQUARE,
    "unigenbench": POINTS, "vqa": SALT, "ocr": SIGN, "t2i-compbench-plus": CUPS,
    "weighted:self=1,detector=1": STAR, "weighted:noisy:0.1,0.2=2,clip=0.5": STAR, "weighted:geneval=1,judge=3": BUS,
    "checklist": STAR, "checklist:judge": SALT, "rank:own,self": STAR, "rank:noisy:0.1,0.2,clip": STAR,
}  # every reward with a prompt that it can judge  # fmt: skip
ENDPOINT = " at an endpoint"
REWARDS = [*JUDGED, f"unified{ENDPOINT}", f"mixed{ENDPOINT}"]
# of all judges
ANSWER = "No.\n-1\nScore: 1\nConsistency: 2\nRealism: 1\nAesthetic Quality: 0\nIs there salt?\nFinal Score: 4.6"
ANSWER += '\n<analysis>["a", "b"]</analysis><score>[1, 0]</score>'
CANNOT_WRITE = {"self:json": "cut off at its limit", "checklist": "wrote no yes or no questions"}  # a random model


@pytest.fixture
def options(hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Options]]:
    """What a reward is made with: a judge on loopback where it is asked over HTTP; all small weights are there."""
    on_loopback(monkeypatch, tmp_path)
    monkeypatch.setenv("MILR_CACHE", str(tmp_path))
    with serving(says(ANSWER)) as server:
        over_http = Options(judge_url=server.url, judge_model="some-judge")

        def of(name: str) -> Options:
            here = name.startswith(("unified", "mixed", "geneval2", "vqa")) and not name.endswith(ENDPOINT)
            return Options() if here else over_http

        yield of


MadeWith = Callable[[str], Options]


def made(models: Models, options: MadeWith, name: str) -> Reward:
    return catalog.make_reward(name.removesuffix(ENDPOINT), models("tiny"), options(name))


def test_the_table_has_every_reward() -> None:
    assert {name.partition(":")[0] for name in JUDGED} == set(catalog.REWARDS)


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_satisfies_its_contract(models: Models, options: MadeWith, name: str) -> None:
    reward, part = made(models, options, name), catalog.REWARDS[name.removesuffix(ENDPOINT).partition(":")[0]]
    assert_satisfies(reward, Reward)
    assert reward.name == name.removesuffix(ENDPOINT) and reward.range == (0.0, 1.0)
    assert isinstance(reward.needs, tuple) and set(reward.needs) <= KINDS_OF_NEEDS
    if not name.startswith(("weighted", "rank")):  # whose parts say what it has
        assert (reward.threshold, reward.licence) == (part.threshold, part.licence)
    assert 0 <= reward.threshold <= 1 and reward.licence
    own = getattr(reward, "identity", dict)()
    assert json.loads(json.dumps(own)) == own


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_repeats_itself_and_leaves_the_picture_alone(models: Models, options: MadeWith, name: str) -> None:
    prompt = JUDGED[name.removesuffix(ENDPOINT)]
    assert prompt is not None
    picture = Image.new("RGB", (64, 64), (120, 130, 140))
    picture.paste((200, 0, 0), (20, 20, 40, 40))
    before, said = picture.tobytes(), json.dumps(prompt.metadata, default=str)
    first, again = judged(models("tiny"), made(models, options, name), picture, prompt)
    assert (first.value, first.parts, first.reason) == (again.value, again.parts, again.reason)
    assert first.value is not None or CANNOT_WRITE[name] in first.reason
    assert first.value is None or 0 <= first.value <= 1
    assert all(0 <= part <= 1 for part in first.parts.values()) and first.calls >= 1 and first.seconds > 0
    assert picture.tobytes() == before and json.dumps(prompt.metadata, default=str) == said


READS_TOKENS = ("likelihood", "own", "rank:own")  # which judge what the studio drew


def judged(model: UnifiedModel, reward: Reward, picture: Image.Image, prompt: Prompt) -> tuple[Score, Score]:
    async def go() -> tuple[Score, Score]:
        studio = Studio(model, reward)
        try:
            judged = picture
            if reward.name.startswith(READS_TOKENS):
                judged = await studio.render(await studio.draw(DrawRequest(prompt.text, KEY, model.guidance_scale)))
            return await studio.score(judged, prompt), await studio.score(judged, prompt)
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 30))


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_lies_in_the_file_that_has_its_name(models: Models, options: MadeWith, name: str) -> None:
    reward = made(models, options, name)
    file = "self_json" if name == "self:json" else name.removesuffix(ENDPOINT).partition(":")[0].replace("-", "_")
    assert type(reward).__module__ == f"milr.rewards.{file}" and type(reward).__doc__


def test_no_two_rewards_are_taken_for_each_other(models: Models, options: MadeWith) -> None:
    rewards = {name: made(models, options, name) for name in REWARDS}
    told = {name: json.dumps(catalog.reward_identity(reward.name, reward)) for name, reward in rewards.items()}
    assert all(len(one) > len('{"sources": ""}') for one in told.values())
    assert len(set(told.values())) == len(told), told
    strict = catalog.make_reward("t2i-compbench", None, Options(strict_unidet_nouns=True))
    assert json.dumps(catalog.reward_identity("t2i-compbench", strict)) not in told.values()


JUDGED_ELSEWHERE = ("detector", "held-out", "weighted")  # by the shapes world, and by the judges that it is made of


@pytest.mark.parametrize("name", [name for name in REWARDS if not name.startswith(JUDGED_ELSEWHERE)])
def test_the_code_that_judges_is_part_of_a_rewards_identity(models: Models, options: MadeWith, name: str) -> None:
    reward = made(models, options, name)
    kinds = {*type(reward).__mro__, *type(getattr(reward, "client", reward)).__mro__}
    modules = {kind.__module__ for kind in kinds if kind.__module__.startswith("milr.")}
    known = identity.SOURCES.get(reward.name) or identity.SOURCES[reward.name.partition(":")[0]]
    assert {module.removeprefix("milr.").replace(".", "/") + ".py" for module in modules} <= set(known)


# Methods


def outcome(model: UnifiedModel, name: str, **overrides: Any) -> Outcome:
    settings = resolve("default", model.image_tokens, {"steps": 1, "text_ratio": 0.2, **overrides})
    method = catalog.make_method(name, settings)

    async def go() -> Outcome:
        studio = Studio(model, catalog.make_reward("self", model, Options()))
        try:
            return await search(studio, Prompt(KEY.prompt), KEY, method, threshold=None, budget=Budget(pictures=2))
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 60))


REFUSED = (("revise", "nano"), ("revise_blind", "nano"))  # nano takes no instructions: test_revise.py
methods = pytest.mark.parametrize(
    ("name", "model"),
    [pytest.param(method, *(model.values if hasattr(model, "values") else [model]), marks=getattr(model, "marks", ()))
     for method, model in itertools.product(catalog.METHODS, MODELS)
     if (method, model) not in REFUSED],
)  # fmt: skip


@pytest.mark.parametrize("name", catalog.METHODS)
def test_a_method_has_the_parameters_of_its_contract(name: str) -> None:
    method = catalog.make_method(name, resolve("default", 64, {}))
    assert parameters(method) == parameters(Method.__call__) == ["studio", "prompt", "key"]


@methods
def test_a_method_repeats_itself_and_counts_its_steps(models: Models, name: str, model: str) -> None:
    weights = weights_of(models(model))
    first, again = outcome(models(model), name), outcome(models(model), name)
    assert [step.index for step in first.steps] == [0, 1]
    assert tokens(first) == tokens(again)
    assert [step.score.value for step in first.steps] == [step.score.value for step in again.steps]
    assert first.steps[0].moved == () and not first.steps[0].text_changed
    assert all(step.cost.pictures == 1 and step.cost.token_steps > 0 for step in first.steps)
    assert all(len(step.rollout.image.ids) == models(model).image_tokens for step in first.steps)
    assert weights_of(models(model)) == weights  # no weight of any model is ever changed


@methods
def test_what_is_frozen_keeps_its_tokens_and_pictures_differ(models: Models, name: str, model: str) -> None:
    found = outcome(models(model), name, learning_rate=0.0, guidance_scale=1.0, temperature=3.0)
    new_texts = name in ("auto", "redraw_sampled") or name.startswith(("repair", "revise", "parm"))
    if not name.startswith("reject_early"):  # whose two best may come of one visualisation, or not
        assert len({text for text, _ in tokens(found)}) == (2 if new_texts else 1)
    assert len({image for _, image in tokens(found)}) == 2
    for step in found.steps:  # at learning rate 0, random steps are as short
        assert all(info.update_norm == info.distance == 0.0 for info in step.info.values())


def test_all_methods_with_a_text_share_their_first_picture(models: Models) -> None:
    firsts = {name: tokens(outcome(models("tiny"), name))[0] for name in catalog.METHODS}
    assert firsts["latent_reasoning"] == firsts["text_enhanced"]
    assert firsts["plain"][0] is None


def tokens(found: Outcome) -> list[tuple[tuple[int, ...] | None, tuple[int, ...]]]:
    texts = [step.rollout.visualisation for step in found.steps]
    return [(text.ids if text else None, step.rollout.image.ids) for text, step in zip(texts, found.steps, strict=True)]


# Benchmarks


@pytest.fixture(scope="session")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Benchmark]:
    """A benchmark by name; the official ones have small files of ours for prompts."""
    files = official_files.write_all(tmp_path_factory.mktemp("official"))

    def make(name: str) -> Benchmark:
        return catalog.make_benchmark(name, **({"prompts": files[name]} if name in files else {}))

    return make


Benchmarks = Callable[[str], Benchmark]
benchmark_names = pytest.mark.parametrize("name", catalog.BENCHMARKS)


@benchmark_names
def test_a_benchmark_satisfies_its_contract(benchmarks: Benchmarks, name: str) -> None:
    benchmark = benchmarks(name)
    assert_satisfies(benchmark, Benchmark)
    assert benchmark.name == name and benchmark.metric in catalog.REWARDS
    assert not benchmark.layout or benchmark.layout in LAYOUTS
    with pytest.raises(UsageError, match=f"{name} takes no --colour"):
        catalog.make_benchmark(name, colour="red")


@benchmark_names
def test_a_benchmarks_prompts_repeat_themselves_and_can_be_told_apart(benchmarks: Benchmarks, name: str) -> None:
    prompts = benchmarks(name).prompts()
    assert prompts == benchmarks(name).prompts()
    assert all(prompt.text and prompt.id and prompt.category for prompt in prompts)
    assert len({prompt.id for prompt in prompts}) == len({prompt.text for prompt in prompts}) == len(prompts)
    assert list(dict.fromkeys(prompt.category for prompt in prompts)) == [
        category for category, _ in itertools.groupby(prompt.category for prompt in prompts)
    ]


@benchmark_names
def test_a_benchmarks_metric_can_judge_all_its_prompts(
    models: Models, benchmarks: Benchmarks, options: MadeWith, name: str
) -> None:
    benchmark = benchmarks(name)
    metric = made(models, options, benchmark.metric)
    for prompt in benchmark.prompts():
        assert prompt.metadata is not None or not {"shapes", "metadata"} & set(metric.needs)
        getattr(metric, "check", lambda prompt: None)(prompt)
        assert 0 < getattr(metric, "threshold_of", lambda category: metric.threshold)(prompt.category) <= 1


# The menu


@pytest.mark.parametrize("kind", catalog.KINDS)
def test_every_line_of_the_menu_says_what_it_is(kind: str) -> None:
    parts: Mapping[str, catalog.Part] = catalog.menu(kind)
    assert parts and all(part.summary and callable(part.make) for part in parts.values())
    if kind != "methods":
        assert all(part.licence for part in parts.values())


def test_every_benchmark_says_what_a_run_costs() -> None:
    for name, part in catalog.BENCHMARKS.items():
        assert part.prompts and part.judge and part.judge_calls and part.licence, name
    assert catalog.BENCHMARKS["geneval"].prompts == 553 and "6,812" in catalog.BENCHMARKS["geneval2"].judge_calls


def test_a_part_that_a_package_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = EntryPoint("offered", "builtins:slice", "milr.methods")
    broken = EntryPoint("broken", "milr.nowhere:thing", "milr.methods")
    monkeypatch.setattr(catalog, "entry_points", lambda group: [offered, broken] if group == "milr.methods" else [])
    assert catalog.make_method("offered", {}, "a text") == slice({}, "a text")
    with pytest.raises(MissingError, match="broken"):
        catalog.make_method("broken", {})
