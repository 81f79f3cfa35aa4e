"""A source whose content is moved back, pixel by pixel, by a field of shifts while it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import ceil, floor

import numpy as np
from affine import Affine
from rasterio.enums import Resampling

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.shift_field import ShiftField
from geochange.scenes.source import DerivedSource, Source, read_beyond
from geochange.scenes.warped import on_grid, whole_numbers

LEAST_WEIGHT = 0.5  # of the weights: a pixel is valid where at least as many are those of valid pixels
NEAR_ONE = 1.25  # ratio of pixel sizes, or its inverse, up to which pixels are interpolated straight from the source
STRIPE = 1 << 16  # pixels at once: few enough for the cache


def _nearest(away: Floats) -> Floats:
    return np.where((away > -0.5) & (away <= 0.5), 1.0, 0.0)


def _bilinear(away: Floats) -> Floats:
    weight: Floats = np.maximum(1 - np.abs(away), 0)
    return weight


def _cubic(away: Floats) -> Floats:
    """Cubic convolution with a = -0.5 (Keys 1981), as GDAL has it."""
    x = np.abs(away)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _lanczos(away: Floats) -> Floats:
    """Lanczos' window of three lobes."""
    return np.where(np.abs(away) < 3, np.sinc(away) * np.sinc(away / 3), 0.0)


@dataclass(frozen=True, slots=True)
class Kernel1D:
    """How a pixel is interpolated along one axis."""

    weight: Callable[[Floats], Floats]
    """Weight of a pixel by how far away it lies, in pixels."""
    reach: int
    """Pixels on either side of a place that count."""


KERNELS: Mapping[Resampling, Kernel1D] = {
    Resampling.nearest: Kernel1D(_nearest, 1),
    Resampling.bilinear: Kernel1D(_bilinear, 1),
    Resampling.cubic: Kernel1D(_cubic, 2),
    Resampling.lanczos: Kernel1D(_lanczos, 3),
    Resampling.average: Kernel1D(_bilinear, 1),  # there is nothing to average over in pixels of one size
}


@dataclass(frozen=True)
class DisplacedSource(DerivedSource):
    """A source in whose place another grid's pixels are interpolated, each where the field says that its content lies.

    A pixel's value depends on its own place alone, and not on the window asked for.
    """

    grid: Grid
    field: ShiftField
    resampling: Resampling = Resampling.cubic
    shift: tuple[float, float] = (0.0, 0.0)
    """(row, col) pixels by which all of the content lies off besides."""
    masked: bool = True

    @property
    def local_shift(self) -> ShiftField:
        """The field."""
        return self.field

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return f"{self.source.mark} {self.resampling.name} {self.field.mark}"

    def crop(self, tile: Tile) -> DisplacedSource:
        """Return the part that a tile of this source's grid covers."""
        return replace(self, grid=self.grid.crop(tile), field=self.field.crop(tile))

    def whole(self) -> Source:
        """Return the source before it was displaced."""
        return self.source.whole()

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        kernel, (rows, cols) = KERNELS[self.resampling], self._places(tile)
        top, left = floor(rows.min()) - kernel.reach, floor(cols.min()) - kernel.reach
        needed = Tile(top, left, ceil(rows.max()) + kernel.reach + 1 - top, ceil(cols.max()) + kernel.reach + 1 - left)
        if not needed.intersect(self.source.grid.area).size:
            return np.zeros((len(self.bands), *tile.shape), self.dtype), np.zeros(tile.shape, bool)
        values, valid = read_beyond(self.source.read, self.source.grid.area, needed)
        return interpolate(values, valid, (rows, cols), kernel, (top, left))

    def _places(self, tile: Tile) -> tuple[Floats, Floats]:
        """(y, x) rows and columns of the source, counted from the centre of its first pixel, where the content lies."""
        down, right = self.field.over(tile)
        rows = np.arange(tile.row, tile.stop_row)[:, None] + 0.5 + self.shift[0] + down
        cols = np.arange(tile.col, tile.stop_col)[None, :] + 0.5 + self.shift[1] + right
        to = self._to_source
        return to.d * cols + to.e * rows + to.f - 0.5, to.a * cols + to.b * rows + to.c - 0.5

    @cached_property
    def _to_source(self) -> Affine:
        return between(self.grid, self.source.grid)


def between(grid: Grid, other: Grid) -> Affine:
    """Return what brings columns and rows of a grid to those of another in the same CRS."""
    found: Affine = ~other.transform @ grid.transform
    return found


