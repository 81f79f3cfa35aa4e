"""Labelled pairs and series: folders of images, or scenes with labels, cut into tiles while they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np

from geochange.arrays import IGNORE, Array, Bools, Ints
from geochange.datasets.labels import LabelOptions, read_labels, read_objects
from geochange.datasets.listings import SPLITS, LabelledPair, LeaveOut, is_table, list_pairs, refuse
from geochange.detectors.statistics import Matching, Moments, matching_of, moments_of, valid_pixels
from geochange.errors import BadOption, GeochangeError, NothingValid
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layers import is_layer
from geochange.scenes.pairing import SceneOptions, open_scene
from geochange.scenes.scene import open_file

MOST_MATCHED = 64
SAME_GSD = 1.05  # largest ratio of pixel sizes that count as one


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a labelled pair that is read at once."""

    pair: LabelledPair
    tile: Tile

    @property
    def name(self) -> str:
        return f"{self.pair.name} at row {self.tile.row}, column {self.tile.col}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What an item holds."""

    dates: tuple[Array, ...]
    """For each date (band, y, x), as stored; 0 where there are no data."""
    valid: Bools
    """(time, y, x); never where a value is not finite."""
    labels: Ints
    """(y, x) uint8: 0 unchanged, k for the k-th class, 255 where not labelled."""
    objects: Ints | None = None
    """(y, x) int32: numbers of objects that are told apart, from 1; None where each region of a label is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionOptions:
    """How labelled pairs are opened."""

    labels: LabelOptions = field(default_factory=LabelOptions)

    bands: tuple[int, ...] | None = None
    """Band numbers from 1; None for all."""

    gsd: float | None = None
    """Metres a pixel; None: as scenes of a CSV say, unknown for folders of images."""

    share: float | None = None
    """Of the training samples; None: by area."""

    tile: int = 512
    """Largest rows and columns of an item of a scene; images in folders are not cut."""

    labelled: bool = True
    """Whether labels are asked for; without, every pixel counts as not labelled."""

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise BadOption(f"tile {self.tile} must be at least 1 pixel")
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise BadOption(f"gsd {self.gsd} must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Items of one pixel size, and how they are read."""

    items: tuple[Item, ...]
    labels: LabelOptions
    bands: tuple[int, ...] | None = None
    gsd: float | None = None
    """Metres a pixel, as the images lie; None where it is not known."""
    share: float | None = None
    """Of the training samples; None: by area."""
    matching: Mapping[tuple[str, ...], Matching] = field(default_factory=dict)
    """For the dates of a scene, what brings them to its first date; see `matched`."""

    def __len__(self) -> int:
        return len(self.items)

    def read(self, index: int) -> Sample:
        """Read one item.

        Raises:
            UnreadableInput: a file is broken; the message names it.
            GridMismatch: the labels or dates differ in size or place.
            BandMismatch: the dates differ in bands.
            BadOption: a label has a value that stands for no class.
        """
        item = self.items[index]
        scene = open_scene(list(item.pair.dates), SceneOptions(bands=self.bands))
        labels = self._labels(item, scene.grid)
        dates, valid = scene.read(item.tile)
        if item.pair.dates in self.matching:
            dates = self.matching[item.pair.dates](dates, valid)
        labels = np.where(valid.all(axis=0), labels, IGNORE).astype(np.uint8)
        return Sample(tuple(dates), valid, labels, self._objects(item, scene.grid))

    def read_labels(self, index: int) -> Ints:
        """(y, x) labels of one item alone: as in `read`, but for pixels without data at some date."""
        return self._labels(self.items[index], _grid_of(self.items[index].pair))

    def _labels(self, item: Item, grid: Grid) -> Ints:
        if item.pair.labels is None:
            return np.full(item.tile.shape, IGNORE, np.uint8)
        return read_labels(item.pair.labels, item.tile, grid, item.pair.dates[0], self.labels)

    def _objects(self, item: Item, grid: Grid) -> Ints | None:
        if item.pair.labels is None or not self.labels.objects:
            return None
        return read_objects(item.pair.labels, item.tile, grid, item.pair.dates[0])

    def part(self, keep: Sequence[int]) -> Collection:
        """The collection with some of its items."""
        return replace(self, items=tuple(self.items[k] for k in keep))

    def of_split(self, split: str) -> Collection:
        """The items of train, val or test."""
        return self.part([k for k, item in enumerate(self.items) if item.pair.split == split])


def open_collection(
    path: str | os.PathLike[str],
    options: CollectionOptions | None = None,
    *,
    split: str | None = None,
    leave_out: LeaveOut = refuse,
) -> Collection:
    """Open a folder of images, or a CSV of scenes; `listings.list_pairs` says what they hold.

    Args:
        path: the folder, or the CSV.
        options: how pixels and labels are read.
        split: train, val or test; None for all, each pair knowing its own.
        leave_out: hears of pairs that cannot be opened; by default the first one raises.

    Raises:
        UnreadableInput: files, folders or columns are missing, or a file is broken.
        BadOption: there is no such split, or it is empty.
        GridMismatch: the dates of a scene do not lie on one grid.
    """
    options, path = options or CollectionOptions(), Path(path)
    pairs = list_pairs(path, leave_out, labelled=options.labelled)
    labels, pairs = _settle(pairs, options.labels, leave_out)  # over all splits: each must read 255 alike
    if split is not None:
        pairs = _of_split(pairs, split, path)
    items, sizes = [], []
    for pair in pairs:
        try:
            grid = _scene_grid(pair, options) if is_table(path) else _grid_of(pair)
        except GeochangeError as error:
            leave_out(pair.name, error)
            continue
        items += [Item(pair, tile) for tile in (cut(grid.shape, options.tile) if is_table(path) else [grid.area])]
        sizes.append(grid.gsd)
    gsd = _common_gsd(sizes) if options.gsd is None and is_table(path) else options.gsd
    return Collection(items=tuple(items), labels=labels, bands=options.bands, gsd=gsd, share=options.share)


