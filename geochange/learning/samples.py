"""Labelled collections as the samples that training draws, each by its number alone: the same for any worker."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from geochange.arrays import IGNORE, Array
from geochange.datasets.augment import Placement, draw_placement, take_crop, vary_look
from geochange.datasets.balance import drawing_weights, label_counts
from geochange.datasets.collection import Collection, Sample, evenly
from geochange.datasets.variation import GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.detectors.networks.contract import OBJECT, Batch
from geochange.errors import BandMismatch, NothingValid

CACHE_BYTES = 3 * 2**30
ALL_VALID = 0.9999  # of an interpolated validity; below it, nodata was mixed in
VARIANCE_ROUNDING = 1e-12  # of a variance, relative to the mean square


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """How training samples are drawn."""

    size: int = 256  # rows and columns of a crop
    gsd: float | None = None  # metres a pixel of the crops; None: as the images lie
    seed: int = 0
    balanced: bool = False  # draw items with rare classes more often, see `balance.drawing_weights`
    geometry: GeometryOptions = field(default_factory=GeometryOptions)
    look: LookOptions = field(default_factory=LookOptions)


class TrainingSamples(Dataset[tuple[Tensor, Tensor]]):
    """Sample k is a function of k and the seed."""

    def __init__(self, collections: Sequence[Collection], normalisation: Normalisation, options: SampleOptions) -> None:
        self.collections, self.normalisation, self.options = tuple(collections), normalisation, options
        self.shares = shares_of(collections, options)
        self.weights = [drawing_weights(label_counts(each)) for each in collections] if options.balanced else None
        self.cache = SampleCache(CACHE_BYTES)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Return (time, band, y, x) float32 normalised dates, and (y, x) int64 labels.

        Raises:
            GeochangeError: an image is broken.
        """
        rng = np.random.default_rng([self.options.seed, number])
        place, index = self._draw(rng)
        collection = self.collections[place]
        sample = self.cache.get(collection, place, index)
        _require_bands(sample, self.normalisation, collection.items[index].pair.dates)
        return self.vary(sample, collection.zoom(self.options.gsd), rng)

    def _draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw a collection, and an item of it."""
        place = int(rng.choice(len(self.collections), p=self.shares))
        if self.weights is None:
            return place, int(rng.integers(len(self.collections[place])))
        return place, int(rng.choice(len(self.collections[place]), p=self.weights[place]))

    def vary(self, sample: Sample, zoom: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return a crop of an item, varied: as indexing does."""
        size, geometry, look = self.options.size, self.options.geometry, self.options.look
        placement = draw_placement(rng, sample.labels, size, zoom, geometry)
        labels = take_crop(sample.labels[None], placement, size, nearest=True)[0].long()
        if sample.objects is not None:
            numbers = take_crop(sample.objects[None], placement, size, nearest=True)[0].long()
            labels = labels + OBJECT * numbers * ((labels > 0) & (labels != IGNORE))
        placements = _placements(rng, placement, len(sample.dates), geometry)
        dates, valid = zip(*(self._crop(sample, k, own) for k, own in enumerate(placements)), strict=True)
        covered = torch.stack(valid)
        # brightness, haze and blur must not fill what holds no data; nor may the edge of one date's look like a change
        stacked = vary_look(torch.stack(dates), rng, look) * covered.all(dim=0)
        if look.swap and rng.random() < 0.5:
            stacked = stacked.flip(0)
        return stacked, labels.masked_fill(~covered.all(dim=0), IGNORE)

    def _crop(self, sample: Sample, date: int, placement: Placement) -> tuple[Tensor, Tensor]:
        """Return (band, y, x) normalised pixels, 0 where not valid, and (y, x) validity: nothing else was mixed in."""
        size = self.options.size
        pixels = normalise(take_crop(sample.dates[date], placement, size), self.normalisation)
        if sample.valid[date].all():
            return pixels, torch.ones(size, size, dtype=torch.bool)
        valid = take_crop(sample.valid[date][None], placement, size)[0] > ALL_VALID
        return pixels * valid, valid


def _placements(
    rng: np.random.Generator, placement: Placement, dates: int, geometry: GeometryOptions
) -> list[Placement]:
    """Return where each date's pixels come from: one of the later dates may lie off the labels a little."""
    moved = int(rng.integers(1, dates)) if rng.random() < geometry.misregistered else None
    shift = placement.matrix @ rng.uniform(-geometry.misregistration, geometry.misregistration, 2)
    return [Placement(placement.matrix, placement.origin + shift) if k == moved else placement for k in range(dates)]


