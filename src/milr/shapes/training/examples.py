"""Training examples for nano: token sequences for thinking, drawing and looking, made without end from a seed."""

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
from milr.shapes.grammar import Request, parse, say
from milr.shapes.judge import sightings
from milr.shapes.planning import imagine, visualise
from milr.shapes.sampling import BARE_SHARES, SHARES, pick, training_prompt, varied
from milr.shapes.scenes import COLOURS, FILLS, GRID, SHAPES, SIZES, Item, Look, Scene
from milr.shapes.splits import held_out
from milr.shapes.training.network import BOI, EOI, IMAGE
from milr.shapes.training.own_drawings import OwnDrawing
from milr.shapes.training.patches import PER_CELL, SIDE, TOKENS, codebook, looks, mosaic, scene_tokens
from milr.shapes.training.verdicts import Seen, check, listing, verdict

WHAT = "what does this picture show ?"
IGNORED = -100
QUESTIONS = 4  # about one picture
UNCONDITIONAL = 0.2  # of all drawings, for guidance
OWN = 0.75  # of what is looked at, where there are drawings of nano's own


@dataclass(frozen=True)
class Example:
    """`ids` of the given text, then `target` ids to learn, then further turns of the same two kinds.

    `scene` is what is drawn, `seen` the picture (64, 64, 3) that is looked at.
    """

    ids: tuple[int, ...]
    target: tuple[int, ...] = ()
    more: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
    scene: Scene | None = None
    seen: np.ndarray | None = None
    planned: bool = False


Show = Callable[[np.ndarray], np.ndarray]  # image tokens (64,) to a picture (64, 64, 3) uint8


class Examples:
    """One endless seeded source for each task; `rng` is the only state.

    `show` renders what is looked at from image tokens; None: as the world draws it. Most of what is looked at is
    among the `own` drawings, where there are any.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, seed: int, show: Show | None = None,
                 own: Sequence[OwnDrawing] = ()) -> None:  # fmt: skip
        self.tokenizer, self.show, self.own = tokenizer, show, own
        self.rng = np.random.default_rng(seed)
        self.boi = tokenizer.convert_tokens_to_ids(BOI)
        self.picture = BOI + IMAGE * TOKENS + EOI

    def _ids(self, text: str) -> tuple[int, ...]:
        return (self.tokenizer.bos_token_id, *self.tokenizer(text, add_special_tokens=False).input_ids)

    def _answer(self, text: str) -> tuple[int, ...]:
        return (*self.tokenizer(text, add_special_tokens=False).input_ids, self.tokenizer.eos_token_id)

    def _wording(self) -> templates.Templates:
        return replace(templates.NANO, role_tags="plain") if self.rng.random() < 0.1 else templates.NANO

    def _request(self, shares: Mapping[str, float] = SHARES) -> tuple[Request, str, Scene]:
        request, text = training_prompt(self.rng, held_out, shares)
        return request, text, imagine(request, self.rng)

    def reason(self) -> Example:
        """Prompt to visualisation."""
        _, text, scene = self._request()
        return Example(self._ids(self._wording().reason(text)), self._answer(visualise(scene)))

    def draw(self, planned: bool) -> Example:
        """Prompt, with or without its visualisation, to picture; some unconditional."""
        _, text, scene = self._request(SHARES if planned else BARE_SHARES)
        content = templates.drawing(text, visualise(scene) if planned else None)
        ids = (*self._ids(self._wording().draw(content)), self.boi)
        dropped = self.rng.random() < UNCONDITIONAL
        if dropped:
            ids = (ids[0], *[self.tokenizer.pad_token_id] * (len(ids) - 2), ids[-1])
        return Example(ids, scene=scene, planned=planned and not dropped)

    def look(self) -> Example:
        """Picture to what it shows; mostly with four questions, each compared with it and answered yes or no."""
        request, text, picture, seen = self._own() if self.own and self.rng.random() < OWN else self._made()
        if self.rng.random() < 0.1:
            return Example(self._ids(templates.NANO.ask(WHAT, self.picture)), self._answer(listing(seen)), seen=picture)
        first, *others = [text, *(self._question(request) for _ in range(QUESTIONS - 1))]
        answer = self._answer(f"{listing(seen)} : {_judged(seen, first)}")
        more = tuple((self._turn(templates.NANO.judge(one)), self._answer(_judged(seen, one))) for one in others)
        return Example(self._ids(templates.NANO.ask(templates.NANO.judge(first), self.picture)), answer, more,
                       seen=picture)  # fmt: skip

    def _own(self) -> tuple[Request, str, np.ndarray, Seen]:
        """A drawing of nano's own, and the prompt it was drawn for."""
        drawn = self.own[int(self.rng.integers(len(self.own)))]
        return drawn.request, drawn.text, drawn.picture, drawn.seen

    def _made(self) -> tuple[Request, str, np.ndarray, Seen]:
        """A picture of a scene, and a prompt that it may have missed."""
        request, text, scene = self._request()
        if self.rng.random() < 0.4:
            request = self._near_miss(request)
            scene = imagine(request, self.rng)
        return request, text, *self._shown(scene)

    def _shown(self, scene: Scene) -> tuple[np.ndarray, Seen]:
        """A picture as nano might have drawn it, right or with objects too many or spoilt, and what can be seen."""
        if self.rng.random() < 0.25:
            scene = crowd(scene, self.rng)
        spoilt = self.rng.random() < 0.35
        ids = spoil(scene, self.rng) if spoilt else scene_tokens(scene)
        if spoilt or self.show:
            picture = self.show(ids) if self.show else mosaic(codebook()[0][ids])
            return picture, detect(picture)
        return draw_scene(scene), sightings(scene)

    def _turn(self, question: str) -> tuple[int, ...]:
        return self._answer(templates.NANO.turn(question))[:-1]

    def _question(self, request: Request) -> str:
        """The request itself, one of its phrases, or a near miss of it; never what a split holds out."""
        while True:
            kind = self.rng.random()
            asked = request
            if kind < 0.45:
                asked = self._near_miss(request)
            elif kind < 0.65:
                asked = Request((request.phrases[int(self.rng.integers(len(request.phrases)))],))
            asked = replace(asked, riddle=False)
            if not held_out(asked):
                return varied(say(asked), self.rng)

    def _near_miss(self, request: Request) -> Request:
        """One that no split holds out."""
        while True:
            missed = near_miss(request, self.rng)
            if not held_out(missed):
                return missed


