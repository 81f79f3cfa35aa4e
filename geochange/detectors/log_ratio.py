"""Change in radar images: the logarithm of the ratio of two dates, smoothed by total variation.

Speckle multiplies, so the ratio of two dates has the same speckle on dark and on bright ground, and its logarithm is 0
where nothing changed, whatever the gain (Rignot and van Zyl 1993). Before the ratio is taken, a pixel counts as no more
and no less than its neighbours do, and weighs a little of them. Total variation then takes the speckle away and leaves
changes their edges: its strength follows from the noise of the ratio, which pixels close by show whatever has changed.
What is left is nearly two-valued, so that Otsu's threshold finds where change begins, down to one changed pixel in a
hundred; it never lies within what is left of speckle where nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.amplitude_ratio import CONTEXT, Ratio, count_ratios
from geochange.detectors.contrast import require_pair
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Scores, Series
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.looks import median_log
from geochange.detectors.mixture import (
    FEW,
    NO_CHANGE,
    Mixture,
    Posterior,
    bin_values,
    otsu_split,
    statistic_histogram,
)
from geochange.detectors.radar import RadarOptions, RadarReading, RadarScene, padded, read_radar, require_variation
from geochange.detectors.statistics import jointly_valid, total_counts
from geochange.errors import BadOption
from geochange.scenes.grid import Tile

DirectionName: TypeAlias = Literal["both", "increase", "decrease"]

DIRECTIONS: Mapping[DirectionName, Callable[[Floats], Bools]] = {
    "both": lambda ratio: np.ones_like(ratio, bool),
    "increase": lambda ratio: ratio > 0,
    "decrease": lambda ratio: ratio < 0,
}
"""Which mean log-ratios count."""

DARK = 0.05  # share of the mean amplitude added to both dates, without which the darkest pixels would have any ratio
STEADIEST = 0.01  # noise of log-ratios under this counts as this: no radar is calibrated to less than 0.1 dB
SPECKLE = 0.6  # log-ratio, in deviations of the noise, that smoothing leaves of it in a few pixels in a thousand
LEAST = 0.115  # log-ratio of amplitude under which no change begins: 1 dB
CLEAR, SPLIT = 1.5, 0.8  # threshold in deviations, and share of the variance between the classes, of two that are clear
SHARPEST = 4.5  # deviations between the means, at most: beyond, a stored score would tell no change from a stronger one
QUARTILE = 1.4826  # standard deviations of a normal distribution for one of the median absolute deviation
WIDENED = 3  # rows that a line of bad pixels makes of one, when pixels weigh a little of their neighbours
DECIBELS = float(20 / np.log(10))  # of a unit of the logarithm of amplitudes


def statistic_of(smoothed: Floats) -> Floats:
    """(y, x) mean square of (band, y, x) smoothed log-ratios."""
    statistic: Floats = np.square(smoothed).mean(axis=0)
    return statistic


def count_smoothed(dates: Floats, valid: Bools, tile: Tile, *, ratio: Ratio) -> Ints:
    """Kernel (halo of the ratio's radius): count the statistic of smoothed log-ratios."""
    inner = slice(ratio.radius, -ratio.radius), slice(ratio.radius, -ratio.radius)
    return statistic_histogram(statistic_of(ratio.smoothed(dates, valid)), jointly_valid(valid)[inner])


def clear_split(counts: Ints) -> tuple[float, float]:
    """Return Otsu's threshold of a statistic's length, and the share of the variance that lies between its classes."""
    lengths, total = np.sqrt(bin_values()), counts.sum()
    if np.count_nonzero(counts) < 2:
        return 0.0, 0.0
    split = otsu_split(lengths, counts)
    upper, weights = lengths > split, counts / total
    share, mean = weights[upper].sum(), weights @ lengths
    variance = weights @ np.square(lengths - mean)
    between = (weights[upper] @ lengths[upper] / share - mean) ** 2 * share / (1 - share)
    return split, float(between / variance)


def change_threshold(counts: Ints) -> float:
    """Return the length from which a pixel has changed.

    It is Otsu's; but where a few pixels lie far above two clear classes, as faults of a sensor do, it is that of
    these classes.

    Args:
        counts: (STATISTIC_BINS,) of squared lengths, in deviations of the noise.
    """
    split, _ = clear_split(counts)
    lengths, below = np.sqrt(bin_values()), counts.copy()
    below[lengths > split] = 0
    if counts.sum() - below.sum() > WIDENED * FEW * counts.sum():
        return split
    lower, share = clear_split(below)
    return lower if lower >= CLEAR and share >= SPLIT else split


def ratio_posterior(counts: Ints, noise: float) -> Posterior:
    """Return the probability of change: normal classes of one deviation on both sides of the threshold.

    Args:
        counts: (STATISTIC_BINS,) of the statistic.
        noise: standard deviation of the log-ratio's noise, the unit of the statistic.
    """
    split = change_threshold(counts)
    least = max(SPECKLE, LEAST / noise)
    threshold = max(split, least)
    roots = bin_values() ** 0.25
    upper = roots > np.sqrt(threshold)
    changed, still = counts * upper, counts * ~upper
    if not changed.sum() or not still.sum():
        return Posterior(NO_CHANGE, 0.0)
    mixture = _two_normals(roots, still, changed)
    even = float(mixture.rising_log_odds(np.float64(np.sqrt(threshold))))
    return Posterior(mixture, threshold**2, even, noise=split < least)


def _two_normals(roots: Floats, still: Ints, changed: Ints) -> Mixture:
    """Fit two normal classes of one deviation to the roots that two histograms count."""
    low, high = (float(np.average(roots, weights=each)) for each in (still, changed))
    scatter = still @ np.square(roots - low) + changed @ np.square(roots - high)
    total = float(still.sum() + changed.sum())
    deviation = max(float(np.sqrt(scatter / total)), (high - low) / SHARPEST)
    return Mixture(float(changed.sum()) / total, (low, high), (deviation, deviation))


@dataclass(frozen=True)
class LogRatioFitted:
    """A scene's log-ratio, and from which size on it is a change."""

    name: ClassVar[str] = "log-ratio"
    classes: ClassVar[tuple[str, ...]] = ("change",)
    layers: ClassVar[Mapping[str, int]] = {"ratio": 1}
    stride: ClassVar[int] = 1
    tiles_at_once: ClassVar[int] = 1
    default_tile: ClassVar[int] = DEFAULT_TILE
    largest_tile: ClassVar[int | None] = None
    objects: ClassVar[bool] = False

    reading: RadarReading
    ratio: Ratio
    posterior: Posterior
    direction: DirectionName

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return len(self.ratio.centre)

    @property
    def receptive_radius(self) -> int:
        """What the filter, the ratio and its smoothing need."""
        return self.reading.radius + self.ratio.radius

    @property
    def default_overlap(self) -> int:
        """Twice the receptive radius, so that tiles are exact."""
        return 2 * self.receptive_radius

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those of the posterior."""
        return self.posterior.thresholds

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`; the layer `ratio` is after over before in dB, the mean of the bands."""
        smoothed = np.stack([self._smoothed(*tile) for tile in zip(dates, valid, strict=True)])
        joint, counted = jointly_valid(valid), DIRECTIONS[self.direction](smoothed.mean(axis=1))
        statistic = np.stack([statistic_of(each) for each in smoothed]) * (joint & counted)
        probability = self.posterior.probability(statistic, joint)[:, None]
        scale = (DECIBELS * self.ratio.noise)[:, None, None].astype(np.float32)
        ratio = np.where(joint, (smoothed * scale).mean(axis=1), np.float32(np.nan))[:, None]
        return Scores(probability, dict.fromkeys(layers, ratio))

    def _smoothed(self, dates: Floats, valid: Bools) -> Floats:
        """(band, y, x) of one tile, which is mirrored beyond its edges."""
        return self.ratio.smoothed(*self.reading(*padded(dates, valid, self.receptive_radius)))

    def summary(self) -> Mapping[str, Any]:
        """Return looks, noise and centre of the log-ratio, the mixture, and the thresholds."""
        frame = {} if self.reading.frame is None else {"frame": self.reading.frame}
        return {
            "looks": self.reading.speckle.looks.tolist(),
            "ratio_db": (DECIBELS * self.ratio.centre).tolist(),
            "noise_db": (DECIBELS * self.ratio.noise).tolist(),
            "threshold_db": DECIBELS * float(np.sqrt(self.posterior.otsu) * np.mean(self.ratio.noise)),
            "mixture": self.posterior.to_json()["mixture"],
            "thresholds": dict(self.thresholds),
            **frame,
            **self.posterior.remarks(),
        }

    def save(self, folder: Path) -> None:
        """Write the posterior and the numbers of the reading as JSON, all else as arrays."""
        numbers = {
            "posterior": self.posterior.to_json(),
            "direction": self.direction,
            "smoothing": self.ratio.smoothing,
            **self.reading.numbers(),
        }
        ratio = {"levels": self.ratio.levels, "centre": self.ratio.centre, "noise": self.ratio.noise}
        write_fitted(folder, self.name, numbers, {**ratio, "looks": self.reading.speckle.looks})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        numbers, arrays = read_fitted(folder, cls.name, ("levels", "centre", "noise", "looks"))
        ratio = Ratio(arrays["levels"], arrays["centre"], arrays["noise"], numbers["smoothing"])
        reading = RadarReading.of(numbers, arrays["looks"])
        posterior = Posterior.from_json(numbers["posterior"])
        return cls(reading, ratio, posterior, numbers["direction"])


@dataclass(frozen=True, kw_only=True)
class LogRatio(RadarOptions):
    """Radar: logarithm of the ratio of two dates, smoothed by total variation, which keeps edges."""

    name: ClassVar[str] = "log-ratio"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[LogRatioFitted]] = LogRatioFitted

    direction: DirectionName = "both"
    """Which changes of backscatter count: increase, decrease (as by water), or both; the threshold is the same."""

    smoothing: float = 0.8
    """Strength of the smoothing, in standard deviations of the noise; less keeps thinner changes, and more speckle."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing <= 10:
            raise BadOption(f"smoothing is {self.smoothing}; it must lie in 0..10")

    def fit(self, series: Series, map_blocks: MapBlocks) -> LogRatioFitted:
        """Measure the noise of the log-ratio, and take the histogram of what smoothing leaves."""
        require_pair(series, self.name)
        scene = read_radar(series, map_blocks, self)
        require_variation(scene, series)
        ratio = fit_ratio(scene, self.smoothing)
        counts = total_counts(scene.blocks(partial(count_smoothed, ratio=ratio), ratio.radius))
        posterior = ratio_posterior(counts, float(ratio.noise.mean()))
        return LogRatioFitted(scene.reading, ratio, posterior, self.direction)


def fit_ratio(scene: RadarScene, smoothing: float) -> Ratio:
    """Measure where a scene's log-ratios lie, and their noise, in one pass."""
    levels = DARK * np.sqrt(scene.means)
    raw = Ratio(levels, np.log(levels[1] / levels[0]), np.ones(levels.shape[1]), smoothing)
    lag = scene.reading.lag
    values, differences = total_counts(scene.blocks(partial(count_ratios, ratio=raw, lag=lag), CONTEXT + lag))
    noise = np.array([median_log(each) * QUARTILE / np.sqrt(2) for each in differences])
    centre = raw.centre + [median_log(each) for each in values]
    return replace(raw, centre=centre, noise=np.maximum(noise, STEADIEST))