def displaced(
    source: Source, grid: Grid, field: ShiftField, resampling: Resampling, shift: tuple[float, float] = (0.0, 0.0)
) -> DisplacedSource:
    """Bring a source to a grid, and move its content back by a field of shifts.

    Pixels are interpolated once where the source has pixels of nearly the grid's size in its CRS; else it is first
    brought to the grid.

    Args:
        source: what to bring.
        grid: the one that is wanted.
        field: rows and columns, in pixels of the grid, by which the content lies off.
        resampling: how pixels are interpolated.
        shift: (row, col) pixels by which all of it lies off besides.

    Raises:
        GridMismatch: as of `on_grid`.
    """
    if not _are_alike(source.grid, grid):
        around = ceil(field.longest + max(map(abs, shift))) + KERNELS[resampling].reach
        source = on_grid(source, grid.crop(grid.area.grow(around)), resampling)
    return DisplacedSource(source, grid, field, resampling, shift)


def _are_alike(source: Grid, grid: Grid) -> bool:
    """Whether grids have one CRS, and pixels of about one size along the same axes."""
    if source.crs != grid.crs:
        return False
    to = between(grid, source)
    across = max(abs(to.b), abs(to.d))
    return across < 0.01 and all(1 / NEAR_ONE <= each <= NEAR_ONE for each in (to.a, to.e))


def interpolate(
    values: Array, valid: Bools, places: tuple[Floats, Floats], kernel: Kernel1D, origin: tuple[int, int] = (0, 0)
) -> tuple[Array, Bools]:
    """Interpolate (band, y, x) values at places between their pixels; invalid pixels have no weight.

    Args:
        values: of any type, which the result has too; whole numbers are rounded, and clipped to the type's range.
        valid: (y, x).
        places: (y', x') rows and columns, at least the kernel's reach inside.
        kernel: how.
        origin: row and column of the first pixel of the values, from which the places do not count.

    Returns:
        (band, y', x') values, 0 where not valid, and (y', x') whether half of the weights are those of valid pixels.
    """
    shape = places[0].shape
    found, reached = np.zeros((len(values), *shape), values.dtype), np.zeros(shape, bool)
    stripe = max(STRIPE // shape[1], 1)
    for start in range(0, shape[0], stripe):
        part = slice(start, start + stripe)
        taps = _Taps.around((places[0][part], places[1][part]), kernel, origin)
        found[:, part], reached[part] = _interpolated(values, valid, taps)
    return found, reached


@dataclass(frozen=True, slots=True)
class _Taps:
    """Which pixels count at places between them, and how much."""

    first: tuple[Ints, Ints]
    """(y, x) row and column of the first pixel that counts."""
    weights: tuple[list[Floats], list[Floats]]
    """(y, x) of each of the rows, and of the columns, that count."""

    @classmethod
    def around(cls, wanted: tuple[Floats, Floats], kernel: Kernel1D, origin: tuple[int, int]) -> _Taps:
        first, weights = [], []
        for places, start in zip(wanted, origin, strict=True):
            whole = np.floor(places)
            steps = range(1 - kernel.reach, kernel.reach + 1)
            weights.append([kernel.weight(places - whole - step) for step in steps])
            first.append(whole.astype(np.intp) - start + steps[0])
        return cls((first[0], first[1]), (weights[0], weights[1]))


def _interpolated(values: Array, valid: Bools, taps: _Taps) -> tuple[Array, Bools]:
    exact = np.result_type(values.dtype, np.float32)
    first, width, whole = taps.first[0] * valid.shape[1] + taps.first[1], valid.shape[1], bool(valid.all())
    flat, seen = np.where(valid, values, 0).reshape(len(values), -1), valid.reshape(-1)
    total, weights = np.zeros((len(values), *first.shape), exact), np.zeros(first.shape, exact)
    for (row, down), (col, right) in product(*map(enumerate, taps.weights)):
        weight, at = (down * right).astype(exact), first + (row * width + col)
        if not whole:
            weight *= seen[at]
        weights += weight
        for band, plane in enumerate(flat):
            total[band] += weight * plane[at]
    reached = weights >= LEAST_WEIGHT
    total /= np.where(reached, weights, 1)
    found = np.where(reached, total, 0)
    return (whole_numbers(found, values.dtype) if values.dtype.kind in "iu" else found), reached
