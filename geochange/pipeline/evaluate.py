"""`evaluate`: predicted changes against a reference, by pixel, by boundary and by object."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from affine import Affine
from PIL import Image

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.engine.cluster import ClusterOptions
from geochange.engine.progress import Listener
from geochange.engine.work import Work, grid_blocks, open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, NothingValid, UnreadableInput
from geochange.evaluation.average_precision import AveragePrecision, Objects, PrecisionOptions, average_precision
from geochange.evaluation.bootstrap import CellCounts, merge_cells
from geochange.evaluation.boundary_scores import BOUNDARY_HALO, boundaries_by_cell, score_boundaries
from geochange.evaluation.classes import Classes
from geochange.evaluation.estimate_scores import EstimateErrors, Estimates, score_estimates
from geochange.evaluation.object_scores import ObjectOptions, score_objects
from geochange.evaluation.picture import Outcome, classify_outcomes, count_outcomes, draw_outcomes
from geochange.evaluation.pixel_scores import confusion_by_cell, score_pixels
from geochange.evaluation.report import Evaluation
from geochange.files import appearing, require_writable
from geochange.parsing import parsing
from geochange.pipeline.options import EvaluateOptions, choose_options_and_cluster
from geochange.polygons.features import map_polygons
from geochange.polygons.regions import BlockRegions, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.probability.content import require_no_threshold
from geochange.probability.label_maps import LabelMap, RasterLabels, as_change, labels_on, open_labels
from geochange.probability.raster import ScoreRaster
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.ground import unit_metres
from geochange.scenes.layers import Layer, VectorLabels, in_pixels
from geochange.scenes.scene import open_grid
from geochange.scenes.source import read_beyond
from geochange.scenes.tiling import cell_side

SCORE_COLUMNS = ("score_mean", "score")
SIZE_COLUMNS, PLACE_COLUMNS = ("size", "area_px"), ("centre_x", "centre_y")
PICTURE_SIDE = 1600  # px; longest side of the picture
MOST_PIXELS = 10**10  # of the grid that two vector layers are compared on
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif")
VECTOR_GRID_SIDE = 4096  # px; longest side of the grid that two vector layers are compared on


@dataclass(frozen=True)
class _Comparison:
    """All that a worker needs to compare one block."""

    predicted: LabelMap
    reference: LabelMap
    grid: Grid
    classes: Classes = field(default_factory=Classes)
    cell: int = 256
    traced: tuple[bool, bool] = (True, True)  # whether objects of (predicted, reference) come from their pixels
    places: tuple[Ints | None, Ints | None] = (None, None)  # (n, 2) row and column in each polygon of the two layers
    skip: int = 1  # every so many-th pixel goes into the picture

    def read(self, tile: Tile) -> tuple[Ints, Ints, Bools]:
        """Return labels of both, 0 where not scored, and (y, x) whether a pixel is scored; none is beyond the grid."""
        sides = (self.predicted, self.reference)
        (predicted, seen), (reference, known) = (read_beyond(side.read, self.grid.area, tile) for side in sides)
        scored: Bools = seen & known
        return np.where(scored, predicted, 0), np.where(scored, reference, 0), scored

    def positions(self, labels: Ints) -> Ints:
        """Labels as their positions among the classes."""
        order = np.argsort(self.classes.labels)
        return order[np.searchsorted(np.array(self.classes.labels)[order], labels)]


@dataclass(frozen=True, slots=True)
class _Side:
    """Objects of one side, in map units, and their scores where they have some."""

    polygons: Array
    classes: Ints
    scores: Floats | None = None
    estimates: Estimates | None = None


@dataclass(frozen=True)
class _BlockComparison:
    confusions: CellCounts
    boundaries: CellCounts
    regions: tuple[BlockRegions | None, BlockRegions | None]
    scored: tuple[Ints, Ints]  # which of the comparison's places lie on a scored pixel of the block
    outcomes: Ints


def evaluate(
    predicted: str | os.PathLike[str],
    reference: str | os.PathLike[str],
    options: EvaluateOptions | None = None,
    *,
    picture: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    cluster: ClusterOptions | None = None,
    listener: Listener | None = None,
    **settings: Any,
) -> Evaluation:
    """Score predicted changes against a reference.

    They are compared on the grid that the options name; else on the reference's where it is a raster, else on the
    prediction's; for two vector layers, on a grid over both. Pixels where either holds nodata or an ignored label are
    not scored.

    Args:
        predicted: a raster of probabilities or labels, or a vector layer of polygons.
        reference: likewise.
        options: ignored labels, threshold, matching.
        picture: a PNG file to write, of hits, misses and false alarms.
        overwrite: replace a picture that is there.
        cluster: where the work is done.
        listener: receives progress updates.
        settings: options by name, also those of the cluster, in place of those in `options` and `cluster`.

    Raises:
        UnreadableInput: one of them is neither a raster nor a layer of polygons.
        GridMismatch: only one of them has a CRS.
        NothingValid: no pixel is to be scored.
        OutputInTheWay: the picture exists and `overwrite` is off, is an input, or cannot be written.
    """
    options, cluster = choose_options_and_cluster(EvaluateOptions, options, cluster, settings)
    if picture is not None:
        _require_picture(Path(picture), (predicted, reference, options.grid), overwrite=overwrite)
    with open_work(cluster, listener, Needs(inputs=[predicted, reference])) as work:
        sides = open_labels(predicted, work, options.ignore), open_labels(reference, work, options.ignore)
        if isinstance(sides[0], ScoreRaster):
            require_no_threshold(sides[0], options.threshold)
        grid = _common_grid(*sides, options)
        comparison = _prepare(sides, grid, options, work)
        parts = list(work.map("compare", partial(_compare_task, comparison), grid_blocks(grid)))
    pixels = score_pixels(merge_cells(part.confusions for _, part in parts).counts, comparison.classes)
    if pixels.confusion.sum() == 0:
        raise NothingValid(f"{predicted} and {reference} share no pixel that is to be scored")
    boundaries = merge_cells(part.boundaries for _, part in parts).counts
    objects = [_objects(side, place, comparison, parts, options) for place, side in enumerate(sides)]
    side = comparison.cell * max(grid.resolution)
    object_scores = score_objects(
        objects[0].polygons, objects[1].polygons, ObjectOptions(threshold=options.iou, cell=side)
    )
    if picture is not None:
        _draw(parts, comparison, pixels.confusion, Path(picture))
    return Evaluation(
        pixels=pixels,
        objects=object_scores,
        boundaries=score_boundaries(boundaries, comparison.classes),
        average_precision=_average_precision(objects[0], objects[1], grid, int(pixels.confusion.sum())),
        estimates=_estimate_errors(objects[0], objects[1], options),
    )


def _require_picture(path: Path, inputs: Sequence[str | os.PathLike[str] | None], *, overwrite: bool) -> None:
    """Refuse, before any work is done, a picture that could not be written at the end, or would replace an input."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise BadOption(f"picture {path.name} must end in {', '.join(PICTURE_SUFFIXES)}")
    require_writable([path], overwrite=overwrite, inputs=inputs)


