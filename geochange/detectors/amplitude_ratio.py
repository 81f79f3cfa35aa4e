"""The log-ratio of two radar dates, and what total variation leaves of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.looks import count_logs, pair_logs
from geochange.detectors.statistics import jointly_valid
from geochange.detectors.total_variation import ITERATIONS, smooth
from geochange.scenes.grid import Tile

CONTEXT = 2  # pixels that a ratio needs on each side: one of its neighbours, and one of theirs
SIDE = 0.1353  # weight of the pixel beside, for one of the pixel itself: a normal curve of half a pixel's deviation
FARTHEST = 3.0  # log-ratios of amplitude beyond this, 26 dB, count as this


def within_neighbours(image: Floats, valid: Bools) -> Floats:
    """Bring each (y, x) pixel between the least and largest of its valid neighbours; lacks a pixel on each side."""
    inner = image[1:-1, 1:-1]
    most = _largest_neighbour(np.where(valid, image, -np.inf))
    least = -_largest_neighbour(np.where(valid, -image, -np.inf))
    some = most >= least
    limited: Floats = np.clip(inner, np.where(some, least, inner), np.where(some, most, inner))
    return limited


def _largest_neighbour(image: Floats) -> Floats:
    sides = np.maximum(image[:, :-2], image[:, 2:])
    rows = np.maximum(sides, image[:, 1:-1])
    largest: Floats = np.maximum(sides[1:-1], np.maximum(rows[:-2], rows[2:]))
    return largest


def blurred(image: Floats, valid: Bools) -> Floats:
    """Return (y, x) means of 3 x 3 valid pixels, most of which the middle has; lacks a pixel on each side."""
    total, weights = _blur(np.where(valid, image, 0)), _blur(valid.astype(np.float32))
    return total / np.maximum(weights, np.float32(1e-6))


def _blur(image: Floats) -> Floats:
    rows = image[1:-1] + np.float32(SIDE) * (image[:-2] + image[2:])
    whole: Floats = rows[:, 1:-1] + np.float32(SIDE) * (rows[:, :-2] + rows[:, 2:])
    return whole


@dataclass(frozen=True, slots=True)
class Ratio:
    """From filtered intensities to the log-ratio of amplitudes, and to what total variation leaves of it."""

    levels: Floats
    """(2, band) amplitude that is added to each date's."""
    centre: Floats
    """(band,) log-ratio of what has not changed."""
    noise: Floats
    """(band,) standard deviation that speckle gives to a pixel's log-ratio."""
    smoothing: float

    @property
    def radius(self) -> int:
        """Pixels of context that `smoothed` needs."""
        return CONTEXT + ITERATIONS

    def raw(self, dates: Floats, valid: Bools) -> Floats:
        """(band, y, x) log-ratios of (2, band, y, x) intensities, without `CONTEXT` pixels on each side."""
        logs = [
            [np.log(self._amplitude(band, seen) + level) for band, level in zip(date, levels, strict=True)]
            for date, seen, levels in zip(dates, valid, self.levels.astype(np.float32), strict=True)
        ]
        before, after = np.array(logs, np.float32)
        centred = after - before - self.centre[:, None, None].astype(np.float32)
        clipped: Floats = np.clip(centred, -FARTHEST, FARTHEST)
        return clipped

    @staticmethod
    def _amplitude(band: Floats, seen: Bools) -> Floats:
        return blurred(within_neighbours(np.sqrt(band), seen), seen[1:-1, 1:-1])

    def smoothed(self, dates: Floats, valid: Bools) -> Floats:
        """(band, y, x) smoothed log-ratios, in deviations of the noise, without `radius` pixels on each side."""
        inner = slice(CONTEXT, -CONTEXT), slice(CONTEXT, -CONTEXT)
        own = (..., slice(ITERATIONS, -ITERATIONS), slice(ITERATIONS, -ITERATIONS))
        joint = jointly_valid(valid)[inner]
        units = self.raw(dates, valid) * joint / self.noise[:, None, None].astype(np.float32)
        return np.stack([smooth(band, joint, self.smoothing) for band in units])[own]


def count_ratios(dates: Floats, valid: Bools, tile: Tile, *, ratio: Ratio, lag: int) -> Array:
    """Kernel (halo `CONTEXT` + `lag`): (2, band, bins) counts of log-ratios, and of their differences close by."""
    inner = slice(CONTEXT, -CONTEXT), slice(CONTEXT, -CONTEXT)
    own = slice(lag, lag + tile.height), slice(lag, lag + tile.width)
    joint, raw = jointly_valid(valid)[inner], ratio.raw(dates, valid)
    values = [count_logs(band[own][joint[own]]) for band in raw]
    differences = [count_logs(pair_logs(band, joint, tile, lag)) for band in raw]
    return np.array([values, differences])
