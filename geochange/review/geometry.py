"""Outlines that reviewers draw: checked, cut, joined, and with holes. Pure.

Coordinates are columns and rows of the scene's pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from shapely import ops
from shapely.validation import explain_validity

from geochange.arrays import Array
from geochange.review.actions import BadShape

MOST_VERTICES = 100_000
LEAST_AREA = 1.0  # px²
TOUCHING = 1e-6  # px
SNAPPED = 1e-6  # px, between vertices of changes that are merged: they lie on one grid
FAR = 1e15  # no number of a request lies beyond


def read_polygon(sent: Any, shape: tuple[int, int]) -> shapely.Polygon:
    """Check an outline that was drawn.

    Args:
        sent: coordinates of a polygon as GeoJSON has them: rings of [column, row], closed, the shell first.
        shape: (rows, cols) of the scene.

    Raises:
        BadShape: it is not one, not valid, too small or too long, or reaches beyond the scene.
    """
    rings = [_ring(ring) for ring in sent] if isinstance(sent, list) and sent else []
    if not rings:
        raise BadShape("an outline is a list of rings, the shell first")
    if sum(map(len, rings)) > MOST_VERTICES:
        raise BadShape(f"an outline has at most {MOST_VERTICES} vertices")
    return require_polygon(shapely.Polygon(rings[0], rings[1:]), shape)


def _ring(sent: Any) -> Array:
    if not isinstance(sent, list) or len(sent) < 4 or len(sent) > MOST_VERTICES:
        raise BadShape(f"a ring has 4 to {MOST_VERTICES} vertices, the last one like the first")
    _require_vertices(sent)
    if sent[0] != sent[-1]:
        raise BadShape("a ring ends where it begins")
    return np.array(sent, float)


def _require_vertices(sent: list[Any]) -> None:
    for each in sent:
        if not isinstance(each, list) or len(each) != 2 or not all(_is_number(value) for value in each):
            raise BadShape("a vertex is two finite numbers, column and row")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < FAR


def require_polygon(polygon: shapely.Geometry, shape: tuple[int, int]) -> shapely.Polygon:
    """Refuse an outline that cannot be one of a change; see `read_polygon`."""
    if not polygon.is_valid:
        text = explain_validity(polygon)
        reason, _, place = text.partition("[")
        raise BadShape(f"the outline is not valid: {reason.lower()}", _place(place.rstrip("]")))
    if polygon.area < LEAST_AREA - TOUCHING:
        raise BadShape("an outline covers at least a pixel")
    rows, cols = shape
    left, top, right, bottom = polygon.bounds
    if left < -TOUCHING or top < -TOUCHING or right > cols + TOUCHING or bottom > rows + TOUCHING:
        raise BadShape("the outline reaches beyond the scene")
    return polygon


def _place(text: str) -> tuple[float, float] | None:
    try:
        col, row = (float(each) for each in text.split())
    except ValueError:
        return None
    return col, row


def read_line(sent: Any) -> shapely.LineString:
    """Check a line that was drawn, [[column, row], ...].

    Raises:
        BadShape: it is none.
    """
    if not isinstance(sent, list) or not 2 <= len(sent) <= MOST_VERTICES:
        raise BadShape(f"a line has 2 to {MOST_VERTICES} vertices")
    _require_vertices(sent)
    return shapely.LineString(sent)


def split(polygon: shapely.Geometry, line: shapely.LineString) -> list[shapely.Polygon]:
    """Cut a change along a line, from the largest part to the smallest.

    Raises:
        BadShape: the line does not cut it.
    """
    parts = [each for each in ops.split(polygon, line).geoms if each.area > 0]
    if len(parts) <= shapely.get_num_geometries(polygon):
        raise BadShape("the line does not cut the change from edge to edge")
    return sorted(parts, key=lambda part: -part.area)


def merge(polygons: Sequence[shapely.Geometry]) -> shapely.Polygon:
    """Join changes that touch or overlap.

    Raises:
        BadShape: they lie apart.
    """
    whole = shapely.union_all(polygons, grid_size=SNAPPED)
    return _single(whole, "the changes lie apart; only those that touch can be merged")


def cut_out(polygon: shapely.Geometry, hole: shapely.Polygon) -> shapely.Polygon:
    """Take a hole, or a part at the edge, out of a change.

    Raises:
        BadShape: nothing would change, or nothing or several parts would be left.
    """
    if not polygon.intersects(hole) or polygon.intersection(hole).area == 0:
        raise BadShape("the hole does not lie in the change")
    return _single(polygon.difference(hole), "the hole would leave several parts, or none; cut the change instead")


def _single(found: shapely.Geometry, otherwise: str) -> shapely.Polygon:
    parts = [each for each in shapely.get_parts(found) if isinstance(each, shapely.Polygon) and each.area > 0]
    if len(parts) != 1:
        raise BadShape(otherwise)
    return parts[0]


def coordinates(polygon: shapely.Polygon) -> list[Any]:
    """Return an outline as `read_polygon` takes it."""
    return [np.asarray(ring.coords).tolist() for ring in (polygon.exterior, *polygon.interiors)]
