"""The rewards that ask in words, each over its whole path: question, answer, score."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import tiny_qwen
from chat_server import ChatServer, Reply, fails, on_loopback, says, serving
from milr import catalog
from milr.base import Reward
from milr.options import Options
from milr.rewards.endpoint.client import EndpointClient
from milr.rewards.endpoint.question_reward import QuestionReward
from milr.rewards.endpoint.settings import EndpointSettings
from milr.rewards.endpoint.wording import Wording
from milr.rewards.judge import JudgeReward
from milr.rewards.self_json import SelfJsonReward
from milr.rewards.unified import UnifiedReward
from milr.rewards.vision.qwen import LocalQwen
from milr.rewards.wise import WiseReward
from milr.rewards.wise_verified import WiseVerifiedReward
from milr.types import Answer, MissingError, Prompt, Score, UsageError

RED = Image.new("RGB", (4, 4), "red")
BALL = Prompt("a {red} ball", metadata={"explanation": "it is round"})
KINDS: dict[str, type[QuestionReward]] = {"judge": JudgeReward, "wise": WiseReward, "unified": UnifiedReward,
                                          "wise-verified": WiseVerifiedReward}  # fmt: skip
READABLE = {
    "judge": "-1",
    "wise-verified": "Score: 1",
    "wise": "Consistency: 2\nRealism: 1\nAesthetic Quality: 0",
    "unified": "ball (object): 1\nFinal Score: 4.6",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    on_loopback(monkeypatch, tmp_path_factory.getbasetemp())


def reward(name: str, server: ChatServer, **settings: Any) -> QuestionReward:
    quick = {"first_wait": 0.001, "longest_wait": 0.002, "max_attempts": 2} | settings
    return KINDS[name](EndpointClient(EndpointSettings(server.url, "m", **quick)), Wording.load(name))


def scores(judge: Reward, count: int = 1, prompt: Prompt = BALL, services: Any = None) -> list[Score]:
    return asyncio.run(judge.score([RED] * count, [prompt] * count, services))


def scored(name: str, *script: Reply, count: int = 1) -> Score:
    with serving(*script) as server:
        return scores(reward(name, server), count)[0]


@pytest.mark.parametrize(
    ("name", "threshold", "needs"),
    [
        ("judge", 0.9, ("judge",)),
        ("wise", 0.5, ("metadata", "judge")),
        ("wise-verified", 0.9, ("metadata", "judge")),
        ("unified", 0.75, ("judge",)),
    ],
)
def test_they_are_rewards(name: str, threshold: float, needs: Sequence[str]) -> None:
    with serving(says("")) as server:
        judge = reward(name, server)
    assert isinstance(judge, Reward) and judge.name == name and judge.range == (0.0, 1.0)
    assert judge.threshold == threshold and judge.needs == needs and judge.licence
    assert judge.identity() == {"wording": Wording.load(name).sha256} | dict(judge.client.identity())


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("judge", 0.0, {}),
        ("wise-verified", 1.0, {}),
        ("wise", 0.8, {"consistency": 1.0, "realism": 0.5, "aesthetic": 0.0}),
        ("unified", 0.9, {}),
    ],
)
def test_an_answer_becomes_a_score(name: str, value: float, parts: dict[str, float]) -> None:
    with serving(says(READABLE[name])) as server:
        results = scores(reward(name, server), 3)
        questions = [request["messages"][0]["content"][1]["text"] for request in server.requests]
    assert [score.value for score in results] == pytest.approx([value] * 3)
    assert results[0].parts == parts and repr(READABLE[name]) in results[0].reason
    assert questions == [Wording.load(name).fill(prompt="a {red} ball", explanation="it is round")] * 3


def test_the_judge_says_right() -> None:
    assert scored("judge", says("0")).value == 1.0


@pytest.mark.parametrize(("marks", "stops"), [("111", False), ("112", True), ("022", False), ("200", True)])
def test_wise_stops_above_half_a_wiscore_and_not_at_it(marks: str, stops: bool) -> None:
    value = scored("wise", says("\n".join(marks))).value
    assert value is not None and (value > WiseReward.threshold) == stops


@pytest.mark.parametrize(("value", "stops"), [("4", False), ("4.1", True), ("5", True)])
def test_unified_stops_above_four(value: str, stops: bool) -> None:
    results = scored("unified", says(f"Final Score: {value}")).value
    assert results is not None and (results > UnifiedReward.threshold) == stops


@pytest.mark.parametrize("name", KINDS)
def test_three_answers_that_cannot_be_read_are_unscored(name: str) -> None:
    nonsense = says("I would rather not say.")
    with serving(nonsense, nonsense, says(READABLE[name])) as server:
        assert scores(reward(name, server))[0].value is not None and len(server.requests) == 3
    with serving(nonsense, nonsense, nonsense, says(READABLE[name])) as server:
        (score,) = scores(reward(name, server))
        assert score.value is None and "rather not say" in score.reason and len(server.requests) == 3


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("trouble", [fails(500), fails(401), Reply({"choices": []}), Reply(b"{")])
def test_a_judge_that_fails_is_unscored_with_the_reason(name: str, trouble: Reply) -> None:
    score = scored(name, trouble)
    assert score.value is None and score.reason.startswith("the judge")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("apart", [True, False], ids=["reasoning is kept apart", "reasoning comes with the answer"])
def test_a_model_that_reasons_before_it_answers_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, apart: bool
) -> None:
    """Its thoughts hold other verdicts, and take a thousand tokens of those that it may use."""
    thoughts = "<think>0? Consistency: 0, Realism: 0, Aesthetic Quality: 0.\nFinal Score: 1\n"
    whole = READABLE[name] if apart else f"{thoughts}</think>\n\n{READABLE[name]}"

    def reasons(request: dict[str, Any]) -> Reply:
        return says(whole if request["max_tokens"] > 1000 else None if apart else thoughts)

    monkeypatch.setenv("MILR_CACHE", str(tmp_path))
    with serving(reasons) as server:
        judge = catalog.make_reward(name, None, Options(judge_url=server.url, judge_model="thinker"))
        (score,) = scores(judge)
        assert len(server.requests) == 1
    assert score.value == pytest.approx({"judge": 0.0, "wise": 0.8, "wise-verified": 1.0, "unified": 0.9}[name])
    assert score.reason == f"the judge answered {READABLE[name]!r}"


def test_thoughts_without_an_end_are_no_answer() -> None:
    score = scored("judge", says("<think>" + "Are there 0 dogs? " * 300))
    assert score.value is None and len(score.reason) < 300 and score.calls == 3


def test_marks_above_two_are_not_readable() -> None:
    assert scored("wise", says("Consistency: 3\nRealism: 1\nAesthetic Quality: 0")).value is None


@pytest.mark.parametrize("metadata", [None, {}, {"explanation": ""}])
def test_wise_needs_the_explanation(metadata: dict[str, Any] | None) -> None:
    with serving(says("2\n2\n2")) as server:
        with pytest.raises(UsageError, match="explanation"):
            scores(reward("wise", server), prompt=replace(BALL, metadata=metadata))
        assert server.requests == []


def test_another_wording_is_another_question_and_identity(tmp_path: Path) -> None:
    file = tmp_path / "official.txt"
    file.write_text("Rate [{prompt}].")
    with serving(says("0")) as server:
        ours = reward("judge", server, cache_folder=tmp_path / "answers")
        theirs = JudgeReward(ours.client, Wording.load("judge", file))
        assert scores(ours) == scores(ours) and scores(theirs)[0].value == 1.0
        questions = [request["messages"][0]["content"][1]["text"] for request in server.requests]
        assert questions[1:] == ["Rate [a {red} ball]."]
    assert ours.identity() != theirs.identity() and theirs.wording.label == f"template {file}"


# UnifiedReward on this machine


def test_a_small_qwen_learns_to_judge_two_pictures_and_is_asked_here() -> None:
    local = tiny_qwen.judge()
    wording = Wording("{prompt}?")
    tiny_qwen.teach(local, wording.fill(prompt="red"), {"red": "Final Score: 4.6", "blue": "Final Score: 1.5"})
    judge = UnifiedReward(local, wording)
    pictures = [tiny_qwen.plain("red"), tiny_qwen.plain("blue").convert("RGBA")]
    results = asyncio.run(judge.score(pictures, [Prompt("red")] * 2, None))  # type: ignore[arg-type]
    assert [score.value for score in results] == pytest.approx([0.9, 0.125])
    assert judge.identity() == {"wording": wording.sha256, "model": "tiny", "dtype": "torch.float32", "max_tokens": 24}


def test_an_untaught_qwen_is_unscored() -> None:
    (score,) = scores(UnifiedReward(tiny_qwen.judge(), Wording.load("unified")))
    assert score.value is None and "could not be read" in score.reason and score.calls == 1


def test_a_pad_for_each_merged_patch_and_every_pixel_counts() -> None:
    local = tiny_qwen.judge(max_tokens=5)
    read = local.inputs(Image.new("RGB", (112, 56), "red"), "Is it?")
    pads = read["mm_token_type_ids"] == 1
    assert read["image_grid_thw"].tolist() == [[1, 4, 8]] and int(pads.sum()) == 8
    assert (read["input_ids"][pads] == local.network.config.image_token_id).all()
    words = local.tokenizer.decode(read["input_ids"][0][~pads[0]])
    assert words.endswith("<|vision_start|><|vision_end|>Is it?<|im_end|>\n<|im_start|>assistant\n")
    other = local.inputs(Image.new("RGB", (112, 56), "blue"), "Is it?")
    with torch.inference_mode():
        assert not torch.equal(local.network(**read).logits, local.network(**other).logits)


def test_a_judge_from_a_folder_says_the_same(tmp_path: Path) -> None:
    local = tiny_qwen.judge(max_tokens=8)
    for part in (local.network.to(torch.bfloat16), local.processor, local.tokenizer):
        part.save_pretrained(tmp_path)
    loaded = LocalQwen.load(str(tmp_path), max_tokens=8)
    assert loaded.answer(RED, "Is it?") == local.answer(RED, "Is it?") != ""
    assert loaded.identity() == {"model": str(tmp_path), "dtype": "torch.bfloat16", "max_tokens": 8}


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere"):
        LocalQwen.load(str(tmp_path / "nowhere"))


# The generating model, in words


class Answering:
    """Services that answer with a text, or fail."""

    def __init__(self, text: str = "", error: Exception | None = None, complete: bool = True) -> None:
        self.text, self.error, self.complete = text, error, complete
        self.requests: list[str] = []

    async def answer(self, picture: Image.Image, question: str, max_new_tokens: int | None = None) -> Answer:
        self.requests.append(question)
        assert max_new_tokens == SelfJsonReward.max_answer_tokens
        if self.error:
            raise self.error
        return Answer(self.text, None, seconds=0.25, complete=self.complete)


@pytest.mark.parametrize(("verdict", "value"), [("0", 1.0), ("-1", 0.0)])
def test_the_model_gives_a_json_verdict(verdict: str, value: float) -> None:
    judge = SelfJsonReward(Wording.load("self"))
    services = Answering(f'```json\n{{"Thought": "a ball", "Score": {verdict}, "Reason": ""}}\n```')
    (score,) = scores(judge, services=services)
    assert isinstance(judge, Reward) and score.value == value and score.seconds == 0.25
    assert services.requests == [Wording.load("self").fill(prompt="a {red} ball")]
    assert judge.identity() == {"wording": Wording.load("self").sha256}


@pytest.mark.parametrize(
    ("services", "message"),
    [
        (Answering('{"Thought": "I see'), "no JSON verdict"),
        (Answering('{"Thought": "a ball", "Score": 0} but wait', complete=False), "was cut off at its limit of tokens"),
        (Answering(error=RuntimeError("no room")), "no room"),
    ],
)
def test_a_verdict_that_cannot_be_had_is_unscored(services: Answering, message: str) -> None:
    (score,) = scores(SelfJsonReward(Wording.load("self")), services=services)
    assert score.value is None and message in score.reason
