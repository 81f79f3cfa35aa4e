"""Iterated reweighting by the probability of no change: what IR-MAD and iterated slow features share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any, ClassVar

import numpy as np
from scipy.special import betainc, chdtrc, chdtri

from geochange.arrays import Bools, Floats
from geochange.detectors.contrast import (
    STATISTIC_ROUNDING,
    Contrast,
    ContrastFitted,
    PairOptions,
    fitted_contrast,
)
from geochange.detectors.detector import Series
from geochange.detectors.mixture import bin_values, otsu_statistic, statistic_bins, statistic_histogram
from geochange.detectors.statistics import Inliers, Moments, chunks_of, moments_of, sample_scene, valid_pixels
from geochange.errors import BadOption
from geochange.scenes.grid import Tile

ITERATION_SAMPLE = 4_000_000  # valid pixels on which to iterate, where the scene has more


@dataclass(frozen=True, kw_only=True)
class Reweighting(PairOptions):
    """How to iterate."""

    iterations: int = 100
    """Largest number of iterations; 1 does not reweight at all."""

    tolerance: float = 1e-5
    """Change of the correlations (or eigenvalues) at which iterating ends."""

    ridge: float = 1e-6
    """Added to covariances, in units of each band's variance in the scene."""

    consistent: bool = True
    """Correct the variances for the weights' preference of small differences."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1:
            raise BadOption(f"iterations is {self.iterations}; it must be at least 1")
        if not (self.tolerance >= 0 and 0 < self.ridge < 1):
            raise BadOption(f"tolerance {self.tolerance} must be >= 0 and ridge {self.ridge} lie between 0 and 1")


@dataclass(frozen=True, slots=True)
class Variates:
    """Linear variates of the difference between two dates, and how they vary where nothing has changed."""

    weights: Floats
    """(k, 2 b)."""
    mean: Floats
    """(2 b,)."""
    variance: Floats
    """(k,)."""
    similarity: Floats
    """(k,) what ends the iteration when it stands still: canonical correlations, or eigenvalues."""
    freedom: float
    """Number of variates that are not degenerate: the degrees of freedom of their squared sum."""

    def standardised(self, consistency: float) -> tuple[Contrast, Floats]:
        """Return the contrast whose variates have variance 1 without change, and the (k,) deviations taken out."""
        scales = np.sqrt(self.variance / consistency)
        return Contrast(self.weights / scales[:, None], self.mean), scales


Solve = Callable[[Moments, Floats], Variates]
"""(moments of the 2 b bands, (2 b,) variances to regularise by) -> variates."""


@dataclass(frozen=True, slots=True)
class NoChange:
    """Probability of no change of (2 b, n) pixels: the upper tail of chi-square at their statistic."""

    contrast: Contrast
    table: Floats
    """(STATISTIC_BINS,)."""

    def __call__(self, pixels: Floats) -> Floats:
        """Return (n,) probabilities of (2 b, n) pixels."""
        return self.table[statistic_bins(self.contrast.statistic(pixels))]


@dataclass(frozen=True, slots=True)
class Reweighted:
    """Where the iteration ended."""

    variates: Variates
    contrast: Contrast
    scales: Floats
    freedom: int
    iterations: int


def no_change_table(freedom: int) -> Floats:
    """(STATISTIC_BINS,) float32 upper tail of chi-square in each bin of the statistic."""
    tail: Floats = chdtrc(freedom, bin_values()).astype(np.float32)
    return tail


def consistency_factor(freedom: int) -> float:
    """Mean of a chi-square variable, weighted by its own upper tail, in units of its plain mean.

    The weights prefer small differences, so weighted variances come out too small by this factor even where nothing has
    changed. Dividing by it makes the iteration stand still at the truth for normal data, as M-estimators of
    scatter do; as published it shrinks at every step, and collapses for fewer than three bands.
    """
    return float(2 * betainc(freedom / 2 + 1, freedom / 2, 0.5))


def excess_spread(statistic: Floats, freedom: int) -> float:
    """Return by how much the statistic of most pixels exceeds chi-square, at least 1.

    Weights converge on the least variable cover where others differ by more, and may collapse onto a few pixels. So the
    median of what Otsu's split leaves below it is brought to that of chi-square, as the median absolute deviation is to
    that of normal data. Where nothing but noise differs that median is less, and the statistic stays as it is.

    Args:
        statistic: (n,) of pixels.
        freedom: its degrees of freedom.
    """
    counts = statistic_histogram(statistic, np.ones(statistic.shape, bool))
    below = statistic[statistic <= otsu_statistic(counts)]
    return max(float(np.median(below) / chdtri(freedom, 0.5)), 1.0) if len(below) else 1.0


def weighted_moments(blocks: Iterable[Floats], weigh: NoChange) -> Moments:
    """Moments of (2 b, n) pixels, each with its probability of no change as weight."""
    parts = [moments_of(chunk, weigh(chunk)) for chunk in chunks_of(blocks)]
    return reduce(Moments.__add__, parts) if parts else moments_of(np.zeros((len(weigh.contrast.mean), 0)))


def weighted_block(dates: Floats, valid: Bools, tile: Tile, *, weigh: NoChange) -> Moments:
    """Kernel: `weighted_moments` of a block."""
    return weighted_moments([valid_pixels(dates, valid)], weigh)


def on_bands(solve: Solve, varies: Bools) -> Solve:
    """Solve for some of the bands; the others have weight 0."""
    kept = np.flatnonzero(np.tile(varies, 2))

    def solve_kept(moments: Moments, scale: Floats) -> Variates:
        part = Moments(moments.weight, moments.mean[kept], moments.scatter[np.ix_(kept, kept)])
        found = solve(part, scale[kept])
        weights = np.zeros((len(found.weights), len(moments.mean)))
        weights[:, kept] = found.weights
        return Variates(weights, moments.mean, found.variance, found.similarity, found.freedom)

    return solve_kept


def reweight(inliers: Inliers, solve: Solve, options: Reweighting) -> Reweighted:
    """Solve, weigh each pixel by its probability of no change, and again until nothing moves.

    Where the scene has more than `ITERATION_SAMPLE` valid pixels, this happens on a regular sample; the last step takes
    all of them.

    Args:
        inliers: of the scene.
        solve: the method.
        options: when to end.
    """
    map_blocks, moments = inliers.within, inliers.moments
    variates = solve(moments, moments.variance)
    freedom = max(round(variates.freedom), 1)
    contrast, scales = variates.standardised(1.0)
    start = Reweighted(variates, contrast, scales, freedom, 1)
    if options.iterations == 1:
        return start
    table = no_change_table(freedom)
    factor = consistency_factor(freedom) if options.consistent else 1.0

    def step(found: Reweighted, weighted: Moments) -> Reweighted:
        variates = solve(weighted, moments.variance)
        contrast, scales = variates.standardised(factor)
        if options.consistent:
            sampled = np.concatenate([contrast.statistic(chunk) for chunk in chunks_of(blocks)])
            contrast, scales = variates.standardised(factor / excess_spread(sampled, freedom))
        return Reweighted(variates, contrast, scales, freedom, found.iterations + 1)

    blocks, whole = sample_scene(map_blocks, moments.weight, ITERATION_SAMPLE)
    before_last = options if whole else replace(options, iterations=options.iterations - 1)
    found = _until_still(blocks, start, step, table, before_last)
    if whole:
        return found
    kernel = partial(weighted_block, weigh=NoChange(found.contrast, table))
    return step(found, reduce(Moments.__add__, map_blocks(kernel)))


def _until_still(
    blocks: list[Floats],
    found: Reweighted,
    step: Callable[[Reweighted, Moments], Reweighted],
    table: Floats,
    options: Reweighting,
) -> Reweighted:
    while found.iterations < options.iterations:
        weighted = weighted_moments(blocks, NoChange(found.contrast, table))
        if weighted.weight < len(weighted.mean):
            break  # too few unchanged pixels for a covariance
        before, found = found, step(found, weighted)
        if np.abs(found.variates.similarity - before.variates.similarity).max() <= options.tolerance:
            break
    return found


@dataclass(frozen=True)
class ReweightedFitted(ContrastFitted):
    """Variates with their no-change deviations; `variates_layer` names them."""

    variates_layer: ClassVar[str]
    scales: tuple[float, ...]
    similarity: tuple[float, ...]
    freedom: int
    iterations: int

    @property
    def layers(self) -> Mapping[str, int]:
        """The variates, their statistic, and the weight of each pixel."""
        return {self.variates_layer: len(self.scales), "chi-square": 1, "weights": 1}

    def layer(self, name: str, dates: Floats) -> Floats:
        """Draw one of the layers, see `ContrastFitted.layer`."""
        if name == self.variates_layer:
            pixels = dates.reshape(-1, *dates.shape[2:])
            pairs = zip(self.contrast.variates(pixels), self.scales, strict=True)
            return np.stack([variate * np.float32(scale) for variate, scale in pairs])
        statistic = self.contrast.tile_statistic(dates)
        if name == "weights":
            statistic = no_change_table(self.freedom)[statistic_bins(statistic)]
        return statistic[None]

    def numbers(self) -> dict[str, Any]:
        """Return where the iteration ended."""
        return {
            "scales": list(self.scales),
            "similarity": list(self.similarity),
            "freedom": self.freedom,
            "iterations": self.iterations,
        }

    def summary(self) -> Mapping[str, Any]:
        """Return what `ContrastFitted.summary` does, and where the iteration ended."""
        return {**super().summary(), **self.numbers()}


def fitted_parts(inliers: Inliers, found: Reweighted, options: Reweighting, series: Series) -> tuple[Any, ...]:
    """Return the fields of a `ReweightedFitted`, in order.

    Args:
        inliers: of the scene.
        found: where the iteration ended.
        options: of the detector.
        series: the scene.
    """
    contrast = replace(found.contrast, frame=inliers.frame)
    fitted = fitted_contrast(inliers.seen, contrast, options, series, STATISTIC_ROUNDING / options.ridge)
    scales, similarity = found.scales.tolist(), found.variates.similarity.tolist()
    return *fitted, tuple(scales), tuple(similarity), found.freedom, found.iterations
