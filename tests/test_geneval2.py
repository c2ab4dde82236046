"""GenEval 2: its rules by hand, its judge on this machine and over HTTP, its prompts, and the whole path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

import official_files
import tiny_qwen
from chat_server import ChatServer, could_say, fails, on_loopback, says, serving
from milr.benchmarks.geneval2 import GenEval2
from milr.rewards.endpoint.client import EndpointClient
from milr.rewards.endpoint.first_token import FIELDS, EndpointFirstToken, score_of
from milr.rewards.endpoint.settings import EndpointSettings
from milr.rewards.first_token import GREEDY
from milr.rewards.geneval2 import GenEval2Reward
from milr.rules import geneval2 as rules
from milr.rules.official_scores import JudgedPicture, OfficialScore
from milr.runs.store import RunStore
from milr.types import Prompt, Score, UsageError

MANY, ANY = "How many cats are in the image?", "Are there any cats in the image?"
METADATA = {"atom_count": 3, "vqa_list": [[MANY, "two"], [ANY, "Yes"]], "skills": ["count", "object"]}
CATS = Prompt("two cats", "geneval2-000", "3 atoms", METADATA)
WHITE = Image.new("RGB", (32, 32), "white")


# --- The rules


def test_a_count_is_answered_in_six_spellings_and_everything_else_by_four() -> None:
    assert rules.variants(MANY, "two") == ("two", "Two", " two", " Two", "2", " 2")
    assert rules.variants(MANY, "seven")[-1] == " 7"
    assert rules.variants(ANY, "Yes") == ("Yes", "yes", " yes", " Yes")
    for question, answer in ((MANY, "Yes"), (MANY, "eight"), (MANY, "2"), (ANY, "two"), (ANY, "No"), (ANY, "yes")):
        with pytest.raises(ValueError, match="the answer to"):
            rules.variants(question, answer)


def test_what_the_judge_is_asked() -> None:
    assert rules.ask(ANY) == "Are there any cats in the image? Answer in one word."
    asked = rules.vqascore_question('a "red" cat')
    assert asked == 'Does this image show "a "red" cat"? Answer the question with Yes or No.'


@pytest.mark.parametrize(("probabilities", "score"), [([0.25, 0.5], 0.75), ([0.0] * 4, 0.0), ([0.75, 0.75], 1.0)])
def test_a_soft_score_is_a_sum_and_never_above_one(probabilities: list[float], score: float) -> None:
    assert rules.soft_score(probabilities) == score


def test_means_of_a_prompt() -> None:
    assert rules.arithmetic([0.25, 1.0]) == 0.625 and rules.geometric([0.25, 1.0]) == pytest.approx(0.5)
    assert rules.geometric([0.0, 1.0, 1.0]) == 0.0 and rules.geometric([1.0, 1.0]) == 1.0


def judged(number: int, soft: Sequence[float], *, atoms: int, skills: Sequence[str], tifa: float) -> JudgedPicture:
    asked = [[f"q{index}", "Yes"] for index in range(len(soft))]
    parts = {rules.part_name(index, f"q{index}"): value for index, value in enumerate(soft)}
    return JudgedPicture(f"{number}", 0, {"atom_count": atoms, "vqa_list": asked, "skills": list(skills)},
                         {**parts, "TIFA": tifa, "VQAScore": 0.5})  # fmt: skip


def test_the_official_numbers_by_hand() -> None:
    """By skill questions are pooled: object (1 + .25 + .25) / 3; the overall mean is one of prompts."""
    pictures = [
        judged(0, [0.25, 1.0], atoms=3, skills=["object", "count"], tifa=0.5),
        judged(1, [1.0, 0.25], atoms=4, skills=["object", "object"], tifa=1.0),
        judged(2, [0.0], atoms=4, skills=["verb"], tifa=0.0),
    ]
    found = {score.name: (round(score.value, 9), score.n) for score in rules.official_scores(pictures)}
    assert found == {
        "Soft-TIFA AM": (round(100 * (0.625 + 0.625 + 0) / 3, 9), 3),
        "Soft-TIFA GM": (round(100 * (0.5 + 0.5 + 0) / 3, 9), 3),
        "TIFA": (50.0, 3),
        "VQAScore": (50.0, 3),
        "AM, object": (50.0, 3),
        "AM, count": (100.0, 1),
        "AM, verb": (0.0, 1),
        "GM, 3 atoms": (50.0, 1),
        "GM, 4 atoms": (25.0, 2),
    }
    assert list(found)[4:] == ["AM, object", "AM, count", "AM, verb", "GM, 3 atoms", "GM, 4 atoms"]


# --- The judge on this machine


def test_the_local_judge_adds_the_probabilities_of_first_tokens_not_made_unique() -> None:
    judge = tiny_qwen.judge3()
    probabilities = judge.probabilities(WHITE, "How many?")
    assert probabilities.shape == (len(judge.tokenizer),) and float(probabilities.sum()) == pytest.approx(1, abs=1e-5)

    def of(text: str) -> float:
        return float(probabilities[judge.tokenizer.convert_tokens_to_ids(text)])

    space = "\u0120"  # as a byte tokenizer writes it: the first token of " two", " Two" and " 2"
    wanted = of("t") + of("T") + 3 * of(space) + of("2")
    score = asyncio.run(judge.first_token(WHITE, "How many?", rules.variants(MANY, "two")))
    assert score.value == pytest.approx(wanted, rel=1e-6) and score.parts[GREEDY] == 0.0
    greedy = judge.tokenizer.decode([int(probabilities.argmax())])
    assert asyncio.run(judge.first_token(WHITE, "How many?", (greedy,))).parts[GREEDY] == 1.0


def test_the_local_judge_sees_the_picture_and_reads_the_turn_of_qwen3() -> None:
    judge = tiny_qwen.judge3()
    assert not torch.equal(judge.probabilities(WHITE, "What?"), judge.probabilities(tiny_qwen.plain("red"), "What?"))
    ids = judge.inputs(WHITE, "What?")["input_ids"][0]
    turn = judge.tokenizer.decode(ids).replace("<|image_pad|>", "")
    assert turn == "<|im_start|>user\n<|vision_start|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\n"


# --- The judge over HTTP


@pytest.fixture
def over_http(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[ChatServer], EndpointFirstToken]:
    on_loopback(monkeypatch, tmp_path)

    def judge(server: ChatServer) -> EndpointFirstToken:
        settings = EndpointSettings(server.url, "m", max_tokens=1, first_token=True, extra=dict(FIELDS),
                                    first_wait=0.0, cache_folder=tmp_path / "answers")  # fmt: skip
        return EndpointFirstToken(EndpointClient(settings))

    return judge


@pytest.mark.parametrize(
    ("tokens", "variants", "value", "greedy"),
    [
        ({"Yes": 0.5, "yes": 0.25, "No": 0.125}, rules.YES, 0.75, 1.0),
        ({" Yes": 0.25, "No": 0.5}, rules.YES, 0.25, 0.0),
        ({"two": 0.25, "Two": 0.125, " ": 0.0625, "2": 0.5}, rules.variants(MANY, "two"), 0.9375, 1.0),
        ({" 2": 0.25, " ": 0.5}, rules.variants(MANY, "two"), 0.75, 0.0),  # a bare space is no answer
        ({"No": 0.9}, rules.YES, 0.0, 0.0),
    ],
)
def test_the_first_token_over_http(over_http, tokens, variants, value, greedy) -> None:  # type: ignore[no-untyped-def]
    with serving(could_say(tokens)) as server:
        judge = over_http(server)
        score, again = (asyncio.run(judge.first_token(WHITE, "How many?", variants)) for _ in range(2))
    assert score.value == pytest.approx(value) and score.parts == {GREEDY: greedy} and score.calls == 1
    assert (again.value, len(server.requests)) == (score.value, 1), "the answer is cached"
    (request,) = server.requests
    assert (request["logprobs"], request["top_logprobs"], request["max_tokens"]) == (True, 20, 1)


@pytest.mark.parametrize(
    ("reply", "says_why"),
    [(says("Yes"), "gives no log-probabilities"), (fails(400, "no logprobs here"), "no logprobs here"),
     (could_say({"Yes": 2.0}), "gives no log-probabilities")],
)  # fmt: skip
def test_an_endpoint_without_log_probabilities_is_told(over_http, reply, says_why) -> None:  # type: ignore[no-untyped-def]
    with serving(reply) as server:
        score = asyncio.run(over_http(server).first_token(WHITE, "How many?", rules.YES))
    assert score.value is None and says_why in score.reason


@pytest.mark.parametrize("answer", ["", "[]", "7", "[[1]]", '[["a", "b"]]', '[["a", 1e999]]', "[[[], 0]]"])
def test_what_is_no_list_of_tokens_is_no_answer(answer: str) -> None:
    assert score_of(answer, rules.YES) is None


# --- The reward


class Scripted:
    """A judge whose answer to each question is written down: the soft score, and whether its greedy token is right."""

    deviations = ("Scripted.",)

    def __init__(self, answers: dict[str, tuple[float | None, float]]) -> None:
        self.answers = answers

    def identity(self) -> dict[str, str]:
        return {"model": "scripted"}

    async def first_token(self, picture: Image.Image, question: str, variants: Sequence[str]) -> Score:
        value, greedy = self.answers[question]
        return Score(value, {GREEDY: greedy}, "too dark" if value is None else "", seconds=0.5)


def scored(many: tuple[float | None, float]) -> Score:
    judge = Scripted({rules.ask(MANY): many, rules.ask(ANY): (1.0, 1.0), rules.vqascore_question("two cats"): (0.5, 1)})
    (score,) = asyncio.run(GenEval2Reward(judge).score([WHITE], [CATS], None))  # type: ignore[arg-type]
    return score


def test_the_reward_is_the_geometric_mean_and_its_parts_are_everything_else() -> None:
    score = scored((0.25, 0.0))
    assert score.value == pytest.approx(0.5) and (score.calls, score.seconds) == (3, 1.5)
    assert score.parts == {f"1. {MANY}": 0.25, f"2. {ANY}": 1.0, "Soft-TIFA AM": 0.625, "TIFA": 0.5, "VQAScore": 0.5}
    assert score.reason == f"the judge's answer is wrong to '{MANY}'"
    assert scored((1.0, 1.0)).reason == "the judge's answers are all right"


def test_a_question_without_an_answer_leaves_the_picture_unscored() -> None:
    score = scored((None, 0.0))
    assert score.value is None and score.reason == "too dark" and score.calls == 3


@pytest.mark.parametrize(
    "metadata", [None, {}, {"vqa_list": []}, {"vqa_list": [[MANY]]}, {"vqa_list": [[MANY, "Yes"]]}, {"vqa_list": 3},
                 {"vqa_list": [[3, "Yes"]]}]
)  # fmt: skip
def test_a_prompt_without_questions_is_refused(metadata: dict[str, object] | None) -> None:
    with pytest.raises(UsageError, match="take the prompts of the benchmark geneval2"):
        GenEval2Reward(Scripted({})).check(Prompt("two cats", metadata=metadata))


# --- The prompts


def official_lines() -> list[str]:
    """800 lines of eight numbers of atoms, mixed, with 6012 questions."""
    lines, left = [], 6012 - 800
    for index in range(800):
        more = min(7, left)
        left -= more
        asked = [[ANY, "Yes"]] * (1 + more)
        lines.append(json.dumps({"prompt": f"prompt {index}", "atom_count": 3 + index % 8, "vqa_list": asked,
                                 "skills": ["object"] * len(asked)}))  # fmt: skip
    assert left == 0
    return lines


def test_the_official_prompts_by_their_atoms() -> None:
    benchmark = GenEval2(fetch=lambda source: "\n".join(official_lines()).encode())
    prompts = benchmark.prompts()
    assert benchmark.official and len(prompts) == 800
    assert [prompt.id for prompt in prompts[:2]] == ["geneval2-000", "geneval2-008"]
    assert prompts[99].category == "3 atoms" and prompts[100].category == "4 atoms"
    assert prompts[-1].category == "10 atoms" and prompts[-1].source == official_lines()[799]
    (source,) = benchmark.source
    assert source.address().endswith("facebookresearch/GenEval2/a6e82d2/geneval2_data.jsonl")


@pytest.mark.parametrize(
    "wrong", [official_lines()[:-1], [official_lines()[0].replace("3", "4"), *official_lines()[1:]]]
)
def test_an_official_file_with_holes_is_refused(wrong: list[str]) -> None:
    with pytest.raises(UsageError, match="the official file has 800 with 6012"):
        GenEval2(fetch=lambda source: "\n".join(wrong).encode()).prompts()


@pytest.mark.parametrize(
    "changes",
    [{"prompt": " "}, {"prompt": 3}, {"atom_count": "3"}, {"atom_count": True}, {"atom_count": 0}, {"vqa_list": None},
     {"vqa_list": [[ANY, "two"]]}, {"vqa_list": [["?"]]}, {"skills": ["object"]}, {"skills": ["object", "taste"]},
     {"skills": [[], "object"]}, {"vqa_list": [], "skills": []}],
)  # fmt: skip
def test_a_line_that_is_not_geneval_2_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    good = {"prompt": "two cats", **METADATA}
    (tmp_path / "mine").write_text(f"{json.dumps(good)}\n\n{json.dumps({**good, 'prompt': 'others', **changes})}\n")
    with pytest.raises(UsageError, match="line 3 of .*mine is not in GenEval 2's format"):
        GenEval2(tmp_path / "mine").prompts()


# --- The whole path


@pytest.fixture
def bench(milr, hub: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    on_loopback(monkeypatch, tmp_path / "no certificates")
    monkeypatch.setenv("MILR_CACHE", str(tmp_path / "cache"))
    prompts = official_files.geneval2(tmp_path / "prompts")
    return lambda *more: milr("bench", "geneval2", "--prompts", prompts, "--model", tiny_folder, "--method", "plain",
                              "--steps", 0, *more), lambda *more: milr("score", "geneval2", *more, "--prompts", prompts), milr  # fmt: skip  # noqa: E501


def test_from_prompts_to_the_official_numbers_to_the_official_folder_and_back(bench) -> None:  # type: ignore[no-untyped-def]
    run, score, milr = bench
    code, out, err = run("--out", "run")
    assert code == 0, err
    assert "official numbers of geneval2" in out and "Soft-TIFA AM" in out and "GM, 3 atoms" in out
    records = list(RunStore(Path("run")).records())
    (first,) = [record for record in records if record.prompt.id == "geneval2-000"]
    assert set(first.result.judged.parts if first.result.judged else first.result.parts) >= {"TIFA", "VQAScore"}
    assert first.result.cost.reward_calls == 5 or first.result.judged

    assert milr("export", "run", "--layout", "geneval2", "--to", "official")[0] == 0
    index = json.loads(Path("official/image_paths.json").read_text())
    assert index == {line["prompt"]: f"geneval2-{number:03d}.png"
                     for number, line in enumerate(official_files.GENEVAL2)}  # fmt: skip
    code, out, _ = score("official", "--out", "scored", "--json")
    assert code == 0
    (row,) = json.loads(out)["rows"]
    numbers = {number["name"]: number["value"] for number in row["official"]}
    assert numbers["Soft-TIFA GM"] == pytest.approx(100 * row["overall"]["returned"]["score"])
    assert OfficialScore(**row["official"][0]).n == 2
    for page in ("compare.md", "compare.html"):
        assert "The benchmark&#39;s own numbers" in Path("scored", page).read_text().replace("'", "&#39;")


def test_over_http_each_question_is_a_request(bench) -> None:  # type: ignore[no-untyped-def]
    run, _, _ = bench
    with serving(could_say({"Yes": 0.5, "two": 0.25})) as server:
        code, out, _ = run("--judge-url", server.url, "--judge-model", "some-judge", "--out", "http")
    assert code == 0 and len(server.requests) == 4 + 1 + 3 + 1
    assert "gives the 20 likeliest first tokens" in " ".join(out.split())


@pytest.mark.parametrize(
    ("index", "says_what"),
    [(None, "image_paths.json"), ("[1]", "is no JSON object of prompts"), ('{"a cat": 3}', "is no JSON object"),
     ('{"a cat": "a.png"}', "the prompt 'a cat', which is none of the benchmark's")],
)  # fmt: skip
def test_a_folder_that_cannot_be_read_is_told_in_a_sentence(bench, index, says_what) -> None:  # type: ignore[no-untyped-def]
    _, score, _ = bench
    Path("pictures").mkdir()
    if index is not None:
        Path("pictures/image_paths.json").write_text(index)
    code, _, err = score("pictures")
    assert code == 2 and says_what in " ".join(err.split())


def test_a_run_of_several_samples_has_no_official_folder(bench) -> None:  # type: ignore[no-untyped-def]
    run, _, milr = bench
    assert run("--out", "two", "--samples", 2)[0] == 0
    code, _, err = milr("export", "two", "--layout", "geneval2", "--to", "official")
    assert code == 2 and "one picture for each prompt" in err
