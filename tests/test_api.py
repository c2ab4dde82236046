"""milr.generate on a small random Janus in a folder: outcomes, lists, loops, seeds, run folders, rewards from files."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

import milr
from milr.options import Options
from milr.runs.events import Event, StepFinished
from milr.types import ImageTrace, Key, MilrWarning, Outcome, Prompt, Rollout, Score, Step, TextTrace, UsageError
from milr.workflows.prepare import prepare
from milr.workflows.prompts import read_prompts
from same_tokens import assert_same, first_difference
from scripted import brightness

REWARDS = Path(__file__).with_name("scripted.py")
PROMPTS = ["a red star", "two green star", "a star", "one red square", "a big blue square under a small green circle"]


@pytest.fixture
def settings(tiny_folder: Path) -> dict[str, Any]:
    """Few steps, large updates, and a score that depends on the picture."""
    return {
        "model": str(tiny_folder), "reward": f"{REWARDS}:Brightness", "steps": 3, "image_ratio": 0.2,
        "learning_rate": 0.3, "guidance_scale": 2.0, "threshold": 1.0, "device": "cpu",
        "reasoning_prompt": "plan the picture : {prompt}",
    }  # fmt: skip


def one(prompt: str, **settings: Any) -> Outcome:
    found = milr.generate(prompt, **settings)
    assert isinstance(found, Outcome)
    return found


def many(prompts: Sequence[str], **settings: Any) -> list[Outcome]:
    found = milr.generate(prompts, **settings)
    assert isinstance(found, list)
    return found


def tokens(outcome: Outcome) -> list[Any]:
    return [(step.rollout.visualisation and step.rollout.visualisation.ids, step.rollout.image.ids)
            for step in outcome.steps]  # fmt: skip


# One prompt, many prompts


def test_one_prompt_is_one_outcome(settings: dict[str, Any]) -> None:
    found = one("a red star", **settings)
    assert [step.index for step in found.steps] == [0, 1, 2, 3] and found.stop == "budget"
    assert found.prompt == Prompt("a red star") and found.key == Key(0, "a red star")
    assert found.score.value == max(step.score.value or 0 for step in found.steps)
    assert found.score.value == pytest.approx(brightness(found.picture))
    assert found.steps[1].info["image"].free_tokens == 3
    assert found.cost.pictures == 4


def test_a_list_gives_each_prompt_what_it_gets_alone(settings: dict[str, Any]) -> None:
    together = many(PROMPTS, **(settings | {"steps": 2}))
    assert [outcome.prompt.text for outcome in together] == PROMPTS
    for outcome in together:
        alone = one(outcome.prompt.text, **(settings | {"steps": 2}))
        assert_same(outcome, alone)


def test_how_many_are_in_flight_changes_nothing_but_speed(settings: dict[str, Any]) -> None:
    quick = settings | {"steps": 2}
    for few, all_at_once in zip(many(PROMPTS, in_flight=2, **quick), many(PROMPTS, **quick), strict=True):
        assert_same(few, all_at_once)


def test_how_many_batches_are_decoded_at_once_changes_nothing_but_speed(settings: dict[str, Any]) -> None:
    quick, rows = settings | {"steps": 2}, list[int]()
    alone = many(PROMPTS, threads=1, in_flight=1, **quick)
    at_once = many(PROMPTS, threads=2, on_batch=lambda kind, count, seconds: rows.append(count), **quick)
    assert 1 < max(rows) <= 3, "two workers share the five searches"
    for one_by_one, together in zip(alone, at_once, strict=True):
        assert_same(one_by_one, together)


def test_in_flight_limits_how_many_searches_run(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milr.models.janus.MAX_WORKERS", 1)
    rows: list[int] = []
    quick = settings | {"steps": 0}
    many(PROMPTS, in_flight=2, on_batch=lambda kind, count, seconds: rows.append(count), **quick)
    assert max(rows) == 2


def test_a_list_of_one_is_a_list_and_doubles_are_asked_once(settings: dict[str, Any]) -> None:
    quick = settings | {"steps": 0}
    assert len(many(["a star"], **quick)) == 1
    assert [outcome.prompt.text for outcome in many(["a star", "a red star", " a star "], **quick)] == PROMPTS[2::-2]


def test_samples_are_independent_and_come_prompt_by_prompt(settings: dict[str, Any]) -> None:
    quick = settings | {"steps": 0, "guidance_scale": 1.0}
    found = many(["a star", "a red star"], samples=2, **quick)
    assert [(outcome.prompt.text, outcome.key.sample) for outcome in found] == [
        ("a star", 0), ("a red star", 0), ("a star", 1), ("a red star", 1)]  # fmt: skip
    assert tokens(found[0]) != tokens(found[2])
    both = milr.generate("a star", samples=2, **quick)
    assert isinstance(both, list) and [tokens(outcome) for outcome in both] == [tokens(found[0]), tokens(found[2])]


def test_the_same_seed_gives_the_same_and_another_one_something_else(settings: dict[str, Any]) -> None:
    first, again = (one("a red star", seed=7, **settings) for _ in range(2))
    other = one("a red star", seed=8, **settings)
    assert tokens(first) == tokens(again)
    assert [step.score.value for step in first.steps] == [step.score.value for step in again.steps]
    assert first.picture.tobytes() == again.picture.tobytes()
    assert tokens(first)[0][1] != tokens(other)[0][1]  # another picture
    assert tokens(first)[0][0] == tokens(other)[0][0]  # of the same greedy text


def test_the_plain_methods_make_one_picture_and_share_the_first(settings: dict[str, Any]) -> None:
    enhanced = one("a red star", method="text_enhanced", **settings)
    plain = one("a red star", method="plain", **settings)
    assert (len(enhanced.steps), len(plain.steps)) == (1, 1) and enhanced.stop == plain.stop == "budget"
    assert plain.steps[0].rollout.visualisation is None
    assert tokens(enhanced)[0] == tokens(one("a red star", **settings))[0]


def test_the_released_preset_returns_the_last_picture(settings: dict[str, Any]) -> None:
    found = one("a red star", preset="released", **settings)
    assert found.returned == 3


# Where it is called


def test_generate_works_inside_a_running_loop(settings: dict[str, Any]) -> None:
    quick = settings | {"steps": 1}

    async def notebook() -> Outcome:
        return one("a red star", **quick)

    assert tokens(asyncio.run(notebook())) == tokens(one("a red star", **quick))


def test_agenerate_leaves_the_loop_free(settings: dict[str, Any]) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def page() -> Any:
        ticking = asyncio.create_task(tick())
        found = await milr.agenerate("a red star", **settings)
        ticking.cancel()
        return found

    assert isinstance(asyncio.run(page()), Outcome)
    assert ticks > 5


def test_the_report_metric_sees_only_what_some_budget_would_have_returned(settings: dict[str, Any]) -> None:
    told = settings | {"metric": f"{REWARDS}:Half", "steps": 6, "threshold": None, "stop": False}
    found = one("a red star", **told)
    best, places = -1.0, []
    for place, step in enumerate(found.steps):
        if (value := step.score.value or 0.0) > best:
            best, places = value, [*places, place]
    assert list(found.judged) == places and places[-1] == found.returned and len(places) < len(found.steps) == 7
    assert all(score.value == 0.5 for score in found.judged.values())


def test_steps_and_batches_are_told(settings: dict[str, Any]) -> None:
    told: list[tuple[str, int]] = []
    kinds: set[str] = set()

    def listen(event: Event) -> None:
        if isinstance(event, StepFinished):
            told.append((event.prompt.text, event.step.index))

    many(PROMPTS[:2], listener=listen,
         on_batch=lambda kind, rows, seconds: kinds.add(kind), **settings)  # fmt: skip
    assert sorted(told) == sorted((prompt, index) for prompt in PROMPTS[:2] for index in range(4))
    assert {"reason", "draw", "render", "compute"} <= kinds


STRICT = """
from milr.types import Score, UsageError
class Strict:
    name, range, threshold, needs, licence = "strict", (0.0, 1.0), 0.9, (), ""
    async def score(self, pictures, prompts, services):
        if prompts[0].text == "a star":
            raise UsageError("this judge cannot read 'a star'.")
        return [Score(0.0) for _ in pictures]
