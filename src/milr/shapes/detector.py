"""The classical detector of the embedded world: a 64 x 64 picture to scored detections of every shape.

Every 16 x 16 window that may hold one whole object is fitted, by least squares and with one free colour, with all
(shape, size, fill) masks, sharp and slightly soft. How well the best mask explains the window, how badly its worst
spot fits, how much better it is than the best other shape, and how sharp the picture is there give the score, through
a logistic whose weights `python -m milr.shapes.calibration` fitted on degraded drawings and near misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from milr.rules.geneval import Box, Classifier, Detection
from milr.shapes.drawing import mask
from milr.shapes.scenes import BACKGROUND, CELL, COLOURS, FILLS, GRID, PIXELS, SHAPES, SIZES, Item

SOFTNESS = (0.0, 0.55)  # pixels of blur of the two templates of each mask
NOTHING = 0.05  # detections below this score are not reported
NEAR_BACKGROUND = 40.0  # RGB distance within which a pixel may be background
OFF_CENTRE = 3.5  # pixels the energy of a window may lie off its middle
LEAST_ENERGY = 1.0e5  # squared levels in a window: about a third of the faintest object
FAINT = 60.0  # RGB distance from the background at which an object starts to count as washed out
COVERED = 0.25  # coverage from which a pixel belongs to an object
SHARED = 0.3  # of the smaller box: two detections of more are one object
COLOUR_LIMIT = 30.0  # CIELAB distance to the nearest colour above which an object has none
FEATURES = ("constant", "residual", "worst spot", "margin", "softness", "faintness")
WEIGHTS = np.array([0.0, -3.0, -3.0, 2.0, -3.0, -3.0])  # of the features


@dataclass(frozen=True)
class Sighting(Detection):
    """A detection with what the fit says about it; `colour` is None when no palette colour is near."""

    shape: str = ""
    size: str = ""
    fill: str = ""
    colour: str | None = None


@dataclass(frozen=True)
class Templates:
    """K masks: unit rows (K, 256), their lengths (K,), gradient energy (K,), and which shape each is (K,)."""

    rows: np.ndarray
    lengths: np.ndarray
    edges: np.ndarray
    shapes: np.ndarray
    names: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Fits:
    """The best template of n windows at (top, left) corners: index, features (n, F), and fitted contrast (n, 3)."""

    corners: np.ndarray
    best: np.ndarray
    features: np.ndarray
    contrast: np.ndarray


@lru_cache(maxsize=1)
def templates() -> Templates:
    """All masks of the drawn world, sharp and soft."""
    names = tuple(product(SHAPES, SIZES, FILLS))
    drawn = np.stack([mask(*name) for name in names])
    soft = [ndimage.gaussian_filter(drawn, (0, sigma, sigma)) if sigma else drawn for sigma in SOFTNESS]
    masks = np.concatenate(soft)
    lengths = np.sqrt((masks**2).sum((1, 2)))
    shapes = np.array([SHAPES.index(name[0]) for name in names] * len(SOFTNESS))
    rows = masks.reshape(len(masks), -1) / lengths[:, None]
    return Templates(rows, lengths, edge_energy(masks[..., None])[..., 0], shapes, names * len(SOFTNESS))


def edge_energy(windows: np.ndarray) -> np.ndarray:
    """Summed squared differences of neighbouring pixels, (n, 16, 16, C) to (n, C)."""
    return (np.diff(windows, axis=1) ** 2).sum((1, 2)) + (np.diff(windows, axis=2) ** 2).sum((1, 2))


def detect(picture: np.ndarray) -> dict[str, tuple[Sighting, ...]]:
    """uint8 (64, 64, 3) to detections per shape, best first; shapes that were not seen are left out."""
    difference, noise = contrast_of(picture)
    corners = candidates(difference, noise)
    if not len(corners):
        return {}
    fits = fit(difference, noise, corners)
    found = distinct(fits, probability(fits.features))
    return {shape: tuple(one for one in found if one.shape == shape) for shape in {one.shape for one in found}}


def contrast_of(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture minus its background, float32 (64, 64, 3), and the standard deviation of its noise in levels."""
    difference = picture.astype(np.float32) - np.array(BACKGROUND, np.float32)
    ground = (difference**2).sum(-1) < NEAR_BACKGROUND**2
    if ground.mean() < 0.1:
        return difference, 0.0
    difference -= np.median(difference[ground], axis=0)
    return difference, 1.4826 * float(np.median(np.abs(difference[ground])))


def candidates(difference: np.ndarray, noise: float) -> np.ndarray:
    """(n, 2) corners of windows whose energy is enough for an object and lies about their middle."""
    energy = (difference**2).sum(-1)
    energy = np.where(energy > max(900.0, 12 * noise**2), energy, 0)
    middle = (CELL - 1) / 2
    along = np.arange(PIXELS, dtype=np.float32)
    total, down, right = (_box_sums(energy * weight) for weight in (1.0, along[:, None], along[None]))
    start = along[: total.shape[0]]
    heavy = total > LEAST_ENERGY
    safe = np.where(heavy, total, 1)
    centred = (np.abs(down / safe - start[:, None] - middle) < OFF_CENTRE) & (
        np.abs(right / safe - start[None] - middle) < OFF_CENTRE
    )
    return np.argwhere(heavy & centred)


def _box_sums(values: np.ndarray) -> np.ndarray:
    """Sums over all CELL x CELL windows of (64, 64), in float64: (49, 49)."""
    summed = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    return summed[CELL:, CELL:] - summed[:-CELL, CELL:] - summed[CELL:, :-CELL] + summed[:-CELL, :-CELL]


