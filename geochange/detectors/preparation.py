"""Bringing a scene's values and pixels to those that a network was trained with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd, isfinite
from typing import TypeAlias

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.detector import MapBlocks, Series
from geochange.detectors.statistics import matching_of, scene_moments
from geochange.errors import BadOption, BandMismatch, NothingValid
from geochange.scenes.grid import Tile

FINEST_RATIO = 4  # the scene's pixels and the network's stand in ratios of whole numbers, one of them up to this
LARGEST_ZOOM = 8
SPARE = 1.25  # how far a pixel size may lie outside the range of training before it counts as foreign
DIM, BRIGHT = 0.05, 1.2  # share of the range of training that the largest value must reach, and may

Coefficients: TypeAlias = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is known of the images that a network was trained with."""

    bands: tuple[str, ...]
    """What each band is, in order."""
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    """For each band: the network takes (value - mean) / spread."""
    value_range: tuple[float, float] | None = None
    """Least and greatest value; None where that is not known."""
    gsd: tuple[float, float] | None = None
    """Smallest and largest pixel, in metres; None where that is not known."""
    matched: bool = False
    """Whether each date was first brought to the mean and spread of the first, see `statistics.Matching`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How stored values and pixels are brought to those that a network was trained with."""

    gain: Coefficients
    offset: Coefficients
    """(date, band), a single row for all dates: value * gain + offset is what the network takes."""
    zoom: Fraction = Fraction(1)
    """Pixels of the network for one of the scene."""

    def radius(self, radius: int) -> int:
        """Return a receptive radius of the network in pixels of the scene; resampling adds two of the network's."""
        return ceil((radius + 2) / self.zoom) if self.zoom != 1 else radius

    def stride(self, stride: int) -> int:
        """Return the pixels of the scene by which a tile may move: they make whole strides of the network."""
        return input_stride(stride, self.zoom)


def input_stride(stride: int, zoom: Fraction) -> int:
    """Return the least number of the scene's pixels that make whole strides of a network."""
    return stride * zoom.denominator // gcd(stride * zoom.denominator, zoom.numerator)


def prepare_for(
    training: Training, series: Series, map_blocks: MapBlocks, *, name: str, scale: str | None, match_gsd: bool
) -> Preparation:
    """Match a network to a scene's bands, values and pixel size.

    Args:
        training: what the network was trained with.
        series: the scene.
        map_blocks: runs kernels over it, where its values have to be measured.
        name: what messages call the network.
        scale: LOW:HIGH, the scene's values for the ends of the trained range; or auto; None: values as they are.
        match_gsd: resample where the pixel size is another.

    Raises:
        BandMismatch: the scene has other bands.
        BadOption: values or pixels lie outside the range of training.
        NothingValid: no pixel holds data at every date.
    """
    if len(series.bands) != len(training.bands):
        raise BandMismatch(
            f"{name} needs {len(training.bands)} bands ({', '.join(training.bands)}), the images have "
            f"{len(series.bands)}; pick them in that order with --bands"
        )
    zoom = _zoom(training, series, name, match_gsd=match_gsd)
    gain, offset = _gain_and_offset(training, series, map_blocks, name, scale)
    if training.matched:
        matching = matching_of(scene_moments(map_blocks), series.dates)
        gain, offset = gain * matching.gain, matching.offset * gain + offset
    rows = (np.atleast_2d(each).tolist() for each in (gain, offset))
    gains, offsets = (tuple(map(tuple, each)) for each in rows)
    return Preparation(gain=gains, offset=offsets, zoom=zoom)


