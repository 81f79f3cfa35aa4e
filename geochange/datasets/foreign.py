"""Pairs as other data sets and other people's tools have them: what a pair is, and where its labels come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from geochange.arrays import IGNORE, Array, Ints
from geochange.datasets.labels import JPEG_HALF
from geochange.errors import UnreadableInput
from geochange.files import visible_in
from geochange.scenes.scene import open_file

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".jp2", ".vrt")
DATE_FOLDERS = (
    ("A", "B"), ("before", "after"), ("t1", "t2"), ("T1", "T2"), ("time1", "time2"), ("im1", "im2"),
    ("Image1", "Image2"), ("pre", "post"), ("2012", "2016"),
)  # fmt: skip
"""Names of the folders of the earlier and the later images."""

SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "hold": "val",
    "test": "test",
}  # fmt: skip
"""Names of folders, and the split that they hold."""

Colour: TypeAlias = tuple[int, int, int]


NOT_LABELLED = str(IGNORE)
"""Name of the class of objects within which nothing is labelled, as columns of layers have it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A labelled object."""

    shape: BaseGeometry
    """Polygon in pixels, x = column and y = row."""
    name: str
    """Of its class."""
    number: int = 0
    """By which others know it; 0: none."""


@dataclass(frozen=True, slots=True)
class LabelledObjects:
    """Labels that are objects."""

    objects: tuple[Outline, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """Labels in a raster of one band: 0, and 1 or 255 for change; 255 beside both is not labelled."""

    path: Path

    def read(self) -> Ints:
        """Return (y, x) uint8 labels.

        Raises:
            UnreadableInput: there are other values; in a JPEG, whose edges are blurred, all are.
        """
        stored = _first_band(self.path)
        if self.path.suffix.lower() in (".jpg", ".jpeg"):
            return (stored > JPEG_HALF).astype(np.uint8)
        values = {*np.unique(stored).tolist()}
        if unknown := values - {0, 1, IGNORE}:
            raise UnreadableInput(f"{self.path} holds the value {min(unknown)}; a mask of change has 0, and 1 or 255")
        return np.where(stored == IGNORE, IGNORE if 1 in values else 1, stored).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Coded:
    """Labels in a raster of one band, by other numbers than ours."""

    path: Path
    codes: Mapping[int, int]
    """Stored value -> 0 unchanged, k for the k-th class, 255 not labelled."""

    def read(self) -> Ints:
        """Return (y, x) uint8 labels.

        Raises:
            UnreadableInput: a value stands for nothing.
        """
        stored = _first_band(self.path)
        labels = np.full(stored.shape, IGNORE, np.uint8)
        unknown = np.setdiff1d(stored, [*self.codes])
        if unknown.size:
            raise UnreadableInput(
                f"{self.path} holds the value {unknown[0]}, which stands for none of {', '.join(map(str, self.codes))}"
            )
        for value, label in self.codes.items():
            labels[stored == value] = label
        return labels


@dataclass(frozen=True, slots=True)
class Coloured:
    """Labels in colours, of one or both dates."""

    paths: tuple[Path, ...]
    """Where several are given, a pixel has the first label that is not 0."""
    colours: Mapping[Colour, int]
    """Red, green, blue -> label, as `Coded.codes`."""

    def read(self) -> Ints:
        """Return (y, x) uint8 labels.

        Raises:
            UnreadableInput: a colour stands for nothing.
        """
        found = [self._read(path) for path in self.paths]
        labels = found[0]
        for other in found[1:]:
            labels = np.where(labels == 0, other, labels)
        return labels

    def _read(self, path: Path) -> Ints:
        source = open_file(str(path), as_stored=True)
        stored = np.asarray(source.read(source.grid.area)[0])
        if len(stored) < 3:
            raise UnreadableInput(f"{path} has {len(stored)} band, no colours")
        packed = (stored[0].astype(np.int64) << 16) + (stored[1].astype(np.int64) << 8) + stored[2]
        known = {(red << 16) + (green << 8) + blue: label for (red, green, blue), label in self.colours.items()}
        if (unknown := np.setdiff1d(packed, [*known])).size:
            value = int(unknown[0])
            raise UnreadableInput(
                f"{path} holds the colour {value >> 16},{value >> 8 & 255},{value & 255}, which stands for nothing"
            )
        labels = np.full(packed.shape, IGNORE, np.uint8)
        for value, label in known.items():
            labels[packed == value] = label
        return labels


@dataclass(frozen=True, slots=True)
class Within:
    """Labels of land cover, of what has changed alone."""

    change: Coded
    cover: Coded

    def read(self) -> Ints:
        """Return (y, x) uint8 labels."""
        change = self.change.read()
        return np.where(change == 1, self.cover.read(), change).astype(np.uint8)


ForeignLabels: TypeAlias = Mask | Coded | Coloured | Within | LabelledObjects


@dataclass(frozen=True, slots=True)
class ForeignPair:
    """Two dates and their labels, as another data set has them."""

    name: str
    dates: tuple[tuple[Path, ...], tuple[Path, ...]]
    """The files of each date: one, or one a band."""
    labels: ForeignLabels
    split: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignData:
    """What was found in a folder."""

    classes: tuple[str, ...]
    pairs: tuple[ForeignPair, ...]
    notes: tuple[str, ...] = ()
    """What should be known of it."""


@dataclass(frozen=True, slots=True)
class ImagePair:
    """The files of two dates, whose labels are still to be found."""

    name: str
    before: Path
    after: Path
    split: str | None
    folder: Path
    """That both folders of dates lie in."""
    relative: str
    """Name with the folders below the dates', and the suffix."""


