"""Masks beside an image: clouds, their shadows, snow and the like, whose pixels hold no data then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Protocol

import numpy as np
from rasterio.enums import Resampling
from scipy.ndimage import distance_transform_edt

from geochange.arrays import Array, Bools
from geochange.errors import GridMismatch, UnreadableInput
from geochange.files import files_digest
from geochange.scenes.grid import Tile
from geochange.scenes.layers import VectorLabels, in_pixels, open_layer
from geochange.scenes.lengths import length_on
from geochange.scenes.mask_rules import MaskRule
from geochange.scenes.scene import open_file
from geochange.scenes.source import SameGridSource, Source, read_beyond
from geochange.scenes.warped import on_grid

BUFFER = "--mask-buffer"
ROUNDING = 1e-9
NOT_A_VALUE = float("nan")
"""What a number of a mask never is: all of them count, also one that the file says stands for no data."""


class Hiding(Protocol):
    """Something that hides pixels of an image."""

    def hidden(self, tile: Tile) -> Bools:
        """(y, x) which pixels are hidden, of a tile that may reach beyond the image."""


@dataclass(frozen=True)
class RasterMask:
    """A raster on an image's grid; pixels that it does not reach, or where it holds no data, are not hidden."""

    source: Source
    rule: MaskRule

    def hidden(self, tile: Tile) -> Bools:
        """See `Hiding.hidden`."""
        values, valid = read_beyond(self.source.read, self.source.grid.area, tile)
        return self.rule.hides(values[0]) & valid


@dataclass(frozen=True)
class VectorMask:
    """Polygons in pixels of an image; pixels whose centres lie inside are hidden."""

    polygons: VectorLabels

    def hidden(self, tile: Tile) -> Bools:
        """See `Hiding.hidden`."""
        return np.asarray(self.polygons.read(tile)[0] > 0)


@dataclass(frozen=True)
class MaskedSource(SameGridSource):
    """A source some of whose pixels a mask hides: they hold no data."""

    mask: Hiding
    buffer: tuple[float, float] = (0.0, 0.0)
    """Pixels along rows and along columns up to which those around a hidden one are hidden too."""
    origin: tuple[int, int] = (0, 0)
    """(row, col) of the grid's first pixel in the image that the mask belongs to."""
    digest: str = ""
    """What tells one mask from another."""
    mask_files: tuple[str, ...] = ()
    """What the mask is read from."""
    masked: bool = True

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return f"{self.source.mark} {self.digest}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read, as GDAL takes them."""
        return (*self.source.files, *self.mask_files)

    def crop(self, tile: Tile) -> MaskedSource:
        """Return the part that a tile of this source's grid covers."""
        origin = self.origin[0] + tile.row, self.origin[1] + tile.col
        return replace(self, source=self.source.crop(tile), origin=origin)

    def whole(self) -> MaskedSource:
        """Return all of the image that this comes from, masked."""
        return replace(self, source=self.source.whole(), origin=(0, 0))

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        values, valid = self.source.read(tile)
        return values, valid & ~self.hidden(tile)

    def hidden(self, tile: Tile) -> Bools:
        """(y, x) which pixels of a tile are hidden."""
        own, reach = Tile(tile.row + self.origin[0], tile.col + self.origin[1], *tile.shape), ceil(max(self.buffer))
        hidden = self.mask.hidden(own.grow(reach))
        inner = slice(reach, reach + tile.height), slice(reach, reach + tile.width)
        if not reach or not hidden.any():
            return hidden[inner]
        distance = distance_transform_edt(~hidden, sampling=[1 / radius for radius in self.buffer])
        return np.asarray(distance[inner] <= 1 + ROUNDING)


def with_mask(source: Source, path: str, rule: MaskRule, buffer: str | float) -> MaskedSource:
    """Hide the pixels of an image that a mask says.

    Args:
        source: all of an image.
        path: of a raster, which may lie on another grid and is brought to the image's by the nearest pixel, or of a
            layer of polygons.
        rule: which numbers of a raster hide a pixel; those of its first band count.
        buffer: how far around what is hidden pixels are hidden too, as `parse_length` reads it.

    Raises:
        UnreadableInput: it is neither.
        GridMismatch: it does not meet the image.
        BadOption: the buffer is in metres, and the image has no CRS.
    """
    mask, radii = _open_mask(path, source, rule), length_on(BUFFER, buffer, source.grid, least=0)
    return MaskedSource(source, mask, radii, digest=f"{files_digest([path])} {rule} {radii}", mask_files=(path,))


def note_of(mask: str, rule: str) -> str:
    """Return what a user is told of a mask that comes with an image."""
    return f"what {mask} hides ({rule}) is left out; --mask-before and --mask-after take another mask, or off"


def hide(source: Source, raster: Source, rule: MaskRule, buffer: str | float) -> MaskedSource:
    """Hide the pixels of an image that a raster of numbers says, as `with_mask`."""
    radii = length_on(BUFFER, buffer, source.grid, least=0)
    mask = RasterMask(on_grid(raster, source.grid, Resampling.nearest, source.name), rule)
    return MaskedSource(source, mask, radii, digest=f"{raster.name} {rule} {radii}", mask_files=raster.files)


def _open_mask(path: str, source: Source, rule: MaskRule) -> Hiding:
    try:
        raster = open_file(path, nodata=NOT_A_VALUE, as_stored=True)
    except UnreadableInput as not_raster:
        try:
            layer = open_layer(path)
        except UnreadableInput:
            raise not_raster from None
        return VectorMask(VectorLabels(in_pixels(layer.polygons(source.grid), source.grid)))
    raster = raster.with_bands(raster.choices[:1])
    if source.grid.crs is None and raster.grid.crs is None and raster.grid.shape != source.grid.shape:
        own, wanted = (" x ".join(map(str, each.grid.shape)) for each in (raster, source))
        raise GridMismatch(
            f"{path} has {own} pixels; without a CRS it must have the rows and columns of {source.name}, {wanted}"
        )
    return RasterMask(on_grid(raster, source.grid, Resampling.nearest, source.name), rule)