def _zoom(training: Training, series: Series, name: str, *, match_gsd: bool) -> Fraction:
    """Pixels of the network for one of the scene."""
    if training.gsd is None or series.gsd is None:
        return Fraction(1)
    low, high = training.gsd
    if low / SPARE <= series.gsd <= high * SPARE:
        return Fraction(1)
    trained = f"{low:.3g} to {high:.3g} m" if low < high else f"{low:.3g} m"
    if not match_gsd:
        raise BadOption(
            f"the scene has pixels of {series.gsd:.3g} m, {name} was trained with {trained}; "
            "add --match-gsd to score the scene at that size"
        )
    wanted = series.gsd / (high if series.gsd > high else low)  # the nearer end: less is resampled
    if not 1 / LARGEST_ZOOM <= wanted <= LARGEST_ZOOM:
        raise BadOption(
            f"the scene has pixels of {series.gsd:.3g} m, {name} was trained with {trained}: more than "
            f"{LARGEST_ZOOM} times apart, too far to resample"
        )
    return simple_ratio(wanted)


def _gain_and_offset(
    training: Training, series: Series, map_blocks: MapBlocks, name: str, scale: str | None
) -> tuple[Floats, Floats]:
    """(band,) both; where dates are matched, of the first date's values."""
    mean, spread = np.array(training.mean), np.array(training.spread)
    if scale == "auto":
        return standardising(map_blocks, series, matched=training.matched)
    if scale is not None:
        low, high = parse_scale(scale)
        if training.value_range is None:
            raise BadOption(f"it is not known which values {name} was trained with, so --scale {scale} cannot be used")
        least, greatest = training.value_range
        steps = (greatest - least) / (high - low)
        gain, offset = np.full(len(mean), steps), np.full(len(mean), least - low * steps)
    else:
        if training.value_range is not None:
            _require_range(training.value_range, series, map_blocks, name)
        gain, offset = np.ones(len(mean)), np.zeros(len(mean))
    return gain / spread, (offset - mean) / spread


def _require_range(trained: tuple[float, float], series: Series, map_blocks: MapBlocks, name: str) -> None:
    low, high = trained
    if series.largest <= high:
        return  # by the type alone values fit, as with 8 bits
    greatest = max((found for found in map_blocks(block_maximum) if found is not None), default=None)
    if greatest is None:
        raise NothingValid("no pixel holds data at every date; check --nodata and --aoi")
    if not low + DIM * (high - low) <= greatest <= high * BRIGHT:
        raise BadOption(
            f"the scene's values reach {greatest:g}, {name} was trained with {low:g} to {high:g}; add --scale "
            f"LOW:HIGH, the values that stand for {low:g} and {high:g}, or --scale auto"
        )


def block_maximum(dates: Floats, valid: Bools, tile: Tile) -> float | None:
    """Kernel: the largest value where all dates hold data; None where they do nowhere."""
    seen = valid.all(axis=0)
    return float(dates[:, :, seen].max()) if seen.any() else None


def standardising(map_blocks: MapBlocks, series: Series, *, matched: bool) -> tuple[Floats, Floats]:
    """Find gain and offset that bring each band to mean 0 and deviation 1, over all dates or the one others match."""
    moments = scene_moments(map_blocks)
    means, variances = moments.mean.reshape(series.dates, -1), moments.variance.reshape(series.dates, -1)
    if matched:
        means, variances = means[:1], variances[:1]
    gain = 1 / np.maximum(np.sqrt(variances.mean(axis=0) + means.var(axis=0)), 1e-6)
    return gain, -means.mean(axis=0) * gain


def parse_scale(text: str) -> tuple[float, float]:
    """LOW:HIGH as numbers.

    Raises:
        BadOption: it is not that.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError as error:
        raise BadOption(f"scale {text!r} must be LOW:HIGH, as in 0:3000, or auto") from error
    if not isfinite(high - low):
        raise BadOption(f"scale {text!r} must be two finite numbers")
    if not low < high:
        raise BadOption(f"scale {text!r} must rise: its first value stands for the darkest")
    return low, high


def simple_ratio(ratio: float) -> Fraction:
    """Return the nearest ratio with a small denominator, or a small numerator where it is below 1."""
    if ratio >= 1:
        return Fraction(ratio).limit_denominator(FINEST_RATIO)
    return 1 / Fraction(1 / ratio).limit_denominator(FINEST_RATIO)
