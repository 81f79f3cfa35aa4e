"""A raster of probabilities → regions of change, block by block, into a store on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

from geochange.engine.cluster import Crew
from geochange.engine.progress import Listener, Stages
from geochange.errors import BadOption
from geochange.pipeline.score_raster import TRACE_BLOCK, ScoreRaster, classify, cutoff_of, cutoffs_of
from geochange.pipeline.thresholds import ChosenThreshold, ThresholdOptions, resolve_threshold
from geochange.products.features import ChangeLayer, measure, pixel_area
from geochange.products.local_thresholds import LocalThreshold
from geochange.products.polygons import CONNECTIVITIES, BlockRegions, RegionFilter, Regions, trace_block
from geochange.products.region_store import RegionStore
from geochange.products.seams import SeamMerger
from geochange.products.simplify import simplify_regions
from geochange.products.thresholds import Threshold
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.tiling import partition


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionOptions:
    """What counts as a change, and how it is outlined."""

    threshold: str | float | None = None
    """A number in 0..1, `low:high` for hysteresis, `otsu`, `em`, `kittler`, `local:512px`; `precision=0.9` or
    `recall=0.9` of a network's own or by labels, `f1` by labels; None for the detector's, else 0.5."""

    labels: str | None = None
    """A raster (0 unchanged, 255 not labelled) or a layer that says what has changed, to choose the threshold by."""

    label_column: str | None = None
    """The column of a layer that says so; None: what is in a polygon has changed, and what is not has not."""

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
        self.thresholds()

    def thresholds(self) -> ThresholdOptions:
        return ThresholdOptions(wanted=self.threshold, labels=self.labels, label_column=self.label_column)


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
class Tracing:
    """All that a worker needs to find the regions of a block."""

    raster: ScoreRaster
    threshold: Threshold | LocalThreshold
    connectivity: int
    keep: RegionFilter


def trace_task(work: Tracing, block: Tile) -> BlockRegions:
    """The regions of one block."""
    around = block.grow(1)
    codes, valid = work.raster.read(around)
    classes, peak = classify(codes, cutoffs_of(work.threshold.at(around), work.raster.step))
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

    chosen: ChosenThreshold


@contextmanager
def found_regions(
    raster: ScoreRaster, options: RegionOptions, crew: Crew, stages: Stages, scratch: Path
) -> Iterator[FoundRegions]:
    """Find the regions of a raster; the stores in the scratch folder are gone at the end."""
    minimum = parse_min_area(options.min_area)
    if minimum.square_metres > 0 and raster.source.grid.crs is None:
        raise BadOption(f"min-area {options.min_area!r} needs a CRS, which {raster.source.name} lacks; give pixels")
    chosen = resolve_threshold(raster, options.thresholds(), crew, stages)
    keep = keep_filter(options, raster, chosen.threshold)
    work = Tracing(raster, chosen.threshold, options.connectivity, keep)
    shape = raster.source.grid.shape
    count = len(list(partition(shape, (TRACE_BLOCK, TRACE_BLOCK))))
    with RegionStore(scratch) as store, RegionStore(scratch) as simple:
        with stages.stage("polygons", count, shape[0] * shape[1]) as listener:
            collect_regions(work, crew, store, listener, square_metres=minimum.square_metres)
            if options.simplify > 0:
                for regions in simplify_regions(store.chunks(), options.simplify / max(raster.source.grid.resolution)):
                    simple.add(regions)
        yield FoundRegions(store, simple if options.simplify > 0 else store, chosen)


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


def keep_filter(options: RegionOptions, raster: ScoreRaster, threshold: Threshold | LocalThreshold) -> RegionFilter:
    """Minimum area in pixels, and the peak that hysteresis asks for."""
    minimum = parse_min_area(options.min_area)
    return RegionFilter(min_area=minimum.pixels, min_peak=cutoff_of(threshold.peak, raster.step))