def _common_grid(predicted: ScoreRaster | Layer, reference: ScoreRaster | Layer, options: EvaluateOptions) -> Grid:
    if options.grid is not None:
        return open_grid(options.grid)
    for side in (reference, predicted):
        if isinstance(side, ScoreRaster):
            return side.source.grid
    return _grid_over([side for side in (predicted, reference) if isinstance(side, Layer)], options)


def _grid_over(layers: Sequence[Layer], options: EvaluateOptions) -> Grid:
    """Lay a grid over layers, in the CRS of the last one."""
    crs = layers[-1].frame.crs
    flat = Grid(crs, Affine.identity(), (1, 1))
    extents = [shapely.total_bounds(layer.polygons(flat)) for layer in layers if len(layer.frame)]
    if not extents:
        raise NothingValid(f"neither {' nor '.join(layer.path for layer in layers)} holds a polygon")
    left, bottom = np.min(extents, axis=0)[:2]
    right, top = np.max(extents, axis=0)[2:]
    width = height = max(right - left, top - bottom) / VECTOR_GRID_SIDE
    if options.resolution is not None:
        width, height = options.resolution / np.array(
            unit_metres(crs, np.array([left, bottom, right, top])) if crs else (1, 1)
        )
    shape = ceil((top - bottom) / height) + 1, ceil((right - left) / width) + 1
    if shape[0] * shape[1] > MOST_PIXELS:
        raise BadOption(
            f"resolution {options.resolution} makes a grid of {shape[0]:,} x {shape[1]:,} pixels; choose a coarser one"
        )
    return Grid(crs, Affine(width, 0, left, 0, -height, top), shape)


def _prepare(
    sides: tuple[ScoreRaster | Layer, ScoreRaster | Layer], grid: Grid, options: EvaluateOptions, work: Work
) -> _Comparison:
    predicted, reference = (_labels_of(side, grid, options) for side in sides)
    comparison = _Comparison(
        predicted,
        reference,
        grid,
        cell=cell_side(grid.shape),
        traced=(isinstance(sides[0], ScoreRaster), isinstance(sides[1], ScoreRaster)),
        places=(_places_in(sides[0], grid), _places_in(sides[1], grid)),
        skip=ceil(max(grid.shape) / PICTURE_SIDE),
    )
    if options.classes:
        every = Classes(labels=tuple(range(len(options.classes) + 1)), names=("no change", *options.classes))
        return replace(comparison, classes=every)
    found: list[set[int]] = [set(), set()]
    for _, new in work.map("labels", partial(_labels_task, predicted, reference), grid_blocks(grid)):
        found = [known | more for known, more in zip(found, new, strict=True)]
    many = max(len(known - {0}) for known in found) > 1
    if not many:
        predicted, reference = (as_change(side, own) for side, own in zip((predicted, reference), found, strict=True))
    values = (0, *sorted((found[0] | found[1]) - {0})) if many else (0, 1)
    if len(values) > 255:
        raise BadOption(f"{len(values)} different labels are too many; are these label rasters?")
    return replace(comparison, predicted=predicted, reference=reference, classes=Classes(labels=values))


