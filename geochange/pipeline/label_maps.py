"""Rasters and vector layers as label maps: one whole number a pixel, on any grid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import shapely
from affine import Affine
from rasterio.enums import Resampling
from rasterio.features import rasterize
from shapely import STRtree

from geochange.arrays import Array, Bools, Ints
from geochange.errors import GridMismatch, UnreadableInput
from geochange.pipeline.regions import ScoreRaster, classify, cutoff_of, open_scores
from geochange.scenes.differences import grid_differences
from geochange.scenes.grid import Grid, Tile, crs_name
from geochange.scenes.scene import FileSource
from geochange.scenes.warped import WarpedSource

VECTOR_SUFFIXES = {".gpkg", ".geojson", ".json", ".fgb", ".parquet", ".shp", ".kml", ".gml", ".sqlite"}


class LabelMap(Protocol):
    """Labels of pixels on a grid."""

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """(y, x) int labels, 0 for no change, and (y, x) validity, of a tile inside the grid."""


@dataclass(frozen=True)
class RasterLabels:
    """Labels as they stand in a raster of whole numbers, or probabilities at a threshold."""

    raster: ScoreRaster
    source: FileSource | WarpedSource
    threshold: float | None  # None: the values are labels
    ignore: tuple[int, ...] = ()  # stored values that are not scored
    rename: Mapping[int, int] | None = None  # labels in the file -> labels to give; None: as they are

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        values, valid = self.source.read(tile)
        valid &= ~np.isin(values, self.ignore).any(axis=0)
        if self.threshold is not None:
            codes = self.raster.encode(values, valid)
            return classify(codes, cutoff_of(self.threshold, self.raster.step))[0].astype(np.int64), valid
        labels = np.where(valid, values[0], 0).astype(np.int64)
        for old, new in (self.rename or {}).items():
            labels[values[0] == old] = new
        return labels, valid


@dataclass(frozen=True)
class VectorLabels:
    """Label 1 inside the polygons of a layer, by pixel centre, 0 outside."""

    polygons: Array  # shapely geometries in pixels of the grid, x = column and y = row

    @cached_property
    def _index(self) -> STRtree:
        return STRtree(self.polygons)

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        box = shapely.box(tile.col, tile.row, tile.stop_col, tile.stop_row)
        near = self.polygons[self._index.query(box)]
        labels = np.zeros(tile.shape, np.uint8)
        if near.size:
            rasterize(near, out=labels, transform=Affine.translation(tile.col, tile.row))
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


def open_labels(path: str | os.PathLike[str]) -> ScoreRaster | Layer:
    """Open a vector layer or a raster, as the suffix and the file say.

    Raises:
        UnreadableInput: it is neither, or the layer holds other than polygons.
    """
    text = os.fspath(path)
    if Path(text).suffix.lower() in VECTOR_SUFFIXES:
        return _open_layer(text)
    return open_scores(text)


def _open_layer(path: str) -> Layer:
    import geopandas
    from pyogrio.errors import DataLayerError, DataSourceError

    if not os.path.exists(path):
        raise UnreadableInput(f"{path} does not exist")
    try:
        if path.endswith(".parquet"):
            frame = geopandas.read_parquet(path)
        else:
            frame = geopandas.read_file(path, layer=_first_layer(path))
    except (DataSourceError, DataLayerError, OSError, ValueError) as error:
        raise UnreadableInput(f"{path} cannot be read as a vector layer: {error}") from error
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    if not frame.geom_type.isin(["Polygon", "MultiPolygon"]).all():
        raise UnreadableInput(f"{path} holds {', '.join(sorted(frame.geom_type.unique()))}; polygons are needed")
    return Layer(path, frame)


def _first_layer(path: str) -> str:
    """The first layer with geometries: a GeoPackage may keep styles in another."""
    import pyogrio

    layers = pyogrio.list_layers(path)
    return str(next((name for name, kind in layers if kind is not None), layers[0][0]))


def in_pixels(polygons: Array, grid: Grid) -> Array:
    """Map geometries in pixels of a grid, x = column and y = row."""
    t = ~grid.transform

    def to_pixels(xy: Array) -> Array:
        return np.stack([t.a * xy[:, 0] + t.b * xy[:, 1] + t.c, t.d * xy[:, 0] + t.e * xy[:, 1] + t.f], axis=1)

    return shapely.transform(polygons, to_pixels)


def labels_on(
    opened: ScoreRaster | Layer, grid: Grid, threshold: float | None, ignore: tuple[int, ...] = ()
) -> RasterLabels | VectorLabels:
    """An opened raster or layer as labels on a grid; a raster of another grid is brought to it, nearest neighbour."""
    if isinstance(opened, Layer):
        return VectorLabels(in_pixels(opened.polygons(grid), grid))
    source = opened.source
    if (source.grid.crs is None) != (grid.crs is None):
        raise GridMismatch(f"{source.name} has {crs_name(source.grid.crs)}, the grid has {crs_name(grid.crs)}")
    same = not grid_differences(grid, source.grid)
    placed = source if same else WarpedSource(source, grid, Resampling.nearest)
    return RasterLabels(opened, placed, _threshold(opened, threshold), ignore)


def _threshold(raster: ScoreRaster, wanted: float | None) -> float | None:
    """The threshold on probabilities; None for a raster of whole numbers without a scale, which holds labels."""
    if raster.source.dtype.kind in "iub" and raster.step == 1:
        return None
    return raster.thresholds.get("default", 0.5) if wanted is None else wanted


def as_change(labels: RasterLabels | VectorLabels, found: set[int]) -> RasterLabels | VectorLabels:
    """Masks that say 255, or any one other number, for change: call it 1."""
    others = found - {0}
    if isinstance(labels, VectorLabels) or len(others) != 1 or others == {1}:
        return labels
    return replace(labels, rename={others.pop(): 1})
