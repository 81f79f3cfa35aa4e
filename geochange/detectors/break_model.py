"""Breaks in series of pixels: how a series is brought to noise of variance 1, and cut into parts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.partition import (
    SegmentSums,
    best_cut,
    best_cuts,
    best_partition,
    levels_of,
    lines_of,
)
from geochange.detectors.seasons import Season
from geochange.detectors.series import MAD, PIXELS_AT_ONCE, ClosedSeries, close_gaps, medians
from geochange.detectors.spreads import SpreadPrior, Whitening, variance_of_logarithms

MODELS: Mapping[bool, Callable[[Floats, Floats, Ints], SegmentSums]] = {False: levels_of, True: lines_of}
"""By whether parts may slope."""
SIMULATED = 1 << 13  # series of noise alone
COUNTS = 6  # numbers of dates for which they are simulated, between which penalties are interpolated
QUARTER = 0.25
OUTLYING = 3.0  # deviations from the median of a level's length of dates beyond which a value is cut off
LARGEST = 1e4  # deviations; what is more is no measurement


@dataclass(frozen=True, slots=True)
class Noise:
    """Series of noise alone, by number of dates."""

    penalties: Floats
    """(time + 1,) of a cut, so that the wanted share of series has one."""
    quartiles: Floats
    """(time + 1,) lower quartile of what the best cut explains."""


@dataclass(frozen=True, slots=True)
class FoundBreaks:
    """Breaks of n pixels."""

    log_odds: Floats
    """(n,) of a break."""
    series: ClosedSeries
    """The bands, matched and without season."""
    explained: SegmentSums
    cuts: Bools
    """(time + 1, n) places before which there are breaks; the likeliest one where the penalty allows none."""
    spread: Floats
    """(n,) noise, in that of the scene."""


@dataclass(frozen=True)
class BreakModel:
    """What is known of a scene's series."""

    times: Floats
    """(time,) years, or places from 1 where the dates are not known."""
    offsets: Floats
    """(time, band) that are taken off."""
    season: Season
    scales: Floats
    """(band,) noise, season included."""
    whitening: Whitening
    prior: SpreadPrior
    shortest: int
    """Dates that a level lasts at least."""
    sloping: bool
    noise: Noise
    inflation: float = 1.0
    """Of squares: how much more of the quietest pixels a cut explains than of independent noise."""

    @cached_property
    def along(self) -> Floats:
        """(time,) float32 times, brought to -1..1."""
        middle, half = (self.times[0] + self.times[-1]) / 2, (self.times[-1] - self.times[0]) / 2
        return np.asarray((self.times - middle) / (half or 1), np.float32)

    def closed(self, values: Floats, valid: Bools) -> ClosedSeries:
        """Match (time, band, n) values, take out the season, and close gaps."""
        with np.errstate(over="ignore", invalid="ignore"):  # of what no sensor measures
            series = close_gaps(values - self.offsets[..., None], valid)
            return replace(series, values=self.season.remove(series, self.scales)[0])

    def in_noise(self, white: Floats, counts: Ints) -> tuple[Floats, Floats]:
        """(time, k, n) whitened values in units of each pixel's noise, without what lasts too short; and the noise."""
        with np.errstate(over="ignore", invalid="ignore"):
            spread = self.prior(*difference_spread(white, counts)) * np.float32(np.sqrt(self.inflation))
            scaled = np.clip(np.nan_to_num(white / spread), -LARGEST, LARGEST)
        return (without_spikes(scaled, counts, self.shortest) if self.shortest > 1 else scaled), spread

    def explained(self, scaled: Floats, series: ClosedSeries) -> SegmentSums:
        """Return what parts of the series explain."""
        return MODELS[self.sloping](scaled, self.along[series.order], series.counts)

    def find(self, values: Floats, valid: Bools) -> FoundBreaks:
        """Find the breaks of (time, band, n) values with (time, n) validity."""
        series = self.closed(values, valid)
        counts, dates = series.counts, len(values)
        scaled, spread = self.in_noise(self.whitening(series.values), counts)
        explained, penalty = self.explained(scaled, series), self.noise.penalties[counts].astype(np.float32)
        partition = best_partition(explained, counts, penalty, self.shortest, dates)
        single, place = best_cut(explained, counts, self.shortest, dates)
        whole = ~partition.cuts.any(axis=0)
        evidence = np.where(whole, np.maximum(single, 0) - penalty, partition.gain)
        likeliest = np.flatnonzero(whole & (place > 0))
        partition.cuts[place[likeliest], likeliest] = True
        return FoundBreaks(evidence / 2, series, explained, partition.cuts, spread)


