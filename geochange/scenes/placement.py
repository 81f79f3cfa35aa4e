"""Where one grid lies among the pixels of another: over the antimeridian and around the poles too. Pure.

Longitudes repeat after a whole turn. A border is followed without jumps from -180° to 180°, and then moved by whole
turns to wherever it meets the other grid, be that one counted from -180, from 0 or over 180.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import CRS, Transformer

from geochange.arrays import Array, Floats
from geochange.scenes.grid import Grid, Tile, centres_within, map_points

PER_SIDE = 22
"""Stretches into which each side of a border is cut: it becomes a curve in another CRS."""

CELLS = 32
"""Cells per side into which a grid is cut to find how much of it another one covers."""

MOST_TURNS = 2
CLOSE = 1e-3  # pixels by which a grid that goes round the earth may miss its first column


@dataclass(frozen=True, slots=True)
class Extent:
    """A rectangle among the pixels of a grid, in whole and parts of pixels; it may lie beyond the grid."""

    top: float
    left: float
    bottom: float
    right: float
    whole: bool = True
    """Whether the CRS of the grid can hold all of what it surrounds."""

    def meets(self, grid: Grid) -> bool:
        """Whether a part lies on the grid."""
        return self.left < grid.shape[1] and self.right > 0 and self.top < grid.shape[0] and self.bottom > 0


def whole_turn(crs: CRS | None) -> float | None:
    """Map units around the earth, after which longitudes repeat; None where x is no longitude."""
    if crs is None or not crs.is_geographic:
        return None
    return 2 * np.pi / float(crs.axis_info[0].unit_conversion_factor)


def is_closed(grid: Grid) -> bool:
    """Whether the last column of a grid is followed by its first one, all around the earth."""
    cols, rows = _turn_in_pixels(grid)
    return abs(abs(cols) - grid.shape[1]) < CLOSE and abs(rows) < CLOSE


def _turn_in_pixels(grid: Grid) -> tuple[float, float]:
    """Return the columns and rows after which the same places come again; 0, 0 where they do not."""
    turn, t = whole_turn(grid.crs) or 0.0, ~grid.transform
    return turn * t.a, turn * t.d


def _turns_in_pixels(grid: Grid) -> list[tuple[float, float]]:
    """Return no turn, and where places come again some to either side, as columns and rows."""
    turn, most = _turn_in_pixels(grid), MOST_TURNS if any(_turn_in_pixels(grid)) else 0
    return [(count * turn[0], count * turn[1]) for count in range(-most, most + 1)]


def extents_in(grid: Grid, other: Grid) -> list[Extent]:
    """Find where a grid lies among the pixels of another one: a rectangle for each whole turn that meets it.

    Raises:
        ProjError: the one CRS cannot be brought to the other.
    """
    points = _to_crs(_border(grid), grid.crs, other.crs)
    known = np.isfinite(points).all(axis=1)
    if not known.any():
        return []
    border = _around_poles(_follow(points[known], other.crs), grid, other)
    pixels = map_points(~other.transform, border)
    (left, top), (right, bottom) = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
    found = [
        Extent(top + rows, left + cols, bottom + rows, right + cols, bool(known.all()))
        for cols, rows in _turns_in_pixels(other)
    ]
    return [extent for extent in found if extent.meets(other)]


def pixels_reached(grid: Grid, other: Grid) -> Tile:
    """Find the pixels of a grid whose centres another one may cover; all where its border is not known.

    Raises:
        ProjError: the one CRS cannot be brought to the other.
    """
    extents = extents_in(other, grid)
    if not all(extent.whole for extent in extents) or not extents:
        return grid.area
    top, left = min(each.top for each in extents), min(each.left for each in extents)
    bottom, right = max(each.bottom for each in extents), max(each.right for each in extents)
    return centres_within(top, left, bottom, right).intersect(grid.area)


def covered_share(grid: Grid, other: Grid) -> float:
    """Share of a grid's area, 0..1, that another one covers: cell by cell, each as it lies among the other's pixels.

    Raises:
        ProjError: the one CRS cannot be brought to the other.
    """
    cells = 1 if same_crs(grid.crs, other.crs) else CELLS
    height, width = grid.shape
    cols, rows = np.meshgrid(np.linspace(0, width, cells + 1), np.linspace(0, height, cells + 1))
    nodes = map_points(grid.transform, np.stack([cols.ravel(), rows.ravel()], axis=1))
    placed = _to_crs(nodes, grid.crs, other.crs).reshape(cells + 1, cells + 1, 2)
    corners = np.stack([placed[:-1, :-1], placed[:-1, 1:], placed[1:, 1:], placed[1:, :-1]], axis=2).reshape(-1, 4, 2)
    corners = corners[np.isfinite(corners).all(axis=(1, 2))]
    if cells > 1:
        corners = _follow(corners.swapaxes(0, 1), other.crs).swapaxes(0, 1)
    polygons = shapely.polygons(map_points(~other.transform, corners.reshape(-1, 2)).reshape(-1, 4, 2))
    return min(float(_shares(polygons, other).sum()) / cells**2, 1.0)


def _shares(polygons: Array, other: Grid) -> Floats:
    """(n,) share of each polygon, in pixels, that lies on a grid, in any turn."""
    height, width = other.shape
    sound, covered = shapely.make_valid(polygons), np.zeros(len(polygons))
    for cols, rows in _turns_in_pixels(other):
        covered += shapely.area(shapely.intersection(sound, shapely.box(-cols, -rows, width - cols, height - rows)))
    area = shapely.area(sound)
    shares: Floats = np.divide(covered, area, out=np.zeros(len(polygons)), where=area > 0)
    return shares


def same_crs(one: CRS | None, other: CRS | None) -> bool:
    """Whether coordinates mean the same place in two CRSs, x and y in whatever order they are declared."""
    if one is None or other is None:
        return one is other
    return one.equals(other, ignore_axis_order=True)


def _border(grid: Grid) -> Floats:
    """(n, 2) points along the border, closed, in map units."""
    height, width = grid.shape
    steps, end = np.arange(PER_SIDE) / PER_SIDE, np.zeros(1)
    zero, one = np.zeros(PER_SIDE), np.ones(PER_SIDE)
    cols = np.concatenate([steps, one, 1 - steps, zero, end]) * width
    rows = np.concatenate([zero, steps, one, 1 - steps, end]) * height
    return map_points(grid.transform, np.stack([cols, rows], axis=1))


def _to_crs(points: Floats, crs: CRS | None, other: CRS | None) -> Floats:
    if crs is None or other is None or same_crs(crs, other):
        return points
    there = Transformer.from_crs(crs, other, always_xy=True)
    return np.stack(there.transform(*points.T), axis=1)


def _follow(points: Floats, crs: CRS | None) -> Floats:
    """(n, ..., 2) points of a CRS, without jumps of a whole turn from one to the next."""
    turn = whole_turn(crs)
    if turn is None:
        return points
    return np.stack([np.unwrap(points[..., 0], period=turn, axis=0), points[..., 1]], axis=-1)


def _around_poles(border: Floats, grid: Grid, other: Grid) -> Floats:
    """Add the poles that a grid holds, each with all longitudes, to its border in degrees."""
    turn = whole_turn(other.crs)
    if turn is None or same_crs(grid.crs, other.crs):
        return border
    poles = np.array([(0, turn / 4), (0, -turn / 4)])
    pixels = map_points(~grid.transform, _to_crs(poles, other.crs, grid.crs))
    height, width = grid.shape
    inside = ((pixels >= 0) & (pixels <= (width, height))).all(axis=1)
    west = border[:, 0].min()
    around = [(west + share * turn, pole[1]) for pole in poles[inside] for share in (0, 1)]
    return np.concatenate([border, np.reshape(around, (-1, 2))])
