"""Scenes to pixels: flat shapes, supersampled masks, one background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, GRID, PIXELS, SIZES, Look, Scene

SUPER = 8  # subpixels per pixel
LINE = {"large": 1.7, "small": 1.3}  # pixels of an outline
STRIPE = 4.0  # pixels of one stripe and its gap
GAP = 0.3  # coverage inside the gap: the silhouette survives


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    angles = [math.pi * i / points - math.pi / 2 for i in range(2 * points)]
    return [(r * math.cos(a), r * math.sin(a)) for i, a in enumerate(angles) for r in [inner if i % 2 else 1.0]]


_ARM = 0.36
OUTLINES: dict[str, list[tuple[float, float]]] = {  # corners in units of the radius, y down
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -0.95), (1, 0.85), (-1, 0.85)],
    "star": _star(5, 0.45),
    "diamond": [(0, -1), (0.75, 0), (0, 1), (-0.75, 0)],
    "cross": [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM), (_ARM, 1), (-_ARM, 1),
              (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)],
    "arrow": [(-1, -0.4), (0, -0.4), (0, -1), (1, 0), (0, 1), (0, 0.4), (-1, 0.4)],
    "hourglass": [(-0.9, -1), (0.9, -1), (0.2, 0), (0.9, 1), (-0.9, 1), (-0.2, 0)],
}  # fmt: skip


def _heart() -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * math.pi, 60)
    x = 16 * np.sin(turns) ** 3
    y = -(13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns))
    return [(a / 16, (b - 2.5) / 15) for a, b in zip(x, y, strict=True)]


def _silhouette(shape: str, radius: float, extent: int) -> np.ndarray:
    """Boolean (extent, extent) mask of the whole shape, centred; lengths in subpixels."""
    canvas = Image.new("1", (extent, extent))
    pen, middle = ImageDraw.Draw(canvas), extent / 2
    disc = [middle - radius, middle - radius, middle + radius, middle + radius]
    if shape in ("circle", "moon"):
        pen.ellipse(disc, fill=1)
        if shape == "moon":
            shift = 0.7 * radius
            pen.ellipse([disc[0] + shift, disc[1] - 0.25 * radius, disc[2] + shift, disc[3] - 0.25 * radius], fill=0)
    else:
        corners = _heart() if shape == "heart" else OUTLINES[shape]
        pen.polygon([(middle + x * radius, middle + y * radius) for x, y in corners], fill=1)
    return np.array(canvas)


@dataclass(frozen=True)
class Manner:
    """How shapes are put on paper; the defaults are the world's own, others are renderings that nano never saw.

    `scale` multiplies the radius and `line` the outline's width; `stripe` is the period of stripes and `phase` their
    shift in pixels, `gap` the coverage inside their gaps; `shift` moves the object (x, y) and `turn` rotates it.
    """

    scale: float = 1.0
    line: float = 1.0
    stripe: float = STRIPE
    phase: float = 0.0
    gap: float = GAP
    shift: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0


def coverage(shape: str, size: str, fill: str, manner: Manner) -> np.ndarray:
    """Coverage (CELL, CELL) in [0, 1] of one object in its cell."""
    extent = CELL * SUPER
    inside = _silhouette(shape, SIZES[size] * manner.scale * SUPER, extent)
    if manner.turn:
        inside = ndimage.rotate(inside, manner.turn, reshape=False, order=0)
    if fill == "outlined":
        inside &= ndimage.distance_transform_edt(inside) <= LINE[size] * manner.line * SUPER
    if any(manner.shift):
        inside = ndimage.shift(inside, [part * SUPER for part in reversed(manner.shift)], order=0)
    if fill == "striped":
        gap = (np.arange(extent) / SUPER + manner.phase) % manner.stripe >= manner.stripe / 2
        return _coverage(inside * np.where(gap, manner.gap, 1.0)[:, None])
    return _coverage(inside)


@cache
def mask(shape: str, size: str, fill: str) -> np.ndarray:
    """Coverage (CELL, CELL) in [0, 1] of one object as the world draws it."""
    return coverage(shape, size, fill, Manner())


def _coverage(inside: np.ndarray) -> np.ndarray:
    coverage: np.ndarray = inside.reshape(CELL, SUPER, CELL, SUPER).mean((1, 3)).astype(np.float32)
    return coverage


@cache
def sprite(look: Look) -> np.ndarray:
    """One object on the background, uint8 (CELL, CELL, 3)."""
    cover = mask(look.shape, look.size, look.fill)[..., None]
    pixels: np.ndarray = cover * np.array(COLOURS[look.colour]) + (1 - cover) * np.array(BACKGROUND)
    return np.asarray(np.round(pixels), np.uint8)


def draw_scene(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 (PIXELS, PIXELS, 3)."""
    picture = np.empty((PIXELS, PIXELS, 3), np.uint8)
    picture[:] = BACKGROUND
    for item in scene.items:
        top, left = item.cell // GRID * CELL, item.cell % GRID * CELL
        picture[top : top + CELL, left : left + CELL] = sprite(item.look)
    return picture
