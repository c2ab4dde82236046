"""DPG-Bench: its rules and quirks by hand, its prompts, its judge, and the whole path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import official_files
from chat_server import Reply, on_loopback, says, serving
from milr.benchmarks.dpg_bench import DpgBench
from milr.rewards.dpg_bench import DpgBenchReward
from milr.rules import dpg_bench as rules
from milr.rules.dpg_bench import Question
from milr.rules.official_scores import JudgedPicture
from milr.runs.store import RunStore
from milr.types import Prompt, Score, UsageError

CAT = (Question(1, (0,), "entity - whole", "Is there a cat?"),
       Question(2, (1,), "attribute - color", "Is the cat black?"),
       Question(3, (2, 1), "relation - spatial", "Is the black cat on a mat?"),
       Question(4, (0,), "global", "Is it a photo?"))  # fmt: skip


# --- The rules


@pytest.mark.parametrize(
    ("answers", "after"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1]),
        ([0, 1, 1, 1], [0, 0, 0, 1]),  # zeros cascade
        ([1, 0, 1, 0], [1, 0, 0, 0]),
        ([1, 1, 0, 1], [1, 1, 0, 1]),
    ],
)
def test_a_question_is_wrong_where_a_parent_is(answers: list[float], after: list[float]) -> None:
    assert rules.after_dependencies(CAT, answers) == after
    assert rules.picture_score(CAT, answers) == sum(after) / 4


def test_a_parent_that_stands_later_counts_as_it_was_answered() -> None:
    """3 becomes 0 by 4, but only after 1 has read its answer."""
    questions = (Question(1, (3,), "a", "?"), Question(3, (4,), "a", "?"), Question(4, (0,), "a", "?"))
    assert rules.after_dependencies(questions, [1, 1, 0]) == [1, 0, 0]


def test_a_parent_that_is_never_asked_counts_as_yes_and_is_told() -> None:
    assert rules.never_asked(CAT) == set() and rules.never_asked(CAT[1:]) == {1}
    assert rules.after_dependencies(CAT[1:], [1, 1, 1]) == [1, 1, 1]


def test_fields_of_the_file() -> None:
    assert rules.category_of("attribute - color (cat, black)") == "attribute - color"
    assert rules.category_of("global") == "global"
    assert rules.parse_parents("0") == (0,) and rules.parse_parents(" 1, 12") == (1, 12)
    with pytest.raises(ValueError):
        rules.parse_parents("1;2")


@pytest.mark.parametrize(
    ("answer", "value"),
    [("yes", 1.0), ("Yes.", 1.0), ("**No**, there is none", 0.0), ("no\nyes", 0.0), ("It is", None), ("", None),
     ("yesterday", None), ("nothing", None)],
)  # fmt: skip
def test_yes_or_no_is_the_first_word(answer: str, value: float | None) -> None:
    assert rules.parse_yes_no(answer) == value


def tile(prompt: str, sample: int, questions: Sequence[Question], answers: Sequence[float]) -> JudgedPicture:
    parts = {question.part: answer for question, answer in zip(questions, answers, strict=True)}
    return JudgedPicture(prompt, sample, {"questions": [question.to_metadata() for question in questions]}, parts)


def test_the_official_numbers_by_hand() -> None:
    """Overall after the dependencies, tiles before prompts; categories before them, of the last tile alone."""
    pictures = [
        tile("a", 1, CAT, [0, 1, 1, 1]),  # the last tile of a: .25 after, 3 of 4 before
        tile("a", 0, CAT, [1, 1, 1, 0]),  # .75
        tile("b", 0, CAT[:1], [1]),  # 1
        tile("c", 0, CAT[1:], [0, 0, 0]),  # depends on what is never asked: left out of everything
    ]
    found = {score.name: (score.value, score.n) for score in rules.official_scores(pictures)}
    assert found == {
        "DPG-Bench": (75.0, 2),
        "attribute": (100.0, 1),
        "entity": (50.0, 2),
        "global": (100.0, 1),
        "relation": (100.0, 1),
        "attribute - color": (100.0, 1),
        "entity - whole": (50.0, 2),
        "relation - spatial": (100.0, 1),
    }


# --- The prompts


def test_the_prompts_without_the_first_row(tmp_path: Path) -> None:
    first, second = DpgBench(official_files.dpg_bench(tmp_path)).prompts()
    assert (first.id, first.text) == ("1", "a big red star")
    assert (second.id, second.text) == ("coco7", "a square and a circle over a star")
    asked = rules.questions_of(first.metadata or {})
    assert [question.part for question in asked] == ["2. Is the star red?", "3. Is the star big?"]
    assert rules.never_asked(asked) == {1}, "the first row, which is skipped, is its parent"
    on = rules.questions_of(second.metadata or {})[2]
    assert (on.parents, on.category) == ((1, 2), "relation - spatial")


def test_of_two_questions_with_one_number_the_second_is_kept(tmp_path: Path) -> None:
    file = official_files.dpg_bench(tmp_path)
    file.write_text(file.read_text() + 'coco7,"a square and a circle over a star",,1,0,a,b,other (x),Another?\r\n')
    asked = rules.questions_of(DpgBench(file).prompts()[1].metadata or {})
    assert [(question.number, question.text) for question in asked][0] == (1, "Another?") and len(asked) == 4


def test_a_whole_official_file_has_1065_prompts() -> None:
    lines = ["item_id,text,proposition_id,dependency,tuple,question_natural_language"]
    lines += [f"{index},prompt {index},1,0,entity - whole (x),Is it {index}?" for index in (0, *range(1065))]
    benchmark = DpgBench(fetch=lambda source: "\n".join(lines).encode())
    assert benchmark.official and len(benchmark.prompts()) == 1065
    with pytest.raises(UsageError, match="has 1064 prompts, and the official file has 1065"):
        DpgBench(fetch=lambda source: "\n".join(lines[:-1]).encode()).prompts()


GOOD = "7,a cat,1,0,entity - whole (cat),Is there a cat?"
HEADER = "item_id,text,proposition_id,dependency,tuple,question_natural_language"


@pytest.mark.parametrize(
    ("lines", "says_what"),
    [
        ([HEADER, GOOD], "has no prompts"),
        ([HEADER.replace("tuple", "tupel"), GOOD], "has no column tuple"),
        ([], "has no column item_id"),
        ([HEADER, GOOD, GOOD.replace("cat,1", "cat,one")], "line 3 of .* is not in DPG-Bench's format"),
        ([HEADER, GOOD, GOOD.replace("1,0", "1,none")], "line 3 of"),
        ([HEADER, GOOD, "7,a cat"], "line 3 of"),
        ([HEADER, GOOD, ",".join(["7", " ", *GOOD.split(",")[2:]])], "line 3 of"),
        ([HEADER, GOOD, '7,"a cat'], "is no table"),
    ],
)
def test_a_file_that_is_not_dpg_bench_is_told(tmp_path: Path, lines: list[str], says_what: str) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=says_what):
        DpgBench(tmp_path / "mine.csv").prompts()


# --- The reward


class Scripted:
    """A judge whose answer to each question is written down."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def identity(self) -> dict[str, str]:
        return {"model": "scripted"}

    async def judge(self, picture: Image.Image, question: str, parse: Callable[[str], Score | None]) -> Score:
        assert question.endswith(" Answer with yes or no.")
        score = parse(self.answers[question.removesuffix(" Answer with yes or no.")])
        return score or Score.unscored("too dark")


