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
from geochange.datasets.labels import read_labels, read_objects
from geochange.datasets.listings import SPLITS, LabelledPair, LeaveOut, is_table, list_pairs, refuse
from geochange.datasets.options import CollectionOptions
from geochange.detectors.statistics import Matching, Moments, matching_of, moments_of, valid_pixels
from geochange.errors import BadOption, GeochangeError, NothingValid
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.layer_files import is_layer
from geochange.scenes.numbers import open_numbers, single_band
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import Opening, Scene
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
        """The pair's name, and where in it the item lies."""
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
    """(y, x) int32: numbers of objects, from 1; None where each region of a label is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Items of one pixel size, and how they are read."""

    items: tuple[Item, ...]
    options: CollectionOptions
    gsd: float | None = None
    """Metres a pixel, as the images lie; None where it is not known."""
    matching: Mapping[tuple[str, ...], Matching] = field(default_factory=dict)
    """For the dates of a scene, what brings them to its first date; see `matched`."""

    def __len__(self) -> int:
        return len(self.items)

    def zoom(self, gsd: float | None) -> float:
        """Return pixels of a wanted size, in metres, for one of the images'; 1 where either size is not known."""
        return self.gsd / gsd if self.gsd and gsd else 1.0

    def read(self, index: int) -> Sample:
        """Read one item.

        Raises:
            UnreadableInput: a file is broken; the message names it.
            GridMismatch: the labels or dates differ in size or place.
            BandMismatch: the dates differ in bands.
            BadOption: a label has a value that stands for no class.
        """
        item = self.items[index]
        scene = _open(item.pair, self.options)
        labels = self._labels(item, scene.grid)
        dates, valid = scene.read(item.tile)
        if item.pair.dates in self.matching:
            dates = self.matching[item.pair.dates](dates, valid)
        labels = np.where(valid.all(axis=0), labels, IGNORE).astype(np.uint8)
        return Sample(tuple(dates), valid, labels, self._objects(item, scene.grid))

    def read_labels(self, index: int) -> Ints:
        """Return (y, x) labels of one item alone: as in `read`, but for pixels without data at some date."""
        return self._labels(self.items[index], self._grid(self.items[index].pair))

    def _labels(self, item: Item, grid: Grid) -> Ints:
        if item.pair.labels is None:
            return np.full(item.tile.shape, IGNORE, np.uint8)
        tile, first = self._on_first_date(item, grid)
        return read_labels(item.pair.labels, tile, first, item.pair.dates[0], self.options)

    def _objects(self, item: Item, grid: Grid) -> Ints | None:
        if item.pair.labels is None or not self.options.objects:
            return None
        return read_objects(item.pair.labels, self._on_first_date(item, grid)[0], item.pair.dates[0])

    def label_tile(self, item: Item) -> Tile:
        """Return an item's tile on the grid of its labels, which is that of its first date."""
        return self._on_first_date(item, self._grid(item.pair))[0]

    def _on_first_date(self, item: Item, grid: Grid) -> tuple[Tile, Grid]:
        """Return an item's tile on the grid of the first date, instead of the scene's; and that grid."""
        if not self.options.align or item.pair.opening is not None:
            return item.tile, grid
        first = _grid_of(item.pair)
        row, col = map(round, first.offset_of(grid))
        return replace(item.tile, row=item.tile.row + row, col=item.tile.col + col), first

    def _grid(self, pair: LabelledPair) -> Grid:
        return _open(pair, self.options).grid if self.options.align or pair.opening is not None else _grid_of(pair)

    def part(self, keep: Sequence[int]) -> Collection:
        """Return the collection with some of its items."""
        return replace(self, items=tuple(self.items[k] for k in keep))

    def with_labels(self, names: Mapping[str, str]) -> Collection:
        """Return the collection with labels read from other files, by the names of those that they replace."""
        pairs = {item.pair for item in self.items}
        now = {pair: replace(pair, labels=names.get(pair.labels or "", pair.labels)) for pair in pairs}
        return replace(self, items=tuple(replace(item, pair=now[item.pair]) for item in self.items))

    def of_split(self, split: str) -> Collection:
        """Return the items of train, val or test."""
        return self.part([k for k, item in enumerate(self.items) if item.pair.split == split])


