"""`refine`: a probability raster whose changes end where the images have edges, in the form that `detect` writes."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.engine.blend import UINT8_LEVELS, UINT8_NODATA
from geochange.engine.blocks import encode_block
from geochange.engine.cluster import ClusterOptions, Crew, available_cores, open_crew
from geochange.engine.cog import RasterSpec, build_vrt, copy_to_cog
from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import BadOption, GridMismatch, NothingValid, UnreadableInput
from geochange.files import appearing, require_geotiff, require_space, require_writable, write_whole
from geochange.probability.boundaries import GuidedFilter, LocalField, Snap, guide_codes, winners
from geochange.probability.morphology import Close, Disc, Open, pixel_metres
from geochange.probability.raster import (
    CLASSES_TAG,
    FLOAT_STEPS,
    THRESHOLDS_TAG,
    ScoreRaster,
    cutoff_of,
    open_scores,
)
from geochange.probability.refinement import ScorePart, Step
from geochange.probability.refinement import refine as refine_part
from geochange.scenes.differences import grid_differences
from geochange.scenes.grid import Grid, Tile, crs_name
from geochange.scenes.pairing import RESAMPLINGS, pixels_within
from geochange.scenes.scene import FileSource, NodataRule, open_file, readable
from geochange.scenes.tiling import partition
from geochange.scenes.warped import WarpedSource, bounds_in

STATISTICS_CELL = 1024  # px; bands are measured in cells of a lattice that no option changes
LARGEST_DISC = 256  # px
REFINED_TAG = "GEOCHANGE_REFINED"
DETECTOR_TAG = "GEOCHANGE_DETECTOR"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineOptions:
    """Which corrections are made. They follow one another in the order of these fields."""

    guided: GuidedFilter | None = None
    crf: LocalField | None = None
    snap: Snap | None = None

    opening: str | float | None = None
    """Radius of the disc: metres, as in 2, or pixels, as in "3px"."""

    closing: str | float | None = None
    """As `opening`."""

    threshold: float | None = None
    """Around which the field balances, and at which boundaries are snapped; None for the raster's own, else 0.5."""

    bands: tuple[int, ...] | None = None
    """Bands of the images that lead; None for all."""

    nodata: NodataRule = "all"
    """What makes a pixel of the images nodata."""

    resampling: str = "cubic"
    """How an image on another grid is interpolated."""

    block_size: int = 512
    """Pixels per side of a block, one task."""

    def __post_init__(self) -> None:
        for name, radius in (("open", self.opening), ("close", self.closing)):
            if radius is not None:
                parse_radius(name, radius)
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise BadOption(f"threshold {self.threshold} must lie above 0 and at most at 1")
        if self.resampling not in RESAMPLINGS:
            raise BadOption(f"resampling {self.resampling!r} is not one of {', '.join(RESAMPLINGS)}")
        if self.block_size < 16:
            raise BadOption(f"block size {self.block_size} must be at least 16 pixels")

    def steps(self, grid: Grid) -> tuple[Step, ...]:
        """The corrections in their order, discs in pixels of a grid.

        Raises:
            BadOption: there is none, or a disc cannot be drawn on the grid.
        """
        wanted: list[Step | None] = [self.guided, self.crf, self.snap]
        wanted.append(None if self.opening is None else Open(disc_on("open", self.opening, grid)))
        wanted.append(None if self.closing is None else Close(disc_on("close", self.closing, grid)))
        if not any(wanted):
            raise BadOption("no correction is asked for; add --guided, --crf, --snap, --open or --close")
        return tuple(step for step in wanted if step is not None)

    def described(self) -> list[str]:
        """What is done, for the raster's tags."""
        led = [
            f"{name} {' '.join(f'{key}={value}' for key, value in asdict(step).items())}"
            for name, step in (("guided", self.guided), ("crf", self.crf), ("snap", self.snap))
            if step is not None
        ]
        discs = (("open", self.opening), ("close", self.closing))
        return led + [f"{name} {radius}" for name, radius in discs if radius is not None]


