"""UniGenBench++: its rules by hand, its prompts, and the whole path with a judge over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import official_files
from chat_server import Reply, on_loopback, says, serving
from milr.benchmarks.unigenbench import SPLITS, UniGenBench
from milr.rules import unigenbench as rules
from milr.rules.official_scores import JudgedPicture
from milr.runs.store import RunStore
from milr.types import Prompt, UsageError


def answer(analysis: object, score: object) -> str:
    return f"<description>\n<analysis>{analysis}</analysis>\n<score> {score} </score>\n</description>"


# --- The rules


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (answer(["a", "b"], [1, 0]), [1, 0]),
        (answer("['it\\'s red', \"b\"]", "[0,\n1]"), [0, 1]),
        (answer(["a", "b"], [1, 0]) + answer(["a", "b"], [0, 0]), [1, 0]),  # the first of each counts
        (answer(["a"], [1, 0]), None),  # as many analyses as test points
        (answer(["a", "b"], [1]), None),
        (answer(["a", "b"], [1, 2]), None),
        (answer(["a", "b"], [1, True]), None),
        (answer(["a", "b"], ["1", "0"]), None),
        (answer("a, b", [1, 0]), None),
        (answer("['a', 'b'", [1, 0]), None),
        (answer("{'a', 'b'}", [1, 0]), None),
        (answer(r"['\d', 'b']", [1, 0]), [1, 0]),
        ("<score>[1, 0]</score>", None),
        ("<analysis>['a', 'b']</analysis>", None),
        (answer("[" * 5000, [1, 0]), None),
        (answer(["a" * 30_000, "b"], [1, 0]), None),
        ("", None),
    ],
)
def test_marks_are_read_only_where_there_is_one_for_each_test_point(text: str, marks: list[int] | None) -> None:
    assert rules.parse_marks(text, 2) == marks


def test_the_dimension_stands_before_the_first_dash() -> None:
    points = {"Attribute - Color": "Attribute", "Style": "Style", "Action - Non-contact Interaction": "Action",
              "Entity Layout - Two-Dimensional Space": "Entity Layout"}  # fmt: skip
    assert {point: rules.dimension(point) for point in points} == points


def test_accuracies_are_pooled_over_test_points() -> None:
    def picture(**marks: float) -> JudgedPicture:
        points = [name.replace("_", " - ") for name in marks]
        parts = {rules.part_name(index, point): mark for index, (point, mark) in enumerate(zip(points, marks.values(), strict=True))}  # fmt: skip  # noqa: E501
        return JudgedPicture("p", 0, {"testpoints": points}, parts)

    found = rules.official_scores([picture(A_x=1.0, A_y=1.0, Style=0.0), picture(A_x=0.0), picture(A_x=1.0, Style=1.0)])
    assert {score.name: (score.value, score.n) for score in found} == {
        "A": (75.0, 4), "Style": (50.0, 2), "A - x": (pytest.approx(200 / 3), 3), "A - y": (100.0, 1),
    }  # fmt: skip


# --- The prompts


def test_the_prompts_of_each_split(tmp_path: Path) -> None:
    first, second = UniGenBench(official_files.unigenbench(tmp_path)).prompts()
    assert (first.id, first.text, first.category) == ("0", "a big red star", "en")
    assert second.metadata == {"testpoints": ["Entity Layout - Two-Dimensional Space", "Style"],
                               "descriptions": ["under", "a picture"]}  # fmt: skip
    chinese = (tmp_path / "test_prompts_en.csv").read_text().replace("_en", "_zh")
    (tmp_path / "test_prompts_zh_long.csv").write_text(chinese)
    assert UniGenBench(tmp_path, split="zh_long").prompts()[0].category == "zh_long"
    assert {source.path for source in SPLITS.values()} == {
        f"data/test_prompts_{split}.csv" for split in ("en", "en_long", "zh", "zh_long")
    }
    with pytest.raises(UsageError, match="no split 'fr'; there are en, en_long, zh, zh_long"):
        UniGenBench(split="fr")


def row(index: object, text: str = "a star", **changes: object) -> str:
    dimensions = json.dumps({"Testpoints": ["Style"], "Testpoint Description": ["b"], **changes}).replace('"', '""')
    return f'{index},{text},"{dimensions}"'


def test_a_whole_official_file_has_600_prompts() -> None:
    lines = ["index,prompt_en,sub_dims_en", *(row(index, f"prompt {index}") for index in range(600))]
    assert len(UniGenBench(fetch=lambda source: "\n".join(lines).encode()).prompts()) == 600
    with pytest.raises(UsageError, match="has 599 prompts, and the official file has 600"):
        UniGenBench(fetch=lambda source: "\n".join(lines[:-1]).encode()).prompts()


@pytest.mark.parametrize(
    ("lines", "says_what"),
    [
        ([], "lacks a column"),
        (["index,prompt,sub_dims_en", row(0)], "lacks a column"),
        (["index,prompt_en,sub_dims_en"], "has no prompts"),
        (["index,prompt_en,sub_dims_en", row(0), row(0)], "the id '0' more than once"),
        (["index,prompt_en,sub_dims_en", row(0), row("x")], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), row(-1)], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), row(1, " ")], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), row(1, Testpoints=[])], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), row(1, Testpoints=[3])], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), "1,a star,nonsense"], "line 3 of"),
        (["index,prompt_en,sub_dims_en", row(0), '1,"a star'], "is no table"),
    ],
)
def test_a_file_that_is_not_unigenbench_is_told(tmp_path: Path, lines: list[str], says_what: str) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=says_what):
        UniGenBench(tmp_path / "mine.csv").prompts()


# --- The whole path


def test_over_http_from_a_run_to_the_official_folder_and_back(  # type: ignore[no-untyped-def]
    milr, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loopback(monkeypatch, tmp_path / "no certificates")
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    prompts = official_files.unigenbench(tmp_path / "prompts")
    bench = ("bench", "unigenbench", "--prompts", prompts, "--model", tiny_folder, "--method", "plain", "--steps", 0)
    code, _, err = milr(*bench, "--out", "run")
    assert code == 2 and "name an endpoint with --judge-url" in " ".join(err.split())

    def judge(request: dict[str, Any]) -> Reply:
        question = request["messages"][0]["content"][1]["text"]
        assert "1. Attribute - Color: red" in question or "2. Style: a picture" in question
        return says(answer(["a", "b"], [1, 0] if "Color" in question else [1, 1]))

    with serving(says("I cannot."), judge) as server:
        asked = ("--judge-url", server.url, "--judge-model", "some-judge")
        code, out, err = milr(*bench, "--samples", 2, "--out", "run", *asked)
        assert code == 0, err
        assert len(server.requests) == 1 + 4, "an answer that cannot be read is asked for again"
        assert "official numbers of unigenbench" in out and "Entity Layout" in out and "gemini-2.5-pro" in out
        assert milr("export", "run", "--layout", "unigenbench", "--to", "official")[0] == 0
        assert {path.name for path in Path("official").iterdir()} >= {"0_0.png", "0_1.png", "1_0.png", "1_1.png"}
        code, out, _ = milr(
            "score", "unigenbench", "official", "--prompts", prompts, "--out", "scored", "--json", *asked
        )
    assert code == 0
    numbers = {number["name"]: (number["value"], number["n"]) for number in json.loads(out)["rows"][0]["official"]}
    assert numbers == {"Attribute": (50.0, 4), "Entity Layout": (100.0, 2), "Style": (100.0, 2),
                       "Attribute - Color": (100.0, 2), "Attribute - Size": (0.0, 2),
                       "Entity Layout - Two-Dimensional Space": (100.0, 2)}  # fmt: skip
    assert {record.result.score for record in RunStore(Path("scored")).records()} == {0.5, 1.0}
    (Path("official") / "9_0.png").write_bytes(b"")
    code, _, err = milr("score", "unigenbench", "official", "--prompts", prompts, "--out", "x", *asked)
    assert code == 2 and "9_0.png is no picture of this benchmark" in " ".join(err.split())


@pytest.mark.parametrize(
    "metadata", [None, {}, {"testpoints": [], "descriptions": []}, {"testpoints": ["a"], "descriptions": []},
                 {"testpoints": [3], "descriptions": ["a"]}, {"testpoints": ["a"]}]
)  # fmt: skip
def test_a_prompt_without_test_points_is_refused(metadata: dict[str, Any] | None) -> None:
    from milr.rewards.endpoint.wording import Wording
    from milr.rewards.unigenbench import UniGenBenchReward

    reward = UniGenBenchReward(None, Wording.load("unigenbench"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="take the prompts of the benchmark unigenbench"):
        reward.check(Prompt("a star", metadata=metadata))
