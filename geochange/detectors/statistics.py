"""Scene-wide statistics in streamed passes: moments that add up, and regular samples. Pure.

Blocks are folded in lattice order, in float64 and about a value of their own, so that neither 16-bit data nor the
number of workers moves a result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import gcd, isqrt, prod
from operator import add
from typing import Any, TypeVar

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.detectors.detector import Kernel, MapBlocks, R, Series
from geochange.errors import NothingValid
from geochange.scenes.grid import Tile

CHUNK_PIXELS = 1 << 14  # pixels of all bands that are worked on at once: few enough for the cache, enough for the calls
FENCE_QUANTILES = (0.02, 0.98)
FENCE_SPREADS = 1.0
FRAME = 0.05  # least share of a frame, whose pixels have one extreme value, of a scene
FENCE_SAMPLE = 1 << 18  # pixels, at least, that the quantiles are taken of where the scene has more
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
    return pixels if joint.all() else pixels.take(np.flatnonzero(joint), axis=1)  # a mask would leave them transposed


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
class Fence:
    """Between which values a band's pixels count in a scene's moments: beyond lie saturated, dead and hot pixels."""

    low: Floats
    """(2 b,) float32; -inf for a band without a fence."""
    high: Floats

    def inside(self, dates: Floats, valid: Bools) -> Bools:
        """(time, y, x) validity of (time, band, y, x) without the pixels that lie beyond in any band of their date."""
        inside = valid.copy()
        low, high = (each.reshape(dates.shape[:2]) for each in (self.low, self.high))
        for date, band in np.ndindex(low.shape):
            inside[date] &= dates[date, band] >= low[date, band]
            inside[date] &= dates[date, band] <= high[date, band]
        return inside


def fence_of(samples: Floats) -> Fence:
    """Return the fence of (2 b, n) sampled pixels.

    It stands `FENCE_SPREADS` times the distance of two quantiles beyond these, as Tukey (1977) has it of quartiles.
    Quantiles further out leave heavy tails within, and do not move where fewer pixels than that are bad. A band most of
    which has one value has no fence.
    """
    low, high = np.quantile(samples, FENCE_QUANTILES, axis=1)
    reach = np.where(high > low, FENCE_SPREADS * (high - low), np.inf)
    with np.errstate(over="ignore"):
        return Fence((low - reach).astype(np.float32), (high + reach).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Frame:
    """What lies around a scene and is not declared nodata: one value in all bands at all dates, 0 as a rule."""

    value: float

    def inside(self, dates: Floats, valid: Bools) -> Bools:
        """(time, y, x) validity of (time, band, y, x) without the pixels of the frame."""
        without: Bools = valid & (dates != self.value).any(axis=(0, 1))
        return without


def frame_of(samples: Floats, known: float | None = None) -> Frame | None:
    """Return the frame that (2 b, n) sampled pixels show; None where they show none.

    What lies around a scene has the least or the largest value in all bands at all dates. A scene that does not vary
    elsewhere is not framed: it is as flat as that.

    Args:
        samples: of the scene.
        known: the value of any frame, where the samples are a quantity that it does not make extreme.
    """
    alike = (samples == samples[0]).all(axis=0)
    values, counts = np.unique(samples[0, alike], return_counts=True)
    if not len(values) or counts.max() < FRAME * samples.shape[1]:
        return None
    value = float(values[np.argmax(counts)])
    others = samples[:, ~(alike & (samples[0] == value))]
    outside = value in (samples.min(), samples.max()) if known is None else value == known
    varies = others.shape[1] > 0 and (np.ptp(others, axis=1) > 0).all()
    return Frame(value) if outside and varies else None


def run_inside(dates: Floats, valid: Bools, tile: Tile, *, kernel: Kernel[R], limit: Fence | Frame) -> R:
    """Kernel: another kernel on the pixels inside the limit."""
    return kernel(dates, limit.inside(dates, valid), tile)


@dataclass(frozen=True, slots=True)
class LimitedBlocks:
    """`MapBlocks` that shows kernels the pixels inside a limit as the only valid ones."""

    map_blocks: MapBlocks
    limit: Fence | Frame

    def __call__(self, kernel: Kernel[R], halo: int = 0, every: int = 1) -> Iterator[R]:
        """Run a kernel on what lies inside."""
        return self.map_blocks(partial(run_inside, kernel=kernel, limit=self.limit), halo, every)


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """Moments of a block, its extremes, and a sample of its pixels."""

    moments: Moments
    low: Floats
    """(2 b,) smallest values."""
    high: Floats
    sample: Floats
    """(2 b, n)."""


def summarise_block(dates: Floats, valid: Bools, tile: Tile, *, every: int) -> BlockSummary:
    """Kernel: the summary of a block, with one pixel in `every` sampled.

    The sample is a lattice (Korobov 1959) in which no row and no column has more than its share.
    """
    pixels = valid_pixels(dates, valid)
    rows, cols = on_lattice(tile, every)
    sample = dates.reshape(-1, *dates.shape[2:])[:, rows, cols].compress(jointly_valid(valid)[rows, cols], axis=1)
    low, high = pixels.min(axis=1, initial=np.inf), pixels.max(axis=1, initial=-np.inf)
    with np.errstate(over="ignore", invalid="ignore"):  # of values that the fence will leave out
        return BlockSummary(moments_of(pixels), low, high, sample)


def on_lattice(tile: Tile, every: int) -> tuple[Ints, Ints]:
    """Rows and columns in a tile, both (n,), of the pixels whose columns follow from their rows in the sample."""
    first = -(lattice_multiplier(every) * np.arange(tile.row, tile.row + tile.height) + tile.col) % every
    cols = np.add.outer(first, np.arange(0, tile.width, every))
    rows, place = np.nonzero(cols < tile.width)
    return rows, cols[rows, place]


def lattice_multiplier(every: int) -> int:
    """Return the number nearest to the golden section of `every` that has no divisor in common with it."""
    golden = round(every * 0.618)
    return next((each for step in range(every) for each in (golden + step, golden - step) if gcd(each, every) == 1), 1)


@dataclass(frozen=True, slots=True)
class Inliers:
    """What a scene's statistics are taken of."""

    moments: Moments
    """Of both dates' bands, of the pixels within the fence."""
    within: MapBlocks
    """Blocks of these pixels."""
    seen: MapBlocks
    """Blocks of all pixels but those of a frame."""
    frame: float | None = None
    """The value of a frame's pixels."""


