"""Vector layers of polygons: read, brought to a grid, and burnt into labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize
from shapely import STRtree

from geochange.arrays import Array, Bools, Ints
from geochange.errors import GridMismatch, UnreadableInput
from geochange.scenes.grid import Grid, Tile, crs_name, map_points

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

VECTOR_SUFFIXES = {".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".shp", ".kml", ".gml", ".sqlite"}


@dataclass(frozen=True)
class VectorLabels:
    """Labels inside the polygons of a layer, by pixel centre, 0 outside; where they overlap the last one counts."""

    polygons: Array  # (n,) shapely geometries in pixels of the grid, x = column and y = row
    labels: Array | None = None  # (n,) label of each, from 1; None: 1

    @cached_property
    def _index(self) -> STRtree:
        return STRtree(self.polygons)

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """Burn the polygons into a tile: (y, x) labels, valid everywhere."""
        box = shapely.box(tile.col, tile.row, tile.stop_col, tile.stop_row)
        near = np.sort(self._index.query(box))
        labels = np.zeros(tile.shape, np.int32)
        if near.size:
            values = np.ones(near.size, int) if self.labels is None else self.labels[near]
            shapes = zip(self.polygons[near], values.tolist(), strict=True)
            rasterize(shapes, out=labels, transform=Affine.translation(tile.col, tile.row))
        return labels.astype(np.int64), np.ones(tile.shape, bool)


@dataclass(frozen=True)
class Layer:
    """Polygons of a vector layer, in its own CRS."""

    path: str
    frame: Any  # geopandas.GeoDataFrame

    def polygons(self, grid: Grid) -> Array:
        """(n,) geometries in the grid's CRS."""
        crs = self.frame.crs
        if (crs is None) != (grid.crs is None):
            raise GridMismatch(f"{self.path} has {crs_name(crs)}, the grid has {crs_name(grid.crs)}; give both a CRS")
        frame = self.frame if crs is None or crs == grid.crs else self.frame.to_crs(grid.crs)
        return np.asarray(frame.geometry.values, dtype=object)


def is_layer(path: str) -> bool:
    """Whether a name ends as a vector layer's does."""
    return Path(path).suffix.lower() in VECTOR_SUFFIXES


def open_layer(path: str) -> Layer:
    """Read the polygons of a layer; features without a geometry are left out.

    Raises:
        UnreadableInput: it cannot be read, or holds other than polygons.
    """
    if not os.path.exists(path):
        raise UnreadableInput(f"{path} does not exist")
    frame = read_frame(path)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if not frame.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise UnreadableInput(f"{path} holds {', '.join(sorted(frame.geom_type.unique()))}; polygons are needed")
    return Layer(path, frame)


def read_frame(path: str) -> GeoDataFrame:
    """Read all features of a layer.

    Raises:
        UnreadableInput: it cannot be read.
    """
    import geopandas
    from pyogrio.errors import DataLayerError, DataSourceError

    try:
        if path.endswith(".parquet"):
            return geopandas.read_parquet(path)
        return geopandas.read_file(path, layer=first_layer(path))
    except (DataSourceError, DataLayerError, OSError, ValueError) as error:
        raise UnreadableInput(f"{path} cannot be read as a vector layer: {error}") from error


def first_layer(path: str) -> str:
    """Name the first layer with geometries: a GeoPackage may keep styles in another."""
    import pyogrio

    layers = pyogrio.list_layers(path)
    return str(next((name for name, kind in layers if kind is not None), layers[0][0]))


def in_pixels(polygons: Array, grid: Grid) -> Array:
    """Map geometries in pixels of a grid, x = column and y = row."""
    mapped: Array = shapely.transform(polygons, partial(map_points, ~grid.transform))
    return mapped
