"""T2I-CompBench++: its two rules by hand, its judge on small networks, and the whole path."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import official_files
import tiny_judges
from milr.base import Reward
from milr.benchmarks.t2i_compbench_plus import CATEGORIES, CompBenchPlus
from milr.rewards.t2i_compbench_plus import DEVIATIONS, CompBenchPlusReward
from milr.rewards.vision.depth import DepthEstimator
from milr.rules import t2i_compbench_plus as rules
from milr.rules.geneval import Detection
from milr.rules.grounding import GroundedBox
from milr.rules.t2i_compbench import ParsedPrompt, Token
from milr.rules.t2i_compbench_plus import Counted
from milr.types import Prompt, Score, UsageError
from test_official_runs import Runs, records, runs, scores  # noqa: F401

WHITE = Image.new("RGB", (64, 64), "white")
TEXTS = {
    "two dogs and a cat": "two/NUM dogs/NOUN and/CCONJ a/DET cat/NOUN",
    "three traffic lights, one red car": "three/NUM traffic/NOUN lights/NOUN ,/PUNCT one/NUM red/ADJ car/NOUN",
    "dogs": "dogs/NOUN",
    "a dog in front of a cat": "a/DET dog/NOUN in/ADP front/NOUN of/ADP a/DET cat/NOUN",
    "a dog behind a cat": "a/DET dog/NOUN behind/ADP a/DET cat/NOUN",
    "a dog near a cat": "a/DET dog/NOUN near/ADP a/DET cat/NOUN",
}


def tokens(text: str) -> tuple[Token, ...]:
    return tuple(Token(*word.rsplit("/", 1)) for word in TEXTS[text].split())


# --- How many


def test_a_number_word_counts_the_nouns_right_after_it() -> None:
    assert rules.counted_objects(tokens("two dogs and a cat")) == (Counted("dog", 2), Counted("cat", 1))
    # an adjective stands between one and car: the official list has no "red car" either
    assert rules.counted_objects(tokens("three traffic lights, one red car")) == (Counted("traffic light", 3),)
    assert rules.counted_objects(tokens("dogs")) == ()


@pytest.mark.parametrize(("plural", "noun"), [
    ("dogs", "dog"), ("women", "woman"), ("cherries", "cherry"), ("dishes", "dish"), ("boxes", "box"), ("buses", "bus"),
    ("horses", "horse"), ("shoes", "shoe"), ("glasses", "glasses"), ("knives", "knife"), ("tomatoes", "tomato"),
    ("dress", "dress"), ("bus", "bus"), ("dresses", "dress"), ("pies", "pie"), ("fish", "fish"),
])  # fmt: skip
def test_singular(plural: str, noun: str) -> None:
    assert rules.singular(plural) == noun


def test_people_and_ships_are_looked_for_as_the_detector_knows_them() -> None:
    assert [Counted(name, 1).label for name in ("girl", "ship", "goldfish", "dog")] == ["person", "boat", "fish", "dog"]


def box(x1: float, y1: float, x2: float, y2: float, score: float = 0.9) -> Detection:
    return Detection((x1, y1, x2, y2), score)


def test_a_box_that_is_another_once_more_is_not_counted() -> None:
    whole = box(0, 0, 100, 100)
    assert rules.distinct([box(0, 0, 100, 95, 0.5), whole]) == [whole]  # 0.95 of the union
    assert rules.distinct([box(10, 10, 20, 20, 0.5), whole]) == [whole]  # all of the smaller one
    beside = box(50, 0, 150, 100, 0.5)
    assert rules.distinct([beside, whole]) == [whole, beside]
    ninety = box(0, 0, 100, 90, 0.5)  # all of it is inside
    assert rules.distinct([ninety, whole]) == [whole]
    edge = box(10, 0, 110, 100, 0.5)  # exactly 0.9 of either: not above it
    assert rules.distinct([edge, whole]) == [whole, edge]
    assert rules.distinct([]) == []


def test_half_for_being_there_and_half_for_the_number() -> None:
    asked = (Counted("dog", 2), Counted("girl", 1))
    assert rules.numeracy_score(asked, {"dog": 2, "person": 1}) == 1.0
    assert rules.numeracy_score(asked, {"dog": 3, "person": 1}) == 0.75
    assert rules.numeracy_score(asked, {"dog": 3}) == 0.25 and rules.numeracy_score(asked, {}) == 0.0
    with pytest.raises(ValueError, match="at least one"):
        rules.numeracy_score((), {})


# --- How deep


def test_the_relation_is_the_first_of_the_list() -> None:
    assert rules.depth_relation("a dog behind a car in front of a cat") == "in front of"
    assert rules.depth_relation("a dog hidden by a car") == "hidden" and rules.depth_relation("a dog near a cat") == ""


@pytest.mark.parametrize(("relation", "nearer", "overlap", "value"), [
    ("in front of", 5, 0.6, 1.0), ("in front of", 5, 0.25, 0.5), ("in front of", 5, 0.5, 0.0),
    ("in front of", 5, 0.0, 0.0), ("in front of", -5, 0.6, 0.0), ("in front of", 0, 0.6, 0.0),
    ("behind", -5, 0.6, 1.0), ("behind", 5, 0.6, 0.0), ("hidden", -5, 0.1, 0.2), ("", 5, 0.6, 0.0),
])  # fmt: skip
def test_depth_and_overlap(relation: str, nearer: float, overlap: float, value: float) -> None:
    assert rules.depth_position(relation, nearer, overlap) == pytest.approx(value)


def test_a_depth_map_in_eight_bits_is_read_with_its_axes_exchanged() -> None:
    near = rules.eight_bits(np.array([[1.0, 3.0], [2.0, 1.0]]))
    assert near.tolist() == [[0, 255], [127, 0]] and not rules.eight_bits(np.ones((2, 2))).any()
    depth = np.zeros((480, 480), np.uint8)
    depth[100:200, 0:50] = 80  # rows 100 to 199: a box whose x is 100 to 200
    assert rules.mean_depth(depth, (100, 0, 200, 50)) == 80.0
    assert rules.mean_depth(depth, (0, 100, 50, 200)) == 0.0
    assert rules.mean_depth(depth, (5, 5, 5, 9)) == 0.0 and rules.mean_depth(depth, (-9, -9, -1, -1)) == 0.0


def test_the_score_of_depth() -> None:
    first, second = box(0, 0, 1, 1, 0.8), box(0, 0, 1, 1, 0.4)
    assert rules.depth_score(first, second, 1.0) == pytest.approx(0.2 + 0.1 + 0.5)
    assert rules.depth_score(first, None, 1.0) == pytest.approx(0.2) and rules.depth_score(None, None, 1.0) == 0.0


# --- The judge


class Parser:
    def identity(self) -> dict[str, Any]:
        return {"parser": "by hand"}

    def __call__(self, text: str) -> ParsedPrompt:
        return ParsedPrompt(tokens(text), ())


def score_of(text: str, category: str, boxes: dict[str, list[GroundedBox]], depth: Any = None) -> Score:
    reward = CompBenchPlusReward(Parser(), lambda picture, names: {name: boxes.get(name, []) for name in names}, depth)
    assert isinstance(reward, Reward)
    (score,) = asyncio.run(reward.score([WHITE], [Prompt(text, "", category)], None))  # type: ignore[arg-type]
    return score


def test_numbers_are_counted_in_a_picture() -> None:
    dogs = [GroundedBox(0.8, (0.2, 0.2, 0.1, 0.1)), GroundedBox(0.7, (0.5, 0.2, 0.1, 0.1)),
            GroundedBox(0.6, (0.7, 0.7, 0.2, 0.2))]  # fmt: skip
    score = score_of("two dogs and a cat", "numeracy", {"dog": dogs})
    assert score.value == 0.25 and score.reason == "found: dog 3 of 2, cat 0 of 1"
    same = score_of("two dogs and a cat", "numeracy", {"dog": [*dogs[:1], *dogs[:1], dogs[2]], "cat": dogs[:1]})
    assert same.value == 1.0 and same.parts == {"2 dog": 1.0, "1 cat": 1.0}
    assert score_of("dogs", "numeracy", {}).value is None, "the official tool divides by zero"


def test_depth_is_compared_where_the_objects_are() -> None:
    def left_is_near(picture: Image.Image, side: int) -> np.ndarray:
        return np.repeat(np.arange(side, 0, -1.0)[:, None], side, axis=1)  # by rows, which are read as x

    boxes = {"dog": [GroundedBox(0.8, (0.4, 0.5, 0.4, 0.4))], "cat": [GroundedBox(0.6, (0.5, 0.5, 0.4, 0.4))]}
    front = score_of("a dog in front of a cat", "3d_spatial", boxes, left_is_near)
    assert front.parts["position"] == 1.0 and front.value == pytest.approx(0.2 + 0.15 + 0.5)  # their overlap is 0.6
    behind = score_of("a dog behind a cat", "3d_spatial", boxes, left_is_near)
    assert behind.parts["position"] == 0.0 and behind.value == pytest.approx(0.35)
    alone = score_of("a dog behind a cat", "3d_spatial", {"dog": boxes["dog"]})
    assert alone.value == pytest.approx(0.2) and "position" not in alone.parts
    assert score_of("a dog near a cat", "3d_spatial", boxes).value is None


def test_another_category_is_refused() -> None:
    with pytest.raises(UsageError, match="is neither"):
        score_of("dogs", "color", {})


def test_dpt_gives_a_square_map_of_finite_numbers_that_depends_on_the_picture() -> None:
    estimate = DepthEstimator(tiny_judges.dpt(), tiny_judges.dpt_processor())
    depth = estimate(WHITE, 480)
    assert depth.shape == (480, 480) and np.isfinite(depth).all()
    assert not np.array_equal(depth, estimate(Image.effect_noise((64, 64), 90), 480))


# --- The whole path


def test_from_prompts_to_table_to_the_official_folder_and_back(runs: Runs) -> None:  # noqa: F811
    chosen = ("--categories", "numeracy")  # the tiny Janus does not know the word behind
    code, out, err = runs.of("t2i-compbench-plus", *chosen, "--reward", "self", "--steps", 1, "--out", "run")
    assert code == 0, err
    assert all(f"{told}\n" in out for told in DEVIATIONS)
    (record,) = records("run").values()
    assert record.result.judged is not None and record.result.judged.parts.keys() == {"2 square", "1 circle"}
    assert runs.milr("export", "run", "--layout", "t2i-compbench", "--to", "official")[0] == 0
    (picture,) = Path("official/samples").glob("*.png")
    shutil.copyfile(picture, picture.with_name("a star behind a square._000000.png"))
    files = runs.files["t2i-compbench-plus"]
    code, _, err = runs.milr("score", "t2i-compbench-plus", "official", "--prompts", files, "--out", "scored")
    assert code == 0, err
    assert scores("scored")["numeracy-000"] == scores("run")["numeracy-000"]
    deep = records("scored")["3d_spatial-000"].result
    assert (deep.judged or deep).parts.keys() >= {"star found", "square found"}


def test_the_official_files_have_twice_300(tmp_path: Path) -> None:
    whole = {f"{category}_val.txt": "\r\n".join(f"a {category} {n}." for n in range(300)).encode()
             for category in CATEGORIES}  # fmt: skip
    benchmark = CompBenchPlus(fetch=lambda source: whole[source.name])
    assert [prompt.id for prompt in benchmark.prompts()][::599] == ["numeracy-000", "3d_spatial-299"]
    whole["3d_spatial_val.txt"] = b"a dog behind a cat"
    with pytest.raises(UsageError, match="3d_spatial 1"):
        CompBenchPlus(fetch=lambda source: whole[source.name]).prompts()
    local = CompBenchPlus(official_files.compbench_plus(tmp_path))
    assert not local.official and len(local.prompts()) == 2
