"""Objects to paste, cut from images by their outlines, or kept in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
import shapely
from PIL import Image
from shapely.affinity import translate

from geochange.arrays import Array, Floats
from geochange.datasets.sprites import BORDER, Sprite, cut_out, trim
from geochange.datasets.unchanged import Tone
from geochange.errors import BandMismatch, UnreadableInput
from geochange.files import visible_in
from geochange.parsing import parsing
from geochange.scenes.grid import Tile
from geochange.scenes.layers import in_pixels, open_layer
from geochange.scenes.source import Source

LARGEST_CUTOUT = 96  # pixels per side of what is cut out
LARGEST_PICTURE = 4096  # pixels per side of a picture, transparent margins included
SMALLEST_CUTOUT = 3.0  # pixels of area
PICTURE_SUFFIXES = (".png", ".webp", ".tif", ".tiff")
SOFTNESS = 0.5  # pixels


@dataclass(frozen=True, slots=True)
class OutlineCutouts:
    """Objects of an image, by outlines."""

    source: Source
    outlines: Array
    """(n,) polygons in pixels, with room around each of them."""
    own: Tone
    """Of the image that they are cut from."""
    wanted: Tone
    """Of the image that they are pasted into."""

    def draw(self, rng: np.random.Generator) -> Sprite | None:
        """Cut out one of the objects at random; None where it has no data everywhere."""
        outline = self.outlines[rng.integers(len(self.outlines))]
        window = _window(outline)
        values, valid = self.source.read(window)
        if not valid.all():
            return None
        sprite = cut_out(values.astype(float), translate(outline, -window.col, -window.row), SOFTNESS)
        return Sprite(sprite.cover, match_tone(sprite.texture, self.own, self.wanted))


def open_outlines(path: str | os.PathLike[str], source: Source, own: Tone, wanted: Tone) -> OutlineCutouts:
    """Open the outlines of a vector layer over an image.

    Args:
        path: of the layer.
        source: the image to cut from.
        own: its tone.
        wanted: that of the image to paste into.

    Raises:
        UnreadableInput: the layer cannot be read, or none of its polygons can be cut from the image.
        GridMismatch: only one of both has a CRS.
    """
    layer = open_layer(os.fspath(path))
    outlines = in_pixels(layer.polygons(source.grid), source.grid)
    kept = [each for each in outlines if _can_be_cut(each, source)]
    if not kept:
        sizes = f"{SMALLEST_CUTOUT:g} pixels to {LARGEST_CUTOUT} pixels a side"
        raise UnreadableInput(f"{path} has no outline of {sizes} that lies within {source.name}")
    return OutlineCutouts(source, np.array(kept, object), own, wanted)


def _can_be_cut(outline: shapely.Geometry, source: Source) -> bool:
    window = _window(outline)
    fits = outline.area >= SMALLEST_CUTOUT and max(window.shape) <= LARGEST_CUTOUT
    return bool(fits) and window.intersect(source.grid.area) == window


def _window(outline: shapely.Geometry) -> Tile:
    left, top, right, bottom = outline.bounds
    row, col = floor(top) - BORDER, floor(left) - BORDER
    return Tile(row, col, ceil(bottom) + BORDER - row, ceil(right) + BORDER - col)


def match_tone(values: Floats, own: Tone, wanted: Tone) -> Floats:
    """Bring (band, y, x) values of one image to the mean and deviation of another one, band by band."""
    if own is wanted:
        return values
    gain = (wanted.spread / own.spread)[:, None, None]
    return (values - own.mean[:, None, None]) * gain + wanted.mean[:, None, None]


@dataclass(frozen=True, slots=True)
class PictureCutouts:
    """Pictures of objects, transparent around them."""

    paths: tuple[Path, ...]
    wanted: Tone

    def draw(self, rng: np.random.Generator) -> Sprite | None:
        """Read one of the pictures at random."""
        pixels = read_picture(self.paths[rng.integers(len(self.paths))], len(self.wanted.mean))
        low, high = (each[:, None, None] for each in (self.wanted.low, self.wanted.high))
        return Sprite(pixels[-1], low + (high - low) * pixels[:-1])


def open_pictures(folder: str | os.PathLike[str], wanted: Tone) -> PictureCutouts:
    """Open the pictures of a folder.

    Args:
        folder: with PNG, WebP or TIFF files of red, green, blue and opacity, or of grey and opacity.
        wanted: the tone of the image to paste into.

    Raises:
        UnreadableInput: there are none, or one cannot be read, is too large, or is wholly transparent.
        BandMismatch: their colours are not as many as the image's bands.
    """
    if not Path(folder).is_dir():
        raise UnreadableInput(f"{folder} is not a folder of pictures to paste")
    paths = tuple(each for each in visible_in(folder) if each.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise UnreadableInput(f"{folder} holds no picture to paste: {', '.join(PICTURE_SUFFIXES)}")
    for path in paths:
        read_picture(path, len(wanted.mean))
    return PictureCutouts(paths, wanted)


def read_picture(path: Path, bands: int) -> Floats:
    """Read (band + 1, y, x) in 0..1: colours, and behind them the opacity; trimmed.

    Raises:
        UnreadableInput, BandMismatch: as `open_pictures`.
    """
    with parsing(path, "a picture"), Image.open(path) as picture:
        if max(picture.size) > LARGEST_PICTURE:
            raise UnreadableInput(f"{path} has {picture.width} x {picture.height} pixels, more than {LARGEST_PICTURE}")
        mode, pixels = picture.mode, np.asarray(picture)
    if mode not in ("RGBA", "LA"):
        raise UnreadableInput(f"{path} has no opacity (it is {mode}): objects are cut out by it")
    if pixels.shape[-1] != bands + 1:
        raise BandMismatch(f"{path} has {pixels.shape[-1] - 1} colours, the image has {bands} bands; pick with --bands")
    values = np.moveaxis(pixels.astype(float) / 255, -1, 0)
    rows, cols = (np.flatnonzero((values[-1] > 0).any(axis=axis)) for axis in (1, 0))
    if not rows.size or max(np.ptp(rows), np.ptp(cols)) + 1 > LARGEST_CUTOUT - 2 * BORDER:
        raise UnreadableInput(f"{path} must show an object of at most {LARGEST_CUTOUT - 2 * BORDER} pixels a side")
    cut = values[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    padded = np.pad(cut, ((0, 0), (BORDER, BORDER), (BORDER, BORDER)), mode="edge")
    padded[-1] = trim(cut[-1])
    return padded
