"""The reward `t2i-compbench`: T2I-CompBench's scores (arXiv 2307.06350), each prompt by the rule of its category.

It follows Karine-Huang/T2I-CompBench 1b70949 (rules in `rules.t2i_compbench`); `DEVIATIONS` says where not. MILR's
reward for complex prompts never finds them in the official lists, and so always takes the mean of all three parts; this
one is the official score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from milr.rewards.vision.local_reward import LocalReward
from milr.rewards.vision.noun_phrases import PromptParser, load_spacy_parser
from milr.rewards.vision.pinned import GROUNDING_DINO
from milr.rules import t2i_compbench as rules
from milr.types import JudgeError, Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from milr.rewards.vision.grounding import FindObjects
    from milr.rewards.vision.vqa import AnswerQuestions

DEVIATIONS = (
    f"Objects of the spatial score are found by {GROUNDING_DINO}, told what to look for (score above "
    "0.3), instead of UniDet with its 722 fixed labels (above 0.1): it finds nouns that UniDet cannot, and its scores "
    "are on another scale, so spatial and complex scores are not comparable with published ones.",
    "BLIP's position table is interpolated twice, from 30 x 30 to 24 x 24 in the converted checkpoint and back.",
    "Negative cosines count as 0; all is computed in float32.",
    "spaCy's model decides about nouns, adjectives and chunks, and differs a little from version to version.",
)
# MILR's thresholds on the score, by category.
THRESHOLDS = {"color": 0.9, "shape": 0.9, "texture": 0.9, "spatial": 0.9, "non_spatial": 0.35, "complex": 0.4}
ScoreAndParts = tuple[float, dict[str, float]]


class CompBenchReward(LocalReward):
    """T2I-CompBench's score in [0, 1] of the prompt's category; complex prompts need {"lists": [...]} as metadata.

    `parts` are the answer to each question (attributes), each object's confidence and the position score (spatial), or
    the parts of the mean (complex). `threshold` is the strictest of the categories'; `threshold_of` gives each one's.
    `strict_unidet_nouns` leaves the nine nouns unfound that the official detector can never find.
    """

    name = "t2i-compbench"
    threshold = 0.9
    deviations = DEVIATIONS
    licence = "BSD-3-Clause (BLIP), Apache-2.0 (GroundingDINO), MIT (CLIP, spaCy)"

    def __init__(self, parse: PromptParser, answer: AnswerQuestions, find: FindObjects, *,
                 clip_score: Callable[[Image, str], float], strict_unidet_nouns: bool = False) -> None:  # fmt: skip
        super().__init__("T2I-CompBench's judge")
        self.parse, self.answer, self.find, self.clip_score = parse, answer, find, clip_score
        self.strict_unidet_nouns = strict_unidet_nouns

    @classmethod
    def load(cls, *, strict_unidet_nouns: bool = False, device: str = "auto") -> CompBenchReward:
        """With spaCy and the pinned checkpoints; MissingError, naming what to fetch, where one is not here."""
        from milr.rewards.vision.clip import ClipScore
        from milr.rewards.vision.grounding import GroundingDino
        from milr.rewards.vision.vqa import BlipVQA

        parse = load_spacy_parser()
        blip, detector = BlipVQA.load(device=device), GroundingDino.load(device=device)
        clip_score = ClipScore.load(device=device)
        return cls(
            parse, blip.yes_probabilities, detector, clip_score=clip_score, strict_unidet_nouns=strict_unidet_nouns
        )

    def identity(self) -> dict[str, Any]:
        """What tells two of these judges apart, beside their checkpoints."""
        return {"strict_unidet_nouns": self.strict_unidet_nouns, **self.parse.identity()}

    @staticmethod
    def threshold_of(category: str) -> float:
        """The score above which MILR stops at a prompt of this category."""
        return THRESHOLDS[category]

    def check(self, prompt: Prompt) -> None:
        """UsageError, with the reason, unless the prompt has the category and lists that T2I-CompBench needs."""
        if prompt.category not in THRESHOLDS:
            raise UsageError(
                f"the reward t2i-compbench judges prompts of its own categories ({', '.join(THRESHOLDS)}), and "
                f"{prompt.text!r} has none of them; take the prompts of the benchmark t2i-compbench."
            )
        lists = (prompt.metadata or {}).get("lists")
        if prompt.category == "complex" and not isinstance(lists, (list, tuple)):
            raise UsageError(
                f"the complex prompt {prompt.text!r} does not say which of T2I-CompBench's lists it is in; take the "
                "prompts of the benchmark t2i-compbench."
            )

    def judge(self, picture: Image, prompt: Prompt) -> Score:
        """The score and its parts by the rule of the prompt's category."""
        return Score(*self._score_category(picture.convert("RGB"), prompt))

    def _score_category(self, picture: Image, prompt: Prompt) -> ScoreAndParts:
        if prompt.category == "complex":
            return self._complex(picture, prompt)
        if prompt.category == "non_spatial":
            return self._similarity(picture, prompt.text), {}
        if prompt.category == "spatial":
            pair = rules.first_and_last_noun(self.parse(prompt.text).tokens)
            if pair is None:
                raise JudgeError(f"there is no noun to look for in {prompt.text!r}.")
            return self._spatial(picture, prompt.text, pair)
        return self._attribute(picture, prompt.text)

    def _attribute(self, picture: Image, text: str) -> ScoreAndParts:
        questions = rules.questions(self.parse(text).chunks)
        answers = self.answer(picture, questions)
        return rules.attribute_score(answers), dict(zip(questions, answers, strict=True))

    def _spatial(self, picture: Image, text: str, pair: rules.Pair | None) -> ScoreAndParts:
        """The score of two objects; 0 where the prompt names no pair, as in the official tool."""
        if pair is None:
            return 0.0, {}
        relation, frame = rules.locality(text), rules.frame_size(*picture.size)
        boxes = self.find(picture, [rules.detector_label(word) for word in pair])
        detections = {label: [box.to_pixels(*frame) for box in label_boxes]
                      for label, label_boxes in boxes.items()}  # fmt: skip
        first, second = (rules.most_confident(word, detections, strict=self.strict_unidet_nouns) for word in pair)
        parts = {f"{word} found": detection.score if detection else 0.0
                 for word, detection in zip(pair, (first, second), strict=True)}  # fmt: skip
        if first and second:
            parts["position"] = rules.position_score(relation, first.box, second.box)
        return rules.spatial_score(first, second, relation), parts

    def _complex(self, picture: Image, prompt: Prompt) -> ScoreAndParts:
        tokens = self.parse(prompt.text).tokens
        judges: dict[str, Callable[[], float]] = {
            "attribute": lambda: self._attribute(picture, prompt.text)[0],
            "spatial": lambda: self._spatial(picture, prompt.text, rules.nouns_around_relation(tokens))[0],
            "action": lambda: self._similarity(picture, rules.without_adjectives(tokens)),
        }
        parts = {part: judges[part]() for part in rules.complex_parts((prompt.metadata or {})["lists"])}
        return sum(parts.values()) / len(parts), parts

    def _similarity(self, picture: Image, text: str) -> float:
        return min(max(self.clip_score(picture, text), 0.0), 1.0)
