"""The reward `geneval`: GenEval's rules (arXiv 2310.11513) on what a detector and a colour classifier find.

It follows djghosh13/geneval af4902f on transformers' models; `DEVIATIONS` says where not. The picture is judged as it
is in memory, and an evaluator that fails leaves it unscored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from milr.rewards.vision.colours import COLOURS, ColourClassifier
from milr.rewards.vision.local_reward import LocalReward
from milr.rewards.vision.pinned import CLIP_L14, MASK2FORMER
from milr.rewards.vision.segmentation import Segmenter
from milr.rules import geneval
from milr.rules.coco import GENEVAL_NAMES
from milr.types import Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

DEVIATIONS = (
    f"The detector is {MASK2FORMER} (mask AP 46.3 on COCO), the architecture of "
    "GenEval's mmdet detector (46.1) from another training run: single verdicts differ, and GenEval's thresholds 0.3 "
    "and 0.9 sit on a slightly different scale.",
    "Calibrate on a fixed set of pictures before comparing with published GenEval numbers.",
    "The detector's weights are licensed CC BY-NC 4.0: no commercial use.",
    "The detector's input is resized by Pillow, not by OpenCV, and computed in float32.",
    "Colours come from the same CLIP ViT-L/14 weights, in float32 instead of float16 autocast.",
    "A picture whose evaluation fails is unscored; the released MILR code counted it as correct.",
)
RELATIONS = ("left of", "right of", "above", "below")
Detect = Callable[["Image"], geneval.Detections]  # a picture to the objects of each class


class GenEvalReward(LocalReward):
    """1.0 where GenEval's rules find the picture correct, else 0.0 with the reasons; needs GenEval's metadata.

    `parts` are the facts that the prompt states ("dog count", "dog color"), 1.0 where the picture shows them.
    """

    name = "geneval"
    threshold = 0.9
    deviations = DEVIATIONS
    needs: tuple[str, ...] = ("metadata",)
    licence = "CC BY-NC 4.0 (detector), MIT (CLIP)"

    def __init__(self, detect: Detect, colour_classifier: ColourClassifier) -> None:
        super().__init__("GenEval's evaluator")
        self.detect, self.colour_classifier = detect, colour_classifier

    @classmethod
    def load(cls, detector: str = MASK2FORMER, clip: str = CLIP_L14, *,
             device: str = "auto") -> GenEvalReward:  # fmt: skip
        """With the pinned checkpoints or others; MissingError, naming what to fetch, where one is not here."""
        return cls(Segmenter.load(detector, device=device), ColourClassifier.load(clip, device=device))

    def check(self, prompt: Prompt) -> None:
        """UsageError, with the reason, for a prompt whose metadata is not GenEval's."""
        check(prompt)

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The verdict as a score, with the facts as its parts."""
        verdict = self.verdict(picture, prompt.metadata or {})
        parts = {f"{clause.name} {fact}": float(holds)
                 for clause in verdict.clauses for fact, holds in clause.facts.items()}  # fmt: skip
        return Score(float(verdict.correct), parts, "; ".join(verdict.reasons))

    def verdict(self, picture: Image, metadata: Mapping[str, Any]) -> geneval.Verdict:
        """The verdict of GenEval's rules on one picture."""
        picture = picture.convert("RGB")
        return geneval.judge(self.detect(picture), metadata, {"color": self.colour_classifier.for_picture(picture)})


def check(prompt: Prompt) -> None:
    """UsageError, with the reason, unless the metadata is GenEval's, about classes and colours that it knows."""
    if prompt.metadata is None:
        raise UsageError(f"the reward geneval judges only GenEval's own prompts, and {prompt.text!r} has no metadata.")
    try:
        problem = _problem(prompt.metadata)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError):  # int() of an infinite count
        problem = "is not in GenEval's form"
    if problem:
        raise UsageError(
            f"the metadata of {prompt.text!r} {problem}; use a line of GenEval's evaluation_metadata.jsonl."
        )


def _problem(metadata: Mapping[str, Any]) -> str:
    """What is wrong with the metadata, as the end of a sentence; "" where nothing is."""
    if not isinstance(metadata["tag"], str) or not metadata["include"]:
        return "has no tag or no include clause"
    for index, clause in enumerate([*metadata["include"], *(metadata.get("exclude") or ())]):
        if unknown := sorted(set(clause) - {"class", "count", "color", "position"}):
            return f"asks for the {unknown[0]}, which GenEval does not judge"
        if clause["class"] not in GENEVAL_NAMES:
            return f"asks for {clause['class']!r}, which GenEval's detector does not know"
        if clause.get("color", COLOURS[0]) not in COLOURS:
            return f"asks for the colour {clause['color']!r}, which GenEval does not know"
        if int(clause["count"]) < 1 or not ("position" not in clause or _is_placed(clause["position"], index)):
            return f"has a clause that cannot be judged, {dict(clause)}"
    return ""


def _is_placed(position: Any, index: int) -> bool:
    """Whether a clause's position is a relation to one of the `index` clauses before it."""
    relation, anchor = position
    return relation in RELATIONS and isinstance(anchor, int) and 0 <= anchor < index
