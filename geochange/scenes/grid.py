"""Grids, and how they are cut into overlapping tiles and into blocks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, inf, isfinite

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.windows import Window

from geochange.arrays import Array, Ints

SMALLEST_PIXEL = 1e-30  # square map units; below, the inverse of a geotransform loses its digits


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A rectangle of pixels. It may reach beyond the scene, where the scene is reflected."""

    row: int
    col: int
    height: int
    width: int

    @property
    def stop_row(self) -> int:
        """The row behind the last one."""
        return self.row + self.height

    @property
    def stop_col(self) -> int:
        """The column behind the last one."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.height, self.width

    @property
    def window(self) -> Window:
        """The tile as a window of rasterio."""
        return Window(self.col, self.row, self.width, self.height)

    def slices(self, origin: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
        """(rows, cols) of this tile in an array whose first pixel is `origin`."""
        row, col = self.row - origin[0], self.col - origin[1]
        return slice(row, row + self.height), slice(col, col + self.width)

    def grow(self, pixels: int) -> Tile:
        """Return the tile with `pixels` more on each side."""
        return Tile(self.row - pixels, self.col - pixels, self.height + 2 * pixels, self.width + 2 * pixels)

    def intersect(self, other: Tile) -> Tile:
        """Return the part in both; of zero size where they do not meet."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = max(min(self.stop_row, other.stop_row) - row, 0)
        width = max(min(self.stop_col, other.stop_col) - col, 0)
        return Tile(row, col, height, width)

    @property
    def size(self) -> int:
        """The number of pixels."""
        return self.height * self.width


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a scene lie: CRS (None for plain images), affine transform, shape (rows, cols)."""

    crs: CRS | None
    transform: Affine
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        size = abs(self.transform.a * self.transform.e - self.transform.b * self.transform.d)
        if not (all(map(isfinite, self.transform)) and SMALLEST_PIXEL < size < inf):
            places = ", ".join(f"{each:g}" for each in tuple(self.transform)[:6])
            raise ValueError(f"its geotransform ({places}) gives pixels no size or place; set another, with gdal_edit")

    @property
    def area(self) -> Tile:
        """The whole grid as one tile."""
        return Tile(0, 0, *self.shape)

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of the outer pixel edges, in map units."""
        height, width = self.shape
        corners = [self.transform @ corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def resolution(self) -> tuple[float, float]:
        """(x, y) size of a pixel in map units, both positive."""
        t = self.transform
        return float(np.hypot(t.a, t.d)), float(np.hypot(t.b, t.e))

    @cached_property
    def gsd(self) -> float | None:
        """Ground sampling distance in metres, the geometric mean of both directions at the scene's centre.

        None without a CRS, or where that has no ellipsoid.
        """
        if self.crs is None or (ellipsoid := self.crs.get_geod()) is None:
            return None
        if not self.crs.is_geographic:
            x, y = self.resolution
            return float(np.sqrt(x * y)) * self.crs.axis_info[0].unit_conversion_factor
        middle = self.shape[1] / 2, self.shape[0] / 2
        points = [self.transform @ (middle[0] + x, middle[1] + y) for x, y in ((0, 0), (1, 0), (0, 1))]
        degrees = self.crs.axis_info[0].unit_conversion_factor / np.pi * 180
        lon, lat = np.array(points).T * degrees
        across, down = ellipsoid.inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])[2]
        return float(np.sqrt(across * down))

    def crop(self, tile: Tile) -> Grid:
        """Return the grid of a part of this one."""
        return Grid(self.crs, self.transform @ Affine.translation(tile.col, tile.row), tile.shape)

    def offset_of(self, other: Grid) -> tuple[float, float]:
        """(row, col) of the other grid's first pixel corner, in pixels of this one."""
        col, row = ~self.transform @ (other.transform.c, other.transform.f)
        return row, col


def pixels_within(grid: Grid, bounds: tuple[float, float, float, float]) -> Tile:
    """Find the pixels of a grid whose centres lie within (left, bottom, right, top); of zero size where none do."""
    if not np.isfinite(bounds).all():
        return Tile(0, 0, 0, 0)
    rows, cols = pixel_corners(grid, bounds)
    row, col = ceil(min(rows) - 0.5 - 1e-6), ceil(min(cols) - 0.5 - 1e-6)
    stop_row, stop_col = floor(max(rows) + 0.5 + 1e-6), floor(max(cols) + 0.5 + 1e-6)
    return Tile(row, col, max(stop_row - row, 0), max(stop_col - col, 0)).intersect(grid.area)


def pixel_corners(grid: Grid, bounds: tuple[float, float, float, float]) -> tuple[list[float], list[float]]:
    """Return (rows, cols) of the four corners of (left, bottom, right, top), in pixels of a grid."""
    left, bottom, right, top = bounds
    corners = [~grid.transform @ corner for corner in ((left, top), (right, bottom), (left, bottom), (right, top))]
    return [row for _, row in corners], [col for col, _ in corners]


def map_points(transform: Affine, points: Array) -> Array:
    """Map (n, 2) points, x first."""
    t, (x, y) = transform, points.T
    return np.stack([t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f], axis=1)


def crs_name(crs: CRS | None) -> str:
    """EPSG:32651 where there is a code, else the CRS's name; "no CRS" for None."""
    if crs is None:
        return "no CRS"
    authority = crs.to_authority()
    return ":".join(authority) if authority else crs.name


def extent_of(grid: Grid) -> str:
    """Return the bounds of a grid and its CRS, for messages."""
    return f"{', '.join(f'{edge:.10g}' for edge in grid.bounds)} in {crs_name(grid.crs)}"


def reflect(start: int, stop: int, length: int) -> Ints:
    """Return indices start..stop-1 of an axis of `length`, mirrored at its first and last pixel (as numpy's "reflect").

    Law: indices inside 0..length-1 map to themselves, and index(-k) == index(k).
    """
    if length == 1:
        return np.zeros(stop - start, np.intp)
    period = 2 * (length - 1)
    index = np.abs(np.arange(start, stop)) % period
    return np.where(index < length, index, period - index).astype(np.intp)