"""


@pytest.mark.parametrize("stored", [False, True])
def test_an_error_of_one_search_ends_all_of_them(settings: dict[str, Any], tmp_path: Path, stored: bool) -> None:
    (tmp_path / "strict.py").write_text(STRICT)
    strict = settings | {"reward": f"{tmp_path}/strict.py:Strict", "out": tmp_path / "run" if stored else None}

    async def go() -> list[str]:
        before = asyncio.all_tasks()
        with pytest.raises(UsageError, match="cannot read"):
            await milr.agenerate(PROMPTS, **strict)
        return [task.get_coro().__qualname__ for task in asyncio.all_tasks() - before]  # type: ignore[union-attr]

    left = asyncio.run(asyncio.wait_for(go(), 30))
    assert set(left) <= {"Studio._run_batch"}  # a batch may end on its own, but no search goes on behind our back


# Run folders


def test_a_run_folder_resumes_and_gives_the_same(settings: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = many(PROMPTS[:3], out=out, **settings)
    assert (out / "report.html").is_file()
    gone = sorted((out / "records").glob("*.json"))[0]
    gone.unlink()
    told: list[str] = []
    again = many(PROMPTS[:3], out=out, listener=lambda event: told.append(type(event).__name__), **settings)
    found, steps = ["SearchFound"] * 2, ["StepFinished"] * len(first[0].steps)
    assert told == ["RunStarted", *found, "SearchStarted", *steps, "SearchFinished", "RunFinished"]
    for left, right in zip(first, again, strict=True):
        assert assert_same(left, right)
        assert left.cost.token_steps == right.cost.token_steps
        assert left.picture.tobytes() == right.picture.tobytes()
    direct = many(PROMPTS[:3], **settings)
    for left, right in zip(direct, again, strict=True):
        assert_same(left, right)
        assert [step.moved for step in left.steps] == [step.moved for step in right.steps]
        assert [dict(step.info) for step in left.steps][0] == dict(right.steps[0].info) == {}
        assert left.steps[1].info["text"].tokens_changed == right.steps[1].info["text"].tokens_changed


def test_another_configuration_does_not_write_there(settings: dict[str, Any], tmp_path: Path) -> None:
    quick = settings | {"steps": 0}
    one("a star", out=tmp_path / "run", **quick)
    with pytest.raises(UsageError, match="seed"):
        one("a star", out=tmp_path / "run", seed=1, **quick)
    one("a star", out=tmp_path / "run", in_flight=3, **quick)  # which is no part of what a run is


def test_a_damaged_picture_is_made_again(settings: dict[str, Any], tmp_path: Path) -> None:
    quick = settings | {"steps": 1, "out": tmp_path / "run"}
    first = one("a star", **quick)
    (damaged, _) = sorted((tmp_path / "run" / "images").rglob("*.png"))
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert one("a star", **quick).steps[0].rollout.picture.tobytes() == first.steps[0].rollout.picture.tobytes()


# Rewards from files


FORMS = """
from __future__ import annotations
from dataclasses import dataclass
@dataclass
class Setting:
    weight: float = 1.0
