"""Vector files of polygons, read in batches with all their columns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS, Transformer

from geochange.arrays import Array
from geochange.errors import UnreadableInput
from geochange.scenes.layers import first_layer

GEOMETRY = "geometry"
BATCH = 4096


@dataclass(frozen=True)
class FeatureFile:
    """A layer of polygons in a file. Features without a geometry are left out."""

    path: str
    layer: str | None
    """None in GeoParquet."""
    schema: pa.Schema
    """Its columns, without the geometry."""
    crs: CRS | None
    geometry: str
    """The geometry's column in the file."""
    multipart: bool

    @property
    def geometry_type(self) -> str:
        """As GDAL names it."""
        return "MultiPolygon" if self.multipart else "Polygon"

    def batches(self, size: int = BATCH) -> Iterator[tuple[pa.RecordBatch, Array]]:
        """Columns, and (n,) two-dimensional polygons with counter-clockwise shells, in the order of the file.

        Raises:
            UnreadableInput: a feature is not a polygon, or the file breaks off.
        """
        try:
            for batch in self._stored(size):
                geometries = shapely.from_wkb(batch.column(self.geometry).to_numpy(zero_copy_only=False))
                there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
                rows = batch.filter(pa.array(there))
                yield rows.select(self.schema.names), self._polygons(geometries[there])
        except (DataSourceError, DataLayerError, OSError, pa.ArrowException) as error:
            raise UnreadableInput(f"{self.path} cannot be read as a vector layer: {error}") from error

    def _stored(self, size: int) -> Iterator[pa.RecordBatch]:
        if self.layer is None:
            yield from pq.ParquetFile(self.path).iter_batches(size)
            return
        with pyogrio.open_arrow(self.path, layer=self.layer, batch_size=size, use_pyarrow=True) as (_, reader):
            for batch in reader:
                yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))

    def _polygons(self, geometries: Array) -> Array:
        kinds = shapely.get_type_id(geometries)
        wrong = ~np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON))
        if wrong.any():
            raise UnreadableInput(f"{self.path} holds {geometries[wrong][0].geom_type}; polygons are needed")
        flat: Array = shapely.orient_polygons(shapely.force_2d(geometries))
        single = kinds == shapely.GeometryType.POLYGON
        if self.multipart and single.any():
            flat[single] = shapely.multipolygons(flat[single, np.newaxis])
        return flat


def reproject_polygons(polygons: Array, source: CRS | None, target: CRS | None) -> Array:
    """(n,) polygons of one CRS in another; as they are where it is the same, or there is none."""
    if source is None or target is None or source == target:
        return polygons
    move = Transformer.from_crs(source, target, always_xy=True)
    moved: Array = shapely.transform(polygons, lambda xy: np.stack(move.transform(xy[:, 0], xy[:, 1]), axis=1))
    return moved


def open_features(path: str) -> FeatureFile:
    """Open a layer of polygons; of several the first that has geometries.

    Raises:
        UnreadableInput: it is missing, or no vector layer.
    """
    if not os.path.exists(path):
        raise UnreadableInput(f"{path} does not exist")
    try:
        return _open_parquet(path) if Path(path).suffix.lower() == ".parquet" else _open_gdal(path)
    except (DataSourceError, DataLayerError, OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UnreadableInput(f"{path} cannot be read as a vector layer: {error}") from error


def _open_gdal(path: str) -> FeatureFile:
    layer = first_layer(path)
    with pyogrio.open_arrow(path, layer=layer, use_pyarrow=True) as (about, reader):
        geometry = about["geometry_name"] or "wkb_geometry"
        crs = None if about["crs"] is None else CRS.from_user_input(about["crs"])
        return FeatureFile(
            path, layer, _without(reader.schema, geometry), crs, geometry, about["geometry_type"] != "Polygon"
        )


def _open_parquet(path: str) -> FeatureFile:
    schema = pq.read_schema(path)
    about = json.loads((schema.metadata or {})[b"geo"])
    geometry = about["primary_column"]
    column: dict[str, Any] = about["columns"][geometry]
    text = column.get("crs", "OGC:CRS84")
    crs = None if text is None else CRS.from_user_input(text)
    return FeatureFile(path, None, _without(schema, geometry), crs, geometry, column["geometry_types"] != ["Polygon"])


def _without(schema: pa.Schema, geometry: str) -> pa.Schema:
    return pa.schema([field for field in schema.remove_metadata() if field.name != geometry])