def scored(*answers: str) -> Score:
    judge = Scripted({question.text: answer for question, answer in zip(CAT, answers, strict=True)})
    prompt = Prompt("a cat", "1", "dense", {"questions": [question.to_metadata() for question in CAT]})
    (score,) = asyncio.run(DpgBenchReward(judge).score([Image.new("RGB", (8, 8))], [prompt], None))  # type: ignore[arg-type]
    return score


def test_the_score_is_after_and_the_parts_are_before_the_dependencies() -> None:
    score = scored("no", "yes", "yes", "Yes.")
    assert score.value == 0.25 and score.calls == 4 and list(score.parts.values()) == [0.0, 1.0, 1.0, 1.0]
    assert score.reason == "the judge said no to 'Is there a cat?'"
    assert scored(*["yes"] * 4).value == 1.0
    unread = scored("yes", "perhaps", "yes", "yes")
    assert unread.value is None and unread.reason == "too dark" and unread.calls == 4


@pytest.mark.parametrize("metadata", [None, {}, {"questions": []}, {"questions": [{}]}, {"questions": 3}])
def test_a_prompt_without_questions_is_refused(metadata: dict[str, Any] | None) -> None:
    with pytest.raises(UsageError, match="take the prompts of the benchmark dpg-bench"):
        DpgBenchReward(Scripted({})).check(Prompt("a cat", metadata=metadata))


