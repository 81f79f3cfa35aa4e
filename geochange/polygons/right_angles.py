"""Outlines with right angles, as buildings have them. Pure.

An outline of pixels is a flight of stairs. Its corners are found by Douglas and Peucker's rule; its main direction is
the one along which and across which its edges run. Each edge becomes a line along the nearest axis, placed so that
the area stays as it is; neighbours on one line become one, sides that are left without length go, and the others
meet in new corners. Where the result is not nearly the same area, the outline stays as it was. Each of these parts is
known from the literature on buildings (Sester 2005, Partovi et al. 2017); here they are put together plainly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import shapely

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BadOption
from geochange.polygons.regions import Regions, concatenate
from geochange.polygons.simplify import WAITING_REGIONS, box_groups

_DECIMALS = 6  # of pixels
_OVERLAP = 1e-9  # square pixels: what rounding leaves of a common edge
_COARSE = 1.5  # tolerances: the direction is that of longer edges, in which the steps of the pixels matter less
_LONG = 4  # tolerances


@dataclass(frozen=True, kw_only=True)
class RightAngles:
    """How outlines are squared, and which of them are taken."""

    diagonals: bool = False
    """Whether edges may also run halfway between the main direction and its normal."""

    tolerance: float = 1.0
    """Pixels: smaller bends do not count as corners, shorter edges go, closer parallel edges are one."""

    turn: float = 30.0
    """Degrees off the nearest axis from which an edge counts as askew."""

    askew: float = 0.15
    """Share of an outline's length that may be askew; of a disc a third is."""

    least_iou: float = 0.8
    """Intersection over union with the outline of the pixels that an accepted outline has."""

    area_change: float = 0.05
    """Share of the area by which an accepted outline may differ."""

    reach: float = 3.0
    """Pixels by which an accepted outline may lie away from that of the pixels."""

    def __post_init__(self) -> None:
        if not (self.tolerance > 0 and self.reach > 0 and 0 < self.turn <= 45):
            raise BadOption(
                f"right angles need a tolerance ({self.tolerance}) and a reach ({self.reach}) above 0, "
                f"and a turn ({self.turn}) of at most 45 degrees"
            )
        if not all(0 <= share <= 1 for share in (self.askew, self.least_iou, self.area_change)):
            raise BadOption(
                f"shares of right angles must lie in 0..1: askew {self.askew}, IoU {self.least_iou}, "
                f"area change {self.area_change}"
            )


@dataclass(frozen=True, slots=True)
class _Side:
    """A stretch of a ring, and the line that stands for it."""

    axis: int
    """How often 45 degrees from the main direction, 0..3."""

    start: int
    """Index of its first vertex in the ring."""

    stop: int
    """Index of its last vertex; not above `start` where it goes round the ring's end."""

    offset: float
    """Of the line: the points p with normal . p = offset."""


def square_outline(polygon: shapely.Polygon, options: RightAngles, stretch: float = 1.0) -> shapely.Polygon | None:
    """Give a polygon of pixels right angles; None where the result does not come close enough.

    Args:
        polygon: a valid one, x = column and y = row of pixel corners.
        options: see there.
        stretch: the square root of a pixel's height over its width, for angles on the ground.
    """
    squeeze = np.array([1 / stretch, stretch])
    rings = [shapely.get_coordinates(ring)[:-1] * squeeze for ring in (polygon.exterior, *polygon.interiors)]
    coarse = [_path(ring, *span) for ring in rings for span in _spans(ring, _COARSE * options.tolerance)]
    main = main_direction(np.array([_course(path) for path in coarse]))
    squared = [_Ring(ring, main, options).square(_spans(ring, options.tolerance)) for ring in rings]
    if any(ring is None for ring in squared):
        return None
    shell, *holes = (np.round(ring / squeeze, _DECIMALS) for ring in squared)
    found = shapely.Polygon(shell, holes)
    return found if _is_close(found, polygon, options) else None


def _is_close(found: shapely.Polygon, polygon: shapely.Polygon, options: RightAngles) -> bool:
    if not found.is_valid or abs(found.area / polygon.area - 1) > options.area_change:
        return False
    box = shapely.box(*np.add(polygon.bounds, np.array([-1, -1, 1, 1]) * options.reach))
    if not box.contains(found) or found.hausdorff_distance(polygon) > options.reach:
        return False
    common = found.intersection(polygon).area
    return bool(common >= options.least_iou * (found.area + polygon.area - common))