from milr.types import Score
calls = []
def function(picture, prompt):
    calls.append(prompt.text)
    return 0.25
class Judge:
    name, range, threshold, needs, licence = "mine", (0.0, 1.0), 0.125, (), "mine"
    async def score(self, pictures, prompts, services):
        return [Score(0.5, {"part": 0.75}) for _ in pictures]
instance = Judge()
def factory():
    return Judge()
def raising(picture, prompt):
    raise ValueError("not today")
def outside(picture, prompt):
    return 1.5
def nothing(picture, prompt):
    pass
def whole(picture, prompt):
    return Score(0.5, {"part": 0.75}, "because")
number = 5
async def later(picture, prompt):
    return 0.5
def no_method(settings, visualisation):
    return 5
class Half:
    async def score(self, pictures, prompts, services):
        return [Score(0.5) for _ in pictures]
class Needing:
    def __init__(self, what):
        pass
"""


@pytest.fixture
def forms(tmp_path: Path) -> Path:
    path = tmp_path / "forms.py"
    path.write_text(FORMS)
    return path


@pytest.mark.parametrize(
    ("name", "value", "steps"),
    [("function", 0.25, 2), ("Judge", 0.5, 1), ("instance", 0.5, 1), ("factory", 0.5, 1), ("whole", 0.5, 2)],
)
def test_a_reward_from_a_file_in_its_forms(
    settings: dict[str, Any], forms: Path, name: str, value: float, steps: int
) -> None:
    chosen = settings | {"reward": f"{forms}:{name}", "steps": 1, "threshold": None}
    found = one("a star", **chosen)
    assert found.score.value == value
    assert len(found.steps) == steps  # a Judge has its own threshold, a function 0.9
    assert dict(found.score.parts) == ({} if name == "function" else {"part": 0.75})


@pytest.mark.parametrize(
    ("name", "reason"),
    [("raising", "not today"), ("outside", "1.5"), ("nothing", "None")],
)
def test_a_function_that_fails_leaves_the_picture_unscored(
    settings: dict[str, Any], forms: Path, name: str, reason: str
) -> None:
    with pytest.warns(MilrWarning, match=f"no picture could be judged.*{reason}.*another --out"):
        found = one("a star", **(settings | {"reward": f"{forms}:{name}", "steps": 5}))
    assert (found.stop, found.best, len(found.steps)) == ("judge_failed", None, 3)
    assert all(step.score.value is None and reason in step.score.reason for step in found.steps)
    assert found.returned == 2


@pytest.mark.parametrize("name", ["absent", "number", "Half", "Needing", "later"])
def test_what_is_no_reward_is_told_at_once(settings: dict[str, Any], forms: Path, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        one("a star", **(settings | {"reward": f"{forms}:{name}"}))


def test_what_makes_no_method_is_told_at_once(settings: dict[str, Any], forms: Path) -> None:
    with pytest.raises(UsageError, match="no_method"):
        one("a star", **(settings | {"method": f"{forms}:no_method"}))


# Bad usage


BAD: list[tuple[dict[str, Any], str]] = [
    ({"preset": "papier"}, "paper"), ({"schedule": "join"}, "joint"), ({"method": "latent_reason"}, "latent_reasoning"),
    ({"reward": "selv"}, "self"), ({"seed": -1}, "seed"), ({"samples": 0}, "samples"), ({"in_flight": 0}, "in_flight"),
    ({"threshold": 1.5}, "threshold"), ({"text_ratio": 0.0}, "text_ratio"), ({"steps": -1}, "steps"),
    ({"model": "nanoo"}, "nano"), ({"reward": "detector"}, "--reward self"), ({"metric": "detector"}, "--metric self"),
    ({"role_tags": "none"}, "pipe"),
    ({"visualisation": "a purple dog"}, "purple"), ({"visualisation": " "}, "the visualisation is empty"),
    ({"reasoning_prompt": "a purple dog: {prompt}"}, "purple"), ({"reward": "nowhere.py:judge"}, "nowhere.py"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "word"), BAD)
def test_bad_usage_is_one_sentence(settings: dict[str, Any], change: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError) as caught:
        milr.generate("a red star", **(settings | change))
    said = str(caught.value)
    assert word in said and "\n" not in said


@pytest.mark.parametrize("prompts", [[], "", "a purple dog", ["a star", " "], "a \udcff star"])
def test_prompts_that_cannot_be_read(settings: dict[str, Any], prompts: Any) -> None:
    with pytest.raises(UsageError):
        milr.generate(prompts, **settings)


def test_a_run_is_prepared_before_anything_is_made(settings: dict[str, Any]) -> None:
    prepared = prepare(["a star"], Options(**settings))
    config = prepared.config()
    assert (prepared.threshold, prepared.oracle, config.prompt_count) == (1.0, False, 1)
    assert config.settings["steps"] == 3 and config.settings["threshold"] == 1.0
    assert config.digest == prepare(["a star"], Options(**(settings | {"in_flight": 2}))).config().digest
    changes = ({"seed": 1}, {"steps": 2}, {"threshold": 0.5}, {"samples": 2}, {"visualisation": "a star"},
               {"guidance_scale": 3.0}, {"reasoning_prompt": "a {prompt}"}, {"method": "plain"})  # fmt: skip
    digests = {prepare(["a star"], Options(**(settings | change))).config().digest for change in changes}
    assert len(digests | {config.digest}) == len(changes) + 1


def test_metadata_of_a_benchmark_file_does_not_bring_nanos_judges_to_another_model(settings: dict[str, Any]) -> None:
    known = Prompt("a red star", category="colors", metadata={"include": [{"class": "star", "count": 1}]})
    prepared = prepare([known], Options(model=settings["model"]))
    assert (prepared.reward_name, prepared.metric_name) == ("self chosen by own", "")
    with pytest.raises(UsageError, match="knows pictures of the world shapes only, and .* draws others"):
        prepare([known], Options(model=settings["model"], metric="detector"))


def test_prompts_from_a_file(tmp_path: Path) -> None:
    lines, objects = tmp_path / "p.txt", tmp_path / "p.jsonl"
    lines.write_text("\ufeffa red star\n\n  a star  \n")
    objects.write_text('{"prompt": "a red star"}\n{"prompt": "a star", "id": 3}\n')
    assert [prompt.text for prompt in read_prompts(objects)] == ["a red star", "a star"]
    assert read_prompts(lines) == [Prompt("a red star"), Prompt("a star")]
    objects.write_text('{"prompt": "a red\u2028star"}\r\n', encoding="utf-8", newline="")
    assert [prompt.text for prompt in read_prompts(objects)] == ["a red\u2028star"]
    line = '{"tag": "colors", "include": [{"class": "star", "count": 1, "color": "red"}], "prompt": "a red star"}'
    objects.write_text(f"{line}\r\n", newline="")
    (known,) = read_prompts(objects)
    assert known.category == "colors" and known.metadata == json.loads(line) and known.source == line
    objects.write_text('{"prompt": null}\n')
    with pytest.raises(UsageError, match="line 1"):
        read_prompts(objects)
    objects.write_text('{"prompt": "a red star"}\n{"text": "a star"}\n')
    with pytest.raises(UsageError, match="line 2"):
        read_prompts(objects)


# The comparison itself


def outcome_of(*steps: tuple[Sequence[int], Sequence[int], float], ties: tuple[int, ...] = ()) -> Outcome:
    def step(index: int, text: Sequence[int], image: Sequence[int], value: float) -> Step:
        trace = TextTrace("", tuple(text), near_ties=ties)
        return Step(index, Rollout(trace, ImageTrace(tuple(image)), Image.new("RGB", (1, 1))), Score(value))

    made = tuple(step(index, *parts) for index, parts in enumerate(steps))
    return Outcome(Prompt("p"), Key(0, "p"), made, 0, 0, "steps", cast(Any, None))


def test_the_comparison_finds_differences_and_forgives_ties() -> None:
    base = outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 2, 3), (6, 7), 0.25))
    assert assert_same(base, base)
    tied = outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 9, 3), (0, 0), 1.0), ties=(1,))
    assert not assert_same(base, tied)
    different = [
        outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 9, 3), (6, 7), 0.25)),
        outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 9, 3), (6, 7), 0.25), ties=(2,)),
        outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 2), (6, 7), 0.25)),
        outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 2, 3), (6, 8), 0.25)),
        outcome_of(((1, 2, 3), (4, 5), 0.5), ((1, 2, 3), (6, 7), 0.26)),
        outcome_of(((1, 2, 3), (4, 5), 0.5)),
    ]
    for left, right in itertools.chain(((base, other) for other in different), ((other, base) for other in different)):
        with pytest.raises(AssertionError):
            assert_same(left, right)


def test_the_first_difference() -> None:
    pairs = [((1, 2), (1, 2)), ((1, 2), (1, 3)), ((1, 2), (1, 2, 3)), ((), (1,))]
    assert [first_difference(*pair) for pair in pairs] == [None, 1, 2, 0]
