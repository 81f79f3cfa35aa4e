"""Rasters of probabilities: how they are stored, and how they, or masks, are read as whole numbers of a small step.

Nothing else knows the stored format: 8 bits with levels, nodata and scale or float32, and what the tags say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import rasterio

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.engine.cog import RasterSpec, encode_block
from geochange.errors import UnreadableInput
from geochange.parsing import parsing
from geochange.scenes.grid import Grid, Tile, require_workable
from geochange.scenes.scene import FileSource, open_file, readable
from geochange.scenes.source import read_beyond

LEVELS = 254  # of 8 bits: probability = stored / 254
UINT8_NODATA = 255  # of 8 bits; of float32 it is NaN
ROUNDING = 1e-3  # that other programs' probabilities may lie beyond 0 and 1
FLOAT_STEPS = 1 << 24  # float probabilities are counted in steps of 2^-24, so that sums are exact

DETECTOR_TAG = "GEOCHANGE_DETECTOR"
FUSION_TAG = "GEOCHANGE_FUSION"
THRESHOLDS_TAG = "GEOCHANGE_THRESHOLDS"
CLASSES_TAG = "GEOCHANGE_CLASSES"
REFINED_TAG = "GEOCHANGE_REFINED"
CONFIDENCE_TAG = "GEOCHANGE_MIN_CONFIDENCE"


def quantise(probability: Floats, valid: Bools, dtype: np.dtype[Any]) -> Array:
    """Return stored values: uint8 levels, or float32.

    Args:
        probability: (class, y, x) in 0..1.
        valid: (y, x); nodata elsewhere.
        dtype: uint8 or float32.
    """
    if dtype == np.float32:
        return np.where(valid, probability, np.float32(np.nan)).astype(np.float32)
    codes: Array = np.rint(probability * np.float32(LEVELS)).astype(np.uint8)
    codes[..., ~valid] = UINT8_NODATA
    return codes


def encode_probability(probability: Floats, valid: Bools, dtype: np.dtype[Any]) -> bytes:
    """Return the file of a block; arguments as for `quantise`."""
    return encode_block(quantise(probability, valid, dtype), _nodata(dtype))


def _nodata(dtype: np.dtype[Any]) -> float:
    return UINT8_NODATA if dtype == np.uint8 else float("nan")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where probabilities come from; None or nothing where that is not known."""

    detector: str | None = None
    refined: tuple[str, ...] = ()  # corrections of `refine`
    fusion: Mapping[str, Any] | None = None
    min_confidence: float = 0.0  # of a change, where nothing else is asked for


def probability_spec(
    grid: Grid, dtype: np.dtype[Any], classes: tuple[str, ...], thresholds: Mapping[str, float], provenance: Provenance
) -> RasterSpec:
    """Return what a raster of probabilities says of itself.

    Args:
        grid: where it lies.
        dtype: uint8 or float32.
        classes: one a band.
        thresholds: by method.
        provenance: where they come from.
    """
    tags = {
        DETECTOR_TAG: provenance.detector,
        FUSION_TAG: provenance.fusion and json.dumps(provenance.fusion),
        THRESHOLDS_TAG: json.dumps(dict(thresholds)),
        CLASSES_TAG: json.dumps(classes),
        REFINED_TAG: json.dumps(provenance.refined) if provenance.refined else None,
        CONFIDENCE_TAG: f"{provenance.min_confidence:g}" if provenance.min_confidence else None,
    }
    return RasterSpec(
        grid=grid,
        dtype=dtype,
        nodata=_nodata(dtype),
        band_names=classes,
        tags={name: text for name, text in tags.items() if text},
        scale=1 / LEVELS if dtype == np.uint8 else None,
    )


def layer_spec(grid: Grid, name: str, bands: int, detector: str) -> RasterSpec:
    """Return what a further raster of a detector says of itself."""
    names = (name,) if bands == 1 else tuple(f"{name} {number}" for number in range(1, bands + 1))
    tags = {DETECTOR_TAG: detector}
    return RasterSpec(grid=grid, dtype=np.dtype(np.float32), nodata=float("nan"), band_names=names, tags=tags)


def steps_of(dtype: np.dtype[Any]) -> int:
    """Return the code of probability 1 in rasters of a type."""
    return LEVELS if dtype == np.uint8 else FLOAT_STEPS


def in_steps(codes: Ints, steps: int, wanted: int) -> Ints:
    """Return codes of which `steps` is probability 1 as codes of which `wanted` is."""
    return codes if steps == wanted else np.rint(codes * (wanted / steps)).astype(_code_type(wanted))


def _code_type(steps: int) -> type[np.uint8] | type[np.int32]:
    return np.uint8 if steps <= np.iinfo(np.uint8).max else np.int32


