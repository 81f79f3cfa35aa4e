"""`datasets`: what labelled pairs hold, what is broken in them, and which images occur twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools, Ints
from geochange.datasets.balance import class_shares, count_classes
from geochange.datasets.collection import Collection, Item, Sample, open_collection
from geochange.datasets.listings import find_datasets
from geochange.datasets.options import CollectionOptions, DataOptions, DescribeOptions
from geochange.engine.progress import Listener, Silent, Stages
from geochange.errors import BadOption, GeochangeError
from geochange.extras import require_torch
from geochange.files import require_writable
from geochange.pipeline.options import choose_options
from geochange.scenes.layer_files import is_layer
from geochange.scenes.numbers import has_background_nodata
from geochange.scenes.scene import open_file


@dataclass(frozen=True, slots=True)
class PartFacts:
    """What one split of one data set holds."""

    dataset: str
    split: str | None
    """train, val or test; None where there are no splits."""
    images: int
    """Pairs, or tiles of scenes, that could be read."""
    dates: dict[int, int]
    """Dates of a pair -> how many have so many; the others likewise."""
    sizes: dict[tuple[int, int], int]
    bands: dict[int, int]
    dtypes: dict[str, int]
    shares: dict[str, float]
    """Of the labelled pixels: "unchanged", and each class."""
    ignored: float
    """Share of all pixels that are not labelled, or without data at some date."""
    without_change: int
    """Images in which no pixel is labelled as changed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        answer = asdict(self)
        answer["sizes"] = [{"shape": list(shape), "images": count} for shape, count in self.sizes.items()]
        return answer


@dataclass(frozen=True, slots=True)
class Place:
    """One date of one item."""

    dataset: str
    split: str | None
    item: str
    date: int  # from 1

    def __str__(self) -> str:
        return f"{self.dataset}: {self.item}, date {self.date}"


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Places of images with the same pixels."""

    places: tuple[Place, ...]

    @property
    def across(self) -> bool:
        """Whether they lie in several splits or data sets: what is scored has then been seen in training."""
        return len({(place.dataset, place.split) for place in self.places}) > 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"across": self.across, "places": [asdict(place) for place in self.places]}


@dataclass(frozen=True, slots=True)
class Broken:
    """A pair that cannot be used."""

    dataset: str
    item: str
    why: str


@dataclass(frozen=True, slots=True)
class DatasetsReport:
    """What `describe_datasets` found."""

    path: str
    parts: tuple[PartFacts, ...]
    duplicates: tuple[Duplicates, ...]
    """Groups of images with the same pixels, those across splits first; images of one value alone are left out."""
    broken: tuple[Broken, ...]
    notes: tuple[str, ...] = ()
    """What should be known of how the data are read."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "path": self.path,
            "parts": [part.to_dict() for part in self.parts],
            "duplicates": [group.to_dict() for group in self.duplicates],
            "broken": [asdict(each) for each in self.broken],
            "notes": list(self.notes),
        }


@dataclass
class _Tally:
    """What adds up over the items of a part."""

    dates: Counter[int] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    bands: Counter[int] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    counts: list[Ints] = field(default_factory=list)

    def add(self, sample: Sample, classes: int) -> None:
        self.dates[len(sample.dates)] += 1
        self.sizes[sample.labels.shape[0], sample.labels.shape[1]] += 1
        self.bands[len(sample.dates[0])] += 1
        self.dtypes[str(sample.dates[0].dtype)] += 1
        self.counts.append(count_classes(sample.labels, classes))

    def facts(self, dataset: str, split: str | None, classes: Sequence[str]) -> PartFacts:
        counts = np.array(self.counts).reshape(-1, len(classes) + 2)
        return PartFacts(
            dataset=dataset,
            split=split,
            images=len(counts),
            dates=_most_first(self.dates),
            sizes=_most_first(self.sizes),
            bands=_most_first(self.bands),
            dtypes=_most_first(self.dtypes),
            shares=dict(zip(("unchanged", *classes), class_shares(counts).tolist(), strict=True)),
            ignored=float(counts[:, -1].sum() / max(int(counts.sum()), 1)),
            without_change=int((counts[:, 1:-1].sum(axis=1) == 0).sum()),
        )