def _places_in(side: ScoreRaster | Layer, grid: Grid) -> Ints | None:
    """(n, 2) row and column of a pixel inside each polygon of a layer; None for rasters."""
    if isinstance(side, ScoreRaster):
        return None
    points = shapely.point_on_surface(in_pixels(side.polygons(grid), grid))
    places: Ints = np.floor(np.stack([shapely.get_y(points), shapely.get_x(points)], axis=1)).astype(np.int64)
    return places


def _labels_of(side: ScoreRaster | Layer, grid: Grid, options: EvaluateOptions) -> RasterLabels | VectorLabels:
    if isinstance(side, Layer) and options.classes:
        return VectorLabels(in_pixels(side.polygons(grid), grid), _numbers_of_classes(side, options))
    return labels_on(side, grid, options.threshold, options.ignore)


def _numbers_of_classes(layer: Layer, options: EvaluateOptions) -> Ints:
    """(n,) the number of each polygon's class, from 1.

    Raises:
        BadOption: the layer has no such column, or it holds other names.
    """
    column = options.label_column
    if column not in layer.frame.columns:
        raise BadOption(f"{layer.path} has no column {column!r} that names classes; give --label-column")
    numbers = {name: number for number, name in enumerate(options.classes, start=1)}
    named = [str(name) for name in layer.frame[column]]
    if unknown := [name for name in named if name not in numbers]:
        raise BadOption(f"{layer.path} holds the class {unknown[0]!r}; known are {', '.join(options.classes)}")
    return np.array([numbers[name] for name in named], np.int64)


def _labels_task(
    predicted: RasterLabels | VectorLabels, reference: RasterLabels | VectorLabels, block: Tile
) -> list[set[int]]:
    """Return the labels of both sides where all rasters hold data; those of layers, which are 1, need not be read."""
    read = [side.read(block) if isinstance(side, RasterLabels) else None for side in (predicted, reference)]
    scored = np.logical_and.reduce([np.ones(block.shape, bool), *(each[1] for each in read if each is not None)])
    return [{1} if each is None else set(np.unique(each[0][scored]).tolist()) for each in read]


def _compare_task(comparison: _Comparison, block: Tile) -> _BlockComparison:
    around, origin = comparison.read(block.grow(BOUNDARY_HALO)), (block.row, block.col)
    boundaries = boundaries_by_cell(*around, comparison.classes, origin=origin, cell=comparison.cell)
    core = slice(BOUNDARY_HALO, -BOUNDARY_HALO), slice(BOUNDARY_HALO, -BOUNDARY_HALO)
    predicted, reference, scored = around[0][core], around[1][core], around[2][core]
    confusions = confusion_by_cell(
        predicted, reference, scored, comparison.classes, origin=origin, cell=comparison.cell
    )
    regions = [
        _trace(comparison.positions(labels), scored, block, comparison.grid) if wanted else None
        for labels, wanted in zip((predicted, reference), comparison.traced, strict=True)
    ]
    on_scored = [_scored_places(places, scored, block) for places in comparison.places]
    at = np.ix_(*(np.arange(-start % comparison.skip, length, comparison.skip) for start, length in _axes(block)))
    outcomes = classify_outcomes(predicted[at], reference[at], scored[at])
    return _BlockComparison(confusions, boundaries, (regions[0], regions[1]), (on_scored[0], on_scored[1]), outcomes)


def _scored_places(places: Ints | None, scored: Bools, block: Tile) -> Ints:
    """Find which of (n, 2) places lie in a block, and there on a pixel that is scored."""
    if places is None:
        return np.zeros(0, np.intp)
    within = places - (block.row, block.col)
    inside = np.flatnonzero(((within >= 0) & (within < block.shape)).all(axis=1))
    on_scored: Ints = inside[scored[tuple(within[inside].T)]]
    return on_scored


def _axes(block: Tile) -> tuple[tuple[int, int], tuple[int, int]]:
    return (block.row, block.height), (block.col, block.width)