def open_images(dates: Sequence[str | os.PathLike[str]], options: CollectionOptions | None = None) -> Collection:
    """Open the dates of one scene that nobody labelled.

    Args:
        dates: two rasters or more, on one grid.
        options: how pixels are read; its `labelled` is not used.

    Raises:
        UnreadableInput: a file is missing or broken.
        GridMismatch: the dates do not lie on one grid.
    """
    options, names = options or CollectionOptions(), tuple(os.fspath(date) for date in dates)
    pair = LabelledPair(Path(names[0]).stem, names, None)
    grid = _scene_grid(pair, options)
    items = tuple(Item(pair, tile) for tile in cut(grid.shape, options.tile))
    gsd = options.gsd or grid.gsd
    return Collection(items=items, labels=options.labels, bands=options.bands, gsd=gsd, share=options.share)


def matched(collection: Collection) -> Collection:
    """The collection with each date brought to the mean and spread of its scene's first date, band by band.

    Statistics of a scene are those of at most `MOST_MATCHED` of its items.

    Raises:
        NothingValid: a scene has no pixel with data at every date.
    """
    items: dict[tuple[str, ...], list[int]] = {}
    for index, item in enumerate(collection.items):
        items.setdefault(item.pair.dates, []).append(index)
    plain = replace(collection, matching={})
    return replace(collection, matching={dates: _matching(plain, found) for dates, found in items.items()})


def _matching(collection: Collection, indices: Sequence[int]) -> Matching:
    dates = collection.items[indices[0]].pair.dates
    picked = [indices[k] for k in evenly(len(indices), MOST_MATCHED)]
    samples = map(collection.read, picked)
    total = reduce(Moments.__add__, (moments_of(valid_pixels(np.stack(each.dates), each.valid)) for each in samples))
    if not total.weight:
        raise NothingValid(f"no pixel of {dates[0]} holds data at every date")
    return matching_of(total, len(dates))


def open_folder(
    folder: str | os.PathLike[str],
    labels: LabelOptions | None = None,
    *,
    bands: tuple[int, ...] | None = None,
    gsd: float | None = None,
    share: float | None = None,
) -> Collection:
    """`open_collection` with the options one by one."""
    options = CollectionOptions(labels=labels or LabelOptions(), bands=bands, gsd=gsd, share=share)
    return open_collection(folder, options)


def cut(shape: tuple[int, int], tile: int) -> Iterator[Tile]:
    """A grid's pixels in tiles of nearly one size, at most `tile` on a side, in raster order: no slivers."""
    rows, cols = (np.linspace(0, length, ceil(length / tile) + 1).round().astype(int).tolist() for length in shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            yield Tile(top, left, bottom - top, right - left)


def _grid_of(pair: LabelledPair) -> Grid:
    return open_file(pair.dates[0]).grid


def _scene_grid(pair: LabelledPair, options: CollectionOptions) -> Grid:
    return open_scene(list(pair.dates), SceneOptions(bands=options.bands)).grid


def _of_split(pairs: Sequence[LabelledPair], split: str, path: Path) -> tuple[LabelledPair, ...]:
    if split not in SPLITS:
        raise BadOption(f"split {split!r} is not one of {', '.join(SPLITS)}")
    wanted = tuple(pair for pair in pairs if pair.split == split)
    if not wanted:
        there = sorted({pair.split for pair in pairs if pair.split is not None})
        raise BadOption(f"{path} has no pairs of the split {split}; it has {', '.join(there) or 'no splits'}")
    return wanted


def _common_gsd(sizes: Sequence[float | None]) -> float | None:
    """The mean of pixel sizes that are known and alike, else None."""
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes) or max(known) > SAME_GSD * min(known):
        return None
    return float(np.mean(known))


def _settle(
    pairs: Sequence[LabelledPair], options: LabelOptions, leave_out: LeaveOut
) -> tuple[LabelOptions, tuple[LabelledPair, ...]]:
    """With one class and no values given, 255 is the class where only 0 and 255 occur; and the pairs not left out."""
    rasters = [pair for pair in pairs if pair.labels is not None and not is_layer(pair.labels)]
    said = options.values is not None or options.column is not None or options.dated
    if said or len(options.classes) > 1 or not rasters:
        return options, tuple(pairs)
    broken, binary = set(), True
    for pair in rasters:
        assert pair.labels is not None
        try:
            binary = _is_binary(pair.labels)
        except GeochangeError as error:
            leave_out(pair.name, error)
            broken.add(pair.name)
        if not binary:
            break
    kept = tuple(pair for pair in pairs if pair.name not in broken)
    return (replace(options, values=(IGNORE,)) if binary else options), kept


def _is_binary(path: str) -> bool:
    """Whether a raster of labels holds 0 and 255 alone; it is read in tiles."""
    source = open_file(path)
    return all(
        {*np.unique(stored[0][valid]).tolist()} <= {0, IGNORE}
        for stored, valid in map(source.read, cut(source.grid.shape, CollectionOptions().tile))
    )


def evenly(length: int, most: int) -> list[int]:
    """At most so many indices below a length, evenly apart."""
    return sorted({round(x) for x in np.linspace(0, length - 1, min(length, max(most, 1)))})