@dataclass(frozen=True, slots=True)
class ScoreRaster:
    """A raster whose bands are probabilities of classes, or masks, read as whole numbers of a small step."""

    source: FileSource
    classes: tuple[str, ...]
    step: float  # probability = code * step
    thresholds: Mapping[str, float]  # fitted by the detector, by method
    provenance: Provenance = Provenance()
    declared: bool = False  # whether the file itself says what its numbers mean
    labels: tuple[int, ...] | None = None  # stored value of each class; None where they are probabilities

    @property
    def steps(self) -> int:
        """Codes run from 0 to this."""
        return round(1 / self.step)

    @property
    def is_integer(self) -> bool:
        """Whether whole numbers are stored."""
        return self.source.dtype.kind in "iub"

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """The type that holds as much: uint8 for whole numbers of no more levels, else float32."""
        return np.dtype(np.uint8 if self.is_integer and self.steps <= LEVELS else np.float32)

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """Return (class, y, x) codes and (y, x) validity of a tile; nothing is valid beyond the raster."""
        values, valid = read_beyond(self.source.read, self.source.grid.area, tile)
        return self.encode(values, valid), valid

    def encode(self, values: Array, valid: Bools) -> Ints:
        """Return stored values as (class, y, x) codes; 0 where not valid.

        Raises:
            UnreadableInput: a value is no probability.
        """
        if self.labels is not None:
            masks: Ints = ((values[:1] == np.array(self.labels)[:, None, None]) & valid).astype(np.uint8)
            return masks
        known = np.where(valid, values, 0)
        if values.dtype.kind == "f":
            self._require_probabilities(known, 1.0)
            return np.rint(np.clip(known, 0, 1).astype(np.float64) * FLOAT_STEPS).astype(np.int32)
        self._require_probabilities(known, self.step)
        return np.clip(known, 0, self.steps).astype(_code_type(self.steps))

    def probabilities(self, values: Array, valid: Bools) -> Floats:
        """Return stored values as (class, y, x) float32 probabilities, 0 where not valid; raises as `encode`."""
        if self.labels is not None:
            return self.encode(values, valid).astype(np.float32)
        known, scale = np.where(valid, values, 0), 1.0 if values.dtype.kind == "f" else self.step
        self._require_probabilities(known, scale)
        return np.clip(known * np.float64(scale), 0, 1).astype(np.float32)

    def _require_probabilities(self, known: Array, scale: float) -> None:
        least, most = (float(each) * scale for each in (known.min(initial=0), known.max(initial=0)))
        if least < -ROUNDING or most > 1 + ROUNDING:
            value = most if most > 1 else least
            raise UnreadableInput(
                f"{self.source.name} holds {value:g}, and probabilities lie in 0..1; say how they are scaled, as with "
                f"gdal_edit.py -scale 0.01 {self.source.name}"
            )


def open_scores(path: str) -> ScoreRaster:
    """Open a raster of probabilities, whole numbers with a scale or floats, or of whole numbers that stand for classes.

    What it does not say itself, `content.understand` finds out.

    Raises:
        UnreadableInput: it is no raster, too large, or its tags are not those that were written.
    """
    source = replace(open_file(path, as_stored=True), nodata="any")
    require_workable(source.grid, path)
    with readable(path), rasterio.open(path) as dataset:
        tags, scale, described = dataset.tags(), dataset.scales[0], dataset.descriptions[: len(source.bands)]
        offset = dataset.offsets[0]
    if offset != 0:
        raise UnreadableInput(f"{path} holds probabilities with an offset; give them a scale alone")
    return ScoreRaster(
        source,
        _stored_names(path, tags, CLASSES_TAG) if CLASSES_TAG in tags else _class_names(described),
        scale if source.dtype.kind in "iub" else 1 / FLOAT_STEPS,
        _stored_thresholds(path, tags),
        Provenance(
            tags.get(DETECTOR_TAG),
            _stored_names(path, tags, REFINED_TAG),
            min_confidence=_stored_confidence(path, tags),
        ),
        declared=CLASSES_TAG in tags or scale != 1,
    )


def _stored_confidence(path: str, tags: Mapping[str, str]) -> float:
    with parsing(f"{path}: its tag {CONFIDENCE_TAG}", "a share"):
        stored = float(tags.get(CONFIDENCE_TAG, "0"))
        if not 0 <= stored <= 1:
            raise ValueError(f"{stored} does not lie in 0..1")
    return stored


def _stored_names(path: str, tags: Mapping[str, str], tag: str) -> tuple[str, ...]:
    with parsing(f"{path}: its tag {tag}", "names"):
        names = json.loads(tags.get(tag, "[]"))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"it holds {names}")
        return tuple(names)


def _stored_thresholds(path: str, tags: Mapping[str, str]) -> dict[str, float]:
    with parsing(f"{path}: its tag {THRESHOLDS_TAG}", "thresholds"):
        thresholds = {name: float(value) for name, value in json.loads(tags.get(THRESHOLDS_TAG, "{}")).items()}
        if not all(0 <= value <= 1 for value in thresholds.values()):
            raise ValueError(f"{thresholds} do not lie in 0..1")
        return thresholds


def _class_names(described: Sequence[str | None]) -> tuple[str, ...]:
    """Name classes as the bands are described; where they are not, or alike, by their numbers."""
    if len(described) == 1:
        return ("change",)
    named = tuple(name for name in described if name)
    if len({*named}) == len(described):
        return named
    return tuple(f"class {number}" for number in range(1, len(described) + 1))


def classify(codes: Ints, cutoff: Ints | int) -> tuple[Ints, Ints]:
    """Return (y, x) classes from 1, 0 where no probability reaches the cutoff, and the largest codes."""
    peak = codes.max(axis=0)
    winner = codes.argmax(axis=0).astype(np.uint8) + np.uint8(1) if len(codes) > 1 else np.uint8(1)
    return np.where(peak >= cutoff, winner, np.uint8(0)), peak


def cutoff_of(threshold: float, step: float) -> int:
    """Return the smallest code whose probability reaches a threshold, rounding errors of the step aside."""
    return ceil(threshold / step * (1 - 1e-12) - 1e-9)


def cutoffs_of(thresholds: Floats | float, step: float) -> Ints | int:
    """Return the same of one threshold, or of one for each pixel."""
    if isinstance(thresholds, float):
        return cutoff_of(thresholds, step)
    cutoffs: Ints = np.ceil(thresholds / step * (1 - 1e-12) - 1e-9).astype(np.int32)
    return cutoffs
