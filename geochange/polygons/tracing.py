"""A raster of probabilities → regions of change, block by block, into a store on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from geochange.arrays import Bools
from geochange.engine.work import BLOCK_SIDE, Work
from geochange.polygons.features import ChangeLayer, measure, pixel_area
from geochange.polygons.options import RegionOptions
from geochange.polygons.preview import covered_cells
from geochange.polygons.regions import BlockRegions, RegionFilter, Regions, finished_regions, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.polygons.simplify import simplify_regions
from geochange.polygons.store import Band, RegionStore, save_part
from geochange.probability.local_thresholds import LocalThreshold
from geochange.probability.options import Threshold
from geochange.probability.raster import ScoreRaster, classify, cutoff_of, cutoffs_of
from geochange.probability.threshold_search import ChosenThreshold, resolve_threshold
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.tiling import partition

VERY_LARGE = 1 << 30  # pixels


@dataclass(frozen=True, slots=True)
class Tracing:
    """All that a worker needs to find the regions of a block."""

    raster: ScoreRaster
    threshold: Threshold | LocalThreshold
    connectivity: int
    keep: RegionFilter
    parts: Path
    """The folder of the store for regions that do not reach a seam."""
    square_metres: float = 0.0
    """Smaller regions are left out."""


@dataclass(frozen=True, slots=True)
class TracedBlock:
    """What a worker tells of a block: pieces at its seams, and how many regions it has left on the disk."""

    at_seams: BlockRegions
    count: int
    area_px: int


def trace_task(tracing: Tracing, block: Tile) -> TracedBlock:
    """Find the regions of one block; leave those that are whole on the disk."""
    traced = _trace(tracing, block)
    whole = finished_regions(traced.counts, traced.region_of_part, traced.rings, tracing.connectivity)
    whole = at_least(whole, tracing.raster.source.grid, tracing.square_metres)
    save_part(tracing.parts, block, whole)
    return TracedBlock(traced.without_whole(), len(whole), int(whole.counts.area_px.sum()))


def _trace(tracing: Tracing, block: Tile) -> BlockRegions:
    around = block.grow(1)
    codes, valid = tracing.raster.read(around)
    classes, peak = classify(codes, cutoffs_of(tracing.threshold.at(around), tracing.raster.step))
    area = tracing.raster.source.grid.area
    return trace_block(classes, peak, valid, block, area, connectivity=tracing.connectivity, keep=tracing.keep)


def collect_regions(tracing: Tracing, work: Work, store: RegionStore) -> None:
    """Trace all blocks, merge over their seams, and put finished regions into the store."""
    grid = tracing.raster.source.grid
    wide = BLOCK_SIDE * (4 if grid.area.size > VERY_LARGE else 1)  # not too many blocks are to come back
    blocks = list(partition(grid.shape, (BLOCK_SIDE, wide)))
    merger = SeamMerger(blocks, connectivity=tracing.connectivity, keep=tracing.keep)
    for block, traced in work.map("polygons", partial(trace_task, tracing), blocks):
        store.add_part(block, traced.count, traced.area_px)
        store.add(at_least(merger.add(traced.at_seams), grid, tracing.square_metres))
    store.add(at_least(merger.finish(), grid, tracing.square_metres))


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
    keep = RegionFilter(
        min_area=smallest.pixels,
        min_peak=cutoff_of(chosen.threshold.peak, raster.step),
        min_confidence=raster.provenance.min_confidence if options.min_confidence is None else options.min_confidence,
        score_scale=raster.step,
    )
    rows = band_rows(raster.source.grid)
    with RegionStore(scratch, rows) as store, RegionStore(scratch, rows) as simple:
        tracing = Tracing(
            raster, chosen.threshold, options.connectivity, keep, store.folder, square_metres=smallest.square_metres
        )
        collect_regions(tracing, work, store)
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


def band_rows(grid: Grid) -> range:
    """Return at which rows the bands of a store begin: those of the blocks."""
    return range(0, grid.shape[0], BLOCK_SIDE)


@dataclass(frozen=True, slots=True)
class Survey:
    """Regions counted, and where they lie."""

    totals: RegionTotals
    cells: Bools
    """(rows, cols) whether a cell of so many pixels is changed; each region shows, however small it is."""


def survey_regions(store: RegionStore, grid: Grid, work: Work, step: int) -> Survey:
    """Count regions and their area, and mark cells of `step` x `step` pixels."""
    cells = np.zeros((ceil(grid.shape[0] / step), ceil(grid.shape[1] / step)), bool)
    square_metres = 0.0
    for band in work.crew.map_ordered(partial(survey_band, grid, step), store.bands()):
        cells[band.row : band.row + len(band.cells)] |= band.cells
        square_metres += band.square_metres
    return Survey(_totals(store, grid, square_metres), cells)


@dataclass(frozen=True, slots=True)
class SurveyedBand:
    """What `survey_regions` learns of a band."""

    square_metres: float
    row: int
    """Of the cells."""
    cells: Bools
    """(rows, cols) of the rows that the band's regions touch."""


def survey_band(grid: Grid, step: int, band: Band) -> SurveyedBand:
    """Measure the regions of a band; its square metres are 0 where those of a pixel are known."""
    square_metres = 0.0
    cells = np.zeros((ceil(grid.shape[0] / step), ceil(grid.shape[1] / step)), bool)
    for regions in band.chunks():
        cells |= covered_cells(regions.polygons, cells.shape, step)
        cells[regions.first[:, 0] // step, regions.first[:, 1] // step] = True
        if grid.crs is not None and not grid.true_to_scale:
            square_metres += float(measure(regions.polygons, grid)[0].sum())
    rows = np.flatnonzero(cells.any(axis=1))
    return SurveyedBand(square_metres, int(rows[0]), cells[rows[0] : rows[-1] + 1])


def total_regions(store: RegionStore, grid: Grid, work: Work) -> RegionTotals:
    """Count regions and their area."""
    return survey_regions(store, grid, work, max(grid.shape)).totals


def _totals(store: RegionStore, grid: Grid, square_metres: float) -> RegionTotals:
    if grid.crs is None:
        return RegionTotals(len(store), store.area_px(), None)
    if grid.true_to_scale:
        square_metres = store.area_px() * pixel_area(grid.transform, grid.crs)
    return RegionTotals(len(store), store.area_px(), round(square_metres, 2))
