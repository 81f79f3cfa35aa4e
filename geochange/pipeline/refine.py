"""`refine`: a probability raster whose changes end where the images have edges, in the form that `detect` writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.engine.cluster import ClusterOptions
from geochange.engine.cog import RasterSpec
from geochange.engine.progress import Listener
from geochange.engine.raster_output import RasterOutput, raster_output
from geochange.engine.work import Work, grid_blocks, open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, NothingValid, UnreadableInput
from geochange.files import require_geotiff, require_writable, write_whole
from geochange.pipeline.options import RefineOptions, choose_options_and_cluster
from geochange.probability.boundaries import GuidedFilter, LocalField, guide_codes
from geochange.probability.content import require_mask, understand
from geochange.probability.morphology import Close, Disc, Open
from geochange.probability.raster import (
    ScoreRaster,
    classify,
    cutoff_of,
    encode_probability,
    in_steps,
    open_scores,
    probability_spec,
    steps_of,
)
from geochange.probability.refinement import ScorePart, Step, apply_steps
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.lengths import length_on, shown_length
from geochange.scenes.opening import files_of
from geochange.scenes.options import NO_MASK, SceneOptions
from geochange.scenes.pairing import RESAMPLINGS, open_image
from geochange.scenes.scene import open_masked
from geochange.scenes.source import Source, read_beyond
from geochange.scenes.warped import on_grid

if TYPE_CHECKING:
    import xarray as xr

STATISTICS_CELL = 1024  # px; bands are measured in cells of a lattice that no option changes
LARGEST_DISC = 256  # px


def steps_on(grid: Grid, options: RefineOptions) -> tuple[Step, ...]:
    """Return the corrections in their order, discs in pixels of a grid.

    Raises:
        BadOption: there is none, or a disc cannot be drawn on the grid.
    """
    steps: list[Step] = [*_led_steps(options)]
    if options.opening is not None:
        steps.append(Open(disc_on("open", options.opening, grid)))
    if options.closing is not None:
        steps.append(Close(disc_on("close", options.closing, grid)))
    if not steps:
        raise BadOption("no correction is asked for; add --guided, --crf, --open or --close")
    return tuple(steps)


def _led_steps(options: RefineOptions) -> list[GuidedFilter | LocalField]:
    """Return the corrections that images lead."""
    steps: list[GuidedFilter | LocalField] = []
    if options.guided:
        steps.append(GuidedFilter(radii=options.guided, eps=options.guided_eps))
    if options.crf is not None:
        steps.append(
            LocalField(
                iterations=options.crf,
                radius=options.crf_radius,
                weight=options.crf_weight,
                contrast=options.crf_contrast,
                smoothness=options.crf_smoothness,
            )
        )
    return steps


def describe(options: RefineOptions) -> list[str]:
    """Describe what is done, for the raster's tags."""
    led = [
        " ".join([step.name, *(f"{key}={value}" for key, value in asdict(step).items())])
        for step in _led_steps(options)
    ]
    discs = (("open", options.opening), ("close", options.closing))
    return led + [f"{name} {shown_length(radius)}" for name, radius in discs if radius is not None]


