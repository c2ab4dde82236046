"""The classical detector of the embedded world: a 64 x 64 picture to scored detections of every shape.

Every 16 x 16 window that may hold one whole object is fitted, by least squares, with all (shape, size, fill) masks,
sharp and slightly soft, in one free colour that may vary a little between the four token patches. How badly the worst
spot of the best mask fits, how much better it is than the best other shape, how sharp, faint and unevenly coloured the
window is: these give the score, through a logistic function whose weights
`python -m milr.shapes.training.calibration` fits to damaged drawings and near misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, special

from milr.rules.geneval import Box, Classifier, Detection
from milr.shapes.colours import nearest_colour
from milr.shapes.drawing import mask
from milr.shapes.scenes import BACKGROUND, CELL, FILLS, GRID, PIXELS, SHAPES, SIZES, Item

SOFTNESS = (0.0, 0.55)  # pixels of blur of the two templates of each mask
LEAST_SCORE = 0.05  # detections below this score are not reported
NEAR_BACKGROUND = 40.0  # RGB distance within which a pixel may be background
OFF_CENTRE = 3.5  # pixels that the centre of a window's energy may be off its middle
LEAST_ENERGY = 6.0e4  # squared levels in a window: less than that of the faintest object
FAINT = 85.0  # RGB distance from the background at which an object starts to count as washed out
COVERED = 0.25  # coverage from which a pixel belongs to an object
SHARED = 0.3  # of a window's energy: a window that shares more with a better detection shows the same object
STIFFNESS = 2.0  # pixels: how strongly a quarter's fitted colour is pulled to the colour of the whole object
MOTTLING = 0.3  # weight of uneven colour when templates are compared
WORST_RESIDUAL = 0.5  # of a window's energy: above it the window shows none of the templates
FEATURES = ("constant", "worst spot", "margin", "softness", "faintness", "mottling")
# as `python -m milr.shapes.training.calibration` prints them
WEIGHTS = np.array([-27.633, -6.497, 3.553, -3.702, -38.447, -6.401])


@dataclass(frozen=True)
class ShapeDetection(Detection):
    """A detection with shape, size, fill and colour; `colour` is None when no palette colour is near."""

    shape: str = ""
    size: str = ""
    fill: str = ""
    colour: str | None = None


@dataclass(frozen=True)
class Templates:
    """K masks (K, 16, 16), the squared coverage of their quarters (4, K), gradient energy (K,), and shape (K,)."""

    masks: np.ndarray
    weights: np.ndarray
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


@dataclass(frozen=True)
class Match:
    """How the best template fits n windows: its index, the common contrast (n, 3), and three ratios (n,).

    `mottled` is how far the worst quarter is off the common colour, `margin` how much more another shape leaves
    unexplained, and `spots` the worst 3 x 3 pixels that are left when each quarter has its own colour.
    """

    best: np.ndarray
    contrast: np.ndarray
    mottled: np.ndarray
    margin: np.ndarray
    spots: np.ndarray


@lru_cache(maxsize=1)
def templates() -> Templates:
    """All masks of the drawn world, sharp and soft."""
    names = tuple(product(SHAPES, SIZES, FILLS))
    sharp = np.stack([mask(*name) for name in names])
    blurred = [ndimage.gaussian_filter(sharp, (0, sigma, sigma)) if sigma else sharp for sigma in SOFTNESS]
    masks = np.concatenate(blurred)
    shapes = np.array([SHAPES.index(name[0]) for name in names] * len(SOFTNESS))
    edges = np.array([edge_energy(template[..., None])[0, 0] for template in masks])
    return Templates(masks, (_quarters(masks) ** 2).sum(-1), edges, shapes, names * len(SOFTNESS))


def edge_energy(pixels: np.ndarray) -> np.ndarray:
    """Summed squared differences of neighbouring pixels in every CELL x CELL window: (H, W, C) to (H - 15, W - 15)."""
    down, right = ((np.diff(pixels, axis=axis) ** 2).sum(-1) for axis in (0, 1))
    sums: np.ndarray = _box_sums(down, CELL - 1, CELL) + _box_sums(right, CELL, CELL - 1)
    return sums


def detect(picture: np.ndarray) -> dict[str, tuple[ShapeDetection, ...]]:
    """uint8 (64, 64, 3) to detections by shape, best first; shapes without a detection are left out."""
    difference, noise = contrast_of(picture)
    corners = candidates(difference, noise)
    if not len(corners):
        return {}
    fits = fit(difference, noise, corners)
    return by_shape(distinct(fits, probability(fits.features), (difference**2).sum(-1)))


def by_shape(detections: Sequence[ShapeDetection]) -> dict[str, tuple[ShapeDetection, ...]]:
    """Detections grouped by shape, in each group the highest score first."""
    ranked = sorted(detections, key=lambda detection: -detection.score)
    return {shape: tuple(detection for detection in ranked if detection.shape == shape)
            for shape in dict.fromkeys(detection.shape for detection in ranked)}  # fmt: skip


def contrast_of(picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture minus its background, float32 (64, 64, 3), and the standard deviation of its noise in levels."""
    difference = picture.astype(np.float32) - np.array(BACKGROUND, np.float32)
    background = (difference**2).sum(-1) < NEAR_BACKGROUND**2
    if background.mean() < 0.1:
        return difference, 0.0
    difference -= np.median(difference[background], axis=0)
    return difference, 1.4826 * float(np.median(np.abs(difference[background])))