def fit(difference: np.ndarray, noise: float, corners: np.ndarray) -> Fits:
    """The best template of every window and the features of its score."""
    known = templates()
    views = sliding_window_view(difference, (CELL, CELL), axis=(0, 1))[corners[:, 0], corners[:, 1]]  # (n, 3, 16, 16)
    flat = np.ascontiguousarray(views.reshape(len(corners), 3, -1))
    along = flat @ known.rows.T  # (n, 3, K)
    energy = (flat**2).sum((1, 2))
    left = energy[:, None] - (along**2).sum(1)  # residual (n, K)
    each = np.arange(len(corners))
    best = left.argmin(1)
    others = np.where(known.shapes[None] == known.shapes[best][:, None], np.inf, left).min(1)
    contrast = along[each, :, best] / known.lengths[best][:, None]
    spread = noise**2 * 3 * CELL * CELL
    signal = np.maximum(energy - spread, 1.0)
    own, other = (np.maximum(values - spread, 0.0) / signal for values in (left[each, best], others))
    residual = (flat - along[each, :, best][..., None] * known.rows[best][:, None]).reshape(views.shape)
    features = _features(own, other, residual, np.moveaxis(views, 1, -1), contrast, known.edges[best], noise)
    return Fits(corners, best, features, contrast)


def _features(own: np.ndarray, other: np.ndarray, residual: np.ndarray, windows: np.ndarray, contrast: np.ndarray,
              edges: np.ndarray, noise: float) -> np.ndarray:  # fmt: skip
    """(n, F) in the order of FEATURES. Logarithms, so that the logistic sees ratios."""
    strength = np.maximum((contrast**2).sum(1), 1.0)
    smooth = ndimage.uniform_filter(residual, (0, 0, 3, 3), mode="constant")
    worst = np.sqrt((smooth**2).sum(1).max((1, 2)) / strength)
    sharp = np.maximum(edge_energy(windows).sum(1) - 6 * noise**2 * 2 * CELL * (CELL - 1), 1.0) / (strength * edges)
    faint = np.maximum(np.log(FAINT) - 0.5 * np.log(strength), 0)
    return np.stack([np.ones_like(own), np.log(own + 0.004), np.log(worst + 0.05),
                     np.log((other + 0.01) / (own + 0.01)), np.maximum(-np.log(sharp), 0), faint], 1)  # fmt: skip


def probability(features: np.ndarray) -> np.ndarray:
    """The calibrated score of (n, F) features, in (0, 1)."""
    return 1 / (1 + np.exp(-np.clip(features @ WEIGHTS, -30, 30)))


def distinct(fits: Fits, scores: np.ndarray) -> list[Sighting]:
    """One sighting for each object, best first: what shares a box with a better one is the same object."""
    kept: list[Sighting] = []
    for row in np.argsort(-scores, kind="stable"):
        if scores[row] < NOTHING:
            break
        seen = sighting(fits, int(row), float(scores[row]))
        if all(_shared(seen.box, other.box) < SHARED for other in kept):
            kept.append(seen)
    return kept


def sighting(fits: Fits, row: int, score: float) -> Sighting:
    """What window `row` shows."""
    shape, size, fill = templates().names[fits.best[row]]
    top, left = (int(corner) for corner in fits.corners[row])
    box, whole = _place(shape, size, fill, top, left)
    rgb = fits.contrast[row] + np.array(BACKGROUND)
    return Sighting(box, score, whole, shape, size, fill, nearest_colour(rgb))


def sighting_of(item: Item) -> Sighting:
    """The perfect detection of a known object."""
    look, (row, column) = item.look, divmod(item.cell, GRID)
    box, whole = _place(look.shape, look.size, look.fill, row * CELL, column * CELL)
    return Sighting(box, 1.0, whole, look.shape, look.size, look.fill, look.colour)


def _place(shape: str, size: str, fill: str, top: int, left: int) -> tuple[Box, np.ndarray]:
    """Tight box and mask (64, 64) of an object whose window starts at (top, left)."""
    inside = mask(shape, size, fill) > COVERED
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = (float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1))
    whole = np.zeros((PIXELS, PIXELS), bool)
    whole[top : top + CELL, left : left + CELL] = inside
    return box, whole


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over the smaller box."""
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    return width * height / min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB levels (..., 3) to CIELAB under D65 (CIE 15)."""
    part = np.clip(rgb, 0, 255) / 255
    linear = np.where(part > 0.04045, ((part + 0.055) / 1.055) ** 2.4, part / 12.92)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / np.array([0.9505, 1.0, 1.089])
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@lru_cache(maxsize=1)
def _palette() -> np.ndarray:
    return lab(np.array(list(COLOURS.values()), float))


def nearest_colour(rgb: np.ndarray) -> str | None:
    """The palette colour closest to `rgb` in CIELAB, None when none is near."""
    distances = np.linalg.norm(_palette() - lab(rgb), axis=-1)
    return list(COLOURS)[distances.argmin()] if distances.min() < COLOUR_LIMIT else None


def _look(name: str) -> Classifier:
    def classify(shape: str, objects: Sequence[Detection]) -> list[str | None]:
        return [getattr(one, name, None) for one in objects]

    return classify


ATTRIBUTES: Mapping[str, Classifier] = {"color": _look("colour"), "size": _look("size"), "fill": _look("fill")}
