"""`milr calibrate`: from pictures of a model to the logistics by which its own judgements become scores.

1. Each prompt is drawn several times from newly sampled visualisations, into a run folder, so that it can be resumed.
2. Every picture gets each judge's log-likelihood, and the metric's verdict, where there is a metric.
3. Logistics are fitted to the pictures of every second prompt: to what the metric says is right, or without a metric to
   quantiles, so that 0.5 is the model's median picture and 0.9 the best tenth (an order, and no probability).
4. The pictures of the other prompts say how well that holds.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milr import catalog
from milr.options import Options
from milr.rewards.calibration_file import CalibrationFile, JudgeCalibration
from milr.rules.calibration import Calibration, agreement, fit_logistic, fit_quantiles
from milr.types import Outcome, Prompt, Score, UsageError
from milr.workflows.prepare import PreparedRun, load_model, prepare
from milr.workflows.prompts import world_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.base import Reward, Services, UnifiedModel

JUDGES = ("own", "seen", "likelihood")
LABEL = "right"  # the part that says whether the metric finds a picture right
SLOPE = 1e-3  # of the logistic that is inverted to get a judge's log-likelihood back
NAME = "log-likelihoods"


class LogLikelihoods:
    """A reward whose parts are the judges' log-likelihoods, and 1 or 0 by the metric where there is one.

    Those are no scores in [0, 1]; the score itself is the metric's, or 0.5.
    """

    name = NAME
    range = (0.0, 1.0)
    threshold = 0.9
    licence = "that of the judges"

    def __init__(self, judges: Mapping[str, Reward], metric: Reward | None, *, per_token: bool) -> None:
        self.judges, self.metric, self.per_token = dict(judges), metric, per_token
        for judge in judges.values():
            judge.calibration = Calibration(SLOPE, 0.0, per_token)  # type: ignore[attr-defined]
        self.needs = tuple(metric.needs) if metric else ()

    def identity(self) -> dict[str, Any]:
        """The judges' identities and the metric's, each as JSON."""
        judges = self.judges | ({self.metric.name: self.metric} if self.metric else {})
        return {
            name: json.dumps(catalog.reward_identity(name, judge), sort_keys=True) for name, judge in judges.items()
        }

    def check(self, prompt: Prompt) -> None:
        """UsageError for a prompt that the metric cannot judge."""
        if callable(check := getattr(self.metric, "check", None)):
            check(prompt)

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; unscored where one of the judges gives none."""
        judges = [*self.judges.values(), *([self.metric] if self.metric else [])]
        columns = await asyncio.gather(*(judge.score(pictures, prompts, services) for judge in judges))
        return [self._combine(prompt, scores) for prompt, *scores in zip(prompts, *columns, strict=True)]

    def _combine(self, prompt: Prompt, scores: list[Score]) -> Score:
        calls, seconds = sum(score.calls for score in scores), sum(score.seconds for score in scores)
        names = [*self.judges, *([self.metric.name] if self.metric else [])]
        values = [score.value for score in scores if score.value is not None]
        if len(values) < len(scores):
            reasons = "; ".join(f"{name}: {score.reason}" for name, score in zip(names, scores, strict=True)
                                if score.value is None)  # fmt: skip
            return Score(None, {}, reasons, calls, seconds)
        parts = {name: _log_odds(value) / SLOPE for name, value in zip(self.judges, values, strict=False)}
        if self.metric is None:
            return Score(0.5, parts, "", calls, seconds)
        by_category = getattr(self.metric, "threshold_of", None)
        threshold = by_category(prompt.category) if callable(by_category) else self.metric.threshold
        return Score(values[-1], parts | {LABEL: float(values[-1] > threshold)}, "", calls, seconds)


