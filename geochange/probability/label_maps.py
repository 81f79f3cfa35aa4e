"""Rasters and vector layers as label maps: one whole number a pixel, on any grid."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from rasterio.enums import Resampling

from geochange.arrays import Bools, Ints
from geochange.engine.work import Work
from geochange.probability.content import understand
from geochange.probability.raster import ScoreRaster, classify, cutoff_of, open_scores
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layer_files import is_layer
from geochange.scenes.layers import Layer, VectorLabels, in_pixels, open_layer
from geochange.scenes.source import Source
from geochange.scenes.warped import on_grid


class LabelMap(Protocol):
    """Labels of pixels on a grid."""

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """Return (y, x) int labels, 0 for no change, and (y, x) validity, of a tile inside the grid."""


@dataclass(frozen=True)
class RasterLabels:
    """Labels as they stand in a raster of whole numbers, or probabilities at a threshold."""

    raster: ScoreRaster
    source: Source
    threshold: float | None  # None: the values are labels
    ignore: tuple[int, ...] = ()  # stored values that are not scored
    rename: Mapping[int, int] | None = None  # labels in the file -> labels to give; None: as they are

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """As `LabelMap.read`."""
        values, valid = self.source.read(tile)
        valid &= ~np.isin(values, self.ignore).any(axis=0)
        if self.threshold is not None:
            codes = self.raster.encode(values, valid)
            return classify(codes, cutoff_of(self.threshold, self.raster.step))[0].astype(np.int64), valid
        labels = np.where(valid, values[0], 0).astype(np.int64)
        for old, new in (self.rename or {}).items():
            labels[values[0] == old] = new
        return labels, valid


def open_labels(path: str | os.PathLike[str], work: Work, ignore: tuple[int, ...] = ()) -> ScoreRaster | Layer:
    """Open a vector layer or a raster, as the suffix and the file say.

    Raises:
        UnreadableInput: it is neither, or the layer holds other than polygons; as `understand`.
    """
    text = os.fspath(path)
    if is_layer(text):
        return open_layer(text)
    return understand(open_scores(text), work, ignore)


def labels_on(
    opened: ScoreRaster | Layer, grid: Grid, threshold: float | None, ignore: tuple[int, ...] = ()
) -> RasterLabels | VectorLabels:
    """Give an opened raster or layer as labels on a grid, to which a raster is brought by nearest neighbour."""
    if isinstance(opened, Layer):
        return VectorLabels(in_pixels(opened.polygons(grid), grid))
    source = on_grid(opened.source, grid, Resampling.nearest)
    return RasterLabels(opened, source, _threshold(opened, threshold), ignore)


def _threshold(raster: ScoreRaster, wanted: float | None) -> float | None:
    """Return the threshold on probabilities; None for a raster of classes."""
    if raster.labels is not None:
        return None
    return raster.thresholds.get("default", 0.5) if wanted is None else wanted


def as_change(labels: RasterLabels | VectorLabels, found: set[int]) -> RasterLabels | VectorLabels:
    """Rename the one number of a mask, 255 or any other, to 1."""
    others = found - {0}
    if isinstance(labels, VectorLabels) or len(others) != 1 or others == {1}:
        return labels
    return replace(labels, rename={others.pop(): 1})
