"""The threshold of a probability raster: as given, as its detector fitted it, or found in passes over its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from geochange.arrays import Array, Floats, Ints
from geochange.engine.work import BLOCK_SIDE, Work, grid_blocks
from geochange.errors import BadOption
from geochange.probability.label_maps import RasterLabels, labels_on, open_labels
from geochange.probability.label_thresholds import (
    CHANGED,
    NOT_LABELLED,
    UNCHANGED,
    LabelCounts,
    LabelledThreshold,
    choose_threshold,
    label_counts,
    no_labels,
    score_threshold,
)
from geochange.probability.local_thresholds import LocalThreshold, cell_threshold
from geochange.probability.options import LocalRule, Threshold, ThresholdOptions
from geochange.probability.raster import ScoreRaster
from geochange.probability.thresholds import HISTOGRAM_METHODS
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layer_files import is_layer
from geochange.scenes.layers import Layer, VectorLabels, in_pixels
from geochange.scenes.tiling import cell_side, partition

HISTOGRAM_BINS = 1024
BIN_VALUES = np.linspace(0, 1, HISTOGRAM_BINS)

SAY_UNCHANGED = {"0", "false", "no", "unchanged", "no change", "no_change", "nochange", "wrong", "rejected"}
SAY_NOTHING = {"", "nan", "none", "null", "<na>", "255", "unreviewed", "unsure", "unknown", "unlabelled"}
"""Values of a layer's column, in any case; all others say that a place has changed."""


@dataclass(frozen=True, slots=True)
class ChosenThreshold:
    """The threshold of a raster, and the labels' figures where they chose it."""

    threshold: Threshold | LocalThreshold
    labelled: LabelledThreshold | None = None
    """Where labels chose it."""

    def to_record(self) -> dict[str, Any]:
        """Return `threshold`, and `threshold_labels` where there were some, for run.json."""
        found = {} if self.labelled is None else {"threshold_labels": self.labelled.to_dict()}
        return {"threshold": self.threshold.record, **found}


def resolve_threshold(raster: ScoreRaster, options: ThresholdOptions, work: Work) -> ChosenThreshold:
    """Find the threshold to use: as given, as the detector fitted it, or found in the raster or by labels.

    Raises:
        BadOption: the detector, or the labels, have none for the precision or recall that is wanted.
        NothingValid: the raster holds no data, or the labels mark nothing with data.
    """
    parsed = options.parsed_threshold
    if isinstance(parsed, Threshold):
        return ChosenThreshold(parsed)
    if isinstance(parsed, LocalRule):
        return ChosenThreshold(local_threshold(raster, parsed, work))
    if options.labels is not None:
        labels = open_labelled(options.labels, options.label_column, raster.source.grid, work)
        labelled = choose_threshold(count_labelled(raster, labels, work), parsed, options.least)
        if options.held_out is not None:
            others = open_labelled(options.held_out, None, raster.source.grid, work)
            labelled = replace(labelled, held_out=score_threshold(count_labelled(raster, others, work), labelled))
        return ChosenThreshold(Threshold(labelled.threshold, labelled.threshold), labelled)
    require_threshold(parsed, raster.thresholds)
    kept = raster.thresholds.get(parsed)
    if parsed in HISTOGRAM_METHODS and kept is None:
        kept = HISTOGRAM_METHODS[parsed](scene_histogram(raster, work), BIN_VALUES)
    return ChosenThreshold(Threshold(*2 * (0.5 if kept is None else kept,)))


def require_threshold(wanted: Threshold | LocalRule | str, kept: Mapping[str, float]) -> None:
    """Raise BadOption where a threshold is wanted for a precision or recall that the detector has none for."""
    if isinstance(wanted, str) and "=" in wanted and wanted not in kept:
        known = ", ".join(name for name in kept if "=" in name)
        raise BadOption(
            f"no threshold is kept for {wanted}; those that are: {known or 'none'}; or give labels with --labels"
        )


def scene_histogram(raster: ScoreRaster, work: Work) -> Ints:
    """Return (HISTOGRAM_BINS,) counts of valid pixels by their largest probability, over the whole raster."""
    counts = np.zeros(HISTOGRAM_BINS, np.int64)
    for _, found in work.map("threshold", partial(tile_histogram, raster), grid_blocks(raster.source.grid)):
        counts += found
    return counts


def tile_histogram(raster: ScoreRaster, tile: Tile) -> Ints:
    """Return (HISTOGRAM_BINS,) counts of the valid pixels of a tile."""
    codes, valid = raster.read(tile)
    return np.bincount(_bins(codes.max(axis=0)[valid], raster.step), minlength=HISTOGRAM_BINS)


def _bins(codes: Ints, step: float) -> Ints:
    bins: Ints = np.rint(codes * (step * (HISTOGRAM_BINS - 1))).astype(np.intp)
    return bins


