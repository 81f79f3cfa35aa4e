"""Dividing land: blocks into fields, road sides into plots."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, pi, sin

import numpy as np
import shapely
from shapely import Point, Polygon
from shapely.geometry.base import BaseGeometry

from geochange.arrays import Floats
from scenery.network import curve_length, frame_at


@dataclass(frozen=True, slots=True)
class Field:
    """A parcel of land with the direction of its longer side."""

    ground: Polygon
    angle: float  # radians from east towards south
    length: float  # metres along the angle
    breadth: float  # metres across


@dataclass(frozen=True, slots=True)
class Frame:
    """A place beside a road: x along the road, y away from it, in metres."""

    origin: Floats
    along: Floats
    away: Floats

    @property
    def angle(self) -> float:
        """Direction of the road, in radians from east towards south."""
        return atan2(self.along[1], self.along[0])

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A place in scene coordinates."""
        point = self.origin + self.along * x + self.away * y
        return float(point[0]), float(point[1])

    def quad(self, left: float, right: float, near: float, far: float) -> Polygon:
        """A rectangle in this frame."""
        corners = ((left, near), (right, near), (right, far), (left, far))
        return Polygon([self.place(x, y) for x, y in corners])


def rectangle(x: float, y: float, length: float, breadth: float, angle: float) -> Polygon:
    """A rectangle about a centre, its length along `angle`."""
    u = np.array([cos(angle), sin(angle)]) * length / 2
    v = np.array([-sin(angle), cos(angle)]) * breadth / 2
    centre = np.array([x, y])
    return Polygon([centre - u - v, centre + u - v, centre + u + v, centre - u + v])


def polygons_of(geometry: BaseGeometry, least_area: float) -> list[Polygon]:
    """The polygons in a geometry, but for slivers."""
    parts = shapely.get_parts(geometry)
    return [part for part in parts if part.geom_type == "Polygon" and part.area >= least_area]


def long_side(ground: Polygon) -> tuple[float, float, float]:
    """(angle, length, breadth) of the least rectangle about a polygon."""
    box = shapely.get_coordinates(shapely.oriented_envelope(ground))
    first, second = box[1] - box[0], box[2] - box[1]
    sides = np.hypot(*first), np.hypot(*second)
    long = first if sides[0] >= sides[1] else second
    return atan2(long[1], long[0]), float(max(sides)), float(min(sides))


def halves(ground: Polygon, at: tuple[float, float], angle: float) -> list[Polygon]:
    """The pieces of a polygon on both sides of a line through a point."""
    side = rectangle(at[0] - sin(angle) * 2000, at[1] + cos(angle) * 2000, 4000, 4000, angle)
    return [*polygons_of(ground & side, 60), *polygons_of(ground - side, 60)]


def divide(ground: Polygon, rng: np.random.Generator, area: float) -> list[Field]:
    """Cut land into fields of about `area` m², across its longer side again and again, now and then into strips.

    The procedure of parcel subdivision (Vanegas et al. 2012), with a scatter of angles and sizes.
    """
    angle, length, breadth = long_side(ground)
    if ground.area < area * rng.uniform(0.6, 1.9) or breadth < 24:
        return [Field(ground, angle, length, breadth)]
    if ground.area < 5.5 * area and rng.random() < 0.28:
        return strips(ground, rng, angle, length)
    along = angle if length < 1.35 * breadth and rng.random() < 0.35 else angle + pi / 2
    centre = ground.centroid
    offset = rng.uniform(-0.16, 0.16) * length
    at = centre.x + cos(angle) * offset, centre.y + sin(angle) * offset
    pieces = halves(ground, at, along + rng.normal(0, 0.05))
    return [field for piece in pieces for field in divide(piece, rng, area)]


def strips(ground: Polygon, rng: np.random.Generator, angle: float, length: float) -> list[Field]:
    """Parallel strips across a polygon's longer side, as inheritance left them."""
    centre, fields, rest = ground.centroid, [], [ground]
    direction = angle + pi / 2 + rng.normal(0, 0.03)
    offset = -length / 2 + rng.uniform(22, 60)
    while offset < length / 2 - 18:
        at = centre.x + cos(angle) * offset, centre.y + sin(angle) * offset
        side = rectangle(at[0] - cos(angle) * 2000, at[1] - sin(angle) * 2000, 4000, 4000, direction)
        fields += [part for piece in rest for part in polygons_of(piece & side, 60)]
        rest = [part for piece in rest for part in polygons_of(piece - side, 60)]
        offset += rng.uniform(20, 62)
    return [Field(piece, *long_side(piece)) for piece in [*fields, *rest]]


def frames_along(curve: Floats, side: int, offset: float, steps: Floats) -> list[Frame]:
    """Frames at distances along a road, on one side (1: to the right), `offset` metres from its middle."""
    frames = []
    for distance in steps:
        point, tangent = frame_at(curve, float(distance))
        away = side * np.array([-tangent[1], tangent[0]])
        frames.append(Frame(point + away * offset, tangent, away))
    return frames


def spacings(curve: Floats, rng: np.random.Generator, least: float, most: float) -> tuple[Floats, Floats]:
    """(middles, widths) of plots side by side along a curve."""
    length = curve_length(curve)
    widths = rng.uniform(least, most, int(length / least) + 1)
    stops = np.cumsum(widths)
    fits = stops <= length
    return (stops - widths / 2)[fits], widths[fits]


def blob(rng: np.random.Generator, x: float, y: float, *, radius: float, stretch: float, angle: float) -> Polygon:
    """A rounded, irregular outline: a stretched circle with random harmonics."""
    turn = np.linspace(0, 2 * pi, 72, endpoint=False)
    waves = sum(rng.normal(0, 0.17 / k) * np.cos(k * turn + rng.uniform(0, 2 * pi)) for k in range(2, 8))
    reach = radius * (1 + np.clip(waves, -0.45, 0.6))
    u, v = reach * np.cos(turn) * stretch, reach * np.sin(turn) / stretch
    xs, ys = x + u * cos(angle) - v * sin(angle), y + u * sin(angle) + v * cos(angle)
    return Polygon(np.stack([xs, ys], 1)).buffer(0)


def place_inside(ground: Polygon, rng: np.random.Generator, margin: float) -> Point | None:
    """A place at least `margin` metres inside a polygon, or None after eight attempts."""
    inner = ground.buffer(-margin, quad_segs=1)
    if inner.is_empty:
        return None
    left, bottom, right, top = inner.bounds
    for x, y in zip(rng.uniform(left, right, 8), rng.uniform(bottom, top, 8), strict=True):
        if shapely.contains_xy(inner, x, y):
            return Point(x, y)
    return None
