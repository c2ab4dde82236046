"""Calibrations: how they are fitted and checked, the file, the rewards that read it, and `milr calibrate`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import milr as package
from milr import catalog
from milr.models.janus import JanusModel
from milr.options import Options
from milr.rewards.calibration_file import CalibrationFile, JudgeCalibration, calibration_for
from milr.rules.calibration import Calibration, agreement, calibrated, fit_logistic, fit_quantiles
from milr.runs.store import RunStore
from milr.types import Prompt, UsageError
from milr.workflows.calibrate import calibration_of, prepare_calibration

Milr = Callable[..., tuple[int, str, str]]
PROMPTS = ["three hearts", "a small striped red star left of a large blue circle", "two green squares",
           "a large outlined pink cross", "four small solid blue hearts",
           "a white circle above a black star"]  # fmt: skip


def test_a_logistic_is_found_again_and_is_calibrated_on_other_pictures() -> None:
    random = np.random.default_rng(1)
    values = random.normal(-20, 8, 8000)
    right = random.random(8000) < 1 / (1 + np.exp(-(0.4 * values + 7)))
    slope, intercept = fit_logistic(values[::2].tolist(), right[::2].tolist())
    assert slope == pytest.approx(0.4, abs=0.03) and intercept == pytest.approx(7, abs=0.5)
    probabilities = [calibrated(value, (slope, intercept)) for value in values[1::2]]
    held_out = agreement(probabilities, right[1::2].tolist())
    assert held_out.pictures == 4000 and held_out.error < 0.03
    assert held_out.brier < agreement([0.5] * 4000, right[1::2].tolist()).brier == 0.25


def test_pictures_far_below_do_not_flatten_the_logistic() -> None:
    values = [*np.linspace(-30, -16, 50), *np.linspace(-14, 0, 50)]
    right = [False] * 50 + [True] * 50
    slope, intercept = fit_logistic(values, right)
    assert math.isfinite(slope) and calibrated(-17.0, (slope, intercept)) < 0.1 < 0.9 < calibrated(
        -13.0, (slope, intercept)
    )
    odd = fit_logistic([*values, -5000.0, -400.0], [*right, True, True])
    assert calibrated(-22.0, odd) < 0.1 and calibrated(-7.0, odd) > 0.9
    assert fit_logistic(values, right[::-1])[0] == 0.0  # a judge that is worse than none says the same of all


def test_agreement_is_computed_as_it_is_defined() -> None:
    fit = agreement([0.15, 0.18, 0.95, 1.0], [False, True, True, True])
    assert fit.brier == pytest.approx((0.15**2 + 0.82**2 + 0.05**2) / 4)
    assert fit.error == pytest.approx((abs(0.33 - 1) + abs(1.95 - 2)) / 4) and fit.right == 0.75


def test_without_labels_a_half_and_nine_tenths_are_quantiles() -> None:
    values = [float(value) for value in range(101)]
    pair = fit_quantiles(values)
    assert calibrated(50.0, pair) == pytest.approx(0.5) and calibrated(90.0, pair) == pytest.approx(0.9)
    with pytest.raises(ValueError, match="half of the pictures"):
        fit_quantiles([1.0] * 9 + [0.0])


def test_a_calibration_is_of_the_nats_or_of_the_score_without_one() -> None:
    assert Calibration(0.5, 10.0).score(-20.0, 0.3) == 0.5
    assert Calibration(2.0, 1.0, per_token=True).score(-20.0, math.exp(-0.5)) == 0.5
    assert 0 < Calibration(1.0, 0.0, per_token=True).score(-20.0, 0.0) < 1e-8
    assert Calibration(0.5, 1.0).identity() == [0.5, 1.0] != Calibration(0.5, 1.0, True).identity()


def file_with(folder: Path, **fields: Any) -> Path:
    path = folder / "calibration.json"
    own = JudgeCalibration(slope=0.0, intercept=1.0)
    path.write_text(CalibrationFile(model="nano", judges={"own": own}, **fields).model_dump_json())
    return path


def test_rewards_score_by_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path)
    with package.load("nano", pictures=1, method="redraw_sampled", stop=False, metric="self") as session:
        plain = session.generate("three hearts", reward="own", out=tmp_path / "plain")
        flat = session.generate("three hearts", reward="own", calibration=str(path), out=tmp_path / "flat")
        assert flat.score.value == pytest.approx(1 / (1 + math.exp(-1))) != plain.score.value
        path.write_text(path.read_text().replace('"slope":0.0', '"slope":0.001'))
        with pytest.raises(UsageError, match="reward calibration"):  # the file's content is part of the run
            session.generate("three hearts", reward="own", calibration=str(path), out=tmp_path / "flat")
        with pytest.raises(UsageError, match="calibrates own, and not seen"):
            session.generate("three hearts", reward="seen", calibration=str(path))


@pytest.mark.parametrize("content", [
    "", "{}", '{"model": "nano", "judges": {"own": {"slope": -1, "intercept": 0}}}',
    '{"model": "nano", "judges": {"own": {"slope": NaN, "intercept": 0}}}',
])  # fmt: skip
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(UsageError, match="is no calibration"):
        CalibrationFile.read(tmp_path / "bad.json")
    with pytest.raises(UsageError, match="cannot read"):
        CalibrationFile.read(tmp_path / "missing.json")


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    model: Any = SimpleNamespace(name="mine", identity=lambda: {"weights": "sha256:1"})
    path = file_with(tmp_path, weights="sha256:2")
    with pytest.raises(UsageError, match="with other weights than mine"):
        calibration_for("own", model, str(path))
    assert calibration_for("own", model, str(file_with(tmp_path, weights="sha256:1"))) == (0.0, 1.0, False)


def test_nano_is_calibrated_by_its_metric(milr: Milr, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    arguments = ("calibrate", "nano", "--prompts", "prompts.txt", "--pictures", 4, "--out", "run", "--to", "new/c.json")
    code, out, err = milr(*arguments)
    assert code == 0, err
    assert "own" in out and "calibration error" in out and "by detector" in out
    written = CalibrationFile.read(tmp_path / "new" / "c.json")
    assert (
        written.metric == "detector" and not written.per_token and set(written.judges) == {"own", "seen", "likelihood"}
    )
    own = written.judges["own"]
    assert (own.fitted, own.held_out) == (12, 12) and own.brier is not None and own.above is None
    steps = [step for record in RunStore(tmp_path / "run").records() for step in record.steps]
    assert {step.parts["right"] for step in steps} == {0.0, 1.0}
    nano = catalog.make_model("nano", device="cpu")
    slope, intercept = nano.world.calibration("own")  # type: ignore[attr-defined]
    for step in steps:  # the log-likelihood of `own` is the sum of the other two and of log P(yes)
        yes = step.parts["own"] - step.parts["seen"] - step.parts["likelihood"]
        assert math.log(0.01) - 1e-6 <= yes <= math.log(1.01) + 1e-6
    code, out, _ = milr("generate", PROMPTS[0], "--reward", "own", "--method", "redraw_sampled", "--pictures", 1,
                        "--no-stop", "--calibration", "new/c.json", "--json")  # fmt: skip
    assert code == 0 and 0 < json.loads(out)[0]["score"] < 1
    code, out, _ = milr(*arguments, "--json")  # resumes
    assert code == 0 and json.loads(out)["judges"]["own"]["slope"] == own.slope


def test_a_model_without_a_metric_is_calibrated_by_quantiles(
    tiny: JanusModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from milr.workflows import calibrate
    from milr.workflows.running import run

    monkeypatch.setattr(calibrate, "load_model", lambda options: tiny)
    prompts = [Prompt(text) for text in ("a red star", "two blue circle", "a green square", "a big star", "a star")]

    async def go() -> CalibrationFile:
        prepared = prepare_calibration(prompts, Options(model="tiny", pictures=3))
        return calibration_of(prepared, await run(prepared))

    import asyncio

    written = asyncio.run(asyncio.wait_for(go(), 120))
    assert written.metric == "" and written.per_token
    for judge in written.judges.values():
        assert (
            judge.brier is None
            and judge.above is not None
            and judge.slope > 0
            and (judge.fitted, judge.held_out) == (9, 6)
        )


def test_what_cannot_be_calibrated_is_refused(milr: Milr, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("three hearts\n")
    (tmp_path / "two.txt").write_text("three hearts\nfour circles\n")
    for arguments, sentence in (
        (("--prompts", "one.txt"), "give at least two"),
        (("--prompts", "two.txt", "--judges", "own,detector"), "not detector"),
        (("--prompts", "two.txt", "--metric", "detektor"), "did you mean 'detector'"),
        (("--prompts", "two.txt", "--metric", "noisy:0,1", "--pictures", 1), "finds all of the 1 pictures right"),
    ):
        code, _, err = milr("calibrate", "nano", *arguments)
        assert code == 2 and sentence in err, err