def image_pairs(folder: Path) -> list[ImagePair]:
    """Find the files of two dates: folders A and B, or others that are used, in the folder itself or in its splits.

    Raises:
        UnreadableInput: there are none, or an image has no partner.
    """
    places = [(folder, None), *((each, SPLIT_FOLDERS[each.name]) for each in folders_in(folder, SPLIT_FOLDERS))]
    found = [pair for place, split in places for pair in _pairs_in(place, split)]
    if not found:
        named = ", ".join("/".join(names) for names in DATE_FOLDERS[:4])
        raise UnreadableInput(f"{folder} must hold the images of two dates, in folders {named} …, or in splits that do")
    return found


def folders_in(folder: Path, names: Mapping[str, str] | Sequence[str]) -> list[Path]:
    """Return the folders in a folder that have one of the names, in the order of the names."""
    inside = {each.name: each for each in visible_in(folder) if each.is_dir()} if folder.is_dir() else {}
    return [inside[name] for name in names if name in inside]


def _pairs_in(folder: Path, split: str | None) -> list[ImagePair]:
    for names in DATE_FOLDERS:
        dates = [folder / name for name in names]
        if not all(each.is_dir() for each in dates):
            continue
        first, second = (images_in(each) for each in dates)
        if alone := sorted({*first} ^ {*second}):
            raise UnreadableInput(
                f"{alone[0]} is in one of {dates[0]} and {dates[1]} only; each image needs both dates"
            )
        return [
            ImagePair(Path(name).stem, first[name], second[name], split or _split_in(name), folder, name)
            for name in sorted(first)
        ]
    return []


def _split_in(name: str) -> str | None:
    """Return the split that a folder below the dates' names, as in A/train/1.png."""
    return next((SPLIT_FOLDERS[part] for part in Path(name).parts[:-1] if part in SPLIT_FOLDERS), None)


def images_in(folder: Path) -> dict[str, Path]:
    """Return the images in a folder and below: name without the suffix, with folders -> path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def beside(pair: ImagePair, folders: Sequence[str], suffixes: Sequence[str]) -> Path | None:
    """Return the file of a pair's name in one of the folders, beside the dates or above them; None: there is none."""
    places = [
        place / name / sub
        for place in (pair.folder, pair.folder.parent)
        for name in folders
        for sub in ("", pair.folder.name)
    ]
    names = [f"{stem}{suffix}" for stem in dict.fromkeys((pair.relative, pair.name)) for suffix in suffixes]
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


def _first_band(path: Path) -> Array:
    """Return (y, x) stored values; of grey in three bands, one."""
    source = open_file(str(path), as_stored=True)
    stored = np.asarray(source.read(source.grid.area)[0])
    if any((band != stored[0]).any() for band in stored[1:3]):
        raise UnreadableInput(f"{path} is in colour; give the table of its colours")
    first: Array = stored[0]
    return first


def as_box(left: float, top: float, right: float, bottom: float) -> BaseGeometry:
    """Return a rectangle in pixels."""
    return shapely.box(min(left, right), min(top, bottom), max(left, right), max(top, bottom))