def disc_on(name: str, text: str | float, grid: Grid) -> Disc:
    """Return the disc of a radius on a grid.

    Raises:
        BadOption: metres without a CRS, or a disc of just one pixel or of too many.
    """
    radii = length_on(name, text, grid)
    if not 1 <= max(radii) <= LARGEST_DISC:
        raise BadOption(
            f"{name} {shown_length(text)} is {max(radii):.3g} pixels here; it must be within 1..{LARGEST_DISC}"
        )
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
    """Pixels of change in the raster that was written."""

    crossed: int
    """Pixels that changed sides, or classes."""

    seconds: dict[str, float] = field(default_factory=dict)

    def open(self) -> xr.DataArray:
        """Open the raster lazily: (band, y, x) in 0..1, a band for each class, NaN where there are no data."""
        return open_masked(self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
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

    source: Source
    mean: Floats
    deviation: Floats

    def read(self, tile: Tile) -> tuple[Ints, Bools]:
        """Return (band, y, x) in steps of the bands' deviations, and validity; nothing is valid beyond the grid."""
        values, valid = read_beyond(self.source.read, self.source.grid.area, tile)
        return guide_codes(values, valid, self.mean, self.deviation), valid


@dataclass(frozen=True, eq=False)
class _Refining:
    """All that a worker needs to correct one block."""

    raster: ScoreRaster
    guides: tuple[_Guide, ...]
    steps: tuple[Step, ...]
    threshold: float
    output: RasterOutput

    def read(self, tile: Tile) -> ScorePart:
        """Return probabilities and images of a tile, in the steps of the raster that is written."""
        codes, valid = self.raster.read(tile)
        led = [guide.read(tile) for guide in self.guides]
        valid = np.logical_and.reduce([valid, *(known for _, known in led)])
        top = steps_of(self.output.spec.dtype)
        guide = np.concatenate([bands for bands, _ in led]) if led else np.zeros((0, *valid.shape), np.int32)
        return ScorePart(
            codes=in_steps(codes, self.raster.steps, top),
            valid=valid,
            guide=guide,
            steps=top,
            cutoff=cutoff_of(self.threshold, 1 / top),
        )


def refine(
    probability: str | os.PathLike[str],
    out: str | os.PathLike[str],
    options: RefineOptions | None = None,
    *,
    image: str | os.PathLike[str] | None = None,
    before: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Refined:
    """Correct the boundaries in a probability raster, and write another one that `vectorize` takes.

    Args:
        probability: as `vectorize` takes it: probabilities, one band a class, or a mask.
        out: the GeoTIFF; uint8 where the input is, else float32.
        options: the corrections.
        image: the image that leads: the later date, as a rule.
        before: one more image that leads, for change that took something away.
        overwrite: replace a file that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: a file is missing or broken.
        BadOption: no correction is asked for, an image is missing, or a CRS for a radius in metres.
        GridMismatch: an image and the raster do not overlap, or just one has a CRS.
        NothingValid: they share no pixel.
        OutputInTheWay: `out` exists and `overwrite` is off, or is an input.
    """
    options, cluster = choose_options_and_cluster(RefineOptions, options, cluster, settings)
    path = Path(out)
    images = [os.fspath(each) for each in (before, image) if each is not None]
    require_geotiff(path)
    inputs = [probability, *images, *(name for each in images for name in files_of(each))]
    require_writable([path], overwrite=overwrite, inputs=inputs)
    needs = Needs(inputs=inputs, folder=path.absolute().parent)
    with open_work(cluster, listener, needs) as work, ExitStack() as stack:
        raster = _open_probability(os.fspath(probability), work)
        steps = steps_on(raster.source.grid, options)
        _require_images(steps, image is not None, before is not None)
        reading = SceneOptions(bands=options.bands, nodata=options.nodata)
        opened = [open_image(name, place, reading, NO_MASK) for place, name in enumerate(images)]
        resampling, grid = RESAMPLINGS[options.resampling], raster.source.grid
        sources = [on_grid(each, grid, resampling, raster.source.name) for each in opened]
        threshold = _threshold(raster, options)
        output = stack.enter_context(raster_output(path, _spec(raster, options), options.block_size))
        guides = tuple(_measure(source, work) for source in sources)
        counts = _refine_blocks(_Refining(raster, guides, steps, threshold, output), work)
        output.pack(work)
    return Refined(path, describe(options), threshold, *counts, work.stages.seconds)


def _spec(raster: ScoreRaster, options: RefineOptions) -> RasterSpec:
    """Describe the raster that is written: as the one that is given, with the corrections."""
    return probability_spec(
        raster.source.grid,
        raster.stored_dtype,
        raster.classes,
        raster.thresholds,
        replace(raster.provenance, refined=(*raster.provenance.refined, *describe(options))),
    )


def _open_probability(path: str, work: Work) -> ScoreRaster:
    raster = understand(open_scores(path), work)
    require_mask(raster)
    if len(raster.classes) != len(raster.source.bands):
        raise UnreadableInput(
            f"{path} has {len(raster.source.bands)} bands, and its tags name {len(raster.classes)} classes; "
            "they must be as many"
        )
    return raster


def _threshold(raster: ScoreRaster, options: RefineOptions) -> float:
    """Return the threshold as given, or the raster's own, else 0.5."""
    threshold = raster.thresholds.get("default", 0.5) if options.threshold is None else options.threshold
    if not threshold > 0:
        raise BadOption(f"the threshold of {raster.source.name} is {threshold}: all of it is change; give --threshold")
    return threshold


def _require_images(steps: Sequence[Step], has_image: bool, has_before: bool) -> None:
    led = any(step.needs_guide for step in steps)
    if led and not has_image:
        raise BadOption("--guided and --crf are led by an image; name it with --image")
    if not led and (has_image or has_before):
        raise BadOption("--open and --close look at no image; leave out --image and --before, or add --guided or --crf")


def _measure(source: Source, work: Work) -> _Guide:
    """Measure mean and deviation of each band over the scene."""
    total = np.zeros((3, len(source.bands)))
    for _, sums in work.map("measure", partial(_sums_task, source), grid_blocks(source.grid, STATISTICS_CELL)):
        total += sums
    count, first, second = total
    if not count.all():
        raise NothingValid(f"{source.name} holds no data where the probabilities lie")
    mean = first / count
    return _Guide(source, mean, np.sqrt(np.maximum(second / count - mean**2, 0)))


def _sums_task(source: Source, cell: Tile) -> Floats:
    """Return (3, band) of one cell: valid pixels, and the sums of their values and of the squares."""
    values, valid = source.read(cell)
    known = values[:, valid].astype(np.float64)
    return np.stack([np.full(len(known), known.shape[1], float), known.sum(axis=1), (known**2).sum(axis=1)])


def _refine_blocks(refining: _Refining, work: Work) -> tuple[int, int, int]:
    """Leave a file for each block; return pixels of change before and after, and those that crossed."""
    counts = np.zeros(4, np.int64)
    for _, own in work.map("refine", partial(_refine_task, refining), refining.output.blocks):
        counts += own
    if not counts[0]:
        raise NothingValid(f"{refining.raster.source.name} holds no pixel with data, or none where the images do")
    return int(counts[1]), int(counts[2]), int(counts[3])


def _refine_task(refining: _Refining, block: Tile) -> Ints:
    """Correct one block and leave its file; (4,) pixels that are valid, changed before, changed after, crossed."""
    reach = sum(step.reach for step in refining.steps)
    part = refining.read(block.grow(reach))
    rows, cols = block.slices((block.row - reach, block.col - reach))
    codes, valid = apply_steps(part, refining.steps)[:, rows, cols], part.valid[rows, cols]
    content = encode_probability(codes / part.steps, valid, refining.output.spec.dtype)
    write_whole(refining.output.file(block), content)
    old, new = (np.where(valid, classify(each, part.cutoff)[0], 0) for each in (part.codes[:, rows, cols], codes))
    return np.array([valid.sum(), (old > 0).sum(), (new > 0).sum(), (old != new).sum()])
