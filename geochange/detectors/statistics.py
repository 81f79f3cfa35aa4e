"""Scene-wide statistics in streamed passes: moments that add up, and regular samples. Pure.

Blocks are folded in lattice order, in float64 and about a value of their own, so that neither 16-bit data nor the
number of workers moves a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import isqrt

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.detector import Kernel, MapBlocks
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile

CHUNK_PIXELS = 1 << 14  # pixels of all bands that are worked on at once: few enough for the cache, enough for the calls
CONSTANT = 1e-12  # variance over squared mean under which float32 cannot separate a band from a constant


@dataclass(frozen=True, slots=True)
class Moments:
    """Weight, mean and scatter of k quantities; two of them add up to those of both sets (Chan et al. 1983)."""

    weight: float
    mean: Floats
    """(k,) float64."""
    scatter: Floats
    """(k, k) float64 weighted sum of the outer products of deviations from the mean."""

    def __add__(self, other: Moments) -> Moments:
        if not (self.weight and other.weight):
            return other if other.weight else self
        weight = self.weight + other.weight
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.weight / weight)
        between = np.outer(shift, shift) * (self.weight * other.weight / weight)
        return Moments(weight, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> Floats:
        """(k, k), with the weight as divisor."""
        return self.scatter / self.weight

    @property
    def variance(self) -> Floats:
        """(k,) diagonal of the covariance."""
        return np.diag(self.scatter) / self.weight


def moments_of(pixels: Floats, weights: Floats | None = None) -> Moments:
    """Moments of (k, n) pixels, each weighing 1 or its entry of the (n,) weights."""
    size = len(pixels)
    nothing = Moments(0.0, np.zeros(size), np.zeros((size, size)))
    chunks = (slice(start, start + CHUNK_PIXELS) for start in range(0, pixels.shape[1], CHUNK_PIXELS))
    parts = (_chunk_moments(pixels[:, at], None if weights is None else weights[at]) for at in chunks)
    return reduce(Moments.__add__, parts, nothing)


def _chunk_moments(pixels: Floats, weights: Floats | None) -> Moments:
    reference = pixels[:, :1].astype(np.float64)
    deviations = pixels - reference
    weighted = deviations if weights is None else deviations * weights
    weight = float(pixels.shape[1] if weights is None else weights.sum(dtype=np.float64))
    if weight == 0:
        return Moments(0.0, reference[:, 0], np.zeros((len(pixels), len(pixels))))
    shift = weighted.sum(axis=1) / weight
    scatter = weighted @ deviations.T - np.outer(shift, shift) * weight
    return Moments(weight, reference[:, 0] + shift, scatter)


def jointly_valid(valid: Bools) -> Bools:
    """Where (..., time, y, x) validity holds at every date: (..., y, x). Many times faster than `all` along an axis."""
    return reduce(np.logical_and, np.moveaxis(valid, -3, 0))


def valid_pixels(dates: Floats, valid: Bools) -> Floats:
    """(time * band, n) pixels that hold data at every date, of (time, band, y, x) and (time, y, x)."""
    pixels = dates.reshape(-1, dates.shape[2] * dates.shape[3])
    joint = jointly_valid(valid).ravel()
    return pixels if joint.all() else pixels[:, joint]


def block_moments(dates: Floats, valid: Bools, tile: Tile) -> Moments:
    """Kernel: moments of both dates' bands, one after the other."""
    return moments_of(valid_pixels(dates, valid))


def scene_moments(map_blocks: MapBlocks, kernel: Kernel[Moments] = block_moments) -> Moments:
    """Moments of all pixels that hold data at every date, in one pass.

    Raises:
        NothingValid: there is no such pixel.
    """
    total = reduce(Moments.__add__, map_blocks(kernel))
    if total.weight == 0:
        raise NothingValid("no pixel holds data at every date; look at both images with `geochange check`")
    return total