def _require_bands(sample: Sample, normalisation: Normalisation, names: Sequence[str]) -> None:
    """Raise BandMismatch where a date has another number of bands than the normalisation."""
    for date, name in zip(sample.dates, names, strict=True):
        if len(date) != len(normalisation.mean):
            raise BandMismatch(
                f"{name} has {len(date)} bands, others have {len(normalisation.mean)}; pick the ones that all have "
                "with --bands"
            )


def shares_of(collections: Sequence[Collection], options: SampleOptions) -> Array:
    """Return how often each collection is drawn: by its share, else by its area in crops' pixels."""
    areas = np.array([_area(each, options) for each in collections], float)
    given = np.array([np.nan if each.options.share is None else each.options.share for each in collections])
    left, unsaid = max(0.0, 1 - np.nansum(given)), np.isnan(given)
    shares = np.where(unsaid, left * areas / max(areas[unsaid].sum(), 1), given)
    total: Array = shares / shares.sum()
    return total


def _area(collection: Collection, options: SampleOptions) -> float:
    return sum(item.tile.size for item in collection.items) * collection.zoom(options.gsd) ** 2


def normalise(date: Tensor, normalisation: Normalisation) -> Tensor:
    """Turn (band, y, x) stored values into standard deviations from the mean of the training data."""
    mean = torch.tensor(normalisation.mean)[:, None, None]
    return (date - mean) / torch.tensor(normalisation.spread)[:, None, None]


class SampleCache:
    """The samples read last, as stored, up to a number of bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.used = room, 0
        self.kept: OrderedDict[tuple[int, int], Sample] = OrderedDict()

    def get(self, collection: Collection, place: int, index: int) -> Sample:
        """Return an item of the collection at a place, which is read where it is not kept."""
        key = (place, index)
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key]
        sample = collection.read(index)
        self.kept[key] = sample
        self.used += _bytes(sample)
        while self.used > self.room and len(self.kept) > 1:
            self.used -= _bytes(self.kept.popitem(last=False)[1])
        return sample


def _bytes(sample: Sample) -> int:
    objects = 0 if sample.objects is None else sample.objects.nbytes
    return sum(date.nbytes for date in sample.dates) + sample.valid.nbytes + sample.labels.nbytes + objects


class FromStep(Sampler[list[int]]):
    """Numbers of the samples of each batch, from a step on; with several processes, each has its part of a batch."""

    def __init__(self, first: int, last: int, batch: int, rank: int = 0, ranks: int = 1) -> None:
        self.first, self.last, self.batch, self.rank, self.ranks = first, last, batch, rank, ranks

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.last):
            start = (step * self.ranks + self.rank) * self.batch
            yield list(range(start, start + self.batch))

    def __len__(self) -> int:
        return self.last - self.first


def collate(samples: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Stack samples of one size into a batch."""
    return Batch(torch.stack([each[0] for each in samples]), torch.stack([each[1] for each in samples]))


def measure_normalisation(
    collections: Sequence[Collection], most: int = 200
) -> tuple[Normalisation, tuple[float, float]]:
    """Measure mean and standard deviation of each band over valid pixels of all dates, and the range of values.

    A band that never varies has the standard deviation 1.

    Args:
        collections: with one number of bands.
        most: items that are read, spread over the collections.

    Raises:
        BandMismatch: dates differ in bands.
        NothingValid: no pixel holds data.
    """
    picked = [(each, index) for each in collections for index in evenly(len(each), most // len(collections))]
    count, total, squares, low, high = 0, np.zeros(0), np.zeros(0), np.inf, -np.inf
    for collection, index in picked:
        sample = collection.read(index)
        total, squares = (sums if sums.size else np.zeros(len(sample.dates[0])) for sums in (total, squares))
        bands = Normalisation(mean=tuple(total), spread=tuple(total))
        _require_bands(sample, bands, collection.items[index].pair.dates)
        for date, valid in zip(sample.dates, sample.valid, strict=True):
            pixels = date[:, valid].astype(np.float64)
            if pixels.size:
                count, total, squares = count + pixels.shape[1], total + pixels.sum(1), squares + (pixels**2).sum(1)
                low, high = min(low, pixels.min()), max(high, pixels.max())
    if not count:
        raise NothingValid(f"no pixel holds data in the {len(picked)} training images that were read")
    mean = total / count
    variance = squares / count - mean**2
    spread = np.sqrt(np.where(variance > VARIANCE_ROUNDING * squares / count, variance, 1))
    return Normalisation(mean=tuple(mean.tolist()), spread=tuple(spread.tolist())), (float(low), float(high))
