"""A raster of probabilities → regions of change, block by block, into a store on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from geochange.arrays import Array, Bools, Ints
from geochange.engine.cluster import Crew
from geochange.engine.progress import Listener, Stages
from geochange.errors import BadOption
from geochange.products.features import ChangeLayer, measure, pixel_area
from geochange.products.polygons import CONNECTIVITIES, BlockRegions, RegionFilter, Regions, trace_block
from geochange.products.region_store import RegionStore
from geochange.products.seams import SeamMerger
from geochange.products.simplify import simplify_regions
from geochange.products.thresholds import METHODS, Threshold, parse_threshold
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import FileSource, open_file, readable
from geochange.scenes.tiling import partition

FLOAT_STEPS = 1 << 24  # float probabilities are counted in steps of 2^-24, so that sums are exact
TRACE_BLOCK = 1024
HISTOGRAM_BINS = 1024
THRESHOLDS_TAG = "GEOCHANGE_THRESHOLDS"
CLASSES_TAG = "GEOCHANGE_CLASSES"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """What counts as a change, and how it is outlined."""

    threshold: str | float | None = None
    """A number in 0..1, `otsu`, `em`, `low:high` for hysteresis, or `precision=0.9` or `recall=0.9` of a network's own;
    None for the detector's, else 0.5."""

    min_area: str | float = "4"
    """Smallest change: pixels, or square metres as in "100m2"."""

    connectivity: int = 4
    """8: pixels that touch at a corner are one change; 4: they are not."""

    simplify: float = 0.0
    """Tolerance in map units; 0 keeps pixel edges."""

    date_before: str | None = None
    date_after: str | None = None

    def __post_init__(self) -> None:
        if self.connectivity not in CONNECTIVITIES:
            raise BadOption(f"connectivity {self.connectivity} must be 4 or 8")
        if not self.simplify >= 0:
            raise BadOption(f"simplify {self.simplify} must be 0 or more map units")
        parse_min_area(self.min_area)
        if self.threshold is not None:
            parse_threshold(str(self.threshold))


@dataclass(frozen=True, slots=True)
class MinArea:
    """The smallest change that is kept."""

    pixels: int = 0
    square_metres: float = 0.0


def parse_min_area(text: str | float) -> MinArea:
    """`4` → pixels, `100m2` → square metres."""
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(px|m2|m²)?\s*", str(text))
    try:
        amount = float(match[1]) if match else -1.0
    except ValueError:
        amount = -1.0
    if match is None or not 0 <= amount < 1e18:
        raise BadOption(f"min-area {text!r} must be pixels, as in 4, or square metres, as in 100m2; 0 or more")
    return MinArea(square_metres=amount) if match[2] in {"m2", "m²"} else MinArea(pixels=ceil(amount))


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
        inside = tile.intersect(self.source.grid.area)
        values, valid = self.source.read(inside)
        around = (
            (inside.row - tile.row, tile.stop_row - inside.stop_row),
            (inside.col - tile.col, tile.stop_col - inside.stop_col),
        )
        return np.pad(self.encode(values, valid), ((0, 0), *around)), np.pad(valid, around)

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
        tags, scale = dataset.tags(), dataset.scales[0]
    integer = source.dtype.kind in "iub"
    step = (scale if scale != 1 else 1.0) if integer else 1 / FLOAT_STEPS
    names = tuple(json.loads(tags[CLASSES_TAG])) if CLASSES_TAG in tags else _class_names(len(source.bands))
    return ScoreRaster(source, names, step, json.loads(tags.get(THRESHOLDS_TAG, "{}")))


def _class_names(count: int) -> tuple[str, ...]:
    return ("change",) if count == 1 else tuple(f"class {number}" for number in range(1, count + 1))


def resolve_threshold(raster: ScoreRaster, wanted: str | float | None, crew: Crew) -> Threshold:
    """The threshold to use: as given, as the detector fitted it, or fitted on the raster's own histogram."""
    parsed = parse_threshold("default" if wanted is None else str(wanted))
    if isinstance(parsed, Threshold):
        return parsed
    require_threshold(parsed, raster.thresholds)
    if parsed in METHODS and parsed not in raster.thresholds:
        found = METHODS[parsed](scene_histogram(raster, crew), np.linspace(0, 1, HISTOGRAM_BINS))
    else:
        found = raster.thresholds.get(parsed, 0.5)
    return Threshold(found, found)


def require_threshold(wanted: Threshold | str, kept: Mapping[str, float]) -> None:
    """Raises BadOption where a threshold is wanted for a precision or recall that the detector has none for."""
    if isinstance(wanted, str) and "=" in wanted and wanted not in kept:
        known = ", ".join(name for name in kept if "=" in name)
        raise BadOption(f"no threshold is kept for {wanted}; those that are: {known or 'none'}")


def scene_histogram(raster: ScoreRaster, crew: Crew) -> Ints:
    """(HISTOGRAM_BINS,) counts of valid pixels by their largest probability, over the whole raster."""
    blocks = list(partition(raster.source.grid.shape, (TRACE_BLOCK, TRACE_BLOCK)))
    return sum(crew.map_ordered(partial(_histogram_task, raster), blocks), np.zeros(HISTOGRAM_BINS, np.int64))


def _histogram_task(raster: ScoreRaster, block: Tile) -> Ints:
    codes, valid = raster.read(block)
    bins = np.rint(codes.max(axis=0)[valid] * (raster.step * (HISTOGRAM_BINS - 1))).astype(np.intp)
    return np.bincount(bins, minlength=HISTOGRAM_BINS)