def _spans(ring: Floats, tolerance: float) -> list[tuple[int, int]]:
    """(first, last) vertex of each edge of an open (n, 2) ring, one after the other (Douglas and Peucker 1973).

    The ring is cut at the vertex farthest from its middle, and at the one farthest from that: both are corners.
    """
    first = int(np.argmax(((ring - ring.mean(axis=0)) ** 2).sum(axis=1).round(6)))
    closed = np.roll(ring, -first, axis=0)[[*range(len(ring)), 0]]
    second = int(np.argmax(((closed - closed[0]) ** 2).sum(axis=1).round(6)))
    halves = _kept(closed[: second + 1], tolerance), second + _kept(closed[second:], tolerance)
    corners = (np.concatenate([half[:-1] for half in halves]) + first) % len(ring)
    return list(pairwise([*corners.tolist(), int(corners[0])]))


def _kept(line: Floats, tolerance: float) -> Ints:
    """Find the vertices that Douglas and Peucker's rule keeps of an open line, by index."""
    keep, todo = {0, len(line) - 1}, [(0, len(line) - 1)]
    while todo:
        start, stop = todo.pop()
        if stop - start < 2:
            continue
        along = line[stop] - line[start]
        apart = line[start + 1 : stop] - line[start]
        away = np.abs(along[0] * apart[:, 1] - along[1] * apart[:, 0]) / max(float(np.hypot(*along)), 1e-12)
        farthest = start + 1 + int(np.argmax(away.round(9)))
        if away[farthest - start - 1] > tolerance:
            keep.add(farthest)
            todo += [(start, farthest), (farthest, stop)]
    return np.array(sorted(keep))


def _path(ring: Floats, first: int, last: int) -> Floats:
    """(n, 2) vertices of an open ring from one to another, going round its end."""
    return ring[first : last + 1] if first < last else np.concatenate([ring[first:], ring[: last + 1]])


def _course(path: Floats) -> Floats:
    """(2,) vector as long as the way from a path's first vertex to its last, along the line that fits it best."""
    way: Floats = path[-1] - path[0]
    if len(path) < 4:
        return way
    middle, weight = (path[1:] + path[:-1]) / 2, np.hypot(*np.diff(path, axis=0).T)
    x, y = (middle - np.average(middle, axis=0, weights=weight)).T
    angle = np.arctan2(2 * (weight * x * y).sum(), (weight * (x**2 - y**2)).sum()) / 2
    return float(np.hypot(*way)) * np.array([np.cos(angle), np.sin(angle)])


def main_direction(edges: Floats) -> float:
    """Find the angle in 0..pi/2 along which and across which edges run.

    It makes the sum of the edges' lengths along both axes smallest; that sum is concave between the directions of the
    edges, so one of them is best. The mean of those that run within 10 degrees of it, weighted by their squared
    lengths, is more exact.

    Args:
        edges: (n, 2) vectors.
    """
    length, angle = np.hypot(*edges.T), np.arctan2(edges[:, 1], edges[:, 0]) % (np.pi / 2)
    apart = angle[:, np.newaxis] - angle
    best = int(np.argmin((length * (np.abs(np.cos(apart)) + np.abs(np.sin(apart)))).sum(axis=1).round(9)))
    off = (angle - angle[best] + np.pi / 4) % (np.pi / 2) - np.pi / 4
    near = np.abs(off) < np.radians(10)
    return float((angle[best] + np.average(off[near], weights=length[near] ** 2)) % (np.pi / 2))