def parse_radius(name: str, text: str | float) -> tuple[float, bool]:
    """`2` or `2m` → (2.0, False), metres; `3px` → (3.0, True), pixels.

    Raises:
        BadOption: it is neither, or not above 0.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*(px|m)?\s*", str(text))
    try:
        amount = float(match[1]) if match else -1.0
    except ValueError:
        amount = -1.0
    if match is None or not (amount > 0 and isfinite(amount)):
        raise BadOption(f"{name} {text!r} must be a radius above 0: metres, as in 2, or pixels, as in 3px")
    return amount, match[2] == "px"


def disc_on(name: str, text: str | float, grid: Grid) -> Disc:
    """The disc of a radius on a grid.

    Raises:
        BadOption: metres without a CRS, or a disc of just one pixel or of too many.
    """
    amount, in_pixels = parse_radius(name, text)
    metres = (1.0, 1.0) if in_pixels else pixel_metres(grid)
    if metres is None:
        raise BadOption(f"{name} {text} is in metres, which needs a CRS; give pixels, as in {name} 3px")
    radii = tuple(amount / size for size in metres)
    if not 1 <= max(radii) <= LARGEST_DISC:
        raise BadOption(f"{name} {text} is {max(radii):.3g} pixels here; it must be within 1..{LARGEST_DISC}")
    return Disc.of_radius(*radii)


@dataclass(frozen=True, slots=True)
class Refined:
    """What `refine` wrote."""

    path: Path
    steps: list[str]
    threshold: float
    before: int
    """Pixels of change, at the threshold, in the raster that was given."""

    after: int
    """Pixels of change in the one that was written."""

    crossed: int
    """Pixels that changed sides, or classes."""

    seconds: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "file": str(self.path),
            "steps": self.steps,
            "threshold": self.threshold,
            "changed_px": {"before": self.before, "after": self.after, "crossed": self.crossed},
            "seconds": self.seconds,
        }


@dataclass(frozen=True, eq=False)
class _Guide:
    """An image on the raster's grid, and what its bands are measured by."""

    source: FileSource | WarpedSource
    mean: Floats
    deviation: Floats

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """(band, y, x) in steps of the bands' deviations, and validity; nothing is valid beyond the grid."""
        inside = tile.intersect(self.source.grid.area)
        values, valid = self.source.read(inside)
        around = (
            (inside.row - tile.row, tile.stop_row - inside.stop_row),
            (inside.col - tile.col, tile.stop_col - inside.stop_col),
        )
        codes = guide_codes(values, valid, self.mean, self.deviation)
        return np.pad(codes, ((0, 0), *around)), np.pad(valid, around)


@dataclass(frozen=True, eq=False)
class _Work:
    """All that a worker needs to correct one block."""

    raster: ScoreRaster
    guides: tuple[_Guide, ...]
    steps: tuple[Step, ...]
    threshold: float
    dtype: np.dtype[Any]  # of the raster that is written
    folder: Path

    @property
    def top(self) -> int:
        """The code of probability 1 in what is written."""
        return UINT8_LEVELS if self.dtype == np.uint8 else FLOAT_STEPS

    def file(self, block: Tile) -> Path:
        return self.folder / f"{block.row}_{block.col}.tif"

    def read(self, tile: Tile) -> ScorePart:
        codes, valid = self.raster.read(tile)
        led = [guide.read(tile) for guide in self.guides]
        valid = np.logical_and.reduce([valid, *(known for _, known in led)])
        if self.raster.steps != self.top:
            codes = np.rint(codes * (self.top / self.raster.steps)).astype(np.uint8 if self.top < 256 else np.int32)
        guide = np.concatenate([bands for bands, _ in led]) if led else np.zeros((0, *valid.shape), np.int32)
        cutoff = cutoff_of(self.threshold, 1 / self.top)
        return ScorePart(codes=codes, valid=valid, guide=guide, steps=self.top, cutoff=cutoff)

    def stored(self, codes: Ints, valid: Bools) -> Array:
        """(class, y, x) as it is written."""
        if self.dtype == np.uint8:
            return np.where(valid, codes, UINT8_NODATA).astype(np.uint8)
        return np.where(valid, codes / self.top, np.nan).astype(np.float32)