def describe_datasets(
    path: str | os.PathLike[str],
    options: DescribeOptions | None = None,
    *,
    show_augmented: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    listener: Listener | None = None,
    **settings: Any,
) -> DatasetsReport:
    """Read all labelled pairs of a data set, or of all those in a folder, once.

    Args:
        path: a folder A, B, label, a CSV of scenes, or a folder with several of them.
        options: classes and how they are stored; bands; the tiles of scenes; how samples are varied.
        show_augmented: PNG to write: items as they lie, and as training draws them.
        overwrite: replace a file that is there.
        listener: receives progress updates.
        settings: options by name, in place of those in `options`.

    Raises:
        UnreadableInput: nothing is there, or lists and tables cannot be read.
        BadOption: a split has an unknown name, or a pair two of them; there is no such option of augmentation.
        OutputInTheWay: the picture exists and `overwrite` is off, or it cannot be written.
    """
    chosen = choose_options(DescribeOptions, options, settings)
    reading, stages = collection_options(chosen), Stages(listener or Silent())
    if show_augmented is not None:
        require_torch("--show-augmented")
        if Path(show_augmented).suffix.lower() != ".png":
            raise BadOption(f"{show_augmented} must end in .png")
        require_writable([Path(show_augmented)], overwrite=overwrite, inputs=[path])
    collections: list[Collection] = []
    parts: list[PartFacts] = []
    broken: list[Broken] = []
    seen: dict[bytes, list[Place]] = {}
    notes: list[str] = []
    for dataset in find_datasets(Path(path)):
        name = dataset.absolute().name

        def leave_out(item: str, error: GeochangeError, name: str = name) -> None:
            broken.append(Broken(name, item, str(error)))

        collection = open_collection(dataset, reading, leave_out=leave_out)
        collections.append(collection)
        tallies: dict[str | None, _Tally] = {item.pair.split: _Tally() for item in collection.items}
        read: set[str | None] = set()
        with stages.stage(name, len(collection)) as progress:
            for index, item in enumerate(collection.items):
                if sample := _read(collection, index, broken, name):
                    read.add(item.pair.labels)
                    tallies[item.pair.split].add(sample, len(reading.classes))
                    _remember(seen, sample, name, item)
                progress.advance(item.tile.size)
        notes += _notes(name, read, collection.options)
        found = [tally.facts(name, split, reading.classes) for split, tally in tallies.items()]
        notes += [
            f"{name}: no pixel is labelled {each}"
            for each in reading.classes
            if found and not any(part.shares[each] for part in found)
        ]
        parts += found
    if show_augmented is not None and not broken:
        from geochange.learning.sheet import write_sheet

        write_sheet(Path(show_augmented), collections, chosen.augmentation)
    return DatasetsReport(os.fspath(path), tuple(parts), _duplicates(seen.values()), tuple(broken), tuple(notes))


def collection_options(options: DescribeOptions) -> CollectionOptions:
    """Return how folders and tables are opened."""
    return CollectionOptions(**{each.name: getattr(options, each.name) for each in fields(DataOptions)})


def _notes(dataset: str, labels: Iterable[str | None], options: CollectionOptions) -> list[str]:
    """Say in how many rasters of labels 0 is nodata, and read as unchanged."""
    rasters = [name for name in labels if name is not None and not is_layer(name)]
    empty = sum(has_background_nodata(open_file(name, as_stored=True), options.ignore) for name in rasters)
    if not empty:
        return []
    return [
        f"{dataset}: {empty} of {len(rasters)} label rasters have 0 as their nodata value; it is read as unchanged "
        "(--ignore 0 reads it as not labelled)"
    ]


def _read(collection: Collection, index: int, broken: list[Broken], dataset: str) -> Sample | None:
    """Read one item; where it is broken, it is added to those."""
    try:
        return collection.read(index)
    except GeochangeError as error:
        broken.append(Broken(dataset, collection.items[index].name, str(error)))
        return None


def _remember(seen: dict[bytes, list[Place]], sample: Sample, dataset: str, item: Item) -> None:
    for number, (date, valid) in enumerate(zip(sample.dates, sample.valid, strict=True), start=1):
        if (date != date[:, :1, :1]).any():
            place = Place(dataset, item.pair.split, item.name, number)
            seen.setdefault(_fingerprint(date, valid), []).append(place)


def _fingerprint(date: Array, valid: Bools) -> bytes:
    """Return a hash of decoded pixels, their type and their shape."""
    digest = blake2b(f"{date.dtype} {date.shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(date).tobytes())
    digest.update(np.packbits(valid).tobytes())
    return digest.digest()


def _duplicates(places: Iterable[Sequence[Place]]) -> tuple[Duplicates, ...]:
    groups = [Duplicates(tuple(each)) for each in places if len(each) > 1]
    return tuple(sorted(groups, key=lambda group: not group.across))


def _most_first(counter: Counter[Any]) -> dict[Any, int]:
    return dict(counter.most_common())