@dataclass(frozen=True, slots=True, eq=False)
class _Ring:
    """A ring on its way to right angles."""

    points: Floats
    """(n, 2) open: the vertices on pixel corners."""

    main: float
    options: RightAngles

    def square(self, spans: Sequence[tuple[int, int]]) -> Floats | None:
        """(n, 2) open ring of new corners, given the edges between the old ones; None where too few sides are left."""
        if self._askew(spans) > self.options.askew:
            return None
        sides = self._merge([self._side(self._axis(*span), *span) for span in spans])
        while len(sides) > 3:
            ends = [self._meet(one, other) for one, other in pairwise([sides[-1], *sides, sides[0]])]
            runs = [
                (after[0] - before[-1]) @ self._along(side.axis) * self._heading(side)
                for side, (before, after) in zip(sides, pairwise(ends), strict=True)
            ]
            shortest = int(np.argmin(np.round(runs, 9)))
            if runs[shortest] >= self.options.tolerance:
                return np.concatenate(ends[:-1])
            sides = self._merge(self._without(sides, shortest))
        return None

    def _axis(self, start: int, stop: int) -> int:
        """Find the axis nearest to an edge; diagonals only for long ones."""
        edge = self.points[stop] - self.points[start]
        turns = float(np.arctan2(edge[1], edge[0]) - self.main) / (np.pi / 4)
        if self.options.diagonals and self._is_long(np.hypot(*edge)):
            return round(turns) % 4
        return 2 * (round(turns / 2) % 2)

    def _askew(self, spans: Sequence[tuple[int, int]]) -> float:
        """Share of the edges' length that long ones have which would be turned by more than the options allow."""
        total = askew = 0.0
        for start, stop in spans:
            edge, along = self.points[stop] - self.points[start], self._along(self._axis(start, stop))
            length = float(np.hypot(*edge))
            total += length
            if self._is_long(length) and abs(edge @ along) < length * np.cos(np.radians(self.options.turn)):
                askew += length
        return askew / total

    def _is_long(self, length: float) -> bool:
        """Whether an edge is more than a step of the pixels, or a corner that they cut off."""
        return length >= _LONG * self.options.tolerance

    def _along(self, axis: int) -> Floats:
        angle = self.main + axis * np.pi / 4
        return np.array([np.cos(angle), np.sin(angle)])

    def _across(self, axis: int) -> Floats:
        x, y = self._along(axis)
        return np.array([-y, x])

    def _side(self, axis: int, start: int, stop: int) -> _Side:
        return _Side(axis, start, stop, self._balanced_offset(axis, _path(self.points, start, stop)))

    def _balanced_offset(self, axis: int, path: Floats) -> float:
        """Find the offset of the line that leaves as much area on one side of a path as on the other."""
        middle, step = (path[1:] + path[:-1]) / 2 @ self._across(axis), np.diff(path, axis=0) @ self._along(axis)
        if abs(step.sum()) < 1:
            return float(path[[0, -1]].mean(axis=0) @ self._across(axis))
        return float((middle * step).sum() / step.sum())

    def _heading(self, side: _Side) -> float:
        """1 where a side runs along its axis, -1 where it runs against it."""
        return float(np.sign((self.points[side.stop] - self.points[side.start]) @ self._along(side.axis)))

    def _meet(self, one: _Side, other: _Side) -> Floats:
        """(1, 2) where two sides cross; (2, 2) the way from one to the other where they run the same way."""
        if one.axis == other.axis:
            along, across = self._along(one.axis), self._across(one.axis)
            here = self.points[other.start] @ along
            return np.stack([here * along + side.offset * across for side in (one, other)])
        normals = np.stack([self._across(one.axis), self._across(other.axis)])
        (a, b), (c, d) = normals
        first, second = one.offset, other.offset
        crossing: Floats = np.array([[first * d - b * second, a * second - first * c]]) / (a * d - b * c)
        return crossing

    def _merge(self, sides: list[_Side]) -> list[_Side]:
        """Merge neighbours on one axis where they lie close together."""
        i = 0
        while len(sides) > 3 and i < len(sides):
            one, other = sides[i], sides[(i + 1) % len(sides)]
            if one.axis == other.axis and abs(one.offset - other.offset) <= self.options.tolerance:
                sides, i = self._joined(sides, i, self._side(one.axis, one.start, other.stop), 2), 0
            else:
                i += 1
        return sides

    def _without(self, sides: list[_Side], i: int) -> list[_Side]:
        """Without one side: those around it become one where they share an axis, else the one before takes it over."""
        before, own, after = (sides[(i + step) % len(sides)] for step in (-1, 0, 1))
        if before.axis == after.axis:
            return self._joined(sides, (i - 1) % len(sides), self._side(before.axis, before.start, after.stop), 3)
        return self._joined(sides, (i - 1) % len(sides), self._side(before.axis, before.start, own.stop), 2)

    @staticmethod
    def _joined(sides: list[_Side], first: int, joined: _Side, count: int) -> list[_Side]:
        """With so many sides from the first one on, going round, replaced by one."""
        turned = [*sides[first:], *sides[:first]]
        return [joined, *turned[count:]]


