"""A raster of probabilities → regions of change, block by block, into a store on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geochange.engine.work import Work, grid_blocks
from geochange.polygons.features import ChangeLayer, measure, pixel_area
from geochange.polygons.options import RegionOptions
from geochange.polygons.regions import BlockRegions, RegionFilter, Regions, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.polygons.simplify import simplify_regions
from geochange.polygons.store import RegionStore
from geochange.probability.local_thresholds import LocalThreshold
from geochange.probability.options import Threshold
from geochange.probability.raster import ScoreRaster, classify, cutoff_of, cutoffs_of
from geochange.probability.threshold_search import ChosenThreshold, resolve_threshold
from geochange.scenes.grid import Grid, Tile


@dataclass(frozen=True, slots=True)
class Tracing:
    """All that a worker needs to find the regions of a block."""

    raster: ScoreRaster
    threshold: Threshold | LocalThreshold
    connectivity: int
    keep: RegionFilter


def trace_task(tracing: Tracing, block: Tile) -> BlockRegions:
    """Find the regions of one block."""
    around = block.grow(1)
    codes, valid = tracing.raster.read(around)
    classes, peak = classify(codes, cutoffs_of(tracing.threshold.at(around), tracing.raster.step))
    area = tracing.raster.source.grid.area
    return trace_block(classes, peak, valid, block, area, connectivity=tracing.connectivity, keep=tracing.keep)


def collect_regions(tracing: Tracing, work: Work, store: RegionStore, *, square_metres: float = 0.0) -> None:
    """Trace all blocks, merge over their seams, and put finished regions of at least `square_metres` into the store."""
    grid = tracing.raster.source.grid
    blocks = grid_blocks(grid)
    merger = SeamMerger(blocks, connectivity=tracing.connectivity, keep=tracing.keep)
    for _, traced in work.map("polygons", partial(trace_task, tracing), blocks):
        store.add(at_least(merger.add(traced), grid, square_metres))
    store.add(at_least(merger.finish(), grid, square_metres))


def at_least(regions: Regions, grid: Grid, square_metres: float) -> Regions:
    """Keep the regions of at least this area."""
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
def found_regions(raster: ScoreRaster, options: RegionOptions, work: Work, scratch: Path) -> Iterator[FoundRegions]:
    """Find the regions of a raster; the stores in the scratch folder are gone at the end."""
    smallest = options.smallest_on(raster.source.grid, raster.source.name)
    chosen = resolve_threshold(raster, options, work)
    keep = RegionFilter(min_area=smallest.pixels, min_peak=cutoff_of(chosen.threshold.peak, raster.step))
    tracing = Tracing(raster, chosen.threshold, options.connectivity, keep)
    with RegionStore(scratch) as store, RegionStore(scratch) as simple:
        collect_regions(tracing, work, store, square_metres=smallest.square_metres)
        if options.simplify > 0:
            with work.stages.stage("polygons"):
                for regions in simplify_regions(store.chunks(), options.tolerance_on(raster.source.grid)):
                    simple.add(regions)
        yield FoundRegions(store, simple if options.simplify > 0 else store, chosen)


def layer_of(raster: ScoreRaster, options: RegionOptions) -> ChangeLayer:
    """Describe the layer that a raster's regions make: grid and attributes."""
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
    """Count regions and their area."""
    if grid.crs is None:
        return RegionTotals(len(store), store.area_px(), None)
    if grid.true_to_scale:
        return RegionTotals(
            len(store), store.area_px(), round(store.area_px() * pixel_area(grid.transform, grid.crs), 2)
        )
    square_metres = sum(float(measure(regions.polygons, grid)[0].sum()) for regions in store.chunks())
    return RegionTotals(len(store), store.area_px(), round(square_metres, 2))
