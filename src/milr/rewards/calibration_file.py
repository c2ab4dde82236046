"""The file of `milr calibrate`: how the judgements of one model about its own pictures become scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from milr.base import UnifiedModel
from milr.inputs.files import MEBIBYTE, read_file
from milr.inputs.json_text import JsonError, parse_json
from milr.rules.calibration import Calibration
from milr.types import UsageError

Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class JudgeCalibration(BaseModel):
    """One judge's logistic, and how it held on the pictures that it was not fitted to.

    Without a metric nobody knows what is right: `right`, `brier` and `error` are None, and `above` says which share of
    those pictures scores above 0.5 and above 0.9 (0.5 and 0.1 are meant).
    """

    model_config = ConfigDict(frozen=True)

    slope: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    intercept: Finite
    fitted: Count = 0
    held_out: Count = 0
    right: Share | None = None
    brier: Share | None = None
    error: Share | None = None
    above: tuple[Share, Share] | None = None


class CalibrationFile(BaseModel):
    """The calibrations of the judges of the model `model`, whose weights have the hash `weights`.

    `metric` is the judge that said what is right ("": none). `per_token`: the logistic is of the logarithm of the score
    that a judge has without a calibration, else of its log-likelihood in nats.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    model: str
    weights: str = ""
    metric: str = ""
    prompts: Count = 0
    per_token: bool = False
    judges: dict[str, JudgeCalibration]

    @staticmethod
    def read(path: Path) -> CalibrationFile:
        """The file; UsageError where it is none."""
        try:
            return CalibrationFile.model_validate(parse_json(read_file(path, MEBIBYTE)))
        except (JsonError, ValidationError):
            raise UsageError(f"{path} is no calibration: make one with milr calibrate.") from None

    def of(self, judge: str, model: UnifiedModel, path: Path) -> Calibration:
        """The judge's calibration; UsageError where the file has none, or is of another model."""
        weights = str(model.identity().get("weights", ""))
        if self.weights and weights and weights != self.weights:
            raise UsageError(f"{path} calibrates {self.model} with other weights than {model.name} has: make one for "
                             "this model with milr calibrate.")  # fmt: skip
        if judge not in self.judges:
            raise UsageError(f"{path} calibrates {', '.join(self.judges)}, and not {judge}: make one with "
                             f"milr calibrate --judges {judge}, or leave --calibration out.")  # fmt: skip
        return Calibration(self.judges[judge].slope, self.judges[judge].intercept, self.per_token)


def calibration_for(judge: str, model: UnifiedModel, file: str | None) -> Calibration | None:
    """A judge's calibration: the file's, else that of the model's world, if it has one."""
    if file is not None:
        return CalibrationFile.read(Path(file)).of(judge, model, Path(file))
    world = getattr(model, "world", None)
    pair = world.calibration(judge) if world else None
    return Calibration(*pair) if pair else None