# --- The whole path


def test_over_http_from_a_run_to_a_grid_of_four(  # type: ignore[no-untyped-def]
    milr, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loopback(monkeypatch, tmp_path / "no certificates")
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    prompts = official_files.dpg_bench(tmp_path / "prompts")

    def answer(request: dict[str, Any]) -> Reply:
        return says("no" if "circle?" in request["messages"][0]["content"][1]["text"] else "yes")

    with serving(answer) as server:
        asked = ("--judge-url", server.url, "--judge-model", "some-judge")
        code, out, err = milr("bench", "dpg-bench", "--prompts", prompts, "--model", tiny_folder, "--method", "plain",
                              "--steps", 0, "--out", "run", *asked)  # fmt: skip
        assert code == 0, err
        values = {record.prompt.id: (record.result.judged or record.result).score
                  for record in RunStore(Path("run")).records()}  # fmt: skip
        assert values == {"1": 1.0, "coco7": 0.25}, "no circle, so it is nowhere, and that is no photo"
        assert "official numbers of dpg-bench" in out and "instead of mPLUG-large" in " ".join(out.split())
        assert len(server.requests) == 2 + 4

        assert milr("export", "run", "--layout", "dpg-bench", "--to", "official")[0] == 0
        assert {path.name for path in Path("official").iterdir()} >= {"1.png", "coco7.png"}
        grid = Image.new("RGB", (64, 64))
        for index, colour in enumerate(("red", "green", "blue", "white")):
            grid.paste(colour, (32 * (index % 2), 32 * (index // 2), 32 * (index % 2) + 32, 32 * (index // 2) + 32))
        for name in ("1.png", "coco7.png"):
            grid.save(Path("official", name))
        code, out, err = milr("score", "dpg-bench", "official", "--prompts", prompts, "--samples", 4, "--out", "scored",
                              "--json", *asked)  # fmt: skip
        assert code == 0, err
    numbers = {number["name"]: number for number in json.loads(out)["rows"][0]["official"]}
    assert numbers["DPG-Bench"]["value"] == 25.0 and numbers["DPG-Bench"]["n"] == 1, (
        "prompt 1 is left out, as officially"
    )
    assert numbers["entity"]["value"] == 50.0 and numbers["relation"]["value"] == 100.0
    tiles = {record.sample: Image.open(Path("scored", record.result.picture)).convert("RGB").getpixel((0, 0))
             for record in RunStore(Path("scored")).records() if record.prompt.id == "1"}  # fmt: skip
    assert tiles == {0: (255, 0, 0), 1: (0, 128, 0), 2: (0, 0, 255), 3: (255, 255, 255)}
    code, _, err = milr("score", "dpg-bench", "official", "--prompts", prompts, "--samples", 3, "--out", "x", *asked)
    assert code == 2 and "--samples 1 or 4" in err
    (Path("official") / "other.png").write_bytes(b"")
    code, _, err = milr("score", "dpg-bench", "official", "--prompts", prompts, "--out", "x", *asked)
    assert code == 2 and "other.png is no picture of this benchmark" in " ".join(err.split())
