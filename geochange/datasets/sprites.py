"""Things that are pasted into images as changes: drawn shapes, and objects cut out of images.

A sprite is what covers some pixels, softly at its rim, and what these pixels then show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, pi
from typing import Protocol

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from scipy import ndimage

from geochange.arrays import Array, Bools, Floats
from geochange.datasets.options import ShapeName

FINE = 4  # sub-pixels per side that a shape is drawn with
BORDER = 2  # pixels around a shape into which its rim may fade
LONGEST = 3.0  # length of a rectangle over its width, at most
PLAIN_GRAIN = 0.1  # deviations of a scene's band: the grain of what is painted in one colour


@dataclass(frozen=True, slots=True)
class Sprite:
    """Something to paste."""

    cover: Floats
    """(y, x) in 0..1, how much of each pixel it covers."""
    texture: Floats
    """(band, y, x) what it shows, in the values of the image that it is pasted into."""

    @property
    def mask(self) -> Bools:
        """(y, x) the pixels that it covers by half or more: those that it is labelled with."""
        return self.cover >= 0.5


class Cutouts(Protocol):
    """Where objects are cut from."""

    def draw(self, rng: np.random.Generator) -> Sprite | None:
        """Return one of them at random; None where that one cannot be cut out."""


Shape = Callable[[Floats, Floats, float, np.random.Generator], Bools]
"""(y, x) distances from the centre in pixels, downwards and to the right, and a size -> what lies inside."""


def _square(down: Floats, right: Floats, size: float, rng: np.random.Generator) -> Bools:
    return np.maximum(np.abs(down), np.abs(right)) < round(size) / 2


def _rectangle(down: Floats, right: Floats, size: float, rng: np.random.Generator) -> Bools:
    """Fill a rectangle of the area of a square; half of them are turned."""
    ratio = np.sqrt(np.exp(rng.uniform(0, np.log(LONGEST))))
    angle = rng.choice([0.0, pi / 2, rng.uniform(0, pi), rng.uniform(0, pi)])
    along = np.cos(angle) * right + np.sin(angle) * down
    across = np.cos(angle) * down - np.sin(angle) * right
    inside: Bools = (np.abs(along) < size * ratio / 2) & (np.abs(across) < size / ratio / 2)
    return inside


def _blob(down: Floats, right: Floats, size: float, rng: np.random.Generator) -> Bools:
    """Fill a circle whose radius varies in three waves."""
    waves = np.arange(2, 5)
    height, phase = rng.uniform(0, 0.5, 3) / waves, rng.uniform(0, 2 * pi, 3)
    around = np.arctan2(down, right)[..., None] * waves + phase
    radius = size / 2 * (1 + (height * np.cos(around)).sum(axis=-1))
    inside: Bools = np.hypot(down, right) < radius
    return inside


SHAPES: Mapping[ShapeName, Shape] = {"square": _square, "rectangle": _rectangle, "blob": _blob}
"""Name -> shape. Squares lie on whole pixels."""


def draw_cover(shape: ShapeName, size: float, softness: float, rng: np.random.Generator) -> Floats:
    """Draw a shape, as how much of each pixel it covers.

    Args:
        shape: a name of `SHAPES`.
        size: pixels; the square root of its area, about.
        softness: pixels; the standard deviation of the blur of its rim. 0: it fades over one pixel.
        rng: random numbers.

    Returns:
        (y, x) in 0..1, with a border of pixels around it.
    """
    reach = {"square": 1.0, "rectangle": np.sqrt(LONGEST) * 1.1, "blob": 1.6}[shape]
    side = 2 * ceil(size * reach / 2) + (round(size) % 2 if shape == "square" else 0)
    places = (np.arange(side * FINE) + 0.5) / FINE - side / 2
    inside = SHAPES[shape](places[:, None] + 0 * places, places[None, :] + 0 * places[:, None], size, rng)
    cover = inside.reshape(side, FINE, side, FINE).mean(axis=(1, 3))
    return soften(trim(cover), softness)


def trim(cover: Floats) -> Floats:
    """Cut off empty rows and columns around a cover, but for the border that the rim may fade into."""
    rows, cols = (np.flatnonzero(cover.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return np.zeros((2 * BORDER, 2 * BORDER))
    return np.pad(cover[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1], BORDER)


def soften(cover: Floats, softness: float) -> Floats:
    """Blur a cover; the border must have room for it."""
    return ndimage.gaussian_filter(cover, softness, truncate=BORDER / softness) if softness > 0 else cover


def draw_texture(
    image: Floats, shape: tuple[int, int], spread: Floats, textured: float, rng: np.random.Generator
) -> Floats:
    """Draw what a shape shows: another part of the image, or one colour of it with some grain.

    Args:
        image: (band, y, x), at least of the shape.
        shape: (rows, cols).
        spread: (band,) standard deviation of the scene's bands.
        textured: share of shapes that show a part of the image.
        rng: random numbers.

    Returns:
        (band, y, x) of the shape.
    """
    row, col = (int(rng.integers(length - need + 1)) for length, need in zip(image.shape[1:], shape, strict=True))
    patch = image[:, row : row + shape[0], col : col + shape[1]]
    if rng.random() < textured:
        return patch[:, :: rng.choice([-1, 1]), :: rng.choice([-1, 1])].copy()
    grain = rng.standard_normal(patch.shape) * PLAIN_GRAIN * spread[:, None, None]
    return patch[:, shape[0] // 2, shape[1] // 2][:, None, None] + grain


def cut_out(values: Floats, outline: shapely.Geometry, softness: float) -> Sprite:
    """Cut an object from an image by its outline.

    Args:
        values: (band, y, x) of a window around the outline, with `BORDER` pixels of ground on each side.
        outline: in pixels of the window, x = column and y = row.
        softness: as in `draw_cover`.
    """
    rows, cols = values.shape[1:]
    fine = rasterize([outline], (rows * FINE, cols * FINE), transform=Affine.scale(1 / FINE))
    cover = fine.reshape(rows, FINE, cols, FINE).mean(axis=(1, 3))
    return Sprite(soften(cover, softness), values)


def turned(sprite: Sprite, rng: np.random.Generator) -> Sprite:
    """Turn a sprite by some quarters, and perhaps mirror it."""
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5

    def turn(values: Array) -> Array:
        values = np.rot90(values, turns, axes=(-2, -1))
        return np.ascontiguousarray(values[..., ::-1] if mirrored else values)

    return Sprite(turn(sprite.cover), turn(sprite.texture))


def shortened(cover: Floats, rng: np.random.Generator) -> Floats:
    """Cut off a part of a cover at one of its ends; the shape stays."""
    axis, backwards, share = int(rng.integers(2)), rng.random() < 0.5, float(rng.uniform(0.4, 0.75))
    solid = np.flatnonzero((cover >= 0.5).any(axis=1 - axis))
    if not solid.size:
        return cover
    end = solid[0] + share * len(solid)
    kept = np.clip(end - np.arange(cover.shape[axis]), 0, 1)  # of each row or column
    if backwards:
        kept = np.clip(np.arange(cover.shape[axis]) - (solid[-1] - share * len(solid)), 0, 1)
    shorter: Floats = cover * np.expand_dims(kept, 1 - axis)
    return shorter
