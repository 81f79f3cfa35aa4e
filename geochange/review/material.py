"""What a network learns from a review: labels as rasters, and the parts of the scene that hold some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.io import DatasetWriter

from geochange.arrays import IGNORE, Array, Bools, Ints
from geochange.datasets.balance import count_classes
from geochange.datasets.collection import Collection, Item
from geochange.datasets.listings import LabelledPair
from geochange.datasets.options import CollectionOptions
from geochange.datasets.splits import SPLIT_GAP, choose_cells
from geochange.errors import NothingValid
from geochange.files import appearing
from geochange.review.queue import cell_sample
from geochange.review.saved import SavedReview
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.writing import geotiff_profile

LABEL_TILE = 512  # px
AROUND = 128  # px about labels outside of cells that were looked at, for the network to see
TRAINING, HELD_OUT = "labels.tif", "held-out.tif"


@dataclass(frozen=True, slots=True)
class LabelledPart:
    """A part of a scene that holds labels."""

    cell: int
    tile: Tile
    """Of the labelled pixels."""
    counts: Ints
    """(classes + 2,) pixels: unchanged, of each class, not labelled."""

    @property
    def changed(self) -> bool:
        """Whether some pixel is of a class."""
        return bool(self.counts[1:-1].any())


@dataclass(frozen=True)
class ReviewMaterial:
    """Labels of a review, written as rasters on the scene's grid."""

    training: tuple[Item, ...]
    held_out: tuple[Item, ...]
    record: dict[str, Any]
    """What run.json says of them."""

    gsd: float | None
    """Metres a pixel."""

    def collections(self, options: CollectionOptions) -> tuple[Collection, Collection]:
        """Return what to train on, and what is held out."""
        how = replace(options, gsd=self.gsd)
        first, second = (Collection(items=part, options=how, gsd=self.gsd) for part in (self.training, self.held_out))
        return first, second


def write_labels(path: Path, saved: SavedReview, *, looked_alone: bool = False) -> list[LabelledPart]:
    """Write what is known of a scene as a raster: 0 unchanged, k a class, 255, its nodata, not labelled.

    Args:
        path: a GeoTIFF, which must not be there.
        saved: the review.
        looked_alone: whether to leave out what was decided elsewhere than in cells that were looked at.

    Returns:
        The cells that hold labels.

    Raises:
        DiskFull: the disk has no room for it.
        UnreadableInput: an image cannot be read.
    """
    labels, scene = saved.labels(), saved.run.scene
    parts = []
    with appearing(path) as temporary, _label_raster(temporary, scene.grid, IGNORE) as dataset:
        for place, cell in enumerate(saved.cells.tiles):
            if not labels.tells_of(cell) or (looked_alone and not saved.looked_at(place)):
                continue
            valid: Bools = np.all(scene.read(cell)[1], axis=0)
            drawn = labels.draw(cell, valid)
            if (known := drawn != IGNORE).any():
                dataset.write(drawn, 1, window=cell.window)
                parts.append(LabelledPart(place, _around(known, cell), count_classes(drawn, len(saved.run.classes))))
    return parts


def write_mask(path: Path, saved: SavedReview) -> None:
    """Write changes that were kept as a raster: k a class, and 0 all else, looked at or not.

    Args:
        path: a GeoTIFF, which must not be there.
        saved: the review.

    Raises:
        DiskFull: the disk has no room for it.
    """
    kept = saved.labels().kept()
    with appearing(path) as temporary, _label_raster(temporary, saved.run.scene.grid, None) as dataset:
        for cell in saved.cells.tiles:
            drawn, _ = kept.read(cell)
            if drawn.any():
                dataset.write(drawn.astype(np.uint8), 1, window=cell.window)


