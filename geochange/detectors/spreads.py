"""How far the values of a pixel spread by noise, given few of them: its own figure, drawn towards the scene's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from geochange.arrays import Floats, Ints
from geochange.detectors.series import MAD

LEAST = 0.05  # of the typical spread: what is less is rounding of whole numbers
QUARTILES = 1.349  # standard deviations of a normal distribution between its quartiles
FAR = 2.5  # deviations beyond which a value counts as that far in correlations
NEGLIGIBLE = 1e-4  # share of the largest variance below which a combination of bands is rounding


@dataclass(frozen=True, slots=True)
class SpreadPrior:
    """What spreads the pixels of a scene have, by which the estimate of one is corrected.

    True spreads and errors of their estimates are both taken as log-normal, and the mean of the posterior is taken:
    empirical Bayes, as of Smyth (2004) for variances.
    """

    typical: float
    """Median spread."""
    variety: float
    """Variance of the logarithm of true spreads."""
    chance: float
    """Variance of the logarithm of an estimate that is taken of one value; it falls as these grow more."""

    def __call__(self, spread: Floats, values: Ints) -> Floats:
        """(n,) spreads, from estimates that are each taken of so many values."""
        own = np.maximum(spread / self.typical, LEAST)
        weight = self.variety / (self.variety + self.chance / np.maximum(values, 1))
        return np.asarray(self.typical * np.exp(weight * np.log(own)), np.float32)

    def to_json(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> SpreadPrior:
        """Read what `to_json` returned."""
        return cls(**saved)


def spread_prior(spreads: Floats, values: Ints, chance: float) -> SpreadPrior:
    """Fit the prior to the (n,) estimates of a scene's pixels, of which some may have changed."""
    typical = float(np.median(spreads))
    if typical <= 0:
        typical = float(np.mean(spreads)) or 1.0
    variance = variance_of_logarithms(spreads / typical)
    return SpreadPrior(typical, max(variance - chance / float(np.median(values)), 0.0), chance)


def variance_of_logarithms(spreads: Floats) -> float:
    """Variance of the logarithm of (n,) spreads, by their quartiles."""
    low, high = np.quantile(np.log(np.maximum(spreads, LEAST)), (0.25, 0.75))
    return float(((high - low) / QUARTILES) ** 2)


@dataclass(frozen=True, slots=True)
class Whitening:
    """Combinations of bands whose noise has variance 1 and is not correlated."""

    forth: Floats
    """(k, band) float64; k is less where the noise of bands is the same, or there is none."""
    back: Floats
    """(band, k) float64: `forth` of it is the identity."""

    def __call__(self, values: Floats) -> Floats:
        """(time, k, n) of (time, band, n), plane by plane: a pixel's value depends on that pixel alone."""
        return _combine(self.forth, values)

    def undo(self, values: Floats) -> Floats:
        """(time, band, n) of (time, k, n)."""
        return _combine(self.back, values)


def _combine(weights: Floats, values: Floats) -> Floats:
    found = np.zeros((len(values), len(weights), values.shape[2]), np.float32)
    for k, band in np.argwhere(weights):
        found[:, k] += np.float32(weights[k, band]) * values[:, band]
    return found


def whitening_of(noise: Floats) -> Whitening:
    """Whiten by (band, n) samples of noise around 0, most of which are noise alone.

    Deviations are those of the median absolute value, correlations those of values cut off at `FAR` deviations.
    """
    scales = noise_scales(noise)
    used = np.flatnonzero(scales > 0)
    cut = np.clip(noise[used] / scales[used, None], -FAR, FAR)
    correlation = np.atleast_2d(cut @ cut.T) / max(noise.shape[1], 1)
    size = np.sqrt(np.diag(correlation))
    variances, axes = np.linalg.eigh(correlation / np.outer(size, size))
    kept = variances > NEGLIGIBLE * max(variances.max(initial=0), NEGLIGIBLE)
    variances, axes = variances[kept], axes[:, kept]
    forth, back = np.zeros((len(variances), len(scales))), np.zeros((len(scales), len(variances)))
    forth[:, used] = axes.T / np.sqrt(variances)[:, None] / scales[used]
    back[used] = axes * np.sqrt(variances) * scales[used, None]
    return Whitening(forth, back)


def noise_scales(noise: Floats) -> Floats:
    """(band,) float64 standard deviations of (band, n) noise around 0, by medians; by squares where most of it is 0."""
    noise = noise.astype(np.float64)
    scales = MAD * np.median(np.abs(noise), axis=1)
    low, high = np.quantile(noise, (0.01, 0.99), axis=1)[..., None]
    for values in (np.clip(noise, low, high), noise):
        scales = np.where(scales > 0, scales, np.sqrt(np.mean(np.square(values), axis=1)))
    return np.asarray(scales)