@dataclass(frozen=True, slots=True)
class Matching:
    """What brings each date's bands to the mean and the standard deviation of the first date's: value * gain + offset.

    The simplest relative radiometric normalisation (Yuan & Elvidge 1996): season, light and haze as a whole go, and
    what changed in a small part of the scene stays.
    """

    gain: Floats
    """(time, band); 1 at the first date, and for a band that is constant at either."""
    offset: Floats
    """(time, band)."""

    def __call__(self, dates: Sequence[Array], valid: Bools) -> list[Floats]:
        """(band, y, x) of each date as float32, matched; 0 where (time, y, x) validity does not hold."""
        return [
            ((date * gain[:, None, None] + offset[:, None, None]) * seen).astype(np.float32)
            for date, seen, gain, offset in zip(dates, valid, self.gain, self.offset, strict=True)
        ]


def matching_of(moments: Moments, dates: int) -> Matching:
    """From the moments of all dates' bands, one date after the other."""
    mean, variance = moments.mean.reshape(dates, -1), moments.variance.reshape(dates, -1)
    varies = variance > CONSTANT * mean**2
    comparable = varies & varies[0]
    gain = np.sqrt(np.where(comparable, variance[0] / np.where(comparable, variance, 1), 1))
    gain[0] = 1
    return Matching(gain, mean[0] - mean * gain)


def varying_bands(moments: Moments, bands: tuple[int, ...]) -> Bools:
    """(b,) which bands vary at both dates, from the moments of both dates' bands.

    Args:
        moments: of 2 b quantities.
        bands: their numbers in the files, for the message.

    Raises:
        NothingValid: no band varies at both dates.
    """
    varies = moments.variance > CONSTANT * moments.mean**2
    before, after = np.split(varies, 2)
    if not (before & after).any():
        which = "both dates" if not varies.any() else "the first date" if not before.any() else "the second date"
        constant = which if not (before.any() and after.any()) else "one of the dates"
        numbers = ", ".join(map(str, bands))
        raise NothingValid(f"every band ({numbers}) is constant at {constant}: there is nothing to compare")
    return before & after


def sampling_steps(pixels: float, wanted: int) -> tuple[int, int]:
    """(rows, cols) between samples, so that a full scene of `pixels` gives at least `wanted` of them."""
    excess = max(int(pixels) // wanted, 1)
    rows = isqrt(excess)
    return rows, excess // rows


def on_sample(tile: Tile, steps: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a tile that lie on the regular sample anchored at the scene's origin."""
    return slice(-tile.row % steps[0], None, steps[0]), slice(-tile.col % steps[1], None, steps[1])


def sample_block(dates: Floats, valid: Bools, tile: Tile, *, steps: tuple[int, int]) -> Floats:
    """Kernel: (2 b, n) pixels of the block that lie on the sample and hold data at every date."""
    rows, cols = on_sample(tile, steps)
    return np.ascontiguousarray(valid_pixels(dates[:, :, rows, cols], valid[:, rows, cols]))


def sample_scene(map_blocks: MapBlocks, pixels: float, wanted: int) -> tuple[list[Floats], bool]:
    """Draw a regular sample of at least `wanted` of the valid pixels, or all of them where the scene has fewer.

    Args:
        map_blocks: runs the kernel.
        pixels: number of valid pixels of the scene.
        wanted: the least size of the sample.

    Returns:
        (2 b, n) pixels of each block in lattice order, and whether these are all.
    """
    target = wanted
    while True:
        steps = sampling_steps(pixels, target)
        blocks = list(map_blocks(partial(sample_block, steps=steps)))
        if steps == (1, 1) or sum(block.shape[1] for block in blocks) >= wanted:
            return blocks, steps == (1, 1)
        target = target * 3 // 2 + 1  # nodata that follows the sample's rhythm: take it finer


def chunks_of(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Yield views of at most `CHUNK_PIXELS` pixels, in order."""
    for block in blocks:
        for start in range(0, block.shape[1], CHUNK_PIXELS):
            yield block[:, start : start + CHUNK_PIXELS]


def total_counts(parts: Iterable[Array]) -> Array:
    """Sum of integer histograms without keeping them."""
    return reduce(np.add, parts)
