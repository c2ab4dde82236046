"""What `--method auto` stands for: a method and judges for the model and the judge at hand (docs/howto/method.md).

1. A preset of the paper's, or one of `MILR_SETTINGS`: `latent_reasoning`, judged as the user says.
2. A model whose own verdict is calibrated for the prompts (nano, in its world): `repair`. The model's verdict `own` is
   the judge where the judge was `self`, and chooses (`--choose`) where the judge is one of `MAY_ERR`.
3. Any other model, on which nothing was measured: `redraw_sampled`, of one that writes nothing `redraw_plain`; `own`
   chooses where the judge is one of `MAY_ERR` and the model can do what `own` asks.

A judge that is also the report metric is taken as it is (and any judge, where `own` is the metric), and so are one that
grades instead of deciding, a function of the user's, and a `--choose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from milr.base import abilities
from milr.options import Options
from milr.types import Prompt
from milr.workflows.abilities import can_judge_itself
from milr.workflows.prompts import world_of

if TYPE_CHECKING:
    from milr.base import UnifiedModel

AUTO = "auto"
OWN = "own"
MILR_SETTINGS = ("schedule", "text_ratio", "image_ratio", "learning_rate", "l2")
OF_THE_MODEL = ("self", "self:json")
MAY_ERR = ("noisy", "self", "checklist", "judge", "unified", "mixed", "geneval", "t2i-compbench", "wise",
           "wise-verified", "geneval2", "dpg-bench", "unigenbench", "vqa", "ocr",
           "t2i-compbench-plus")  # fmt: skip


def resolve_auto(options: Options, judges: tuple[str, str], model: UnifiedModel, prompts: Sequence[Prompt]) -> Options:
    """The options with what `auto` stands for; `judges` are the names of search reward and metric that they come to.

    Options that name a method are returned as they are.
    """
    if options.method != AUTO:
        return options
    if options.preset != "default" or any(getattr(options, name) is not None for name in MILR_SETTINGS):
        return replace(options, method="latent_reasoning")
    reward, metric = judges
    calibrated = is_calibrated(model, prompts)
    options = replace(options, method="repair" if calibrated else _redraw(model, options))
    if options.choose or metric in (reward, OWN) or reward.partition(":")[0] not in MAY_ERR:
        return options
    if not can_judge_itself(OWN, model):
        return options
    if calibrated and reward in OF_THE_MODEL:
        return replace(options, reward=OWN)
    return replace(options, choose=OWN)


def _redraw(model: UnifiedModel, options: Options) -> str:
    """Drawing again from new texts, or from the bare prompt by a model that writes none."""
    return "redraw_sampled" if "write" in abilities(model) or options.visualisation else "redraw_plain"


def describe_auto(options: Options, reward: str) -> str:
    """What `auto` came to, in a sentence."""
    return (f"--method auto: {options.method}, judged by {reward}"
            f"{f' and chosen by {options.choose}' if options.choose else ''}.")  # fmt: skip


def is_calibrated(model: UnifiedModel, prompts: Sequence[Prompt]) -> bool:
    """Whether the model's own verdict on these prompts is a probability: its world has it measured, and reads them."""
    world = world_of(model)
    return (world is not None and world.calibration(OWN) is not None
            and all(world.read(prompt.text) is not None for prompt in prompts))  # fmt: skip
