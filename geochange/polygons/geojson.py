"""Features as GeoJSON (RFC 7946): WGS 84, right-handed rings, cut at the antimeridian. Pure.

Coordinates that cannot be brought to WGS 84, as those of a building site or of Mars, are written as they are.

Written here and not by GDAL, which takes ten times as long and whose bytes change from version to version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from math import isnan

import numpy as np
import pyarrow as pa
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from geochange.arrays import Array, Floats

DEGREE_DECIMALS = 8  # of a degree: a millimetre

WHOLE_TURN = 360.0

SEPARATOR = ",\n"


def feature_collection(batches: Iterable[pa.RecordBatch], crs: CRS | None, name: str) -> Iterator[str]:
    """Yield the text of a collection, piece by piece, a feature a line.

    Args:
        batches: features as `features.SCHEMA` has them.
        crs: theirs; without one, or with one that does not reach WGS 84, coordinates are written as they are.
        name: of the collection.
    """
    yield beginning(name)
    line = ""
    for line in feature_lines(batches, crs):
        yield line
    yield ending(features=bool(line))


def beginning(name: str) -> str:
    """Return what stands before the first feature."""
    return f'{{"type": "FeatureCollection", "name": {json.dumps(name)}, "features": [\n'


def ending(*, features: bool) -> str:
    """Return what stands behind the last feature, if there is one."""
    return "\n]}\n" if features else "]}\n"


def feature_lines(batches: Iterable[pa.RecordBatch], crs: CRS | None) -> Iterator[str]:
    """Yield the text of features, with `SEPARATOR` between them; see `feature_collection`."""
    known = crs if crs is not None and reaches_wgs84(crs) else None
    separator = ""
    for batch in batches:
        for feature in _features(batch, known):
            yield separator + feature
            separator = SEPARATOR


def _features(batch: pa.RecordBatch, crs: CRS | None) -> Iterator[str]:
    polygons = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
    placed = polygons if crs is None else to_wgs84(polygons, crs)
    geometries = shapely.to_geojson(placed)
    names = [name for name in batch.schema.names if name != "geometry"]
    template = ", ".join(f"{json.dumps(name)}: %s" for name in names)
    columns = (_as_json(batch.column(name)) for name in names)
    for *values, geometry in zip(*columns, geometries, strict=True):
        yield f'{{"type": "Feature", "properties": {{{template % tuple(values)}}}, "geometry": {geometry}}}'


def _as_json(column: pa.Array) -> list[str]:
    """Return a column's values as JSON texts."""
    values = column.to_pylist()
    if pa.types.is_string(column.type):  # few different ones
        texts = {value: json.dumps(value) for value in set(values)}
        return [texts[value] for value in values]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return ["null" if value is None or isnan(value) else repr(value) for value in values]
    return [json.dumps(value, default=str) for value in values]  # dates and lists of other people's layers


def reaches_wgs84(crs: CRS) -> bool:
    """Whether coordinates can be brought to WGS 84: not those of a local CRS, nor of another planet's."""
    try:
        Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except ProjError:
        return False
    return True


def to_wgs84(polygons: Array, crs: CRS) -> Array:
    """(n,) polygons in degrees within ±180°, shells counter-clockwise; those over the antimeridian in parts.

    Args:
        polygons: (n,) in map units of the CRS.
        crs: one that `reaches_wgs84`.
    """
    transformer = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)

    def turn(xy: Floats) -> Floats:
        return np.round(np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=1), DEGREE_DECIMALS)

    placed = shapely.transform(polygons, turn)
    if not crs.is_geographic:
        placed = _join_torn(placed)
    oriented: Array = shapely.orient_polygons(_cut(_turn_east(placed)))
    return oriented


def _join_torn(polygons: Array) -> Array:
    """Polygons that a projection tore between -180° and 180°, in one piece that goes on beyond 180°."""
    west, _, east, _ = shapely.bounds(polygons).T
    torn = east - west > WHOLE_TURN / 2
    joined = polygons.copy()
    joined[torn] = shapely.transform(polygons[torn], lambda xy: xy + np.where(xy < 0, (WHOLE_TURN, 0), 0))
    return joined


def _turn_east(polygons: Array) -> Array:
    """Polygons that start below -180°, as on a grid with pixel centres on it, a whole turn further east."""
    below = shapely.bounds(polygons)[:, 0] < -WHOLE_TURN / 2
    turned = polygons.copy()
    turned[below] = shapely.transform(
        polygons[below], lambda xy: np.round(np.add(xy, (WHOLE_TURN, 0)), DEGREE_DECIMALS)
    )
    return turned


def _cut(polygons: Array) -> Array:
    """Polygons with what lies beyond 180° brought back to the other end of the world."""
    beyond = shapely.bounds(polygons)[:, 2] > WHOLE_TURN / 2
    near, far = (shapely.box(west, -90, west + WHOLE_TURN, 90) for west in (-WHOLE_TURN / 2, WHOLE_TURN / 2))
    back = shapely.transform(shapely.intersection(polygons[beyond], far), lambda xy: xy - (WHOLE_TURN, 0))
    parts = shapely.union(shapely.intersection(polygons[beyond], near), back)
    cut = polygons.copy()
    areas = shapely.buffer(parts, 0)  # drops the lines that intersections leave where an edge lies on 180°
    cut[beyond] = shapely.transform(areas, lambda xy: np.round(xy, DEGREE_DECIMALS))
    return cut