def _trace(labels: Ints, scored: Bools, block: Tile, grid: Grid) -> BlockRegions:
    """Regions of equal labels, given as positions among the classes: there are at most 255 of them."""
    classes, valid = np.pad(labels.astype(np.uint8), 1), np.pad(scored, 1)
    return trace_block(classes, classes, valid, block, grid.area)


def _objects(
    side: ScoreRaster | Layer,
    place: int,
    comparison: _Comparison,
    parts: list[tuple[Tile, _BlockComparison]],
    options: EvaluateOptions,
) -> _Side:
    """Polygons in map units: of a layer those that lie where pixels are scored, of a raster its regions."""
    if isinstance(side, Layer):
        polygons = side.polygons(comparison.grid)
        kept = np.zeros(len(polygons), bool)
        for _, part in parts:
            kept[part.scored[place]] = True
        scores = next((side.frame[name] for name in SCORE_COLUMNS if name in side.frame.columns), None)
        classes = _numbers_of_classes(side, options) if options.classes else np.ones(len(polygons), np.int64)
        numbers = None if scores is None else _numbers(scores, side.path)[kept]
        return _Side(polygons[kept], classes[kept], numbers, _estimates(side, polygons, comparison.grid, kept))
    merger = SeamMerger([block for block, _ in parts])
    traced = (part.regions[place] for _, part in parts)
    regions = [*(merger.add(each) for each in traced if each is not None), merger.finish()]
    classes = np.concatenate([region.counts.classes for region in regions]).astype(np.int64)
    return _Side(
        map_polygons(np.concatenate([region.polygons for region in regions]), comparison.grid),
        classes if options.classes else np.ones(len(classes), np.int64),
    )


def _estimates(layer: Layer, polygons: Array, grid: Grid, kept: Bools) -> Estimates | None:
    """Return the sizes and places that `detect --layers size place` left as columns; None without such columns."""
    columns = layer.frame.columns
    areas = centres = None
    if {*SIZE_COLUMNS} <= {*columns}:
        size, counted = (_floats(layer, name) for name in SIZE_COLUMNS)
        areas = (shapely.area(polygons) * size / counted)[kept]
    if {*PLACE_COLUMNS} <= {*columns}:
        at = geopandas.GeoSeries.from_xy(*(_floats(layer, name) for name in PLACE_COLUMNS), crs=layer.frame.crs)
        moved = at if grid.crs is None else at.to_crs(grid.crs)
        centres = np.stack([moved.x, moved.y], axis=1)[kept]
    return None if areas is None and centres is None else Estimates(areas, centres)


def _floats(layer: Layer, name: str) -> Floats:
    """Return a column of numbers, NaN where there is none.

    Raises:
        UnreadableInput: it holds something else.
    """
    with parsing(layer.path, f"a layer whose column {name} holds numbers"):
        numbers: Floats = layer.frame[name].to_numpy(float, na_value=np.nan)
    return numbers


def _estimate_errors(predicted: _Side, reference: _Side, options: EvaluateOptions) -> EstimateErrors | None:
    if predicted.estimates is None:
        return None
    found, there = (shapely.make_valid(each.polygons) for each in (predicted, reference))
    return score_estimates(found, predicted.estimates, there, options.iou)


def _numbers(scores: Any, path: str) -> Floats:
    """Return the scores of a layer's objects.

    Raises:
        UnreadableInput: one is not a number.
    """
    try:
        numbers: Floats = scores.to_numpy(float, na_value=np.nan)
    except ValueError:
        numbers = np.full(1, np.nan)
    if not np.isfinite(numbers).all():
        raise UnreadableInput(f"{path} has a column {scores.name} that does not hold a number for each object")
    return numbers


def _average_precision(predicted: _Side, reference: _Side, grid: Grid, pixels: int) -> AveragePrecision | None:
    """Average precision of objects that have scores; None for others."""
    if predicted.scores is None:
        return None
    found, there = (shapely.make_valid(in_pixels(each.polygons, grid)) for each in (predicted, reference))
    one, other = np.zeros(len(found), int), np.zeros(len(there), int)  # of one image
    return average_precision(
        Objects(found, one, predicted.classes, predicted.scores),
        Objects(there, other, reference.classes),
        PrecisionOptions(pixels=float(pixels)),
    )


def _draw(parts: list[tuple[Tile, _BlockComparison]], comparison: _Comparison, confusion: Ints, picture: Path) -> None:
    skip = comparison.skip
    outcomes = np.full([ceil(length / skip) for length in comparison.grid.shape], Outcome.NOT_SCORED, np.uint8)
    for block, part in parts:
        row, col = ceil(block.row / skip), ceil(block.col / skip)
        outcomes[row : row + part.outcomes.shape[0], col : col + part.outcomes.shape[1]] = part.outcomes
    drawn = draw_outcomes(outcomes, counts=count_outcomes(confusion))
    with appearing(picture) as temporary:
        Image.fromarray(drawn).save(temporary)
