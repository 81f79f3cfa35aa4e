"""Tiles of pictures for the page: where they lie, how they look, and as JPEG or PNG. Pure.

The page's coordinates are those of the scene's pixels, so that tiles are the scene's own lattice, thinned by powers of
two; nothing is reprojected, and a scene without a CRS is as good as any.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from PIL import Image

from geochange.arrays import Array, Bools, Floats
from geochange.polygons.preview import stretch
from geochange.scenes.grid import Tile

TILE = 256  # px
JPEG_QUALITY = 90
MIDDLE = 0.5  # probability that is drawn half as strong as a certain one

RAMP = np.array([(255, 237, 160), (254, 201, 88), (253, 141, 60), (240, 59, 32), (177, 0, 60)], float)
"""Colours of probabilities 0 to 1, those of the layer's style."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Tiles of a scene at each zoom; at zoom 0 all of it is one tile."""

    shape: tuple[int, int]
    """(rows, cols) of the scene."""

    @property
    def deepest(self) -> int:
        """The zoom at which a pixel of the scene is one of the picture."""
        return max(0, ceil(log2(max(self.shape) / TILE)))

    def tile(self, zoom: int, col: int, row: int) -> tuple[Tile, tuple[int, int]] | None:
        """Return the scene's pixels that a tile shows, and its (rows, cols) inside the scene; None where there is none.

        Args:
            zoom: 0 to `deepest`.
            col: from the left.
            row: from the top.
        """
        if not 0 <= zoom <= self.deepest or col < 0 or row < 0:
            return None
        factor = 1 << (self.deepest - zoom)
        side = TILE * factor
        part = Tile(row * side, col * side, side, side).intersect(Tile(0, 0, *self.shape))
        if part.size == 0:
            return None
        return part, (ceil(part.height / factor), ceil(part.width / factor))


def draw_colours(values: Floats, valid: Bools, limits: Floats) -> bytes:
    """Draw one or three bands between two limits each: as JPEG, or as PNG where some pixels are not valid.

    Args:
        values: (band, y, x), at most `TILE` on a side.
        valid: (y, x).
        limits: (band, 2) values drawn black and white.
    """
    colours = stretch(np.where(valid, values, np.nan).astype(np.float64), limits)
    if valid.all() and valid.shape == (TILE, TILE):
        return _encode(Image.fromarray(colours), "JPEG", quality=JPEG_QUALITY)
    return _encode_png(colours, np.where(valid, 255, 0))


def draw_probability(probability: Floats, valid: Bools) -> bytes:
    """Draw (y, x) probabilities as PNG: pale and see-through where low, dark and solid where high."""
    shares = np.where(valid, probability, 0.0)
    places = shares * (len(RAMP) - 1)
    low = np.minimum(places.astype(int), len(RAMP) - 2)
    part = (places - low)[..., None]
    colours = np.rint(RAMP[low] * (1 - part) + RAMP[low + 1] * part).astype(np.uint8)
    return _encode_png(colours, np.where(valid, np.rint(255 * np.minimum(shares / (2 * MIDDLE), 1.0) ** 1.5), 0))


def _encode_png(colours: Array, opacity: Array) -> bytes:
    """Encode (y, x, 3) colours, and the rest of the tile as see-through."""
    whole = np.zeros((TILE, TILE, 4), np.uint8)
    rows, cols = opacity.shape
    whole[:rows, :cols, :3], whole[:rows, :cols, 3] = colours, opacity
    return _encode(Image.fromarray(whole), "PNG", compress_level=1)


def _encode(picture: Image.Image, kind: str, **settings: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **settings)
    return buffer.getvalue()
