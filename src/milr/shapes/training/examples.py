"""Training examples for nano, as token sequences: writing visualisations, drawing pictures, answering questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from milr import templates
from milr.shapes.detector import detect
from milr.shapes.drawing import draw_scene
from milr.shapes.grammar import Request, parse, to_text
from milr.shapes.judge import scene_detections
from milr.shapes.listing import DESCRIBE
from milr.shapes.planning import sample_scene, visualise
from milr.shapes.sampling import BARE_SHARES, CANONICAL, SHARES, random_choice, reword, training_prompt
from milr.shapes.scenes import COLOURS, FILLS, GRID, SHAPES, SIZES, Appearance, Item, Scene, cell_area
from milr.shapes.splits import is_held_out
from milr.shapes.training.network import BOI, EOI, IMAGE
from milr.shapes.training.own_drawings import OwnDrawing
from milr.shapes.training.patches import PER_CELL, SIDE, TOKENS, all_appearances, codebook, mosaic, scene_tokens
from milr.shapes.training.verdicts import Detections, comparison, description, verdict

QUESTIONS = 4  # about one picture
UNCONDITIONAL = 0.2  # of all drawings, for guidance
OWN_SHARE = 0.75  # of the pictures asked about, where there are drawings of nano's own


@dataclass(frozen=True)
class Example:
    """`ids` of the input, then `target` ids to learn; `turns` are further pairs of the two.

    `scene` is to be drawn; `planned` says that the input has its visualisation. `picture` (64, 64, 3) is asked about.
    """

    ids: tuple[int, ...]
    target: tuple[int, ...] = ()
    turns: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    scene: Scene | None = None
    picture: np.ndarray | None = None
    planned: bool = False


Render = Callable[[np.ndarray], np.ndarray]  # image tokens (64,) to a picture (64, 64, 3) uint8


class Examples:
    """An endless seeded source of examples for each task; `rng` is the only state.

    `render` makes the pictures asked about from image tokens (None: as the world draws them). Where there are
    `own_drawings`, most questions are about those.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, *, render: Render | None = None,
                 own_drawings: Sequence[OwnDrawing] = ()) -> None:  # fmt: skip
        self.tokenizer, self.render, self.own_drawings = tokenizer, render, own_drawings
        self.rng = np.random.default_rng(seed)
        self.boi = tokenizer.convert_tokens_to_ids(BOI)
        self.image_text = BOI + IMAGE * TOKENS + EOI

    def _ids(self, text: str) -> tuple[int, ...]:
        """The tokens of an input."""
        return (self.tokenizer.bos_token_id, *self.tokenizer(text, add_special_tokens=False).input_ids)

    def _target(self, text: str) -> tuple[int, ...]:
        """The tokens of an output, with the end of text."""
        return (*self.tokenizer(text, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id)

    def _templates(self) -> templates.Templates:
        """Nano's prompt templates; in one of ten cases with plain role tags."""
        return replace(templates.NANO, role_tags="plain") if self.rng.random() < 0.1 else templates.NANO

    def _request(self, shares: Mapping[str, float] = SHARES) -> tuple[Request, str, Scene]:
        """A training request with its text, and a scene that fulfils it."""
        request, text = training_prompt(self.rng, is_held_out, shares)
        return request, text, sample_scene(request, self.rng)

    def reason(self) -> Example:
        """Prompt to visualisation."""
        _, text, scene = self._request()
        return Example(self._ids(self._templates().reason(text)), self._target(visualise(scene)))

    def draw(self, planned: bool) -> Example:
        """Prompt, with or without its visualisation, to picture; a part of them unconditional, for guidance."""
        _, text, scene = self._request(SHARES if planned else BARE_SHARES)
        content = templates.drawing(text, visualise(scene) if planned else None)
        ids = (*self._ids(self._templates().draw(content)), self.boi)
        dropped = self.rng.random() < UNCONDITIONAL
        if dropped:
            ids = (ids[0], *[self.tokenizer.pad_token_id] * (len(ids) - 2), ids[-1])
        return Example(ids, scene=scene, planned=planned and not dropped)

    def answer(self) -> Example:
        """Picture to its description; mostly with four questions, each answered by a comparison and yes or no."""
        own = bool(self.own_drawings) and self.rng.random() < OWN_SHARE
        request, text, picture, detections = self._own_drawing() if own else self._rendered_scene()
        if self.rng.random() < 0.1:
            return Example(
                self._ids(templates.NANO.ask(DESCRIBE, self.image_text)),
                self._target(description(detections)),
                picture=picture,
            )
        first, *others = [text, *(self._question(request) for _ in range(QUESTIONS - 1))]
        question = self._ids(templates.NANO.ask(templates.NANO.judge(first), self.image_text))
        answer = self._target(f"{description(detections)} : {_comparison_and_verdict(detections, first)}")
        turns = tuple((self._turn(templates.NANO.judge(other)),
                       self._target(_comparison_and_verdict(detections, other))) for other in others)  # fmt: skip
        return Example(question, answer, turns, picture=picture)

    def _own_drawing(self) -> tuple[Request, str, np.ndarray, Detections]:
        """A drawing of nano's own, and the prompt it was drawn for."""
        drawing = self.own_drawings[int(self.rng.integers(len(self.own_drawings)))]
        return drawing.request, drawing.text, drawing.picture, drawing.detections

    def _rendered_scene(self) -> tuple[Request, str, np.ndarray, Detections]:
        """A picture of a scene, and a prompt that it fulfils or, in four of ten cases, misses narrowly."""
        request, text, scene = self._request()
        if self.rng.random() < 0.4:
            request = self._near_miss(request)
            scene = sample_scene(request, self.rng)
        return request, text, *self._picture_of(scene)

    def _picture_of(self, scene: Scene) -> tuple[np.ndarray, Detections]:
        """A picture as nano might have drawn it, right or with added or corrupted objects, and what it shows."""
        if self.rng.random() < 0.25:
            scene = add_objects(scene, self.rng)
        corrupted = self.rng.random() < 0.35
        ids = corrupted_tokens(scene, self.rng) if corrupted else scene_tokens(scene)
        if corrupted or self.render:
            picture = self.render(ids) if self.render else mosaic(codebook()[0][ids])
            return picture, detect(picture)
        return draw_scene(scene), scene_detections(scene)

    def _turn(self, question: str) -> tuple[int, ...]:
        """The tokens of a further question in the same conversation."""
        return self._target(templates.NANO.turn(question))[:-1]

    def _question(self, request: Request) -> str:
        """A question about the request, one of its phrases, or a near miss of it; never what a split holds out."""
        while True:
            draw = self.rng.random()
            question = request
            if draw < 0.45:
                question = self._near_miss(request)
            elif draw < 0.65:
                question = Request((request.phrases[int(self.rng.integers(len(request.phrases)))],))
            question = replace(question, riddle=False)
            if not is_held_out(question):
                return reword(to_text(question), self.rng)

    def _near_miss(self, request: Request) -> Request:
        """A near miss that no split holds out."""
        while True:
            changed = near_miss(request, self.rng)
            if not is_held_out(changed):
                return changed


def _comparison_and_verdict(detections: Detections, question: str) -> str:
    """The answer to a question about a picture of known content."""
    request = parse(question)
    assert request is not None, question
    return f"{comparison(detections, request)} . {verdict(detections, request, question)}"


def add_objects(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one or two random objects more."""
    free = sorted(set(range(GRID * GRID)) - {item.cell for item in scene.items})
    cells = rng.choice(free, int(rng.integers(1, 3)), replace=False)
    appearances = [
        Appearance(
            random_choice(rng, SHAPES),
            random_choice(rng, COLOURS),
            random_choice(rng, SIZES),
            random_choice(rng, FILLS),
        )
        for _ in cells
    ]
    added = [(Item(appearance, int(cell)),) for appearance, cell in zip(appearances, cells, strict=True)]
    return Scene((*scene.groups, *added))


def corrupted_tokens(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The scene's image tokens (64,), some of one object replaced by those of another or by background."""
    grid, item = scene_tokens(scene).reshape(SIDE, SIDE), scene.items[int(rng.integers(len(scene.items)))]
    area = cell_area(item.cell, PER_CELL)
    replaced = rng.random((PER_CELL, PER_CELL)) < rng.choice([0.3, 0.6, 1.0])
    appearances = all_appearances()
    other = codebook()[1][appearances[int(rng.integers(len(appearances)))]] if rng.random() < 0.7 else np.zeros(4, int)
    grid[area] = np.where(replaced, other.reshape(PER_CELL, PER_CELL), grid[area])
    return grid.ravel()


def near_miss(request: Request, rng: np.random.Generator) -> Request:
    """The request with one thing changed: a shape, a colour, a number, an attribute, or which object is where."""
    phrases = list(request.phrases)
    index = int(rng.integers(len(phrases)))
    phrase = phrases[index]
    kinds = ["shape"] + [kind for kind in ("colour", "size", "fill") if getattr(phrase, kind)]
    kinds += ["count"] * 2 if phrase.count > 1 else ["missing", "swap"] if len(phrases) > 1 else []
    kinds += ["relation"] * 2 if request.relation else []
    kind = random_choice(rng, kinds)
    if kind == "missing":
        return Request((phrase,))
    if kind == "swap":
        first, second = phrases
        phrases = [replace(first, colour=second.colour, size=second.size, fill=second.fill),
                   replace(second, colour=first.colour, size=first.size, fill=first.fill)]  # fmt: skip
        return replace(request, phrases=tuple(phrases))
    if kind == "relation":
        return replace(request, relation=random_choice(rng, [name for name in CANONICAL if name != request.relation]))
    if kind == "count":
        phrases[index] = replace(phrase, count=int(rng.choice([n for n in (1, 2, 3, 4) if n != phrase.count])))
        return replace(request, phrases=tuple(phrases))
    options = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "fill": FILLS}[kind]
    present = {other.shape for other in phrases} if kind == "shape" else {getattr(phrase, kind)}
    changed: Any = {kind: random_choice(rng, sorted(set(options) - present))}
    phrases[index] = replace(phrase, **changed)
    return replace(request, phrases=tuple(phrases))


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Right-padded (B, L), L a multiple of 16."""
    length = -(-max(len(row) for row in rows) // 16) * 16
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def pictures(examples: Sequence[Example]) -> np.ndarray:
    """uint8 (B, 64, 64, 3) that the examples ask about."""
    return np.stack([example.picture for example in examples if example.picture is not None])


def tokens(examples: Sequence[Example]) -> Tensor:
    """Image tokens (B, 64) of the examples' scenes."""
    return torch.from_numpy(np.stack([scene_tokens(example.scene) for example in examples if example.scene]))


def image_weights(examples: Sequence[Example]) -> Tensor:
    """Loss weights (B, 64): most for the first token of a cell, which decides whether an object is there and which.

    An empty cell weighs as much as an object without a visualisation, and half as much with one: when only objects
    counted, too many were drawn, and guidance made that worse.
    """
    weights = np.full((len(examples), SIDE, SIDE), 0.05, np.float32)
    weights[:, ::PER_CELL, ::PER_CELL] = 1.0
    for row, example in enumerate(examples):
        for item in example.scene.items if example.scene else ():
            cell = weights[row][cell_area(item.cell, PER_CELL)]  # a view
            cell[:] = 0.4
            cell[0, 0] = 2.0 if example.planned else 1.0
    return torch.from_numpy(weights.reshape(len(examples), TOKENS))