def open_collection(
    path: str | os.PathLike[str],
    options: CollectionOptions | None = None,
    *,
    split: str | None = None,
    leave_out: LeaveOut = refuse,
) -> Collection:
    """Open a folder of images, or a CSV of scenes; see `listings.list_pairs`.

    Args:
        path: the folder, or the CSV.
        options: how pixels and labels are read.
        split: train, val or test; None for all.
        leave_out: called with each pair that cannot be opened; by default the first one raises.

    Raises:
        UnreadableInput: files, folders or columns are missing, or a file is broken.
        BadOption: there is no such split, or it is empty.
        GridMismatch: the dates of a scene do not lie on one grid.
    """
    options, path = options or CollectionOptions(), Path(path)
    pairs = list_pairs(path, leave_out, labelled=options.labelled)
    options, pairs = _with_values(pairs, options, leave_out)  # over all splits: each must read 255 alike
    if split is not None:
        pairs = _of_split(pairs, split, path)
    items, sizes = [], []
    for pair in pairs:
        try:
            grid = _open(pair, options).grid if is_table(path) or options.align else _grid_of(pair)
        except GeochangeError as error:
            leave_out(pair.name, error)
            continue
        items += [Item(pair, tile) for tile in (cut(grid.shape, options.tile_size) if is_table(path) else [grid.area])]
        sizes.append(grid.gsd)
    gsd = _common_gsd(sizes) if options.gsd is None and is_table(path) else options.gsd
    return Collection(items=tuple(items), options=options, gsd=gsd)


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
    grid = _open(pair, options).grid
    items = tuple(Item(pair, tile) for tile in cut(grid.shape, options.tile_size))
    return Collection(items=items, options=options, gsd=options.gsd or grid.gsd)


def matched(collection: Collection) -> Collection:
    """Return the collection with each date brought to the mean and spread of its scene's first date, band by band.

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


def cut(shape: tuple[int, int], tile: int) -> Iterator[Tile]:
    """Cut a grid into tiles of nearly one size, at most `tile` on a side, in raster order: no slivers."""
    rows, cols = (np.linspace(0, length, ceil(length / tile) + 1).round().astype(int).tolist() for length in shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            yield Tile(top, left, bottom - top, right - left)


def _grid_of(pair: LabelledPair) -> Grid:
    return open_file(pair.dates[0]).grid


def _open(pair: LabelledPair, options: CollectionOptions) -> Scene:
    opening = pair.opening or Opening(SceneOptions(bands=options.bands, align=options.align))
    scene = opening.open(list(pair.dates))
    return scene.stored() if options.as_stored else scene


def _of_split(pairs: Sequence[LabelledPair], split: str, path: Path) -> tuple[LabelledPair, ...]:
    if split not in SPLITS:
        raise BadOption(f"split {split!r} is not one of {', '.join(SPLITS)}")
    wanted = tuple(pair for pair in pairs if pair.split == split)
    if not wanted:
        there = sorted({pair.split for pair in pairs if pair.split is not None})
        raise BadOption(f"{path} has no pairs of the split {split}; it has {', '.join(there) or 'no splits'}")
    return wanted


def _common_gsd(sizes: Sequence[float | None]) -> float | None:
    """Return the mean of pixel sizes that are known and alike, else None."""
    known = [size for size in sizes if size is not None]
    if not known or len(known) < len(sizes) or max(known) > SAME_GSD * min(known):
        return None
    return float(np.mean(known))


def _with_values(
    pairs: Sequence[LabelledPair], options: CollectionOptions, leave_out: LeaveOut
) -> tuple[CollectionOptions, tuple[LabelledPair, ...]]:
    """Return options in which 255 is the single class, where only 0 and 255 occur; and the pairs that are kept."""
    rasters = [(pair.name, pair.labels) for pair in pairs if pair.labels is not None and not is_layer(pair.labels)]
    given = options.values is not None or options.label_column is not None or options.dated
    if given or len(options.classes) > 1 or not rasters:
        return options, tuple(pairs)
    broken, binary = set(), True
    for name, labels in rasters:
        try:
            binary = _is_binary(labels)
        except GeochangeError as error:
            leave_out(name, error)
            broken.add(name)
        if not binary:
            break
    kept = tuple(pair for pair in pairs if pair.name not in broken)
    return (replace(options, values=(IGNORE,)) if binary else options), kept


def _is_binary(path: str) -> bool:
    """Return whether a raster of labels holds 0 and 255 alone, reading it in tiles."""
    source = open_numbers(path)
    return all(
        {*np.unique(single_band(stored, path)[valid]).tolist()} <= {0, IGNORE}
        for stored, valid in map(source.read, cut(source.grid.shape, CollectionOptions().tile_size))
    )


def evenly(length: int, most: int) -> list[int]:
    """Return at most so many indices below a length, evenly apart."""
    return sorted({round(x) for x in np.linspace(0, length - 1, min(length, max(most, 1)))})