def _judged(seen: Seen, asked: str) -> str:
    """The check of a question and its verdict."""
    request = parse(asked)
    assert request is not None, asked
    return f"{check(seen, request)} . {verdict(seen, request, asked)}"


def crowd(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one or two objects that nobody asked for."""
    free = sorted(set(range(GRID * GRID)) - {item.cell for item in scene.items})
    cells = rng.choice(free, int(rng.integers(1, 3)), replace=False)
    looks = [Look(pick(rng, SHAPES), pick(rng, COLOURS), pick(rng, SIZES), pick(rng, FILLS)) for _ in cells]
    return Scene((*scene.groups, *((Item(look, int(cell)),) for look, cell in zip(looks, cells, strict=True))))


def spoil(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The scene's image tokens (64,), some of one object wrong, as when it was drawn badly: others', or ground."""
    grid, item = scene_tokens(scene).reshape(SIDE, SIDE), scene.items[int(rng.integers(len(scene.items)))]
    top, left = item.cell // GRID * PER_CELL, item.cell % GRID * PER_CELL
    wrong = rng.random(PER_CELL * PER_CELL) < rng.choice([0.3, 0.6, 1.0])
    every = looks()
    other = codebook()[1][every[int(rng.integers(len(every)))]] if rng.random() < 0.7 else np.zeros(4, int)
    own = grid[top : top + PER_CELL, left : left + PER_CELL].ravel()
    grid[top : top + PER_CELL, left : left + PER_CELL] = np.where(wrong, other, own).reshape(PER_CELL, PER_CELL)
    return grid.ravel()


def near_miss(request: Request, rng: np.random.Generator) -> Request:
    """The request with one thing changed: a shape, a colour, a number, an attribute, or who stands where."""
    phrases = list(request.phrases)
    where = int(rng.integers(len(phrases)))
    phrase = phrases[where]
    kinds = ["shape"] + [kind for kind in ("colour", "size", "fill") if getattr(phrase, kind)]
    kinds += ["count"] * 2 if phrase.count > 1 else ["missing", "swap"] if len(phrases) > 1 else []
    kinds += ["relation"] * 2 if request.relation else []
    kind = pick(rng, kinds)
    if kind == "missing":
        return Request((phrase,))
    if kind == "swap":
        first, second = phrases
        phrases = [replace(first, colour=second.colour, size=second.size, fill=second.fill),
                   replace(second, colour=first.colour, size=first.size, fill=first.fill)]  # fmt: skip
        return replace(request, phrases=tuple(phrases))
    if kind == "relation":
        return replace(request, relation=pick(rng, {"left of", "right of", "above", "below"} - {request.relation}))
    if kind == "count":
        phrases[where] = replace(phrase, count=int(rng.choice([n for n in (1, 2, 3, 4) if n != phrase.count])))
        return replace(request, phrases=tuple(phrases))
    options = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "fill": FILLS}[kind]
    taken = {p.shape for p in phrases} if kind == "shape" else {getattr(phrase, kind)}
    changed: Any = {kind: pick(rng, sorted(set(options) - taken))}
    phrases[where] = replace(phrase, **changed)
    return replace(request, phrases=tuple(phrases))


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Right-padded (B, L), L a multiple of 16."""
    length = -(-max(len(row) for row in rows) // 16) * 16
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def pictures(examples: Sequence[Example]) -> np.ndarray:
    """uint8 (B, 64, 64, 3) that the examples look at."""
    return np.stack([example.seen for example in examples if example.seen is not None])


def tokens(examples: Sequence[Example]) -> Tensor:
    """Image tokens (B, 64) of the examples' scenes."""
    return torch.from_numpy(np.stack([scene_tokens(example.scene) for example in examples if example.scene]))


def image_weights(examples: Sequence[Example]) -> Tensor:
    """Loss weights (B, 64): most for the first token of a cell, which decides what stands there, if anything.

    Both outcomes weigh the same without a visualisation, and not very differently with one: where only objects
    counted, they were drawn too often, and guidance multiplied that.
    """
    weights = np.full((len(examples), SIDE, SIDE), 0.05, np.float32)
    weights[:, ::PER_CELL, ::PER_CELL] = 1.0
    for row, example in enumerate(examples):
        for item in example.scene.items if example.scene else ():
            top, left = item.cell // GRID * PER_CELL, item.cell % GRID * PER_CELL
            weights[row, top : top + PER_CELL, left : left + PER_CELL] = 0.4
            weights[row, top, left] = 2.0 if example.planned else 1.0
    return torch.from_numpy(weights.reshape(len(examples), TOKENS))
