"""The reward `vqa` on a random vision-language model of transformers' own classes, and what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from PIL import Image

import tiny_qwen
from milr import catalog
from milr.base import Reward
from milr.options import Options
from milr.rewards.first_token import GREEDY
from milr.rewards.vision.image_text import LocalImageText
from milr.rewards.vision.qwen3 import LocalQwen3
from milr.rewards.vqa import VqaReward
from milr.rules.geneval2 import YES, vqascore_question
from milr.types import MissingError, Prompt, Score
from tiny_llava import save_llava

CAT = Prompt("a cat")
RED, BLUE = Image.new("RGB", (50, 40), "red"), Image.new("RGB", (40, 40), "blue")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    save_llava(folder)
    return folder


def made(folder: Path) -> VqaReward:
    reward = catalog.make_reward("vqa", None, Options(judge_model=str(folder), device="cpu"))
    assert isinstance(reward, VqaReward) and isinstance(reward, Reward)
    return reward


def test_it_is_the_probability_of_the_spellings_of_yes(llava: Path) -> None:
    reward = made(llava)
    assert isinstance(reward.judge, LocalImageText)
    red, blue = asyncio.run(reward.score([RED, BLUE], [CAT, CAT], None))  # type: ignore[arg-type]
    judge = reward.judge
    turn = f"user: <image>{vqascore_question('a cat')} assistant:"
    inputs = judge.processor(images=[RED], text=[turn], return_tensors="pt")
    with torch.inference_mode():
        logits = judge.network(**inputs).logits[0, -1].float()
    ids = [judge.processor.tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in YES]
    assert red.value == pytest.approx(float(logits.softmax(-1)[ids].sum()), abs=1e-6)
    assert red.value != blue.value and red.calls == 1 and GREEDY in red.parts


def test_the_judge_is_told_apart_by_its_checkpoint(llava: Path) -> None:
    assert made(llava).identity() == {"model": str(llava), "dtype": "torch.float32"}


def test_a_qwen3_is_read_as_genevals_judge_is(tmp_path: Path) -> None:
    tiny_qwen.save_qwen3(tmp_path)
    assert isinstance(made(tmp_path).judge, LocalQwen3)


def test_a_model_without_a_template_or_without_eyes_is_refused(tmp_path: Path) -> None:
    save_llava(tmp_path / "bare", template=None)
    with pytest.raises(MissingError, match="has no chat template"):
        made(tmp_path / "bare")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(MissingError, match="is no vision-language model"):
        made(tmp_path / "text")
    with pytest.raises(MissingError, match="there is no folder"):
        made(tmp_path / "nowhere" / "else" / "at all")


def test_numbers_that_are_none_leave_the_picture_unscored(llava: Path) -> None:
    reward = made(llava)
    assert isinstance(reward.judge, LocalImageText)
    with torch.no_grad():
        reward.judge.network.lm_head.weight.fill_(float("nan"))
    (score,) = asyncio.run(reward.score([RED], [CAT], None))  # type: ignore[arg-type]
    assert isinstance(score, Score) and score.value is None and "not finite" in score.reason
