"""Outlines with fewer vertices, which still do not overlap. Pure.

The method is the coverage simplification of GEOS (Visvalingam and Whyatt 1993, with topology kept): common
edges stay common, and no edge is moved over another. It removes vertices and adds none, so a polygon stays
inside its bounding box, and polygons whose boxes do not meet can be simplified apart. Groups of polygons with
meeting boxes are simplified together, whatever the chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import shapely

from geochange.arrays import Array, Bools, Ints
from geochange.polygons.regions import Regions, concatenate
from geochange.polygons.seams import link_components

WAITING_REGIONS = 1 << 14
"""Regions that may wait before complete groups are looked for."""


def simplify_regions(
    chunks: Iterable[Regions], tolerance: float, *, waiting_regions: int = WAITING_REGIONS
) -> Iterator[Regions]:
    """Simplify outlines; counts stay those of the pixels.

    Keeps a group until no later region can belong to it.

    Args:
        chunks: regions by first row.
        tolerance: in pixels: a vertex goes where the triangle with its neighbours is smaller than the
            tolerance squared.
        waiting_regions: regions that may wait before complete groups are looked for.

    Yields:
        The same regions, groups as they are complete: put them in a store to have them in order.
    """
    waiting, limit = concatenate([]), waiting_regions
    for chunk in chunks:
        waiting = concatenate([waiting, chunk])
        if len(waiting) >= limit:
            is_open = _open_groups(waiting.polygons, waiting.first[-1, 0])
            yield _simplified(waiting.where(~is_open), tolerance)
            waiting = waiting.where(is_open)
            limit = max(waiting_regions, 2 * len(waiting))
    yield _simplified(waiting, tolerance)


def _simplified(regions: Regions, tolerance: float) -> Regions:
    if not len(regions):
        return regions
    group = box_groups(regions.polygons)
    order = np.argsort(group, kind="stable")
    simple = np.empty(len(regions), object)
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        simple[members] = _simplified_group(regions.where(members), tolerance)
    multipart = shapely.get_type_id(regions.polygons) > shapely.get_type_id(simple)
    simple[multipart] = shapely.multipolygons(simple[multipart, np.newaxis])
    return Regions(regions.counts, regions.first, simple)


def _simplified_group(regions: Regions, tolerance: float) -> Array:
    """(n,) polygons; areas of several classes first get a vertex wherever one that adjoins may have it."""
    polygons = regions.polygons
    if np.ptp(regions.counts.classes):
        polygons = shapely.transform(shapely.segmentize(polygons, 1.0), np.rint)
    simple: Array = shapely.coverage_simplify(polygons, tolerance)
    return simple


def _open_groups(polygons: Array, row: int) -> Bools:
    """(n,) whether a polygon belongs to a group that reaches the row or lies beyond it."""
    group = box_groups(polygons)
    reaches = shapely.bounds(polygons)[:, 3] >= row
    return np.isin(group, group[reaches])


def box_groups(polygons: Array) -> Ints:
    """(n,) number of the group of each polygon: those whose bounding boxes meet, directly or through others.

    Args:
        polygons: (n,), or (m, n) of which a column has one box for all; None has no extent.
    """
    bounds = shapely.bounds(np.atleast_2d(polygons))
    low, high = np.fmin.reduce(bounds[..., :2]), np.fmax.reduce(bounds[..., 2:])
    boxes = shapely.box(*low.T, *high.T)
    return link_components(shapely.STRtree(boxes).query(boxes), len(boxes))