def classify(codes: Ints, cutoff: int) -> tuple[Ints, Ints]:
    """The class of the largest probability, where that reaches the cutoff; (y, x) classes from 1, and codes."""
    peak = codes.max(axis=0)
    winner = codes.argmax(axis=0).astype(np.uint8) + np.uint8(1) if len(codes) > 1 else np.uint8(1)
    return np.where(peak >= cutoff, winner, np.uint8(0)), peak


def cutoff_of(threshold: float, step: float) -> int:
    """The smallest code whose probability reaches a threshold, rounding errors of the step aside."""
    return ceil(threshold / step * (1 - 1e-12) - 1e-9)


@dataclass(frozen=True, slots=True)
class Tracing:
    """All that a worker needs to find the regions of a block."""

    raster: ScoreRaster
    threshold: Threshold
    connectivity: int
    keep: RegionFilter


def trace_task(work: Tracing, block: Tile) -> BlockRegions:
    """The regions of one block."""
    codes, valid = work.raster.read(block.grow(1))
    classes, peak = classify(codes, cutoff_of(work.threshold.low, work.raster.step))
    area = work.raster.source.grid.area
    return trace_block(classes, peak, valid, block, area, connectivity=work.connectivity, keep=work.keep)


def collect_regions(
    work: Tracing, crew: Crew, store: RegionStore, listener: Listener, *, square_metres: float = 0.0
) -> None:
    """Trace all blocks, merge over their seams, and put finished regions of at least `square_metres` into the store."""
    grid = work.raster.source.grid
    blocks = list(partition(grid.shape, (TRACE_BLOCK, TRACE_BLOCK)))
    merger = SeamMerger(blocks, connectivity=work.connectivity, keep=work.keep)
    for block, traced in zip(blocks, crew.map_ordered(partial(trace_task, work), blocks), strict=True):
        store.add(at_least(merger.add(traced), grid, square_metres))
        listener.advance(block.size)
    store.add(at_least(merger.finish(), grid, square_metres))


def at_least(regions: Regions, grid: Grid, square_metres: float) -> Regions:
    """The regions of at least this area."""
    return regions.where(measure(regions.polygons, grid)[0] >= square_metres) if square_metres > 0 else regions


@dataclass(frozen=True, slots=True)
class FoundRegions:
    """The regions of a raster, while their scratch files last."""

    regions: RegionStore
    """As the pixels have them."""

    outlines: RegionStore
    """As they are to be written: simplified on request."""

    threshold: Threshold


@contextmanager
def found_regions(
    raster: ScoreRaster, options: RegionOptions, crew: Crew, stages: Stages, scratch: Path
) -> Iterator[FoundRegions]:
    """Find the regions of a raster; the stores in the scratch folder are gone at the end."""
    minimum = parse_min_area(options.min_area)
    if minimum.square_metres > 0 and raster.source.grid.crs is None:
        raise BadOption(f"min-area {options.min_area!r} needs a CRS, which {raster.source.name} lacks; give pixels")
    threshold = resolve_threshold(raster, options.threshold, crew)
    work = Tracing(raster, threshold, options.connectivity, keep_filter(options, raster, threshold))
    shape = raster.source.grid.shape
    count = len(list(partition(shape, (TRACE_BLOCK, TRACE_BLOCK))))
    with RegionStore(scratch) as store, RegionStore(scratch) as simple:
        with stages.stage("polygons", count, shape[0] * shape[1]) as listener:
            collect_regions(work, crew, store, listener, square_metres=minimum.square_metres)
            if options.simplify > 0:
                for regions in simplify_regions(store.chunks(), options.simplify / max(raster.source.grid.resolution)):
                    simple.add(regions)
        yield FoundRegions(store, simple if options.simplify > 0 else store, threshold)


def layer_of(raster: ScoreRaster, options: RegionOptions) -> ChangeLayer:
    """Grid and attributes of the layer that a raster's regions make."""
    return ChangeLayer(
        grid=raster.source.grid,
        labels=raster.classes,
        score_scale=raster.step,
        date_before=options.date_before,
        date_after=options.date_after,
        multipart=options.connectivity == 8,
    )


@dataclass(frozen=True, slots=True)
class RegionTotals:
    """Regions counted."""

    count: int
    area_px: int
    area_m2: float | None


def total_regions(store: RegionStore, grid: Grid) -> RegionTotals:
    """How many regions there are, and how large they are together."""
    if grid.crs is None:
        return RegionTotals(len(store), store.area_px(), None)
    if not grid.crs.is_geographic:
        return RegionTotals(len(store), store.area_px(), round(store.area_px() * pixel_area(grid), 2))
    square_metres = sum(float(measure(regions.polygons, grid)[0].sum()) for regions in store.chunks())
    return RegionTotals(len(store), store.area_px(), round(square_metres, 2))


def keep_filter(options: RegionOptions, raster: ScoreRaster, threshold: Threshold) -> RegionFilter:
    """Minimum area in pixels, and the peak that hysteresis asks for."""
    minimum = parse_min_area(options.min_area)
    peak = cutoff_of(threshold.high, raster.step) if threshold.high > threshold.low else 0
    return RegionFilter(min_area=minimum.pixels, min_peak=peak)


def threshold_record(threshold: Threshold) -> Any:
    """A number, or [low, high] with hysteresis, for run.json."""
    return threshold.low if threshold.low == threshold.high else [threshold.low, threshold.high]
