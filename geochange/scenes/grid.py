"""Grids, and how they are cut into overlapping tiles and into blocks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor, inf, isfinite, sqrt

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.windows import Window

from geochange.arrays import Array, Ints
from geochange.errors import UnreadableInput
from geochange.scenes.ground import ground_steps, is_true_to_scale, metres_per_unit

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
    def true_to_scale(self) -> bool:
        """Whether map units are those of the ground at the centre and the corners, see `is_true_to_scale`."""
        height, width = self.shape
        places = [(width / 2, height / 2), (0, 0), (width, 0), (width, height), (0, height)]
        points = map_points(self.transform, np.array(places, float))
        return self.crs is not None and is_true_to_scale(self.crs, points)

    @cached_property
    def pixel_metres(self) -> tuple[float, float] | None:
        """(height, width) of a pixel on the ground in metres, at the centre; None without a CRS, or beyond its reach.

        In a CRS that is true to scale they are those of its plane.
        """
        if self.crs is None:
            return None
        if self.true_to_scale:
            width, height = np.array(self.resolution) * metres_per_unit(self.crs)
        else:
            t, middle = self.transform, (self.shape[1] / 2, self.shape[0] / 2)
            steps = ground_steps(self.crs, np.array([t @ middle]), np.array([[t.a, t.d], [t.b, t.e]]))
            width, height = np.linalg.norm(steps[0], axis=-1)
        return (float(height), float(width)) if np.isfinite(width + height) else None

    @property
    def gsd(self) -> float | None:
        """Ground sampling distance in metres, the geometric mean of a pixel's sides; None as `pixel_metres`."""
        return None if self.pixel_metres is None else sqrt(self.pixel_metres[0] * self.pixel_metres[1])

    def crop(self, tile: Tile) -> Grid:
        """Return the grid of a part of this one."""
        return Grid(self.crs, self.transform @ Affine.translation(tile.col, tile.row), tile.shape)

    def offset_of(self, other: Grid) -> tuple[float, float]:
        """(row, col) of the other grid's first pixel corner, in pixels of this one."""
        col, row = ~self.transform @ (other.transform.c, other.transform.f)
        return row, col


MOST_PIXELS = 10**12  # of a scene: the land of the earth at 12 m


def require_workable(grid: Grid, name: str) -> None:
    """Refuse, before any work is done, a grid of more pixels than can be gone through.

    Raises:
        UnreadableInput: the message says how many there are.
    """
    rows, cols = grid.shape
    if rows * cols > MOST_PIXELS:
        raise UnreadableInput(
            f"{name} has {rows:,} x {cols:,} pixels, more than {MOST_PIXELS:.0e}; choose a part of it, with --aoi or "
            "gdal_translate -projwin"
        )


def pixels_within(grid: Grid, bounds: tuple[float, float, float, float]) -> Tile:
    """Find the pixels of a grid whose centres lie within (left, bottom, right, top); of zero size where none do."""
    if not np.isfinite(bounds).all():
        return Tile(0, 0, 0, 0)
    left, bottom, right, top = bounds
    corners = [~grid.transform @ corner for corner in ((left, top), (right, bottom), (left, bottom), (right, top))]
    cols, rows = zip(*corners, strict=True)
    return centres_within(min(rows), min(cols), max(rows), max(cols)).intersect(grid.area)


def centres_within(top: float, left: float, bottom: float, right: float) -> Tile:
    """Find the pixels whose centres lie within a rectangle, given in parts of pixels."""
    row, col = ceil(top - 0.5 - 1e-6), ceil(left - 0.5 - 1e-6)
    stop_row, stop_col = floor(bottom + 0.5 + 1e-6), floor(right + 0.5 + 1e-6)
    return Tile(row, col, max(stop_row - row, 0), max(stop_col - col, 0))


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
