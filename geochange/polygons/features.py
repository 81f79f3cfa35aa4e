"""Regions to features: map coordinates, measures and attributes, as Arrow record batches. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import shapely
from affine import Affine
from pyproj import CRS

from geochange.arrays import Array, Floats
from geochange.polygons.confidence import confidence_of, contrast_of
from geochange.polygons.regions import Regions
from geochange.scenes.grid import Grid, map_points
from geochange.scenes.ground import geodesic_measures, metres_per_unit, plane_measures

UNREVIEWED = "unreviewed"
SCORE_DECIMALS = 6
SHAPE_DECIMALS = 4
MEASURE_DECIMALS = 4  # of metres and square metres: a tenth of a millimetre

MEASURES = ("area_m2", "perimeter_m", "width_m", "compactness")
"""Columns that follow from the outline."""

SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "label": pa.string(),
        "score_mean": pa.float64(),
        "score_max": pa.float64(),
        "area_m2": pa.float64(),
        "area_px": pa.int64(),
        "perimeter_m": pa.float64(),
        "on_edge": pa.bool_(),
        "width_m": pa.float64(),
        "compactness": pa.float64(),
        "contrast": pa.float64(),
        "confidence": pa.float64(),
        "date_before": pa.string(),
        "date_after": pa.string(),
        "status": pa.string(),
        "comment": pa.string(),
        "geometry": pa.binary(),
    }
)
"""Columns of the layer; the geometry is WKB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLayer:
    """What a layer of changes holds besides the regions."""

    grid: Grid
    """The scene's; regions are in its pixels."""

    labels: tuple[str, ...] = ("change",)
    """Names of classes 1, 2, ..."""

    score_scale: float = 1.0
    """What a stored score of 1 means."""

    date_before: str | None = None
    """ISO 8601."""

    date_after: str | None = None
    """ISO 8601."""

    multipart: bool = False
    """Whether features are multipolygons, as 8-connected regions are."""

    @property
    def geometry_type(self) -> str:
        """As GDAL names it."""
        return "MultiPolygon" if self.multipart else "Polygon"


def feature_batches(chunks: Iterable[Regions], layer: ChangeLayer, first: int = 1) -> Iterator[pa.RecordBatch]:
    """Features of regions, one batch a chunk, numbered in their order from `first`.

    `area_m2` and `perimeter_m` (of shells and holes) measure the polygons as they are, `area_px` counts the
    pixels: the two areas differ where polygons have been simplified. `width_m` is that of a long strip of the same area
    and perimeter, `compactness` is 1 for a square and less for all that is longer or more indented, `contrast` is the
    mean score less that of the pixels around, and `confidence` follows from width and contrast.
    """
    number = first
    for regions in chunks:
        yield _feature_batch(regions, layer, number)
        number += len(regions)


def _feature_batch(regions: Regions, layer: ChangeLayer, number: int) -> pa.RecordBatch:
    counts, size = regions.counts, len(regions)
    mapped = map_polygons(regions.polygons, layer.grid)
    measured = outline_measures(regions.polygons, layer.grid, mapped)
    columns = {
        "id": np.arange(number, number + size),
        "label": np.array(("", *layer.labels), object)[counts.classes],
        "score_mean": np.round(counts.score_sum / counts.area_px * layer.score_scale, SCORE_DECIMALS),
        "score_max": np.round(counts.score_max * layer.score_scale, SCORE_DECIMALS),
        "area_m2": measured["area_m2"],
        "area_px": counts.area_px,
        "perimeter_m": measured["perimeter_m"],
        "on_edge": counts.on_edge,
        "width_m": measured["width_m"],
        "compactness": measured["compactness"],
        "contrast": np.round(contrast_of(counts) * layer.score_scale, SCORE_DECIMALS),
        "confidence": np.round(confidence_of(counts, layer.score_scale), SCORE_DECIMALS),
        "date_before": [layer.date_before] * size,
        "date_after": [layer.date_after] * size,
        "status": [UNREVIEWED] * size,
        "comment": [""] * size,
        "geometry": shapely.to_wkb(mapped),
    }
    arrays = [pa.array(columns[field.name], field.type, from_pandas=True) for field in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA)


def outline_measures(polygons: Array, grid: Grid, mapped: Array | None = None) -> dict[str, Floats]:
    """Measure (n,) outlines, as columns of the names of `MEASURES`; arguments as for `measure`."""
    area, perimeter = measure(polygons, grid, mapped)
    return {
        "area_m2": area,
        "perimeter_m": perimeter,
        "width_m": np.round(2 * area / perimeter, MEASURE_DECIMALS),
        "compactness": np.round(16 * shapely.area(polygons) / shapely.length(polygons) ** 2, SHAPE_DECIMALS),
    }


def map_polygons(polygons: Array, grid: Grid) -> Array:
    """(n,) polygons in pixels of the grid, as polygons in map units with counter-clockwise shells."""
    mapped: Array = shapely.transform(polygons, partial(map_points, grid.transform))
    if grid.transform.determinant < 0:
        mapped = shapely.reverse(mapped)
    return mapped


def measure(polygons: Array, grid: Grid, mapped: Array | None = None) -> tuple[Floats, Floats]:
    """Areas in square metres and perimeters, of shells and holes, in metres; NaN without a CRS.

    A CRS that is true to scale over the grid is measured in its plane and by its own units, which is exact for areas,
    as they are counted in pixels first; any other one on its ellipsoid.

    Args:
        polygons: (n,) in pixels of the grid.
        grid: where these pixels lie.
        mapped: the same polygons in map units, where they are at hand.
    """
    if mapped is None:
        mapped = map_polygons(polygons, grid)
    if grid.crs is None:
        area = perimeter = np.full(len(polygons), np.nan)
    elif grid.true_to_scale:
        area = shapely.area(polygons) * pixel_area(grid.transform, grid.crs)
        perimeter = plane_measures(mapped, grid.crs)[1]
    else:
        area, perimeter = geodesic_measures(mapped, grid.crs)
    return np.round(area, MEASURE_DECIMALS), np.round(perimeter, MEASURE_DECIMALS)


def pixel_area(transform: Affine, crs: CRS) -> float:
    """Square metres of a pixel, by the units of a CRS that is true to scale."""
    return float(abs(transform.determinant) * metres_per_unit(crs) ** 2)