def local_threshold(raster: ScoreRaster, rule: LocalRule, work: Work) -> LocalThreshold:
    """Find a threshold for each cell of the raster's lattice, never below the scene's: the detector's, else 0.5."""
    grid, scene = raster.source.grid, raster.thresholds.get("default", 0.5)
    side = rule.side(grid.gsd)
    cells = np.empty((ceil(grid.shape[0] / side), ceil(grid.shape[1] / side)))
    blocks = grid_blocks(grid, max(BLOCK_SIDE // side, 1) * side)  # of whole cells
    for block, found in work.map("threshold", partial(_cells_task, raster, side, scene), blocks):
        row, col = block.row // side, block.col // side
        cells[row : row + found.shape[0], col : col + found.shape[1]] = found
    return LocalThreshold(cells, side, scene, rule.high)


def _cells_task(raster: ScoreRaster, side: int, scene: float, block: Tile) -> Floats:
    """Return (rows, cols) thresholds of the cells of a block."""
    found = [cell_threshold(_cell_histogram(raster, cell), BIN_VALUES, scene) for cell in _within(block, side)]
    return np.array(found).reshape(ceil(block.height / side), ceil(block.width / side))


def _within(tile: Tile, side: int) -> Iterator[Tile]:
    """Cut a tile into squares of a side, ragged at its end."""
    for part in partition(tile.shape, (side, side)):
        yield replace(part, row=tile.row + part.row, col=tile.col + part.col)


def _cell_histogram(raster: ScoreRaster, cell: Tile) -> Ints:
    """Count the pixels of a cell, which may be larger than what is read at once."""
    return sum((tile_histogram(raster, part) for part in _within(cell, BLOCK_SIDE)), np.zeros(HISTOGRAM_BINS, np.int64))


@dataclass(frozen=True)
class Labelled:
    """What is known of a raster's pixels: UNCHANGED, CHANGED or NOT_LABELLED."""

    labels: RasterLabels | VectorLabels
    beyond: int = UNCHANGED
    """What pixels are that no polygon covers."""

    def read(self, tile: Tile) -> Array:
        """Return (y, x) uint8 of a tile inside the grid."""
        stored, valid = self.labels.read(tile)
        if self.beyond == NOT_LABELLED:  # polygons: 1 for unchanged, 2 for changed
            return np.array([NOT_LABELLED, UNCHANGED, CHANGED], np.uint8)[stored]
        return np.where(valid, (stored != 0).astype(np.uint8), np.uint8(NOT_LABELLED))


def open_labelled(path: str, column: str | None, grid: Grid, work: Work) -> Labelled:
    """Open labels on a grid: a raster or a layer, of which a column says what has changed, else all has.

    Raises:
        UnreadableInput: they are neither a raster nor a layer of polygons.
        GridMismatch: only one of labels and grid has a CRS.
        BadOption: the layer has no such column.
    """
    if column is not None and not is_layer(path):
        raise BadOption(f"{path} is a raster, which has no column {column!r}")
    opened = open_labels(path, work, (NOT_LABELLED,))
    if column is None or not isinstance(opened, Layer):
        return Labelled(labels_on(opened, grid, None, (NOT_LABELLED,)))
    labels = column_labels(opened, column)
    known = labels != NOT_LABELLED
    polygons = in_pixels(opened.polygons(grid)[known], grid)
    return Labelled(VectorLabels(polygons, labels[known].astype(int) + 1), NOT_LABELLED)


def column_labels(layer: Layer, column: str) -> Ints:
    """Return (n,) UNCHANGED, CHANGED or NOT_LABELLED of each polygon.

    Raises:
        BadOption: the layer has no such column.
    """
    columns = [str(name) for name in layer.frame.columns if name != layer.frame.geometry.name]
    if column not in columns:
        raise BadOption(f"{layer.path} has no column {column!r}; it has {', '.join(columns) or 'none'}")
    texts = [str(value).strip().lower().removesuffix(".0") for value in layer.frame[column]]
    known = {**dict.fromkeys(SAY_UNCHANGED, UNCHANGED), **dict.fromkeys(SAY_NOTHING, NOT_LABELLED)}
    return np.array([known.get(text, CHANGED) for text in texts], np.intp)


def count_labelled(raster: ScoreRaster, labelled: Labelled, work: Work) -> LabelCounts:
    """Count how the labelled pixels of a raster lie over its probabilities."""
    grid, found = raster.source.grid, no_labels(HISTOGRAM_BINS)
    task = partial(_labelled_task, raster, labelled, cell_side(grid.shape))
    for _, part in work.map("threshold", task, grid_blocks(grid)):
        found += part
    return found


def _labelled_task(raster: ScoreRaster, labelled: Labelled, side: int, block: Tile) -> LabelCounts:
    """Count the pixels of a block, in which cells lie whole: their side divides the block's."""
    labels = labelled.read(block)
    if (labels == NOT_LABELLED).all():
        return no_labels(HISTOGRAM_BINS)
    codes, valid = raster.read(block)
    row, col = (np.arange(length) // side for length in block.shape)
    cell = row[:, None] * ceil(block.width / side) + col
    places = _bins(codes.max(axis=0)[valid], raster.step)
    return label_counts(places, labels[valid], cell[valid], HISTOGRAM_BINS)