def prepare_calibration(prompts: Sequence[Prompt], options: Options, judges: Sequence[str] = JUDGES) -> PreparedRun:
    """The run that draws the pictures, ready to start; `options.pictures` of each prompt, and `options.metric`.

    Where no metric is named it is that of the model's world, if all prompts are about it. UsageError for judges that
    have no log-likelihood, and for fewer than two prompts.
    """
    unknown = [judge for judge in judges if judge.partition(":")[0] not in JUDGES]
    if unknown or not judges:
        raise UsageError(f"calibrated are {', '.join(JUDGES)}, and not {', '.join(unknown) or 'nothing'}.")
    if len({prompt.text.strip() for prompt in prompts}) < 2:
        raise UsageError("a calibration is fitted to half of the prompts and checked on the others: give at least two.")
    if options.metric:
        catalog.check_part("rewards", options.metric)
    model = load_model(options)
    metric = options.metric or _metric_of(model, prompts)
    reward = LogLikelihoods({name: catalog.make_reward(name, model, options) for name in judges},
                            catalog.make_reward(metric, model, options) if metric else None,
                            per_token=world_of(model) is None)  # fmt: skip
    options = replace(options, reward=NAME, metric=NAME, choose=None, stop=False, threshold=None,
                      method="redraw_sampled")  # fmt: skip
    return prepare(prompts, options, model=model, make_reward=lambda name, of, under: reward)


def _metric_of(model: UnifiedModel, prompts: Sequence[Prompt]) -> str:
    world = world_of(model)
    return world.metric if world and all(world.read(prompt.text) for prompt in prompts) else ""


def calibration_of(prepared: PreparedRun, outcomes: Sequence[Outcome]) -> CalibrationFile:
    """The calibrations fitted to the outcomes of the run; UsageError where they cannot be fitted."""
    reward: Any = prepared.reward
    texts = {prompt.text: number for number, prompt in enumerate(prepared.prompts)}
    fitted: list[Mapping[str, float]] = []
    held_out: list[Mapping[str, float]] = []
    for outcome in outcomes:
        parts = [step.score.parts for step in outcome.steps if step.score.value is not None]
        (held_out if texts[outcome.prompt.text] % 2 else fitted).extend(parts)
    if not (fitted and held_out):
        raise UsageError("no judge could score the pictures of half of the prompts: the run's records say why.")
    judges = {name: _fit(name, fitted, held_out, reward) for name in reward.judges}
    return CalibrationFile(
        model=prepared.model.name, weights=str(prepared.model.identity().get("weights", "")),
        metric=reward.metric.name if reward.metric else "", prompts=len(prepared.prompts), per_token=reward.per_token,
        judges=judges,
    )  # fmt: skip


def _fit(name: str, fitted: list[Mapping[str, float]], held_out: list[Mapping[str, float]],
         reward: LogLikelihoods) -> JudgeCalibration:  # fmt: skip
    values, others = [parts[name] for parts in fitted], [parts[name] for parts in held_out]
    counts: dict[str, Any] = {"fitted": len(values), "held_out": len(others)}
    if reward.metric is None:
        try:
            slope, intercept = fit_quantiles(values)
        except ValueError as error:
            raise UsageError(f"{name} cannot be calibrated: {error}; take more prompts.") from None
        probabilities = [_probability(value, slope, intercept) for value in others]
        half, tenth = (sum(p > share for p in probabilities) / len(others) for share in (0.5, 0.9))
        return JudgeCalibration(slope=slope, intercept=intercept, above=(half, tenth), **counts)
    right = [parts[LABEL] == 1 for parts in fitted]
    if len(set(right)) < 2:
        raise UsageError(f"{reward.metric.name} finds {'all' if right[0] else 'none'} of the {len(right)} pictures "
                         "right, so there is nothing to tell apart: take other prompts.")  # fmt: skip
    slope, intercept = fit_logistic(values, right)
    fit = agreement([_probability(value, slope, intercept) for value in others],
                    [parts[LABEL] == 1 for parts in held_out])  # fmt: skip
    return JudgeCalibration(slope=slope, intercept=intercept, right=fit.right, brier=fit.brier, error=fit.error,
                            **counts)  # fmt: skip


def _probability(value: float, slope: float, intercept: float) -> float:
    return Calibration(slope, intercept).score(value, 1.0)


def _log_odds(value: float) -> float:
    value = min(max(value, 1e-300), 1 - 1e-16)
    return math.log(value) - math.log1p(-value)


def write_calibration(calibration: CalibrationFile, path: Path) -> None:
    """The file; UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}.") from None