def difference_spread(white: Floats, counts: Ints) -> tuple[Floats, Ints]:
    """(n,) standard deviations by the median of absolute differences that follow each other, and how many these are."""
    differences = np.abs(np.diff(white, axis=0)).reshape(-1, white.shape[2])
    number = np.maximum(counts - 1, 0) * white.shape[1]
    return np.asarray(MAD / np.sqrt(2) * medians(differences, number)), number


def without_spikes(scaled: Floats, counts: Ints, shortest: int) -> Floats:
    """Cut values off that lie far from the median of as many dates as show a level of `shortest` dates."""
    length, dates = 2 * shortest - 1, len(scaled)
    found = scaled.copy()
    for place in range(dates):
        first = np.clip(place - shortest + 1, 0, np.maximum(np.minimum(counts, dates) - length, 0))
        if length > dates:
            break
        window = np.take_along_axis(scaled, (first + np.arange(length)[:, None])[:, None], axis=0)
        middle = np.median(window, axis=0)
        found[place] = np.clip(scaled[place], middle - OUTLYING, middle + OUTLYING)
    held = np.arange(dates)[:, None, None] < counts
    return np.where(held & (counts >= length), found, scaled)


def simulate_noise(model: BreakModel, seen: Bools, rate: float) -> Noise:
    """Run series of noise alone through a model.

    Args:
        model: without its `noise`.
        seen: (time,) dates that hold data anywhere.
        rate: share of series that may have a break.
    """
    dates, least = int(seen.sum()), 2 * model.shortest
    counts = np.unique(np.geomspace(least, max(dates, least), COUNTS).round().astype(int))
    counts = counts[counts <= dates]
    if not len(counts):
        return Noise(np.full(len(seen) + 1, 2 * np.log(1 / rate)), np.zeros(len(seen) + 1))
    tails, quartiles = [], []
    for count in counts:
        one, two = _gains_of_noise(model, np.flatnonzero(seen), int(count))
        tails.append(np.quantile(np.maximum(one, two / 2), 1 - rate))
        quartiles.append(np.quantile(one, QUARTER))
    every = np.arange(len(seen) + 1)
    return Noise(np.interp(every, counts, tails), np.interp(every, counts, quartiles))


def _gains_of_noise(model: BreakModel, seen: Ints, count: int) -> tuple[Floats, Floats]:
    """Return (SIMULATED,) what one cut explains of noise of so many of the seen dates, and what two do."""
    chosen = seen[np.linspace(0, len(seen) - 1, count).round().astype(int)]
    size, rng = len(model.whitening.forth), np.random.default_rng(count)
    parts = [_noise_part(model, chosen, size, rng) for _ in range(SIMULATED // PIXELS_AT_ONCE)]
    one, two = (np.concatenate(gains) for gains in zip(*parts, strict=True))
    return one, two


def _noise_part(model: BreakModel, chosen: Ints, size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    count, pixels = len(chosen), PIXELS_AT_ONCE
    own = np.exp(np.sqrt(model.prior.variety) * rng.normal(size=pixels)) * model.prior.typical
    white = (rng.normal(size=(count, size, pixels)) * own).astype(np.float32)
    order = np.broadcast_to(chosen[:, None], (count, pixels))
    series = ClosedSeries(white, np.full(pixels, count), order)
    scaled, _ = model.in_noise(model.season.remove(series, np.ones(size))[0], series.counts)
    return best_cuts(model.explained(scaled, series), series.counts, model.shortest, count)


def chance_of_spread(dates: int, size: int) -> float:
    """Variance of the logarithm of `difference_spread` of noise of one strength, times the number of differences."""
    white = np.random.default_rng(0).normal(size=(dates, size, SIMULATED)).astype(np.float32)
    spread, number = difference_spread(white, np.full(SIMULATED, dates))
    return variance_of_logarithms(spread) * float(number[0])
