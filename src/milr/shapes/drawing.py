"""Scenes to pixels: flat shapes, supersampled masks, one background."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, PIXELS, SIZES, Appearance, Scene, cell_area

SUPER = 8  # subpixels per pixel
LINE = {"large": 1.7, "small": 1.3}  # pixels of an outline
STRIPE = 4.0  # pixels of one stripe and its gap
GAP = 0.3  # coverage inside the gap: the silhouette survives


def _star(points: int, inner: float) -> list[tuple[float, float]]:
    """Corners of a star with `points` points; `inner` is the radius of its notches, 1 that of its points."""
    angles = [math.pi * i / points - math.pi / 2 for i in range(2 * points)]
    radii = [inner if i % 2 else 1.0 for i in range(2 * points)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle, radius in zip(angles, radii, strict=True)]


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
    """60 points of the heart curve, scaled to the unit radius."""
    angles = np.linspace(0, 2 * math.pi, 60)
    xs = 16 * np.sin(angles) ** 3
    ys = -(13 * np.cos(angles) - 5 * np.cos(2 * angles) - 2 * np.cos(3 * angles) - np.cos(4 * angles))
    return [(x / 16, (y - 2.5) / 15) for x, y in zip(xs, ys, strict=True)]


def _silhouette(shape: str, radius: float, extent: int) -> np.ndarray:
    """Boolean (extent, extent) mask of the filled shape, centred; lengths in subpixels."""
    canvas = Image.new("1", (extent, extent))
    draw, middle = ImageDraw.Draw(canvas), extent / 2
    disc = [middle - radius, middle - radius, middle + radius, middle + radius]
    if shape in ("circle", "moon"):
        draw.ellipse(disc, fill=1)
        if shape == "moon":
            shift = 0.7 * radius
            draw.ellipse([disc[0] + shift, disc[1] - 0.25 * radius, disc[2] + shift, disc[3] - 0.25 * radius], fill=0)
    else:
        corners = _heart() if shape == "heart" else OUTLINES[shape]
        draw.polygon([(middle + x * radius, middle + y * radius) for x, y in corners], fill=1)
    return np.array(canvas)


@dataclass(frozen=True)
class Style:
    """How shapes are rendered. The defaults are the world's own style; nano is trained on no other.

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


def coverage(shape: str, size: str, fill: str, style: Style) -> np.ndarray:
    """Coverage (CELL, CELL) in [0, 1] of one object in its cell."""
    extent = CELL * SUPER
    inside = _silhouette(shape, SIZES[size] * style.scale * SUPER, extent)
    if style.turn:
        inside = ndimage.rotate(inside, style.turn, reshape=False, order=0)
    if fill == "outlined":
        inside &= ndimage.distance_transform_edt(inside) <= LINE[size] * style.line * SUPER
    if any(style.shift):
        inside = ndimage.shift(inside, [offset * SUPER for offset in reversed(style.shift)], order=0)
    if fill == "striped":
        in_gap = (np.arange(extent) / SUPER + style.phase) % style.stripe >= style.stripe / 2
        return _to_pixels(inside * np.where(in_gap, style.gap, 1.0)[:, None])
    return _to_pixels(inside)


@cache
def mask(shape: str, size: str, fill: str) -> np.ndarray:
    """Coverage (CELL, CELL) in [0, 1] of one object as the world draws it."""
    return coverage(shape, size, fill, Style())


def _to_pixels(inside: np.ndarray) -> np.ndarray:
    """Subpixels (CELL * SUPER, CELL * SUPER) to the mean of each pixel."""
    coverage: np.ndarray = inside.reshape(CELL, SUPER, CELL, SUPER).mean((1, 3)).astype(np.float32)
    return coverage


@cache
def sprite(appearance: Appearance) -> np.ndarray:
    """One object on the background, uint8 (CELL, CELL, 3)."""
    cover = mask(appearance.shape, appearance.size, appearance.fill)[..., None]
    pixels: np.ndarray = cover * np.array(COLOURS[appearance.colour]) + (1 - cover) * np.array(BACKGROUND)
    return np.asarray(np.round(pixels), np.uint8)


def blank_picture() -> np.ndarray:
    """A picture without objects, uint8 (PIXELS, PIXELS, 3)."""
    picture = np.empty((PIXELS, PIXELS, 3), np.uint8)
    picture[:] = BACKGROUND
    return picture


def draw_scene(scene: Scene) -> np.ndarray:
    """The picture of a scene, uint8 (PIXELS, PIXELS, 3)."""
    picture = blank_picture()
    for item in scene.items:
        picture[cell_area(item.cell)] = sprite(item.appearance)
    return picture
