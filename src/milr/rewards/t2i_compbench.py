"""T2I-CompBench's scores as one reward: each prompt is judged by the rule of its category.

Follows Karine-Huang/T2I-CompBench 1b70949 (rules in `rules.t2i_compbench`); `DEVIATIONS` says where not. MILR's reward
for complex prompts never finds them in the official lists, and so always takes the mean of all three parts; this one
is the official score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milr.base import Services
from milr.rewards.vision.judge_thread import Worker
from milr.rewards.vision.noun_phrases import Parser, spacy_parser
from milr.rewards.vision.pinned import GROUNDING_DINO
from milr.rules import t2i_compbench
from milr.rules.grounding import Grounded
from milr.rules.t2i_compbench import Pair
from milr.types import JudgeError, Prompt, Score, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

DEVIATIONS = (
    f"Objects of the spatial score are found by {GROUNDING_DINO}, told what to look for (score above "
    "0.3), instead of UniDet with its 722 fixed labels (above 0.1): it finds nouns that UniDet cannot, and its scores "
    "are on another scale, so spatial and complex scores are not comparable with published ones.",
    "BLIP's position table is interpolated twice, from 30 x 30 to 24 x 24 in the converted checkpoint and back.",
    "Negative cosines count as 0; all is computed in float32.",
    "spaCy's model decides about nouns, adjectives and chunks, and differs a little from version to version.",
)
THRESHOLDS = {
    "color": 0.9, "shape": 0.9, "texture": 0.9, "spatial": 0.9, "non_spatial": 0.35, "complex": 0.4,
}  # MILR's, on the score  # fmt: skip
Answer = Callable[["Image", Sequence[str]], Sequence[float]]  # questions to P(yes)
Ground = Callable[["Image", Sequence[str]], Mapping[str, Sequence[Grounded]]]
Cosine = Callable[["Image", str], float]


class CompBenchReward:
    """T2I-CompBench's score of the prompt's category; complex prompts need {"lists": [...]} in their metadata.

    `strict_unidet_nouns` leaves unfound the nine nouns that the official detector can never find. `parts`: the answer
    to each question (attributes), each object's confidence and the position (spatial), or the parts of the mean
    (complex). `threshold` is the strictest of the categories'; `threshold_of` gives each one's.
    """

    name = "t2i-compbench"
    range = (0.0, 1.0)
    threshold = 0.9
    deviations = DEVIATIONS
    needs: tuple[str, ...] = ()
    licence = "BSD-3-Clause (BLIP), Apache-2.0 (GroundingDINO), MIT (CLIP, spaCy)"

    def __init__(self, parse: Parser, answer: Answer, ground: Ground, cosine: Cosine, *,
                 strict_unidet_nouns: bool = False) -> None:  # fmt: skip
        self.parse, self.answer, self.ground, self.cosine = parse, answer, ground, cosine
        self.strict = strict_unidet_nouns
        self._worker = Worker("T2I-CompBench's judge")

    @classmethod
    def load(cls, *, strict_unidet_nouns: bool = False, device: str = "auto") -> CompBenchReward:
        """With spaCy and the pinned checkpoints; MissingError, naming what to fetch, where one is not here."""
        from milr.rewards.clip import ClipScore
        from milr.rewards.vision.grounding import Grounding
        from milr.rewards.vision.vqa import BlipVQA

        parse = spacy_parser()
        judges = BlipVQA.load(device=device).answers, Grounding.load(device=device), ClipScore.load(device=device)
        return cls(parse, *judges, strict_unidet_nouns=strict_unidet_nouns)

    def identity(self) -> dict[str, Any]:
        """What makes two of these judges the same, beside their checkpoints."""
        return {"strict_unidet_nouns": self.strict, **self.parse.identity()}

    @staticmethod
    def threshold_of(category: str) -> float:
        """Above which score MILR stops at a prompt of this category."""
        return THRESHOLDS[category]

    @staticmethod
    def check(prompt: Prompt) -> None:
        """UsageError, naming the reason, unless the prompt says what T2I-CompBench needs to know."""
        if prompt.category not in THRESHOLDS:
            raise UsageError(
                f"the reward t2i-compbench judges prompts of its own categories ({', '.join(THRESHOLDS)}), and "
                f"{prompt.text!r} has none of them; take the prompts of the benchmark t2i-compbench."
            )
        if prompt.category == "complex" and "lists" not in (prompt.metadata or {}):
            raise UsageError(
                f"the complex prompt {prompt.text!r} does not say which of T2I-CompBench's lists it is in; take the "
                "prompts of the benchmark t2i-compbench."
            )

    async def score(self, pictures: Sequence[Image], prompts: Sequence[Prompt], services: Services) -> list[Score]:
        """One score for each picture; a prompt that is none of T2I-CompBench's is a usage error."""
        for prompt in prompts:
            self.check(prompt)
        return [await self._worker.score(self._judge, *pair) for pair in zip(pictures, prompts, strict=True)]

    def _judge(self, picture: Image, prompt: Prompt) -> Score:
        return Score(*self._value(picture.convert("RGB"), prompt))

    def _value(self, picture: Image, prompt: Prompt) -> tuple[float, dict[str, float]]:
        if prompt.category == "complex":
            return self._complex(picture, prompt)
        if prompt.category == "non_spatial":
            return self._similarity(picture, prompt.text), {}
        if prompt.category == "spatial":
            pair = t2i_compbench.outer_nouns(self.parse(prompt.text).tokens)
            if pair is None:
                raise JudgeError(f"there is no noun to look for in {prompt.text!r}.")
            return self._spatial(picture, prompt.text, pair)
        return self._attribute(picture, prompt.text)

    def _attribute(self, picture: Image, text: str) -> tuple[float, dict[str, float]]:
        questions = t2i_compbench.questions(self.parse(text).chunks)
        answers = self.answer(picture, questions)
        return t2i_compbench.product(answers), dict(zip(questions, answers, strict=True))

    def _spatial(self, picture: Image, text: str, pair: Pair | None) -> tuple[float, dict[str, float]]:
        """The score of two objects; 0 where the prompt names no pair, as the official tool has it."""
        if pair is None:
            return 0.0, {}
        relation, frame = t2i_compbench.locality(text), t2i_compbench.frame_of(*picture.size)
        seen = self.ground(picture, [t2i_compbench.label_of(word) for word in pair])
        detections = {label: [one.pixels(*frame) for one in places] for label, places in seen.items()}
        first, second = (t2i_compbench.found(word, detections, strict=self.strict) for word in pair)
        parts = {f"{word} found": one.score if one else 0.0 for word, one in zip(pair, (first, second), strict=True)}
        if first and second:
            parts["position"] = t2i_compbench.position(relation, first.box, second.box)
        return t2i_compbench.spatial_score(first, second, relation), parts

    def _complex(self, picture: Image, prompt: Prompt) -> tuple[float, dict[str, float]]:
        tokens = self.parse(prompt.text).tokens
        judges: dict[str, Callable[[], float]] = {
            "attribute": lambda: self._attribute(picture, prompt.text)[0],
            "spatial": lambda: self._spatial(picture, prompt.text, t2i_compbench.related_nouns(tokens))[0],
            "action": lambda: self._similarity(picture, t2i_compbench.without_adjectives(tokens)),
        }
        parts = {part: judges[part]() for part in t2i_compbench.complex_parts((prompt.metadata or {})["lists"])}
        return sum(parts.values()) / len(parts), parts

    def _similarity(self, picture: Image, text: str) -> float:
        return min(max(self.cosine(picture, text), 0.0), 1.0)
