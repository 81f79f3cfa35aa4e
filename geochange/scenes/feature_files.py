"""Vector files of polygons, read in batches with all their columns."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pyogrio.raw
import shapely
from pyproj import CRS

from geochange.arrays import Array
from geochange.parsing import parsing
from geochange.scenes.layer_files import gdal_layer, is_parquet, require_layer_file
from geochange.scenes.layers import FORM, require_polygons

GEOMETRY = "geometry"
BATCH = 4096
CURVED = range(8, 13)  # types of WKB, from circular strings to multi-surfaces


@dataclass(frozen=True)
class FeatureFile:
    """A layer of polygons in a file. Features without a geometry are left out."""

    path: str
    """A file, or `FILE|layername=NAME`."""
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
        with parsing(self.path, FORM):
            for batch in self._stored(size):
                geometries = shapely.from_wkb(batch.column(self.geometry).to_numpy(zero_copy_only=False))
                there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
                polygons, rows = self._polygons(geometries[there]), batch.filter(pa.array(there))
                yield rows.select(self.schema.names), polygons

    def _stored(self, size: int) -> Iterator[pa.RecordBatch]:
        if is_parquet(self.path):
            yield from pq.ParquetFile(self.path).iter_batches(size)
            return
        with (
            gdal_layer(self.path) as (file, layer),
            pyogrio.open_arrow(file, layer=layer, batch_size=size, use_pyarrow=True) as (_, reader),
        ):
            first = 0
            for batch in reader:
                linear = self._without_curves(batch, file, layer, first)
                yield from (linear.slice(start, size) for start in range(0, batch.num_rows, size))
                first += batch.num_rows

    def _without_curves(self, batch: pa.RecordBatch, file: str, layer: str, first: int) -> pa.RecordBatch:
        """Return a batch that begins at a row of the layer, with curves cut into segments; streams keep them."""
        place = batch.schema.get_field_index(self.geometry)
        if not any(_is_curved(wkb) for wkb in batch.column(place).to_pylist()):
            return batch
        linear = pyogrio.raw.read(file, layer=layer, columns=[], skip_features=first, max_features=batch.num_rows)[2]
        return batch.set_column(place, batch.schema.field(place), pa.array(linear, batch.schema.field(place).type))

    def _polygons(self, geometries: Array) -> Array:
        require_polygons(geometries, self.path)
        flat: Array = shapely.orient_polygons(shapely.force_2d(geometries))
        single = shapely.get_type_id(geometries) == shapely.GeometryType.POLYGON
        if self.multipart and single.any():
            flat[single] = shapely.multipolygons(flat[single, np.newaxis])
        return flat


def open_features(path: str) -> FeatureFile:
    """Open a layer of polygons.

    Args:
        path: a file, or `FILE|layername=NAME`.

    Raises:
        UnreadableInput: it is missing, no vector layer, or holds several layers.
    """
    require_layer_file(path)
    with parsing(path, FORM):
        return _open_parquet(path) if is_parquet(path) else _open_gdal(path)


def _open_gdal(path: str) -> FeatureFile:
    with (
        gdal_layer(path) as (file, layer),
        pyogrio.open_arrow(file, layer=layer, use_pyarrow=True) as (about, reader),
    ):
        geometry = about["geometry_name"] or "wkb_geometry"
        crs = None if about["crs"] is None else CRS.from_user_input(about["crs"])
        return FeatureFile(path, _without(reader.schema, geometry), crs, geometry, about["geometry_type"] != "Polygon")


def _open_parquet(path: str) -> FeatureFile:
    schema = pq.read_schema(path)
    about = json.loads((schema.metadata or {})[b"geo"])
    geometry = about["primary_column"]
    column: dict[str, Any] = about["columns"][geometry]
    text = column.get("crs", "OGC:CRS84")
    crs = None if text is None else CRS.from_user_input(text)
    return FeatureFile(path, _without(schema, geometry), crs, geometry, column["geometry_types"] != ["Polygon"])


def _is_curved(wkb: bytes | None) -> bool:
    """Return whether a geometry in WKB is a curve, or holds some."""
    if not wkb:
        return False
    (kind,) = struct.unpack("<I" if wkb[0] else ">I", wkb[1:5])
    return kind % 1000 in CURVED


def _without(schema: pa.Schema, geometry: str) -> pa.Schema:
    return pa.schema([field for field in schema.remove_metadata() if field.name != geometry])