def find_inliers(series: Series, map_blocks: MapBlocks, frame: float | None = None) -> Inliers:
    """Find the pixels that hold data at every date, are not of a frame, and are not far out, and their moments.

    Where there is no other pixel, one pass does.

    Args:
        series: the scene.
        map_blocks: shows kernels its bands, or a quantity made of them.
        frame: the value that a frame has in that quantity; None for the bands themselves.

    Raises:
        NothingValid: there is no such pixel.
    """
    every = max(prod(series.shape) // FENCE_SAMPLE, 1)
    summaries = list(map_blocks(partial(summarise_block, every=every)))
    samples = np.concatenate([each.sample for each in summaries], axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        total = reduce(Moments.__add__, (each.moments for each in summaries))
    if total.weight == 0:
        raise NothingValid("no pixel holds data at every date; look at both images with `geochange check`")
    if not samples.shape[1]:
        return Inliers(total, map_blocks, map_blocks)
    around, seen = frame_of(samples, frame), map_blocks
    if around is not None:
        seen = LimitedBlocks(map_blocks, around)
        samples = samples[:, (samples != around.value).any(axis=0)]
    fence = fence_of(samples)
    low, high = np.min([each.low for each in summaries], axis=0), np.max([each.high for each in summaries], axis=0)
    if around is None and (low >= fence.low).all() and (high <= fence.high).all():
        return Inliers(total, map_blocks, map_blocks)
    within = LimitedBlocks(seen, fence)
    return Inliers(scene_moments(within), within, seen, None if around is None else around.value)


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


C = TypeVar("C", bound=Any)


def total_counts(parts: Iterable[C]) -> C:
    """Sum of counts without keeping them."""
    return reduce(add, parts)
