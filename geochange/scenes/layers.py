"""Vector layers of polygons: read, brought to a grid, and burnt into labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize
from shapely import STRtree

from geochange.arrays import Array, Bools, Ints
from geochange.errors import GridMismatch, UnreadableInput
from geochange.parsing import parsing
from geochange.scenes.grid import Grid, Tile, crs_name, map_points
from geochange.scenes.layer_files import gdal_layer, is_parquet, require_layer_file

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

FORM = "a vector layer"


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
        """(n,) geometries in the grid's CRS.

        Raises:
            GridMismatch: only one of both has a CRS, or the layer cannot be brought to the grid's.
        """
        crs = self.frame.crs
        if (crs is None) != (grid.crs is None):
            raise GridMismatch(f"{self.path} has {crs_name(crs)}, the grid has {crs_name(grid.crs)}; give both a CRS")
        return reproject_polygons(np.asarray(self.frame.geometry.values, dtype=object), crs, grid.crs, self.path)


def open_layer(path: str) -> Layer:
    """Read the polygons of a layer; features without a geometry are left out.

    Args:
        path: a file, or `FILE|layername=NAME`.

    Raises:
        UnreadableInput: it cannot be read, holds several layers, or other than polygons.
    """
    frame = read_frame(path)
    with parsing(path, FORM):
        frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
        require_polygons(np.asarray(frame.geometry.values, dtype=object), path)
    return Layer(path, frame)


def require_polygons(geometries: Array, name: str) -> None:
    """Raise UnreadableInput where one of (n,) geometries is not a polygon, or has a corner that is not at a place."""
    kinds = shapely.get_type_id(geometries)
    wrong = ~np.isin(kinds, (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON))
    if wrong.any():
        found = ", ".join(sorted({each.geom_type for each in geometries[wrong]}))
        raise UnreadableInput(f"{name} holds {found}; polygons are needed")
    if not np.isfinite(shapely.get_coordinates(geometries)).all():
        raise UnreadableInput(f"{name} holds a polygon with coordinates that are not finite; repair or remove it")


def read_frame(path: str) -> GeoDataFrame:
    """Read all features of a layer; arguments and errors as for `open_layer`."""
    import geopandas
    import pyogrio

    require_layer_file(path)
    with parsing(path, FORM):
        if is_parquet(path):
            return geopandas.read_parquet(path)
        with gdal_layer(path) as (file, layer):
            return pyogrio.read_dataframe(file, layer=layer)


def reproject_polygons(polygons: Array, source: CRS | None, target: CRS | None, name: str = "the layer") -> Array:
    """(n,) polygons of one CRS in another; as they are where it is the same, or there is none.

    Args:
        polygons: in map units.
        source: their CRS.
        target: the one that is wanted.
        name: what messages call the polygons.

    Raises:
        GridMismatch: the one CRS cannot be brought to the other, or not where a polygon lies.
    """
    if source is None or target is None or source == target:
        return polygons
    try:
        move = Transformer.from_crs(source, target, always_xy=True)
    except ProjError as error:
        raise GridMismatch(f"{name} has {crs_name(source)}, which cannot be brought to {crs_name(target)}") from error

    def moved(points: Array) -> Array:
        found = np.stack(move.transform(points[:, 0], points[:, 1]), axis=1)
        if not np.isfinite(found).all():
            raise GridMismatch(f"{name} reaches beyond where {crs_name(source)} can be brought to {crs_name(target)}")
        return found

    brought: Array = shapely.transform(polygons, moved)
    return brought


def in_pixels(polygons: Array, grid: Grid) -> Array:
    """Map geometries in pixels of a grid, x = column and y = row."""
    mapped: Array = shapely.transform(polygons, partial(map_points, ~grid.transform))
    return mapped
