"""Change as the length of a linear contrast of both dates: what most detectors without training have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.detector import DEFAULT_TILE, MapBlocks, Scores, Series, require_dates
from geochange.detectors.fitted_files import read_fitted, write_fitted
from geochange.detectors.mixture import Posterior, StatisticCounts, count_statistic, fit_posterior
from geochange.detectors.shift_tolerance import (
    MARGIN,
    MOST,
    NO_TOLERANCE,
    Fading,
    Tolerance,
    explained_in,
    squares_apart,
    tolerant,
)
from geochange.detectors.statistics import CHUNK_PIXELS, Inliers, jointly_valid, total_counts, varying_bands
from geochange.errors import BadOption
from geochange.scenes.grid import Tile

LARGEST_STATISTIC = 1e30
"""Statistics beyond this, and those of values that overflow, count as this."""

STATISTIC_ROUNDING = 1e-10
"""Squared contrast, in squared standard deviations of a band, that float32 may make out of nothing."""


def change_statistic(variates: Iterator[Floats]) -> Floats:
    """Sum of the squared variates, float32."""
    first = next(variates)
    total = np.square(first)
    for variate in variates:
        total += np.square(variate, out=variate)
    return total


@dataclass(frozen=True)
class Contrast:
    """k variates, each a weighted sum of both dates' bands; unchanged pixels have small ones."""

    weights: Floats
    """(k, 2 b) float64: for each variate, of the bands before and then after."""
    mean: Floats
    """(2 b,) float64 values of the bands at which all variates are 0."""
    frame: float | None = None
    """The value of all bands of pixels that lie around the scene, and are as unchanged as can be."""
    tolerance: Tolerance = NO_TOLERANCE

    def variates(self, pixels: Floats) -> Iterator[Floats]:
        """Each variate in turn, of (2 b, ...) float32 pixels.

        It works plane by plane and calls no BLAS, so that a pixel's value depends on that pixel alone.
        """
        reference = np.rint(self.mean).astype(np.float32)  # taken from whole numbers without rounding
        constants = (self.weights @ (reference - self.mean)).astype(np.float32)
        weights = self.weights.astype(np.float32)
        shape = (-1,) + (1,) * (pixels.ndim - 1)
        deviations = pixels - reference.reshape(shape)
        scratch = np.empty_like(deviations[0])
        for row, constant in zip(weights, constants, strict=True):
            variate = np.full_like(scratch, constant)
            for weight, deviation in zip(row, deviations, strict=True):
                if weight:
                    variate += np.multiply(deviation, weight, out=scratch)
            yield variate

    def statistic(self, pixels: Floats) -> Floats:
        """(...) float32 sum of the squared variates of (2 b, ...) pixels."""
        return change_statistic(self.variates(pixels))

    def tile_statistic(self, dates: Floats) -> Floats:
        """(y, x) float32 statistic of (time, band, y, x), a few rows at a time, which stay in the cache."""
        pixels = dates.reshape(-1, *dates.shape[2:])
        rows = max(CHUNK_PIXELS // pixels.shape[2], 1)
        statistic = np.empty(pixels.shape[1:], np.float32)
        for start in range(0, len(statistic), rows):
            with np.errstate(over="ignore", invalid="ignore"):  # of what no sensor measures
                statistic[start : start + rows] = self.statistic(pixels[:, start : start + rows])
        np.copyto(statistic, LARGEST_STATISTIC, where=~(statistic <= LARGEST_STATISTIC))
        if self.frame is not None:
            statistic[reduce(np.logical_and, pixels == self.frame)] = 0
        return statistic

    def tolerant_statistic(self, dates: Floats, valid: Bools) -> Floats:
        """(y, x) float32 statistic of (time, band, y, x) with the contrast's tolerance, given (time, y, x) validity."""
        statistic = self.tile_statistic(dates)
        if not self.tolerance.pixels:
            return statistic
        return tolerant(self.halves(dates), statistic, valid, self.tolerance)

    def halves(self, dates: Floats) -> tuple[Floats, Floats]:
        """(k, y, x) float32 what each date of (time, band, y, x) adds to the variates."""
        reference = np.rint(self.mean).astype(np.float32)
        constants = (self.weights @ (reference - self.mean)).astype(np.float32)
        by_date = np.split(self.weights.astype(np.float32), 2, axis=1)
        before, after = np.zeros((2, len(self.weights), *dates.shape[2:]), np.float32)
        after += constants[:, None, None]
        with np.errstate(over="ignore", invalid="ignore"):
            for half, weights, date, means in zip((before, after), by_date, dates, np.split(reference, 2), strict=True):
                for band, mean, column in zip(date, means, weights.T, strict=True):
                    deviation = band - mean
                    for k in np.flatnonzero(column):
                        half[k] += deviation * column[k]
        return before, after


def standardised_difference(inliers: Inliers, varies: Bools) -> Contrast:
    """After minus before, each band of each date brought to mean 0 and deviation 1; constant bands count nothing.

    Args:
        inliers: of the scene.
        varies: (b,) bands to use.
    """
    moments = inliers.moments
    deviation = np.sqrt(np.where(np.tile(varies, 2), moments.variance, 1))
    before, after = np.split(np.where(np.tile(varies, 2), 1 / deviation, 0), 2)
    weights = np.hstack([np.diag(-before), np.diag(after)])
    return Contrast(weights[varies], moments.mean, inliers.frame)


def standardised_pair(inliers: Inliers, series: Series) -> Contrast:
    """`standardised_difference` of the bands that vary.

    Raises:
        NothingValid: no band varies at both dates.
    """
    return standardised_difference(inliers, varying_bands(inliers.moments, series.bands))


@dataclass(frozen=True, kw_only=True)
class TolerantOptions:
    """Options of every detector whose statistic is a contrast."""

    shift_tolerance: int | None = None
    """Pixels by which a place may lie elsewhere at the other date without having changed; none: what the pair speaks
    for, 0 or 2 to 4."""

    def __post_init__(self) -> None:
        if self.shift_tolerance is not None and not 0 <= self.shift_tolerance <= MOST:
            raise BadOption(f"shift tolerance is {self.shift_tolerance} pixels; it must lie in 0..{MOST}")


@dataclass(frozen=True, kw_only=True)
class PairOptions(TolerantOptions):
    """Options that every detector of change between two dates has."""

    context: float = 0.5
    """Log-odds that a changed neighbour adds; 0 judges each pixel alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.context <= 10:
            raise BadOption(f"context is {self.context}; it must lie in 0..10")


def require_pair(series: Series, name: str) -> None:
    """Refuse, with BadOption, anything but two dates."""
    require_dates(name, 2, series.dates)


def statistic_block(dates: Floats, valid: Bools, tile: Tile, *, contrast: Contrast) -> StatisticCounts:
    """Kernel: count the contrast's statistic."""
    return count_statistic(contrast.tile_statistic(dates), jointly_valid(valid))


def contrast_counts(map_blocks: MapBlocks, contrast: Contrast) -> StatisticCounts:
    """Count the contrast's statistic over the whole scene, in one pass."""
    return total_counts(map_blocks(partial(statistic_block, contrast=contrast)))


def counted_posterior(counts: StatisticCounts, context: float, negligible: float = STATISTIC_ROUNDING) -> Posterior:
    """Fit the posterior of what was counted over a scene; see `fit_posterior`."""
    return fit_posterior(counts.histogram, context, negligible, counts.ordered)


def explained_block(dates: Floats, valid: Bools, tile: Tile, *, contrast: Contrast, changes: float) -> Fading:
    """Kernel (halo `MARGIN`): count what tolerance explains in the block."""
    return explained_in(contrast.halves(dates), contrast.tile_statistic(dates), valid, changes)


def with_tolerance(
    blocks: MapBlocks, contrast: Contrast, posterior: Posterior, options: TolerantOptions, series: Series
) -> Contrast:
    """Return the contrast with the tolerance that is asked for, or that the pair speaks for.

    Args:
        blocks: of the scene.
        contrast: without tolerance.
        posterior: of its statistic.
        options: which tolerance.
        series: the scene.
    """
    wanted, quiet = options.shift_tolerance, posterior.quiet
    if wanted == 0 or posterior.mixture.share == 0:
        return replace(contrast, tolerance=Tolerance(wanted or 0, quiet))
    every = squares_apart(prod(series.shape))
    look = partial(explained_block, contrast=contrast, changes=posterior.even_statistic)
    explained = total_counts(blocks(look, MARGIN, every))
    pixels = explained.pixels if wanted is None else wanted
    return replace(contrast, tolerance=Tolerance(pixels, quiet, explained.shares))


def fitted_contrast(
    blocks: MapBlocks, contrast: Contrast, options: PairOptions, series: Series, negligible: float = STATISTIC_ROUNDING
) -> tuple[Contrast, Posterior]:
    """Return a contrast with its tolerance, and the posterior of its statistic as it is without; see `with_tolerance`.

    Tolerance takes changes away, and never adds any: thresholds are those of the statistic without it.
    """
    posterior = counted_posterior(contrast_counts(blocks, contrast), options.context, negligible)
    return with_tolerance(blocks, contrast, posterior, options, series), posterior


@dataclass(frozen=True)
class ContrastFitted:
    """A contrast with the posterior of its statistic; detectors add their name and their layers."""

    name: ClassVar[str]
    contrast: Contrast
    posterior: Posterior
    arrays: ClassVar[tuple[str, ...]] = ()
    """Fields of the class that are arrays."""
    classes: ClassVar[tuple[str, ...]] = ("change",)
    stride: ClassVar[int] = 1
    tiles_at_once: ClassVar[int] = 1
    default_tile: ClassVar[int] = DEFAULT_TILE
    largest_tile: ClassVar[int | None] = None
    min_confidence: ClassVar[float] = 0.2
    objects: ClassVar[bool] = False

    @property
    def bands(self) -> int:
        """As many as the scene that it was fitted on has."""
        return len(self.contrast.mean) // 2

    @property
    def receptive_radius(self) -> int:
        """What the posterior and the tolerance need."""
        return self.posterior.radius + self.contrast.tolerance.reach

    @property
    def default_overlap(self) -> int:
        """Twice the receptive radius, so that tiles are exact."""
        return 2 * self.receptive_radius

    @property
    def layers(self) -> Mapping[str, int]:
        """None, unless a detector draws some."""
        return {}

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those of the posterior."""
        return self.posterior.thresholds

    def layer(self, name: str, dates: Floats) -> Floats:
        """(band, y, x) float32 layer of one tile of (time, band, y, x); each detector has its own."""
        raise KeyError(name)

    def score(self, dates: Floats, valid: Bools, layers: tuple[str, ...] = ()) -> Scores:
        """Score tiles, see `Fitted.score`."""
        joint = jointly_valid(valid)
        pairs = zip(dates, valid, strict=True)
        statistic = np.stack([self.contrast.tolerant_statistic(tile, seen) for tile, seen in pairs])
        probability = self.posterior.probability(statistic, joint)
        drawn = {name: np.stack([self.layer(name, tile) for tile in dates]) for name in layers}
        for values in drawn.values():
            np.copyto(values, np.nan, where=~joint[:, None])
        return Scores(probability[:, None], drawn)

    def summary(self) -> Mapping[str, Any]:
        """Return the mixture, the thresholds and the bands' means."""
        return {
            "mixture": self.posterior.to_json()["mixture"],
            "thresholds": dict(self.thresholds),
            "mean": self.contrast.mean.tolist(),
            "shift_tolerance": self.contrast.tolerance.to_json(),
            **self.remarks(),
        }

    def remarks(self) -> dict[str, Any]:
        """Return what is to be said of the scene, for run.json: its `frame`, and a `note`."""
        frame = {} if self.contrast.frame is None else {"frame": self.contrast.frame}
        return {**frame, **self.posterior.remarks()}

    def numbers(self) -> dict[str, Any]:
        """Return the further fields of the class that are no arrays."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the posterior, the contrast, and the further fields."""
        numbers = {
            "posterior": self.posterior.to_json(),
            "frame": self.contrast.frame,
            "tolerance": self.contrast.tolerance.to_json(),
            **self.numbers(),
        }
        arrays = {name: getattr(self, name) for name in self.arrays}
        write_fitted(
            folder, self.name, numbers, {"weights": self.contrast.weights, "mean": self.contrast.mean, **arrays}
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        numbers, arrays = read_fitted(folder, cls.name, ("weights", "mean", *cls.arrays))
        posterior, frame = Posterior.from_json(numbers.pop("posterior")), numbers.pop("frame")
        tolerance = Tolerance.from_json(numbers.pop("tolerance"))
        further = {key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()}
        further |= {name: arrays[name] for name in cls.arrays}
        return cls(Contrast(arrays["weights"], arrays["mean"], frame, tolerance), posterior, **further)
