"""`rank:a,b`: the picture of a search that several judges rank best together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

import milr
from milr.engine.search import Budget, returnable, search
from milr.engine.studio import Studio
from milr.methods.redraw import redraw
from milr.models.janus import JanusModel
from milr.report.compare.comparison import stopped_after
from milr.report.compare.rows import load_run
from milr.rewards.choice import ChoiceReward
from milr.rewards.function import FunctionReward
from milr.rewards.rank import RankReward, parse
from milr.rules.rank_ensemble import best_by_rank, mean_ranks
from milr.types import Key, Outcome, Prompt, Score, UsageError
from scripted import Scripted

PROMPT = Prompt("a red star")


def test_ranks_are_meaned_and_ties_share_theirs() -> None:
    pictures = [(0.9, 0.1), (0.5, 0.8), (0.5, 0.9), (None, 1.0)]
    assert mean_ranks(pictures) == [2.5, (2.5 + 3) / 2, (2.5 + 2) / 2, 2.5]
    assert best_by_rank(pictures) == 2


@pytest.mark.parametrize(
    ("pictures", "best"),
    [
        ([(0.1, 0.9), (0.9, 0.1)], 1),  # equal ranks: the first judge's
        ([(0.5, 0.5), (0.5, 0.5)], 0),  # all equal: the earliest
        ([(None, None), (None, 0.1)], 1),
        ([(0.001, 0.9), (0.002, 0.1), (0.9, 0.0)], 2),  # 3 + 1, 2 + 2, 1 + 3 are equal
        ([(None, None)], None),
        ([], None),
    ],
)
def test_the_best_by_rank(pictures: Sequence[Sequence[float | None]], best: int | None) -> None:
    assert best_by_rank(pictures) == best


def test_names() -> None:
    assert parse("own,noisy:0.1,0.2,self:json") == ["own", "noisy:0.1,0.2", "self:json"]
    for wrong in ("", "own", "own,own", "own,", "weighted:a=1,b=2"):
        with pytest.raises(UsageError, match="name at least two"):
            parse(wrong)


FIRST = (0.30, 0.20, 0.10, 0.25)
SECOND = (0.10, 0.60, 0.50, 0.55)  # by the mean of the scores picture 1 leads; by the ranks 0, 0, 1 and 3 do


def searched(model: JanusModel, passing: Scripted | None, *values: Sequence[float | None]) -> Outcome:
    reward = RankReward({name: Scripted(*column) for name, column in zip("ab", values, strict=True)})
    judge = ChoiceReward(("passing", passing), ("rank:a,b", reward), 0.5) if passing else reward

    async def go() -> Outcome:
        studio = Studio(model, judge)
        try:
            return await search(studio, PROMPT, Key(1, PROMPT.text), redraw(visualise="none"), threshold=None,
                                budget=Budget(pictures=len(values[0])))  # fmt: skip
        finally:
            studio.close()

    return asyncio.run(asyncio.wait_for(go(), 30))


def test_a_search_returns_the_picture_with_the_best_ranks(tiny: JanusModel) -> None:
    outcome = searched(tiny, None, FIRST, SECOND)
    assert [step.chosen for step in outcome.steps] == [0, 0, 1, 3]
    assert (outcome.best, outcome.returned) == (3, 3) and returnable(outcome) == [0, 1, 3]
    assert outcome.steps[1].score.value == pytest.approx(0.4) and outcome.steps[1].score.parts == {"a": 0.2, "b": 0.6}


def test_an_unscored_picture_is_never_chosen(tiny: JanusModel) -> None:
    outcome = searched(tiny, None, (None, 0.1, 0.9), (0.9, 0.2, None))
    assert [step.chosen for step in outcome.steps] == [None, 1, 1] and returnable(outcome) == [0, 1]
    assert searched(tiny, None, (None, None), (0.9, 0.2)).stop == "judge_failed"


def test_among_the_pictures_that_pass_the_ranks_choose(tiny: JanusModel) -> None:
    outcome = searched(tiny, Scripted(0.0, 1.0, 1.0, 0.5), FIRST, SECOND)
    assert [step.chosen for step in outcome.steps] == [0, 1, 1, 1]
    assert outcome.steps[1].score.parts == {"passing": 1.0, "rank:a,b": pytest.approx(0.4), "a": 0.2, "b": 0.6}
    assert searched(tiny, Scripted(0.0), FIRST, SECOND).best == 3


def test_a_run_keeps_what_was_chosen_and_reports_read_it(tmp_path: Path) -> None:
    """With nano, where the records of a comparison are the search's own."""
    with milr.load("nano", seed=1, method="redraw_sampled", pictures=4, stop=False) as session:
        outcome = session.generate("three hearts", reward="rank:self,likelihood", out=tmp_path / "run")
    (stored,) = milr.load_run(tmp_path / "run").outcomes
    assert [step.chosen for step in stored.steps] == [step.chosen for step in outcome.steps]
    assert stored.returned == outcome.steps[-1].chosen
    (sample,) = load_run(tmp_path / "run").samples
    for allowed in range(1, 5):
        chosen = outcome.steps[allowed - 1].chosen
        assert chosen is not None and stopped_after(sample, allowed)[0].path.name == f"{chosen:03d}.png"
    best = best_by_rank([list(step.score.parts.values()) for step in outcome.steps])
    assert outcome.returned == best


@pytest.mark.parametrize("name", ["weighted:rank:self,own=1,self=1", "detector or rank:self,own", "rank:self,selv"])
def test_a_rank_inside_another_judge_is_refused(name: str) -> None:
    from milr import catalog

    with pytest.raises(UsageError, match="has a rank inside|did you mean 'self'"):
        catalog.check_part("rewards", name)


def test_a_rank_is_no_metric() -> None:
    with milr.load("nano", pictures=1, method="plain") as session, pytest.raises(UsageError, match="compares the"):
        session.generate("three hearts", metric="rank:self,own")


def test_scores_are_those_of_the_judges() -> None:
    judges = {
        name: FunctionReward(lambda picture, prompt, v=value: v, name) for name, value in (("a", 0.2), ("b", 0.6))
    }
    (score,) = asyncio.run(RankReward(judges).score([Image.new("RGB", (4, 4))], [PROMPT], None))  # type: ignore[arg-type]
    assert score == Score(pytest.approx(0.4), {"a": 0.2, "b": 0.6}, calls=2, seconds=score.seconds)
