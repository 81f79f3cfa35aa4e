"""Layers of polygons as files: GeoPackage with its QGIS style, GeoJSON, FlatGeobuf, GeoParquet.

Features stream from the store to the file, a chunk at a time. A file appears under its name when it is whole.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from pyogrio.raw import write_arrow
from pyproj import CRS

from geochange.errors import BadOption, GeochangeError, OutputInTheWay
from geochange.files import appearing, naming_full_disks
from geochange.polygons.geojson import feature_collection
from geochange.qgis.style import STYLE_NAME
from geochange.scenes.layer_files import writable_path

LAYER = "changes"

ROW_GROUP = 1 << 16

INDEX_BYTES = 1 << 24  # of a spatial index that is being built

_STYLE_TABLE = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN,
    description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME DEFAULT CURRENT_TIMESTAMP
)
"""

_STYLE_CONTENTS = """
INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', 'QGIS styles', 0)
"""

_STYLE_ROW = """
INSERT INTO layer_styles
    (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML, styleSLD,
    useAsDefault, description, owner, update_time)
SELECT '', '', table_name, column_name, ?, ?, '', 1, 'made by geochange', '', strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM gpkg_geometry_columns WHERE table_name = ?
"""

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLayer:
    """What a file holds besides the features."""

    schema: pa.Schema
    """Columns, of which `geometry` is WKB."""

    crs: CRS | None

    geometry_type: str = "Polygon"
    """As GDAL names it."""

    style: str | None = None
    """QML that QGIS draws it with, kept in a GeoPackage."""

    name: str = LAYER


def write_features(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Write features as one layer, in the format that the suffix names, in place of a file that is there.

    GeoJSON is WGS 84 with right-handed rings (RFC 7946); the other formats keep the CRS. Without a CRS all of them hold
    coordinates as they are.

    Args:
        path: a .gpkg, .geojson, .fgb or .parquet file.
        batches: features with the layer's schema, shells counter-clockwise.
        layer: what the file holds besides.

    Raises:
        BadOption: no format has this suffix.
        OutputInTheWay: the file cannot be written.
    """
    write = writer_of(path)
    with naming_layer(path), appearing(path) as partial:
        write(partial, batches, layer)


def append_features(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Append features to a layer of a GeoPackage that `write_features` wrote: all of them, or none.

    Args:
        path: the GeoPackage.
        batches: features with the layer's schema, shells counter-clockwise.
        layer: what it was written with.

    Raises:
        DiskFull, OutputInTheWay: they cannot be written.
    """
    with naming_layer(path), writable_path(path) as file:
        _write_gdal(file, batches, layer, driver="GPKG", append=True)


@contextmanager
def naming_layer(path: Path) -> Iterator[None]:
    """Raise an error with the name of a layer in place of GDAL's, where it cannot be written.

    Raises:
        DiskFull: the disk has no room for it.
        OutputInTheWay: there is another reason.
    """
    try:
        with naming_full_disks(path):
            yield
    except GeochangeError:
        raise
    except (DataSourceError, DataLayerError, OSError) as error:
        raise OutputInTheWay(f"cannot write {path}: {error}") from error


def writer_of(path: Path) -> Callable[[Path, Batches, FeatureLayer], None]:
    """Return the function that writes the format that a file's suffix names.

    Raises:
        BadOption: no format has this suffix.
    """
    try:
        return LAYER_WRITERS[path.suffix.lower()]
    except KeyError:
        raise BadOption(f"{path.name}: vector layers end in {', '.join(LAYER_WRITERS)}; choose one of these") from None


def write_geopackage(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Write a GeoPackage 1.3 with a spatial index and, where there is one, a QGIS style that is used by default."""
    with _frugal_index(), writable_path(path) as file:
        _write_gdal(
            file,
            batches,
            layer,
            driver="GPKG",
            dataset={"VERSION": "1.3"},
            options={"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": "geom"},
        )
    if layer.style is None:
        return
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_STYLE_TABLE)
        database.execute(_STYLE_CONTENTS)
        database.execute(_STYLE_ROW, (STYLE_NAME, layer.style, layer.name))


def write_geojson(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Write GeoJSON in WGS 84 (RFC 7946), or in pixels without a CRS."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(feature_collection(batches, layer.crs, layer.name))


def write_flatgeobuf(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Write FlatGeobuf with its spatial index, which puts the features in an order of its own."""
    with writable_path(path) as file:
        _write_gdal(file, batches, layer, driver="FlatGeobuf", options={"TEMPORARY_DIR": str(file.parent)})


def write_geoparquet(path: Path, batches: Batches, layer: FeatureLayer) -> None:
    """Write GeoParquet 1.1, in row groups of tens of thousands."""
    column = {
        "encoding": "WKB",
        "geometry_types": [layer.geometry_type],
        "crs": None if layer.crs is None else layer.crs.to_json_dict(),
        "orientation": "counterclockwise",
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    schema = layer.schema.with_metadata({"geo": json.dumps(geo)})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _gathered(batches):
            writer.write_table(pa.Table.from_batches(rows, layer.schema).replace_schema_metadata(schema.metadata))


def _gathered(batches: Batches) -> Iterator[list[pa.RecordBatch]]:
    """Yield batches, so many together that a group is neither small to read nor large to hold."""
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(each.num_rows for each in held) >= ROW_GROUP:
            yield held
            held = []
    if held:
        yield held


LAYER_WRITERS: Mapping[str, Callable[[Path, Batches, FeatureLayer], None]] = {
    ".gpkg": write_geopackage,
    ".geojson": write_geojson,
    ".fgb": write_flatgeobuf,
    ".parquet": write_geoparquet,
}
"""Formats by suffix."""


@contextmanager
def _frugal_index() -> Iterator[None]:
    """Bound the memory in which GDAL builds a GeoPackage's spatial index: a tenth of the machine's by default."""
    pyogrio.set_gdal_config_options({"OGR_GPKG_MAX_RAM_USAGE_RTREE": INDEX_BYTES})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_GPKG_MAX_RAM_USAGE_RTREE": None})


def _write_gdal(
    path: Path,
    batches: Batches,
    layer: FeatureLayer,
    *,
    driver: str,
    dataset: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
    append: bool = False,
) -> None:
    failures: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(layer.schema, _recording(batches, failures))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            write_arrow(
                reader,
                path,
                layer=layer.name,
                driver=driver,
                geometry_name="geometry",
                geometry_type=layer.geometry_type,
                crs=_wkt(layer.crs),
                dataset_options=dataset,
                layer_options=options,
                append=append,
            )
    except Exception:
        if failures:
            raise failures[0] from None
        raise


def _recording(batches: Batches, failures: list[BaseException]) -> Batches:
    """Pass batches on; keep the error that interrupts them, which the C interface turns into another."""
    try:
        yield from batches
    except BaseException as error:
        failures.append(error)
        raise


def _wkt(crs: CRS | None) -> str | None:
    return None if crs is None else crs.to_wkt()
