"""`--choose`: one judge says whether a picture passes, another one which of several is chosen, and both stop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import milr
from milr.methods.revise import lacking
from milr.rewards.choice import ChoiceReward
from milr.rewards.function import FunctionReward
from milr.types import Prompt, Score

PROMPT = Prompt("a red star", category="colors")
PICTURE = Image.new("RGB", (4, 4))


class ByCategory(FunctionReward):
    """Stricter for one category."""

    def threshold_of(self, category: str) -> float:
        return 0.6 if category == "colors" else self.threshold


def score(passing: float | None, choosing: float | None, threshold: float | None = None, strict: bool = False) -> Score:
    """The combined score; None is unscored."""

    def judge(value: float | None, name: str, kind: type[FunctionReward] = FunctionReward) -> FunctionReward:
        return kind(lambda picture, prompt: Score.unscored("asleep") if value is None else value, name)

    kind = ByCategory if strict else FunctionReward
    reward = ChoiceReward(("first", judge(passing, "first", kind)), ("second", judge(choosing, "second")), threshold)
    (result,) = asyncio.run(reward.score([PICTURE], [PROMPT], None))  # type: ignore[arg-type]
    return result


def test_pictures_that_pass_are_above_all_others_and_the_second_judge_orders_them() -> None:
    order = [score(passing, choosing).value for passing, choosing in ((0.9, 1.0), (1.0, 0.0), (0.95, 0.4), (1.0, 0.8))]
    assert order == pytest.approx([0.5, 0.5, 0.7, 0.9], abs=1e-6)
    assert order[0] == 0.5 < (order[1] or 0)  # the first is at the threshold 0.9 and so does not pass
    assert score(1.0, 0.8).parts == {"first": 1.0, "second": 0.8}


def test_what_the_first_judge_found_wrong_is_told_on() -> None:
    asked = FunctionReward(lambda picture, prompt: Score(0.3, {"Is it red?": 0.1, "Is it a star?": 0.9}), "checklist")
    reward = ChoiceReward(("checklist", asked), ("second", FunctionReward(lambda picture, prompt: 0.5, "second")))
    (result,) = asyncio.run(reward.score([PICTURE], [PROMPT], None))  # type: ignore[arg-type]
    assert lacking(result) == ("Is it red?",) and {"checklist", "second"} <= result.parts.keys()


def test_the_search_stops_where_both_judges_pass() -> None:
    reward = ChoiceReward(*(((name, FunctionReward(lambda picture, prompt: 1.0, name))) for name in ("a", "b")))
    assert reward.threshold == pytest.approx(0.95)
    assert score(1.0, 0.91).value > reward.threshold > score(1.0, 0.89).value  # type: ignore[operator]
    assert score(0.5, 1.0).value < reward.threshold  # type: ignore[operator]


def test_the_threshold_is_the_users_or_the_first_judges_for_the_category() -> None:
    assert score(0.5, 0.2, threshold=0.4).value == pytest.approx(0.6)
    assert score(0.7, 0.2, strict=True).value == pytest.approx(0.6)
    assert score(0.7, 0.2).value == pytest.approx(0.1)


def test_a_judgement_that_failed_is_unscored_and_both_calls_count() -> None:
    for result in (score(None, 1.0), score(1.0, None)):
        assert result.value is None and "asleep" in result.reason and result.calls == 2


@pytest.fixture
def session() -> Iterator[milr.Session]:
    with milr.load("nano", seed=1, pictures=3, method="redraw_sampled") as session:
        yield session


def test_a_run_tells_both_judges_and_goes_on(session: milr.Session, tmp_path: Path) -> None:
    search = {"reward": "noisy:0.3,0.3", "choose": "own", "out": tmp_path / "run"}
    first = session.generate("three hearts", **search)  # type: ignore[arg-type]
    assert all({"noisy:0.3,0.3", "own"} <= step.score.parts.keys() for step in first.steps)
    again = session.generate("three hearts", **search)  # type: ignore[arg-type]
    assert [step.score.value for step in again.steps] == [step.score.value for step in first.steps]
    assert milr.load_run(tmp_path / "run").config.reward == "noisy:0.3,0.3 chosen by own"
    with pytest.raises(milr.UsageError, match="other settings"):
        session.generate("three hearts", **{**search, "choose": "self"})  # type: ignore[arg-type]
