"""What a detector's further rasters hold within each region, as columns of the layer of changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rasterio
from affine import Affine
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geochange.arrays import Array, Floats
from geochange.polygons.features import SCHEMA, ChangeLayer, feature_batches
from geochange.polygons.regions import Regions
from geochange.scenes.grid import map_points
from geochange.scenes.interpretation import date_in_name

PLACE = "place"
"""The raster that points, in pixels to the right and down, to the middle of the change that a pixel lies in."""
INTERVAL = "interval"
"""The raster whose bands are the probabilities that a change lies between two dates of a series."""


@dataclass(frozen=True, slots=True)
class MeasuredRaster:
    """A raster on the grid of the regions."""

    name: str
    path: Path
    bands: int

    def columns(self) -> list[str]:
        """Return the names of its columns; those of intervals are of `LayerMeans`."""
        if self.name == PLACE:
            return ["centre_x", "centre_y"]
        name = self.name.replace("-", "_")
        return [name] if self.bands == 1 else [f"{name}_{band}" for band in range(1, self.bands + 1)]


@dataclass(frozen=True, slots=True)
class LayerMeans:
    """Means of rasters over the pixels of each region; of intervals the likeliest, of places the point on the map."""

    rasters: tuple[MeasuredRaster, ...]
    dates: tuple[str | None, ...] = ()
    """Of the images of a series."""

    @property
    def schema(self) -> pa.Schema:
        """Columns of the layer: those of any, then the means, and the geometry."""
        added: list[pa.Field] = []
        for raster in self.rasters:
            if raster.name == INTERVAL:
                added += [pa.field(INTERVAL, pa.int64()), pa.field("interval_probability", pa.float64())]
                added += [pa.field("changed_after", pa.string()), pa.field("changed_by", pa.string())]
            else:
                added += [pa.field(name, pa.float64()) for name in raster.columns()]
        return pa.schema([*(each for each in SCHEMA if each.name != "geometry"), *added, SCHEMA.field("geometry")])

    def batches(self, chunks: Iterable[Regions], layer: ChangeLayer, first: int = 1) -> Iterator[pa.RecordBatch]:
        """Yield features of regions with these columns, one batch a chunk, numbered from `first`."""
        polygons: list[Array] = []

        def passed_on() -> Iterator[Regions]:
            for regions in chunks:
                polygons.append(regions.polygons)
                yield regions

        with ExitStack() as stack:
            opened = [(raster, stack.enter_context(rasterio.open(raster.path))) for raster in self.rasters]
            for batch in feature_batches(passed_on(), layer, first):
                own = polygons.pop()
                columns = {field.name: batch.column(field.name) for field in batch.schema}
                for raster, dataset in opened:
                    measured = centre_within if raster.name == PLACE else mean_within
                    means = np.array([measured(dataset, each) for each in own]).reshape(len(own), raster.bands)
                    if raster.name == PLACE:
                        means = map_points(layer.grid.transform, means)
                    columns |= self._columns_of(raster, means)
                yield pa.record_batch([columns[field.name] for field in self.schema], schema=self.schema)

    def _columns_of(self, raster: MeasuredRaster, means: Floats) -> dict[str, pa.Array]:
        if raster.name != INTERVAL:
            return {name: pa.array(means[:, k], from_pandas=True) for k, name in enumerate(raster.columns())}
        known = np.isfinite(means).all(axis=1)
        likeliest = np.where(known, np.nan_to_num(means).argmax(axis=1), -1)
        probability = np.where(known, means[np.arange(len(means)), likeliest], np.nan)
        after, by = ([self._date(place + later) if place >= 0 else None for place in likeliest] for later in (0, 1))
        return {
            INTERVAL: pa.array([int(place) + 1 if place >= 0 else None for place in likeliest], pa.int64()),
            "interval_probability": pa.array(probability, from_pandas=True),
            "changed_after": pa.array(after, pa.string()),
            "changed_by": pa.array(by, pa.string()),
        }

    def _date(self, place: int) -> str | None:
        return self.dates[place] if place < len(self.dates) else None


def mean_within(dataset: Any, polygon: BaseGeometry) -> Floats:
    """(band,) means over the pixels whose centres lie in a polygon, of pixels with data; NaN where there are none.

    Args:
        dataset: an open raster.
        polygon: in its pixels, x = column and y = row.
    """
    return _mean_of_known(_values_within(dataset, polygon)[0])


def centre_within(dataset: Any, polygon: BaseGeometry) -> Floats:
    """(2,) column and row that the pixels of `mean_within` point to; two bands hold how far to the right and down."""
    values, places = _values_within(dataset, polygon)
    return _mean_of_known(values + places)


def _values_within(dataset: Any, polygon: BaseGeometry) -> tuple[Floats, Floats]:
    """(band, n) values of the pixels whose centres lie in a polygon, NaN without data; and (2, n) columns and rows."""
    left, top, right, bottom = polygon.bounds
    first_col, first_row = max(int(np.floor(left)), 0), max(int(np.floor(top)), 0)
    width = max(min(int(np.ceil(right)), dataset.width) - first_col, 1)
    height = max(min(int(np.ceil(bottom)), dataset.height) - first_row, 1)
    values = dataset.read(window=Window(first_col, first_row, width, height), masked=True).astype(np.float64)
    inside = rasterize([polygon], (height, width), transform=Affine.translation(first_col, first_row)).astype(bool)
    rows, cols = np.nonzero(inside)
    return np.ma.filled(values, np.nan)[:, inside], np.stack([cols + first_col + 0.5, rows + first_row + 0.5])


def _mean_of_known(values: Floats) -> Floats:
    """(band, n) -> (band,) means of what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    counts = known.sum(axis=1)
    means: Floats = np.where(counts > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)
    return means


def dates_of(given: Sequence[str], stored: Sequence[str | None], names: Sequence[str]) -> tuple[str | None, ...]:
    """Return the dates of images: as given, else by their tags, else by their names."""
    if given:
        return tuple(given)
    return tuple(tag or date_in_name(name) for tag, name in zip(stored, names, strict=True))
