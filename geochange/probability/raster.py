"""Rasters of probabilities, or masks, read as whole numbers of a small step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import rasterio

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.scenes.grid import Tile
from geochange.scenes.scene import FileSource, open_file, read_beyond, readable

FLOAT_STEPS = 1 << 24  # float probabilities are counted in steps of 2^-24, so that sums are exact
THRESHOLDS_TAG = "GEOCHANGE_THRESHOLDS"
CLASSES_TAG = "GEOCHANGE_CLASSES"
TRACE_BLOCK = 1024  # pixels per side of what is read at once


@dataclass(frozen=True, slots=True)
class ScoreRaster:
    """A raster whose bands are probabilities of classes, or masks, read as whole numbers of a small step."""

    source: FileSource
    classes: tuple[str, ...]
    step: float  # probability = code * step
    thresholds: Mapping[str, float]  # fitted by the detector, by method

    @property
    def steps(self) -> int:
        """Codes run from 0 to this."""
        return round(1 / self.step)

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """(class, y, x) codes and (y, x) validity of a tile; nothing is valid beyond the raster."""
        values, valid = read_beyond(self.source.read, self.source.grid.area, tile)
        return self.encode(values, valid), valid

    def encode(self, values: Array, valid: Bools) -> Ints:
        """Stored values as codes; 0 where not valid."""
        if values.dtype.kind == "f":
            steps = np.rint(np.clip(np.where(valid, values, 0), 0, 1).astype(np.float64) * FLOAT_STEPS)
            return steps.astype(np.int32)
        return np.where(valid, np.clip(values, 0, self.steps), 0).astype(np.int32 if self.steps > 255 else np.uint8)


def open_scores(path: str) -> ScoreRaster:
    """Open a probability raster, scaled whole numbers or floats in 0..1, or a mask of which 0 is unchanged."""
    source = replace(open_file(path), nodata="any")
    with readable(path), rasterio.open(path) as dataset:
        tags, scale, described = dataset.tags(), dataset.scales[0], dataset.descriptions[: len(source.bands)]
    integer = source.dtype.kind in "iub"
    step = (scale if scale != 1 else 1.0) if integer else 1 / FLOAT_STEPS
    names = tuple(json.loads(tags[CLASSES_TAG])) if CLASSES_TAG in tags else _class_names(described)
    return ScoreRaster(source, names, step, json.loads(tags.get(THRESHOLDS_TAG, "{}")))


def _class_names(described: Sequence[str | None]) -> tuple[str, ...]:
    """As the bands are described; where they are not, or alike, by their numbers."""
    if len(described) == 1:
        return ("change",)
    named = tuple(name for name in described if name)
    if len({*named}) == len(described):
        return named
    return tuple(f"class {number}" for number in range(1, len(described) + 1))


def classify(codes: Ints, cutoff: Ints | int) -> tuple[Ints, Ints]:
    """The class of the largest probability, where that reaches the cutoff; (y, x) classes from 1, and codes."""
    peak = codes.max(axis=0)
    winner = codes.argmax(axis=0).astype(np.uint8) + np.uint8(1) if len(codes) > 1 else np.uint8(1)
    return np.where(peak >= cutoff, winner, np.uint8(0)), peak


def cutoff_of(threshold: float, step: float) -> int:
    """The smallest code whose probability reaches a threshold, rounding errors of the step aside."""
    return ceil(threshold / step * (1 - 1e-12) - 1e-9)


def cutoffs_of(thresholds: Floats | float, step: float) -> Ints | int:
    """As `cutoff_of`, of one threshold or of one for each pixel."""
    if isinstance(thresholds, float):
        return cutoff_of(thresholds, step)
    return np.ceil(thresholds / step * (1 - 1e-12) - 1e-9).astype(np.int32)
