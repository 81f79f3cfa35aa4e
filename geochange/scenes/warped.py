"""A source brought to another grid while it is read, so that no aligned raster need be written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor
from typing import Any, ClassVar

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geochange.arrays import Array, Bools
from geochange.errors import GridMismatch
from geochange.scenes.differences import (
    CHOOSE_OTHERS,
    GIVE_CRS,
    GIVE_ONE_CRS,
    GRID_TOLERANCE,
    grid_differences,
    overlap_share,
)
from geochange.scenes.grid import Grid, Tile, crs_name, extent_of
from geochange.scenes.placement import extents_in, is_closed
from geochange.scenes.scene import rasterio_crs
from geochange.scenes.source import DerivedSource, Source
from geochange.scenes.tiling import partition

WARP_CELL = 256  # px; warped reads depend on the window asked for, so they only ever ask for cells of this lattice
WARP_TOLERANCE = 0.01  # px; error that GDAL's approximate transformer may make
PLAIN_ORIGIN = Affine.translation(4096, -4096)
"""Where the first pixel of a plain image is put: GDAL takes pixels of 1 x 1 from 0, 0 on for ones without a place."""


@dataclass(frozen=True)
class WarpedSource(DerivedSource):
    """A source brought to another grid while it is read.

    Each cell of a fixed lattice is warped by itself, from the pixels that it needs, so that a pixel's value never
    depends on the window asked for. Interpolation leaves invalid pixels out.
    """

    grid: Grid
    resampling: Resampling = Resampling.cubic
    shift: tuple[float, float] = (0.0, 0.0)  # (row, col) px of `grid` by which the content lies off, and is moved back
    masked: ClassVar[bool] = True

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return f"{self.source.mark} {self.resampling.name}"

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the largest cell that is warped at once."""
        return WARP_CELL, WARP_CELL

    def crop(self, tile: Tile) -> WarpedSource:
        """Return the part that a tile of this source's grid covers."""
        return replace(self, grid=self.grid.crop(tile))

    def whole(self) -> Source:
        """Return the source before it was warped."""
        return self.source

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        values = np.zeros((len(self.bands), *tile.shape), self.dtype)
        valid = np.zeros(tile.shape, bool)
        for cell in self._cells(tile):
            part = cell.intersect(tile)
            cell_values, cell_valid = self._warp(cell)
            rows, cols = part.slices((tile.row, tile.col))
            values[:, rows, cols] = cell_values[:, *part.slices((cell.row, cell.col))]
            valid[rows, cols] = cell_valid[part.slices((cell.row, cell.col))]
        return values, valid

    @cached_property
    def _side(self) -> int:
        """Pixels per side of a cell: fewer where the source is finer, so that a cell's source pixels stay few."""
        needed = _needed_by(self.grid, self.source.grid, self.resampling)
        height, width = self.grid.shape
        zoom = max([1.0, *(max(tile.height / height, tile.width / width) for tile in needed)])
        return max(int(WARP_CELL / zoom) // 16 * 16, 16)

    def _cells(self, tile: Tile) -> Iterator[Tile]:
        side = self._side
        top, left = tile.row // side * side, tile.col // side * side
        for cell in partition((tile.stop_row - top, tile.stop_col - left), (side, side)):
            yield Tile(top + cell.row, left + cell.col, side, side).intersect(self.grid.area)

    def _warp(self, cell: Tile) -> tuple[Array, Bools]:
        target = self.grid.crop(cell)
        target = replace(target, transform=target.transform @ Affine.translation(self.shift[1], self.shift[0]))
        values, valid = np.zeros((len(self.bands), *cell.shape), self.dtype), np.zeros(cell.shape, bool)
        for needed in _needed_by(target, self.source.grid, self.resampling):
            own = self.source.grid.crop(needed)
            new, reached = warp_pixels(*read_round(self.source, needed), own, target, self.resampling)
            values, valid = np.where(valid, values, new), valid | reached
        return values, valid


def on_grid(source: Source, grid: Grid, resampling: Resampling, name: str = "the grid") -> Source:
    """Bring a source to a grid: as it is where it lies on it, else warped while it is read.

    Args:
        source: what to bring.
        grid: the one that is wanted.
        resampling: how pixels are interpolated.
        name: what messages call the grid.

    Raises:
        GridMismatch: source and grid do not overlap, just one has a CRS, or the one CRS cannot be brought to the other.
    """
    require_overlap(source, grid, name)
    return WarpedSource(source, grid, resampling) if grid_differences(grid, source.grid) else source


def require_overlap(source: Source, grid: Grid, name: str) -> None:
    """Refuse a source that does not meet a grid; raises as `on_grid`."""
    own = source.grid
    if (grid.crs is None) != (own.crs is None):
        raise GridMismatch(f"{name} has {crs_name(grid.crs)}, {source.name} has {crs_name(own.crs)}; {GIVE_CRS}")
    share = overlap_share(grid, own)
    if share is None:
        raise GridMismatch(f"{crs_name(own.crs)} cannot be brought to {crs_name(grid.crs)}; {GIVE_ONE_CRS}")
    if share * grid.area.size <= GRID_TOLERANCE * sum(grid.shape):
        raise GridMismatch(
            f"{name} and {source.name} do not overlap: {extent_of(grid)} and {extent_of(own)}; {CHOOSE_OTHERS}"
        )


def warp_pixels(values: Array, valid: Bools, grid: Grid, target: Grid, resampling: Resampling) -> tuple[Array, Bools]:
    """Bring (band, y, x) values and (y, x) validity from one grid to another with GDAL's warper.

    The validity goes along as an alpha band: interpolation weighs invalid pixels with zero, and a target pixel is
    valid where at least half of its weights are; with `average`, where any is. GDAL's warper has it so.
    """
    wide = values.dtype.kind in "iu" and values.dtype.itemsize == 8  # whose weights GDAL's warper cannot count
    dtype = np.dtype(np.float64) if wide else values.dtype
    opaque = np.iinfo(dtype).max if dtype.kind in "iu" else 1
    stack = np.empty((len(values) + 1, *valid.shape), dtype)
    stack[:-1], stack[-1] = values, opaque
    stack[:, ~valid] = 0
    warped = np.zeros((len(stack), *target.shape), dtype)
    plain = grid.crs is None
    crs = "EPSG:3857" if plain else None  # plain images: any CRS, the same for both
    away = PLAIN_ORIGIN if plain else Affine.identity()
    reproject(
        stack,
        warped,
        src_transform=away @ grid.transform,
        src_crs=crs or rasterio_crs(grid.crs),
        dst_transform=away @ target.transform,
        dst_crs=crs or rasterio_crs(target.crs),
        src_alpha=len(stack),
        dst_alpha=len(stack),
        resampling=resampling,
        tolerance=WARP_TOLERANCE,
        num_threads=1,
        SRC_ALPHA_MAX=str(opaque),
        DST_ALPHA_MAX=str(opaque),
    )
    reached = warped[-1] > 0
    found = np.where(reached, warped[:-1], 0)
    return (whole_numbers(found, values.dtype) if wide else found.astype(values.dtype)), reached


def whole_numbers(values: Array, dtype: np.dtype[Any]) -> Array:
    """Round to whole numbers of a type, as far as float64 can hold them."""
    limits = np.iinfo(dtype)
    least, most = float(limits.min), np.nextafter(float(limits.max), 0)
    whole: Array = np.rint(np.clip(values, least, most)).astype(dtype)
    return whole


def _needed_by(target: Grid, source: Grid, resampling: Resampling) -> list[Tile]:
    """Find the source pixels that interpolation at the target's asks for, apart where they lie on either side of 180°.

    Columns of a source that goes round the earth are counted on beyond its first and last one.
    """
    tiles = []
    for extent in extents_in(target, source):
        zoom = max((extent.right - extent.left) / target.shape[1], (extent.bottom - extent.top) / target.shape[0], 1.0)
        reach = ceil((4 if resampling is Resampling.lanczos else 3) * zoom) + 1
        first, stop = (floor(extent.top), floor(extent.left)), (ceil(extent.bottom), ceil(extent.right))
        around = Tile(*first, stop[0] - first[0], stop[1] - first[1]).grow(reach)
        if is_closed(source) and around.width < source.shape[1]:
            return [around.intersect(replace(source.area, col=around.col))]
        tiles.append(around.intersect(source.area))
    return tiles


def read_round(source: Source, tile: Tile) -> tuple[Array, Bools]:
    """Read a tile of a source whose first column follows its last one: the tile's columns may lie beyond both."""
    width, parts, col = source.grid.shape[1], [], tile.col
    while col < tile.stop_col:
        part = Tile(tile.row, col % width, tile.height, min(tile.stop_col - col, width - col % width))
        parts.append(source.read(part))
        col += part.width
    values, valid = zip(*parts, strict=True)
    return np.concatenate(values, axis=-1), np.concatenate(valid, axis=-1)