def candidates(difference: np.ndarray, noise: float) -> np.ndarray:
    """(n, 2) top left corners of windows whose energy suffices for an object and is centred in the window."""
    energy = (difference**2).sum(-1)
    energy = np.where(energy > max(900.0, 12 * noise**2), energy, 0)
    middle = (CELL - 1) / 2
    pixels = np.arange(PIXELS, dtype=np.float32)
    total, by_row, by_column = (
        _box_sums(energy * weight, CELL, CELL) for weight in (1.0, pixels[:, None], pixels[None])
    )
    start = pixels[: total.shape[0]]
    sufficient = total > LEAST_ENERGY
    divisor = np.where(sufficient, total, 1)
    centred = (np.abs(by_row / divisor - start[:, None] - middle) < OFF_CENTRE) & (
        np.abs(by_column / divisor - start[None] - middle) < OFF_CENTRE
    )
    return np.argwhere(sufficient & centred)


def _box_sums(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Sums over all height x width windows of (H, W), in float64."""
    cumulative = np.pad(values.astype(np.float64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    upper, lower = cumulative[:-height], cumulative[height:]
    sums: np.ndarray = lower[:, width:] - upper[:, width:] - lower[:, :-width] + upper[:, :-width]
    return sums


def fit(difference: np.ndarray, noise: float, corners: np.ndarray) -> Fits:
    """The best template of every window that at least one template explains, and the features of its score."""
    known = templates()
    windows = sliding_window_view(difference, (CELL, CELL), axis=(0, 1))[corners[:, 0], corners[:, 1]]  # (n, 3, 16, 16)
    products, energy = _template_products(windows), (windows**2).sum((1, 2, 3))
    residual = energy[:, None] - (products.sum(0) ** 2).sum(1) / known.weights.sum(0)  # (n, K), with one colour
    noise_energy = noise**2 * windows[0].size
    explained = residual.min(1) - noise_energy < WORST_RESIDUAL * np.maximum(energy - noise_energy, 1)
    corners = corners[explained]
    match = _match(windows[explained], products[:, explained], residual[explained], energy[explained], noise_energy)
    edges = edge_energy(difference)[corners[:, 0], corners[:, 1]] - noise**2 * 12 * CELL * (CELL - 1)
    return Fits(corners, match.best, _features(match, edges), match.contrast)


def _quarters(pixels: np.ndarray) -> np.ndarray:
    """(n, ..., 16, 16) to its four token patches: (4, n, ..., 64)."""
    *batch, _, _ = pixels.shape
    patches = pixels.reshape(*batch, 2, CELL // 2, 2, CELL // 2)
    return np.moveaxis(patches, (-4, -2), (0, 1)).reshape(4, *batch, -1)


def _template_products(windows: np.ndarray) -> np.ndarray:
    """Scalar products of the quarters of windows (n, 3, 16, 16) with those of all templates: (4, n, 3, K)."""
    quarters = _quarters(windows).reshape(4, 3 * len(windows), -1)
    products = quarters @ _quarters(templates().masks).transpose(0, 2, 1)
    return np.asarray(products.reshape(4, len(windows), 3, -1))


def _match(windows: np.ndarray, products: np.ndarray, residual: np.ndarray, energy: np.ndarray,
           noise_energy: float) -> Match:  # fmt: skip
    """The best template of each window when every quarter may be a little off the common colour.

    `products` are those of `_template_products`, `residual` (n, K) is what each template leaves of a window with one
    colour, `energy` (n,) that of the windows; both in squared levels, as is `noise_energy`.
    """
    known = templates()
    weights, total, rows = known.weights[:, None, None], known.weights.sum(0), np.arange(len(windows))
    colours = (products + STIFFNESS * products.sum(0) / total) / (weights + STIFFNESS)  # (4, n, 3, K)
    local = energy[:, None] - (2 * colours * products - colours**2 * weights).sum((0, 2))  # (n, K)
    signal = np.maximum(energy - noise_energy, 1)
    cost = np.maximum(local + MOTTLING * (residual - local) - noise_energy, 0) / signal[:, None]
    best = cost.argmin(1)
    other_shape = np.where(known.shapes == known.shapes[best][:, None], np.inf, cost).min(1)
    contrast = products[:, rows, :, best].sum(1) / total[best][:, None]
    strength = np.maximum((contrast**2).sum(1), 1)
    quarter_colours = colours[:, rows, :, best]  # (n, 4, 3)
    mottled = np.sqrt(((quarter_colours - contrast[:, None]) ** 2).sum(2).max(1) / strength)
    spots = _worst_spots(windows, known.masks[best], np.moveaxis(quarter_colours, 1, 0))
    return Match(best, contrast, mottled, (other_shape + 0.01) / (cost[rows, best] + 0.01), spots / np.sqrt(strength))


def _worst_spots(windows: np.ndarray, masks: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """RGB length of the largest 3 x 3 mean of what masks (n, 16, 16) in colours (4, n, 3) leave of the windows."""
    pixel_colours = np.moveaxis(colours.reshape(2, 2, -1, 3), (0, 1), (2, 3)).repeat(CELL // 2, 2).repeat(CELL // 2, 3)
    residual = windows - pixel_colours * masks[:, None]
    smooth = ndimage.uniform_filter(residual, (0, 0, 3, 3), mode="constant")
    spots: np.ndarray = np.sqrt((smooth**2).sum(1).max((1, 2), initial=0))
    return spots


def _features(match: Match, edges: np.ndarray) -> np.ndarray:
    """(n, F) in the order of FEATURES: logarithms, with floors below which a difference cannot be seen."""
    strength = np.maximum((match.contrast**2).sum(1), 1)
    sharp = np.maximum(edges, 1) / (strength * templates().edges[match.best])
    soft, faint = (np.maximum(-np.log(ratio), 0) for ratio in (sharp, np.sqrt(strength) / FAINT))
    spots, margin, mottled = np.log(match.spots + 0.05), np.log(match.margin), np.log(match.mottled + 0.1)
    return np.stack([np.ones_like(soft), spots, margin, soft, faint, mottled], 1)


def probability(features: np.ndarray) -> np.ndarray:
    """The calibrated score of (n, F) features, in (0, 1)."""
    scores: np.ndarray = special.expit(features @ WEIGHTS)
    return scores


def distinct(fits: Fits, scores: np.ndarray, energy: np.ndarray) -> list[ShapeDetection]:
    """One detection for each object, best first: a window that shares its pixels with a better one is dropped.

    `energy` (64, 64) is the squared contrast of the picture.
    """
    detections: list[ShapeDetection] = []
    free = np.ones((PIXELS, PIXELS), bool)
    for row in np.argsort(-scores, kind="stable"):
        if scores[row] < LEAST_SCORE:
            break
        top, left = fits.corners[row]
        window = (slice(top, top + CELL), slice(left, left + CELL))
        if energy[window][free[window]].sum() > (1 - SHARED) * energy[window].sum():
            detections.append(detection_of_window(fits, int(row), float(scores[row])))
            free[window] = False
    return detections


def detection_of_window(fits: Fits, row: int, score: float) -> ShapeDetection:
    """What window `row` shows, as a detection."""
    shape, size, fill = templates().names[fits.best[row]]
    top, left = (int(corner) for corner in fits.corners[row])
    box, pixels = _box_and_mask(shape, size, fill, top, left)
    return ShapeDetection(box, score, pixels, shape, size, fill, nearest_colour(fits.contrast[row]))


def detection_of_item(item: Item, score: float = 1.0) -> ShapeDetection:
    """The detection of a known object."""
    appearance, (row, column) = item.appearance, divmod(item.cell, GRID)
    shape, size, fill = appearance.shape, appearance.size, appearance.fill
    box, pixels = _box_and_mask(shape, size, fill, row * CELL, column * CELL)
    return ShapeDetection(box, score, pixels, shape, size, fill, appearance.colour)


def _box_and_mask(shape: str, size: str, fill: str, top: int, left: int) -> tuple[Box, np.ndarray]:
    """Tight box and mask (64, 64) of an object whose window starts at (top, left)."""
    inside = mask(shape, size, fill) > COVERED
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    box = (float(left + columns[0]), float(top + rows[0]), float(left + columns[-1] + 1), float(top + rows[-1] + 1))
    pixels = np.zeros((PIXELS, PIXELS), bool)
    pixels[top : top + CELL, left : left + CELL] = inside
    return box, pixels


def _attribute(name: str) -> Classifier:
    """A classifier for GenEval's rules that reads the attribute off the detection."""

    def classify(shape: str, objects: Sequence[Detection]) -> list[str | None]:
        return [getattr(detection, name, None) for detection in objects]

    return classify


ATTRIBUTES: Mapping[str, Classifier] = {"color": _attribute("colour"), "size": _attribute("size"),
                                         "fill": _attribute("fill")}  # fmt: skip