def refine(
    probability: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: RefineOptions,
    *,
    image: str | os.PathLike[str] | None = None,
    before: str | os.PathLike[str] | None = None,
    cluster: ClusterOptions | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> Refined:
    """Correct the boundaries in a probability raster, and write another one that `vectorize` takes.

    Args:
        probability: as `vectorize` takes it: probabilities, one band a class, or a mask.
        out: the GeoTIFF; of 8 bits where whole numbers of no more came in, else float32.
        options: which corrections are made.
        image: the image that leads: the later date, as a rule.
        before: one more image that leads, for change that took something away.
        cluster: where the work is done.
        overwrite: replace a file that is there.
        listener: hears of the progress.

    Raises:
        UnreadableInput: a file is missing or broken.
        BadOption: no correction is asked for, one lacks its image, or a disc in metres the CRS.
        GridMismatch: an image and the raster do not overlap, or just one has a CRS.
        NothingValid: they share no pixel.
        OutputInTheWay: `out` exists and `overwrite` is off, or is an input.
    """
    path, stages = Path(out), Stages(listener or Silent())
    raster = _open_probability(os.fspath(probability))
    images = [os.fspath(each) for each in (before, image) if each is not None]
    steps = options.steps(raster.source.grid)
    _require_images(steps, image is not None, before is not None)
    require_geotiff(path)
    require_writable([path], overwrite=overwrite, inputs=[probability, *images])
    sources = [_on_grid(name, raster, options) for name in images]
    dtype = np.dtype("uint8" if raster.source.dtype.kind in "iub" and raster.steps <= UINT8_LEVELS else "float32")
    require_space(path.parent, int(raster.source.grid.area.size * len(raster.classes) * dtype.itemsize * 2.4))
    threshold = _threshold(raster, options)
    with (
        tempfile.TemporaryDirectory(prefix=".geochange-", dir=path.parent) as scratch,
        open_crew(cluster or ClusterOptions()) as crew,
    ):
        guides = tuple(_measure(source, crew, stages) for source in sources)
        work = _Work(raster, guides, steps, threshold, dtype, Path(scratch).absolute())
        counts = _refine_blocks(work, options.block_size, crew, stages)
        with stages.stage("pack"), appearing(path) as temporary:
            copy_to_cog(_virtual(work, options), temporary, dtype, available_cores())
    return Refined(path, options.described(), threshold, *counts, stages.seconds)


def _open_probability(path: str) -> ScoreRaster:
    raster = open_scores(path)
    if len(raster.classes) != len(raster.source.bands):
        raise UnreadableInput(
            f"{path} has {len(raster.source.bands)} bands, and names {len(raster.classes)} classes in {CLASSES_TAG}"
        )
    return raster


def _threshold(raster: ScoreRaster, options: RefineOptions) -> float:
    """As given, or the raster's own, else 0.5."""
    threshold = raster.thresholds.get("default", 0.5) if options.threshold is None else options.threshold
    if not threshold > 0:
        raise BadOption(f"the threshold of {raster.source.name} is {threshold}: all of it is change; give --threshold")
    return threshold


def _require_images(steps: Sequence[Step], has_image: bool, has_before: bool) -> None:
    led = any(step.needs_guide for step in steps)
    if led and not has_image:
        raise BadOption("--guided, --crf and --snap are led by an image; name it with --image")
    if not led and (has_image or has_before):
        raise BadOption(
            "--open and --close look at no image; leave out --image and --before, or add --guided, --crf or --snap"
        )


def _on_grid(name: str, raster: ScoreRaster, options: RefineOptions) -> FileSource | WarpedSource:
    """An image on the raster's grid: as it is where it lies on it, else warped while it is read."""
    source, grid = open_file(name, bands=options.bands, nodata=options.nodata), raster.source.grid
    if (source.grid.crs is None) != (grid.crs is None):
        raise GridMismatch(
            f"{raster.source.name} has {crs_name(grid.crs)}, {name} has {crs_name(source.grid.crs)}; "
            "give both a CRS (gdal_edit.py -a_srs), or neither"
        )
    if not grid_differences(grid, source.grid):
        return source
    if pixels_within(grid, bounds_in(source.grid, grid.crs)).size == 0:
        raise GridMismatch(f"{raster.source.name} and {name} do not overlap; name the image that it was made from")
    return WarpedSource(source, grid, RESAMPLINGS[options.resampling])


def _measure(source: FileSource | WarpedSource, crew: Crew, stages: Stages) -> _Guide:
    """Mean and deviation of each band over the scene."""
    cells = list(partition(source.grid.shape, (STATISTICS_CELL, STATISTICS_CELL)))
    total = np.zeros((3, len(source.bands)))
    with stages.stage("measure", len(cells), source.grid.area.size) as progress:
        for cell, sums in zip(cells, crew.map_ordered(partial(_sums_task, source), cells), strict=True):
            total += sums
            progress.advance(cell.size)
    count, first, second = total
    if not count.all():
        raise NothingValid(f"{source.name} holds no data where the probabilities lie")
    mean = first / count
    return _Guide(source, mean, np.sqrt(np.maximum(second / count - mean**2, 0)))


def _sums_task(source: FileSource | WarpedSource, cell: Tile) -> Floats:
    """(3, band) of one cell: valid pixels, and the sums of their values and of the squares."""
    values, valid = source.read(cell)
    known = values[:, valid].astype(np.float64)
    return np.stack([np.full(len(known), known.shape[1], float), known.sum(axis=1), (known**2).sum(axis=1)])


def _refine_blocks(work: _Work, side: int, crew: Crew, stages: Stages) -> tuple[int, int, int]:
    """Leaves a file for each block; pixels of change before and after, and those that crossed."""
    grid = work.raster.source.grid
    blocks, counts = list(partition(grid.shape, (side, side))), np.zeros(4, np.int64)
    with stages.stage("refine", len(blocks), grid.area.size) as progress:
        for block, own in zip(blocks, crew.map_ordered(partial(_refine_task, work), blocks), strict=True):
            counts += own
            progress.advance(block.size)
    if not counts[0]:
        raise NothingValid(f"{work.raster.source.name} holds no pixel with data, or none where the images do")
    return int(counts[1]), int(counts[2]), int(counts[3])


def _refine_task(work: _Work, block: Tile) -> Ints:
    """Correct one block and leave its file; (4,) pixels that are valid, changed before, changed after, crossed."""
    reach = sum(step.reach for step in work.steps)
    part = work.read(block.grow(reach))
    rows, cols = block.slices((block.row - reach, block.col - reach))
    codes, valid = refine_part(part, work.steps)[:, rows, cols], part.valid[rows, cols]
    write_whole(work.file(block), encode_block(work.stored(codes, valid)))
    old, new = (np.where(valid, winners(each, part.cutoff), 0) for each in (part.codes[:, rows, cols], codes))
    return np.array([valid.sum(), (old > 0).sum(), (new > 0).sum(), (old != new).sum()])


def _virtual(work: _Work, options: RefineOptions) -> Path:
    """A VRT over the block files, with what the given raster says of itself."""
    source = work.raster.source
    with readable(source.path), rasterio.open(source.path) as dataset:
        kept = {name: dataset.tags()[name] for name in (DETECTOR_TAG,) if name in dataset.tags()}
        earlier = json.loads(dataset.tags().get(REFINED_TAG, "[]"))
    tags = {
        **kept,
        THRESHOLDS_TAG: json.dumps(dict(work.raster.thresholds)),
        CLASSES_TAG: json.dumps(list(work.raster.classes)),
        REFINED_TAG: json.dumps([*earlier, *options.described()]),
    }
    spec = RasterSpec(
        grid=source.grid, dtype=work.dtype, band_names=work.raster.classes, tags=tags, scaled=work.dtype == np.uint8
    )
    path = work.folder / "refined.vrt"
    blocks = partition(source.grid.shape, (options.block_size, options.block_size))
    build_vrt([(work.file(block), block) for block in blocks], spec, path)
    return path