def square_regions(regions: Regions, options: RightAngles, stretch: float = 1.0) -> Array:
    """(n,) outlines with right angles, None where there is none; areas cut by nodata or the border have none."""
    found = np.full(len(regions), None, object)
    for i in np.flatnonzero(~regions.counts.on_edge):
        parts = [square_outline(part, options, stretch) for part in shapely.get_parts(regions.polygons[i])]
        if not any(part is None for part in parts):
            found[i] = shapely.multipolygons(parts) if regions.polygons[i].geom_type == "MultiPolygon" else parts[0]
    found[~shapely.is_valid(found)] = None  # parts that came to overlap
    return found


def choose_outlines(
    chunks: Iterable[tuple[Regions, Regions, Array]], options: RightAngles, *, waiting_regions: int = WAITING_REGIONS
) -> Iterator[tuple[Regions, int]]:
    """Give regions their squared outlines wherever these keep clear of each other.

    Where two outlines would overlap, neither is squared; areas that share an edge with another class keep it. Regions
    are chosen among together as far as their bounding boxes reach, whatever the chunks.

    Args:
        chunks: by first row: regions as the pixels have them, as they are to be written otherwise, and their squared
            outlines or None.
        options: those that the outlines were squared with.
        waiting_regions: regions that may wait before complete groups are looked for.

    Yields:
        The same regions, groups as they are complete, and how many of them are squared: put them in a store to have
        them in order.
    """
    waiting, limit = _Candidates(concatenate([]), concatenate([]), np.zeros(0, object)), waiting_regions
    for pixels, plain, squared in chunks:
        waiting = waiting.join(_Candidates(pixels, plain, squared))
        if len(waiting.squared) >= limit:
            is_open = waiting.reaches(waiting.pixels.first[-1, 0] - options.reach)
            yield waiting.where(~is_open).chosen()
            waiting = waiting.where(is_open)
            limit = max(waiting_regions, 2 * len(waiting.squared))
    yield waiting.chosen()


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Regions and the outlines that they may have: rows of one length."""

    pixels: Regions
    plain: Regions
    squared: Array

    def where(self, chosen: Bools) -> _Candidates:
        return _Candidates(self.pixels.where(chosen), self.plain.where(chosen), self.squared[chosen])

    def join(self, more: _Candidates) -> _Candidates:
        pixels, plain = concatenate([self.pixels, more.pixels]), concatenate([self.plain, more.plain])
        return _Candidates(pixels, plain, np.concatenate([self.squared, more.squared]))

    def groups(self) -> Ints:
        """(n,) number of the group of regions that may get into each other's way."""
        return box_groups(np.stack([self.pixels.polygons, self.plain.polygons, self.squared]))

    def reaches(self, row: float) -> Bools:
        """(n,) whether a region belongs to a group that reaches a row or lies beyond it."""
        group, bottom = self.groups(), shapely.bounds(self.pixels.polygons)[:, 3]
        lowest = np.fmax(bottom, shapely.bounds(self.squared)[:, 3])
        return np.isin(group, group[lowest >= row])

    def chosen(self) -> tuple[Regions, int]:
        """Return the regions with the outlines that they get, and how many of these are squared."""
        outlines = self.squared.copy()
        outlines[self._share_edges()] = None
        while True:
            missing = shapely.is_missing(outlines)
            now = np.where(missing, self.plain.polygons, outlines)
            clashing = np.zeros(len(now), bool)
            clashing[_overlapping(now)] = True
            if not (clashing & ~missing).any():
                return replace(self.plain, polygons=now), int((~missing).sum())
            outlines[clashing] = None

    def _share_edges(self) -> Bools:
        """(n,) whether a region has a common edge with one of another class."""
        shares = np.zeros(len(self.squared), bool)
        classes = self.pixels.counts.classes
        if classes.size and np.ptp(classes):
            one, other = shapely.STRtree(self.pixels.polygons).query(self.pixels.polygons, predicate="touches")
            pairs = (one < other) & (classes[one] != classes[other])
            one, other = one[pairs], other[pairs]
            common = shapely.length(shapely.intersection(self.pixels.polygons[one], self.pixels.polygons[other])) > 0
            shares[one[common]] = shares[other[common]] = True
        return shares


def _overlapping(polygons: Array) -> Ints:
    """(2, n) pairs of polygons that overlap by more than rounding."""
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    pairs = one < other
    one, other = one[pairs], other[pairs]
    area = shapely.area(shapely.intersection(polygons[one], polygons[other]))
    return np.stack([one, other])[:, area > _OVERLAP]