def write_material(folder: Path, saved: SavedReview, *, share: float, bands: tuple[int, ...] | None) -> ReviewMaterial:
    """Write the labels of a review for a training, and hold some of the cells that were looked at out of it.

    Held-out cells are those that come first in a random order; nothing within `SPLIT_GAP` pixels of them is labelled in
    the training's raster.

    Args:
        folder: in which the rasters are written.
        saved: the review.
        share: of the cells to hold out.
        bands: of the images, in place of those of the run; None: the run's.

    Raises:
        NothingValid: nothing has been decided.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = write_labels(folder / TRAINING, saved)
    if not parts:
        raise NothingValid(f"{saved.run.out} has no label yet: keep or reject changes, or look at cells, first")
    chosen = hold_out(folder, saved, parts, share)
    held = [saved.cells.tiles[cell] for cell in chosen]
    opening = saved.run.opening
    if bands is not None:
        opening = replace(opening, options=replace(opening.options, bands=bands))
    dates = tuple(source.name for source in saved.run.scene.sources)
    pair = LabelledPair(saved.run.out.name, dates, str(folder / TRAINING), opening=opening)
    with rasterio.open(folder / TRAINING) as dataset:
        left = [part for part in parts if (dataset.read(1, window=part.tile.window) != IGNORE).any()]
    training = [_reach(part, saved) for part in left]
    return ReviewMaterial(
        tuple(Item(pair, tile) for tile in training),
        tuple(Item(replace(pair, labels=str(folder / HELD_OUT), split="val"), tile) for tile in held),
        _record(saved, parts, held),
        saved.run.scene.gsd,
    )


def hold_out(folder: Path, saved: SavedReview, parts: Sequence[LabelledPart], share: float) -> list[int]:
    """Move the labels of some of the cells that were looked at to a raster of their own, and leave none near them.

    Args:
        folder: of the rasters.
        saved: the review.
        parts: cells that hold labels.
        share: of the cells to hold out.

    Returns:
        Numbers of the cells.
    """
    looked = [part for part in parts if saved.looked_at(part.cell)]
    place = {part.cell: number for number, part in enumerate(looked)}
    order = [place[cell] for cell in cell_sample(len(saved.cells.tiles)).tolist() if cell in place]
    chosen = sorted(looked[number].cell for number in choose_cells([part.changed for part in looked], order, share))
    if chosen:
        _take_out(folder, saved.run.scene.grid, [saved.cells.tiles[cell] for cell in chosen])
    return chosen


def _reach(part: LabelledPart, saved: SavedReview) -> Tile:
    """Return what is read for a part: its cell where it was looked at, else its labels with what lies around them."""
    cell = saved.cells.tiles[part.cell]
    if saved.looked_at(part.cell):
        return cell
    return part.tile.grow(AROUND).intersect(saved.run.scene.grid.area)


def _around(known: Array, cell: Tile) -> Tile:
    """Return the smallest tile about the pixels of a cell that are known."""
    rows, cols = np.flatnonzero(known.any(axis=1)), np.flatnonzero(known.any(axis=0))
    height, width = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
    return Tile(cell.row + int(rows[0]), cell.col + int(cols[0]), height, width)


def _take_out(folder: Path, grid: Grid, held: Sequence[Tile]) -> None:
    """Move the labels of held-out cells to a raster of their own, and leave none near them."""
    with (
        rasterio.open(folder / TRAINING, "r+") as training,
        appearing(folder / HELD_OUT) as temporary,
        _label_raster(temporary, grid, IGNORE) as other,
    ):
        for cell in held:
            other.write(training.read(1, window=cell.window), 1, window=cell.window)
        for cell in held:
            near = cell.grow(SPLIT_GAP).intersect(grid.area)
            training.write(np.full(near.shape, IGNORE, np.uint8), 1, window=near.window)


@contextmanager
def _label_raster(path: Path, grid: Grid, nodata: int | None) -> Iterator[DatasetWriter]:
    """Open a new raster that is all nodata, or all 0 where there is none.

    Nodata must be tagged: of a raster that holds 0 and 255 alone, 255 would be the change.
    """
    profile = geotiff_profile(grid, 1, "uint8", nodata, tile=LABEL_TILE)
    with rasterio.open(path, "w", **profile, sparse_ok=True) as dataset:
        yield dataset


def _record(saved: SavedReview, parts: Sequence[LabelledPart], held: Sequence[Tile]) -> dict[str, Any]:
    counts = sum((part.counts for part in parts), np.zeros(len(saved.run.classes) + 2, np.int64))
    names = ("unchanged", *saved.run.classes)
    return {
        "run": saved.run.out.name,
        **saved.identity(),
        "tally": saved.tally(),
        "undecided": saved.undecided_where_looked(),
        "pixels": dict(zip(names, counts.tolist(), strict=False)),
        "cells": {"labelled": len(parts), "held_out": [[tile.row, tile.col, *tile.shape] for tile in held]},
    }
