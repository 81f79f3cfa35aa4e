"""Metres on the ground: how true to scale a CRS is, and areas and lengths on its ellipsoid. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer

from geochange.arrays import Array, Floats

TRUE_SCALE = 0.005
"""Share by which lengths in a plane may differ from those of the ground and be measured in it: UTM's are 0.0004 off."""

SCALE_STEP = 50.0  # metres: far above the rounding of coordinates, far below the extent over which scales change


def metres_per_unit(crs: CRS) -> float:
    """Return the metres in a unit of a projected or local CRS."""
    return float(crs.axis_info[0].unit_conversion_factor)


def is_true_to_scale(crs: CRS, points: Floats) -> bool:
    """Whether lengths in the plane of a CRS are within 0.5 % of those on the ground, in all directions.

    A local CRS, which lies on no ellipsoid, is as true as it gets; a geographic one has no plane.

    Args:
        crs: of the points.
        points: (n, 2) in map units, x first.
    """
    if crs.get_geod() is None or crs.is_geographic:
        return crs.get_geod() is None
    unit = metres_per_unit(crs)
    steps = ground_steps(crs, points, np.eye(2) * SCALE_STEP / unit) / SCALE_STEP
    if not np.isfinite(steps).all():
        return False
    return bool((np.abs(np.linalg.svd(steps, compute_uv=False) - 1) <= TRUE_SCALE).all())


def ground_steps(crs: CRS, points: Floats, steps: Floats) -> Floats:
    """Return steps on the map as they are on the ground; NaN where the CRS does not reach.

    Args:
        crs: one with an ellipsoid.
        points: (n, 2) in map units, x first, where the steps begin.
        steps: (k, 2) in map units.

    Returns:
        (n, k, 2) metres to the east and to the north.
    """
    ends = points[:, None] + steps
    start = np.broadcast_to(to_degrees(crs, points)[:, None], ends.shape).reshape(-1, 2)
    end = to_degrees(crs, ends.reshape(-1, 2))
    azimuth, _, length = ellipsoid(crs).inv(*start.T, *end.T)
    east_north = np.stack([np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))], axis=-1)
    moved: Floats = (np.asarray(length)[:, None] * east_north).reshape(ends.shape)
    return moved


def to_degrees(crs: CRS, points: Floats) -> Floats:
    """(n, 2) points as longitude and latitude in degrees, of the CRS's own datum; NaN where it does not reach.

    Args:
        crs: one with an ellipsoid.
        points: (n, 2) in map units, x first.
    """
    base = cast(CRS, crs.geodetic_crs)
    if not crs.is_geographic or crs.is_derived:
        points = np.stack(Transformer.from_crs(crs, base, always_xy=True).transform(*points.T), axis=-1)
    known: Floats = np.where(np.isfinite(points), points, np.nan)
    return known * float(np.degrees(base.axis_info[0].unit_conversion_factor))


def unit_metres(crs: CRS, bounds: Floats) -> tuple[float, float]:
    """Metres on the ground of a map unit along x and along y, in the middle of (left, bottom, right, top)."""
    if is_true_to_scale(crs, _places_of(bounds)):
        return metres_per_unit(crs), metres_per_unit(crs)
    step = SCALE_STEP / crs.axis_info[0].unit_conversion_factor / (ellipsoid(crs).a if crs.is_geographic else 1)
    along = np.linalg.norm(ground_steps(crs, _places_of(bounds)[:1], np.eye(2) * step)[0], axis=-1) / step
    return float(along[0]), float(along[1])


def _places_of(bounds: Floats) -> Floats:
    """(5, 2) the middle and the corners of (left, bottom, right, top)."""
    left, bottom, right, top = bounds
    middle = (left + right) / 2, (bottom + top) / 2
    return np.array([middle, (left, bottom), (right, bottom), (right, top), (left, top)])


def ground_areas(polygons: Array, crs: CRS) -> Floats:
    """(n,) square metres of polygons in map units: in their plane where that is true to scale, else geodesic."""
    if not len(polygons):
        return np.zeros(0)
    in_plane = is_true_to_scale(crs, _places_of(shapely.total_bounds(polygons)))
    return (plane_measures if in_plane else geodesic_measures)(polygons, crs)[0]


def ellipsoid(crs: CRS) -> Geod:
    """Return the ellipsoid of a CRS that has one: each geographic or projected one does."""
    return cast(Geod, crs.get_geod())


def plane_measures(polygons: Array, crs: CRS) -> tuple[Floats, Floats]:
    """Areas in square metres and perimeters in metres, of shells and holes, in the plane of a CRS.

    Args:
        polygons: (n,) in map units.
        crs: one that is true to scale there.
    """
    unit = metres_per_unit(crs)
    return shapely.area(polygons) * unit**2, shapely.length(polygons) * unit


def geodesic_measures(polygons: Array, crs: CRS) -> tuple[Floats, Floats]:
    """Areas in square metres and perimeters in metres, of shells and holes, on the CRS's ellipsoid (Karney 2013).

    Args:
        polygons: (n,) in map units, holes against their shells: the rings' signed areas add up.
        crs: one with an ellipsoid.
    """
    parts, owner = shapely.get_parts(polygons, return_index=True)
    rings, part = shapely.get_rings(parts, return_index=True)
    points = to_degrees(crs, shapely.get_coordinates(rings))
    ends = np.concatenate([[0], np.cumsum(shapely.get_num_coordinates(rings))])
    geod = ellipsoid(crs)
    measured = [geod.polygon_area_perimeter(*points[start:stop].T) for start, stop in pairwise(ends)]
    sums = np.zeros((len(polygons), 2))
    np.add.at(sums, owner[part], np.reshape(measured, (-1, 2)))
    return np.abs(sums[:, 0]), sums[:, 1]
