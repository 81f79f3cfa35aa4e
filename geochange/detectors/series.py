"""Series of many dates, pixel by pixel: drawn from a scene, matched in radiometry, and with their gaps closed. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import isqrt, prod
from typing import Any

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Series
from geochange.detectors.statistics import on_lattice
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile

SAMPLE_PIXELS = 1 << 15
SAMPLE_VALUES = 1 << 25  # of all dates and bands
FEWEST_SAMPLES = 1 << 10  # below which a scene is looked at more closely
TILE_VALUES = 1 << 24  # of a tile, all dates and bands
SMALLEST_TILE = 64  # pixels per side
PIXELS_AT_ONCE = 1 << 11  # few enough that the sums of all dates stay in the cache
OFFSET_STEPS = 3  # since offsets of dates move the medians
USUAL_STEPS = 4
NEAR = 2.5  # deviations from the median within which a pixel has not changed
MAD = 1.4826  # standard deviations of a normal distribution to a median absolute deviation


@dataclass(frozen=True, slots=True)
class SeriesSample:
    """Pixels drawn from a scene."""

    values: Floats
    """(time, band, n) float32."""
    valid: Bools
    """(time, n)."""


def draw_block(dates: Floats, valid: Bools, tile: Tile, *, every: int, fewest: int) -> SeriesSample:
    """Kernel: one pixel in `every`, of those that hold data at `fewest` dates and are of no frame."""
    rows, cols = on_lattice(tile, every)
    values, seen = dates[:, :, rows, cols], valid[:, rows, cols]
    chosen = (seen.sum(axis=0) >= fewest) & ~framed(values, seen)
    return SeriesSample(values[:, :, chosen], seen[:, chosen])


def framed(values: Floats, valid: Bools) -> Bools:
    """Where (time, band, ...) values are one number in all bands at all dates with data, as around a scene."""
    first = np.take_along_axis(values, valid.argmax(axis=0)[None, None], axis=0)[:, :1]
    return np.asarray(((values == first).all(axis=1) | ~valid).all(axis=0))


def draw_series(series: Series, map_blocks: MapBlocks, fewest: int) -> SeriesSample:
    """Draw pixels that hold data at `fewest` dates at least, spread evenly over the scene.

    Those of a frame around the scene say nothing of noise and are left out.

    Raises:
        NothingValid: there are none.
    """
    wanted = max(min(SAMPLE_PIXELS, SAMPLE_VALUES // (series.dates * len(series.bands))), FEWEST_SAMPLES)
    every = max(prod(series.shape) // wanted, 1)
    while True:
        parts = list(map_blocks(partial(draw_block, every=every, fewest=fewest)))
        found = sum(part.valid.shape[1] for part in parts)
        if every == 1 or found >= FEWEST_SAMPLES:
            break
        every = max(every * found // (2 * FEWEST_SAMPLES), 1)
    if not found:
        raise NothingValid(
            f"no pixel holds data at {fewest} dates or more, and any other value; look at the images and their masks"
        )
    return SeriesSample(
        *(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in ("values", "valid"))
    )


def date_offsets(sample: SeriesSample, lead: int | None = None) -> Floats:
    """(time, band) float32 by which most of the scene differs from its medians over the first `lead` dates (all).

    Haze and season that all covers share go with it. No gain is measured: what is bright or dark in one of many dates
    alone is mostly change, and an error of a gain is a change of all that is unlike most of the scene.
    """
    offsets = np.zeros(sample.values.shape[:2], np.float32)
    for _ in range(OFFSET_STEPS):
        left = sample.values - offsets[..., None]
        leading = close_gaps(left[:lead], sample.valid[:lead])
        reference = medians(leading.values, leading.counts)
        for date, seen in enumerate(sample.valid & (leading.counts > 0)):
            if seen.any():
                offsets[date] += [usual_of(band) for band in left[date][:, seen] - reference[:, seen]]
    return offsets


def usual_of(differences: Floats) -> float:
    """Return the median of (n,) differences without those far from it, which are of change."""
    near = differences
    for _ in range(USUAL_STEPS):
        middle = np.median(near)
        reach = NEAR * MAD * np.median(np.abs(near - middle))
        near = differences[np.abs(differences - middle) <= reach]
    return float(np.median(near))


@dataclass(frozen=True, slots=True)
class ClosedSeries:
    """n series whose dates without data are taken out: each has its own dates first, in their order."""

    values: Floats
    """(time, band, n) float32; 0 from a pixel's `counts` on."""
    counts: Ints
    """(n,) dates that hold data."""
    order: Ints
    """(time, n) which date each of them is, from 0."""

    def held(self, first: int = 0) -> Bools:
        """(time - first, n) which places hold a date, from place `first` on."""
        held: Bools = np.arange(first, len(self.values))[:, None] < self.counts
        return held

    @property
    def whole(self) -> bool:
        """Whether no date is missing anywhere."""
        return bool((self.counts == len(self.values)).all())


def close_gaps(values: Floats, valid: Bools) -> ClosedSeries:
    """Close the gaps of (time, band, n) values with (time, n) validity."""
    counts = valid.sum(axis=0)
    if valid.all():
        return ClosedSeries(values, counts, np.broadcast_to(np.arange(len(valid))[:, None], valid.shape))
    order = np.argsort(~valid, axis=0, kind="stable")
    closed = np.take_along_axis(np.where(valid[:, None], values, np.float32(0)), order[:, None], axis=0)
    return ClosedSeries(closed, counts, order)


def medians(values: Floats, counts: Ints) -> Floats:
    """(..., n) medians of the first `counts` of (time, ..., n) values; 0 where there are none."""
    beyond = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1)) >= counts
    ascending = np.sort(np.where(beyond, np.float32(np.inf), values), axis=0)
    places = [np.broadcast_to(np.maximum(each, 0), values.shape[1:])[None] for each in ((counts - 1) // 2, counts // 2)]
    low, high = (np.take_along_axis(ascending, np.minimum(place, len(values) - 1), axis=0)[0] for place in places)
    return np.where(counts > 0, low / 2 + high / 2, np.float32(0))


def in_parts(tile: Floats, valid: Bools, chosen: Bools) -> Iterator[tuple[Ints, Floats, Bools]]:
    """Yield a tile's pixels, a few at a time.

    Args:
        tile: (time, band, y, x).
        valid: (time, y, x).
        chosen: (y, x) which pixels.

    Yields:
        Their (n,) places in the flattened tile, (time, band, n) values and (time, n) validity.
    """
    flat, seen = tile.reshape(*tile.shape[:2], -1), valid.reshape(len(valid), -1)
    places = np.flatnonzero(chosen)
    for start in range(0, len(places), PIXELS_AT_ONCE):
        at = places[start : start + PIXELS_AT_ONCE]
        yield at, flat[:, :, at], seen[:, at]


def tile_for(values: int) -> int:
    """Pixels per side of a tile whose pixels have so many values, so that its size in memory stays the same."""
    return int(min(max(isqrt(TILE_VALUES // values) // 16 * 16, SMALLEST_TILE), DEFAULT_TILE))


def plain_lists(**arrays: Any) -> dict[str, Any]:
    """Return arrays as lists of rounded numbers, for run.json."""
    return {name: np.round(array, 6).tolist() for name, array in arrays.items()}
