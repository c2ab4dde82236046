"""The reward `t2i-compbench-plus`: the categories numeracy and 3d_spatial of T2I-CompBench++ (arXiv 2307.06350v3).

It follows Karine-Huang/T2I-CompBench 1b70949 (rules in `rules.t2i_compbench_plus`); `DEVIATIONS` says where not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from milr.rewards.vision.local_reward import LocalReward
from milr.rewards.vision.noun_phrases import PromptParser, load_spacy_parser
from milr.rewards.vision.pinned import GROUNDING_DINO
from milr.rules import t2i_compbench_plus as rules
from milr.rules.t2i_compbench import first_and_last_noun, iou
from milr.types import JudgeError, Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.rewards.vision.depth import EstimateDepth
    from milr.rewards.vision.grounding import FindObjects
    from milr.rules.geneval import Detection

CATEGORIES = ("numeracy", "3d_spatial")
DEVIATIONS = (
    f"Objects are found by {GROUNDING_DINO}, told what to look for (score above 0.3), instead of UniDet with its fixed "
    "labels; numbers and depth scores are not comparable with published ones.",
    "The objects of a numeracy prompt are the nouns after its number words; the official tool has a list of objects.",
    "The depth map is made at the size of the network's own processor, and then enlarged to 480 x 480.",
    "spaCy's model decides about nouns, and differs a little from version to version.",
)


class CompBenchPlusReward(LocalReward):
    """T2I-CompBench++'s score in [0, 1] of the prompt's category.

    `parts` are how many of each object were found, as a share of those asked for and at most 1 (numeracy), or each
    object's confidence and the position score (3d_spatial).
    """

    name = "t2i-compbench-plus"
    threshold = 0.9
    deviations = DEVIATIONS
    licence = "Apache-2.0 (GroundingDINO, DPT), MIT (spaCy)"

    def __init__(self, parse: PromptParser, find: FindObjects, depth: EstimateDepth) -> None:
        super().__init__("T2I-CompBench++'s judge")
        self.parse, self.find, self.depth = parse, find, depth

    @classmethod
    def load(cls, *, device: str = "auto") -> CompBenchPlusReward:
        """With spaCy and the pinned checkpoints; MissingError, naming what to fetch, where one is not here."""
        from milr.rewards.vision.depth import DepthEstimator
        from milr.rewards.vision.grounding import GroundingDino

        return cls(load_spacy_parser(), GroundingDino.load(device=device), DepthEstimator.load(device=device))

    def identity(self) -> dict[str, Any]:
        """What tells two of these judges apart, beside their checkpoints."""
        return dict(self.parse.identity())

    def check(self, prompt: Prompt) -> None:
        """UsageError, with the reason, for a prompt of another category."""
        if prompt.category not in CATEGORIES:
            raise UsageError(f"the reward t2i-compbench-plus judges prompts of {' and '.join(CATEGORIES)}, and "
                             f"{prompt.text!r} is neither; take the prompts of the benchmark t2i-compbench-plus."
                             )  # fmt: skip

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The score and its parts by the rule of the prompt's category."""
        rule = self._numeracy if prompt.category == "numeracy" else self._depth
        return rule(picture.convert("RGB"), prompt.text)

    def _numeracy(self, picture: Image, text: str) -> Score:
        objects = rules.counted_objects(self.parse(text).tokens)
        if not objects:
            raise JudgeError(f"no object is counted in {text!r}.")
        found = {label: len(rules.distinct(detections))
                 for label, detections in self._found(picture, [one.label for one in objects]).items()}  # fmt: skip
        parts = {f"{one.count} {one.name}": min(1.0, found[one.label] / one.count) for one in objects}
        said = ", ".join(f"{one.name} {found[one.label]} of {one.count}" for one in objects)
        return Score(rules.numeracy_score(objects, found), parts, f"found: {said}")

    def _depth(self, picture: Image, text: str) -> Score:
        pair, relation = first_and_last_noun(self.parse(text).tokens), rules.depth_relation(text)
        if pair is None or not relation:
            raise JudgeError(f"there are no two objects in front of or behind each other in {text!r}.")
        found = self._found(picture, [rules.LABELS.get(word, word) for word in pair])
        first, second = (max(found[rules.LABELS.get(word, word)], key=lambda one: one.score, default=None)
                         for word in pair)  # fmt: skip
        parts = {f"{word} found": detection.score if detection else 0.0
                 for word, detection in zip(pair, (first, second), strict=True)}  # fmt: skip
        position = 0.0
        if first and second:
            near = rules.eight_bits(self.depth(picture, rules.FRAME))
            nearer = rules.mean_depth(near, first.box) - rules.mean_depth(near, second.box)
            position = parts["position"] = rules.depth_position(relation, nearer, iou(first.box, second.box))
        return Score(rules.depth_score(first, second, position), parts)

    def _found(self, picture: Image, labels: list[str]) -> dict[str, list[Detection]]:
        """The boxes of each label in the frame of the depth map."""
        return {label: [box.to_pixels(rules.FRAME, rules.FRAME) for box in boxes]
                for label, boxes in self.find(picture, labels).items()}  # fmt: skip
