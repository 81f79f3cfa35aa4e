"""Iterated slow feature analysis (Wu, Du and Zhang 2014).

The combinations of standardised bands that differ least between the dates, relative to their own variance, are the
features that no change has touched; a change stands out in them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from scipy.linalg import eigh

from geochange.arrays import Floats
from geochange.detectors.contrast import require_pair
from geochange.detectors.detector import MapBlocks, Series
from geochange.detectors.reweighting import (
    ReweightedFitted,
    Reweighting,
    Variates,
    fitted_parts,
    on_bands,
    reweight,
)
from geochange.detectors.statistics import Moments, find_inliers, varying_bands


def slow_features(moments: Moments, scale: Floats, *, ridge: float) -> Variates:
    """Differences of slow features, the slowest first.

    Args:
        moments: of the 2 b bands of both dates, weighted by no change.
        scale: (2 b,) variances of the bands in the scene.
        ridge: added to the bands' variances, in units of `scale`, and to the features' own variance.

    Returns:
        b features of the difference of standardised bands; their variance of unchanged pixels is the eigenvalue.
    """
    deviation = np.sqrt(moments.variance + ridge * scale)
    correlation = moments.covariance / np.outer(deviation, deviation)
    b = len(scale) // 2
    before, after, cross = correlation[:b, :b], correlation[b:, b:], correlation[:b, b:]
    own = (before + after) / 2
    eigenvalues, vectors = eigh(before + after - cross - cross.T, own + ridge * np.eye(b))
    eigenvalues = np.maximum(eigenvalues, 0.0)
    vectors *= np.where((own @ vectors).sum(axis=0) < 0, -1.0, 1.0)
    weights = np.vstack([-vectors, vectors]).T / deviation
    freedom = float(np.sum(vectors * (own @ vectors)))
    return Variates(weights, moments.mean, eigenvalues + ridge, eigenvalues, freedom)


@dataclass(frozen=True)
class SlowFeaturesFitted(ReweightedFitted):
    """Slow features with a scene's eigenvalues."""

    name: ClassVar[str] = "slow-features"
    variates_layer: ClassVar[str] = "slow-features"


@dataclass(frozen=True, kw_only=True)
class SlowFeatures(Reweighting):
    """Differences of the features that vary least between the dates, reweighted until they stand still."""

    name: ClassVar[str] = "slow-features"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[SlowFeaturesFitted]] = SlowFeaturesFitted

    def fit(self, series: Series, map_blocks: MapBlocks) -> SlowFeaturesFitted:
        """Iterate to the scene's slow features, and take the histogram of their statistic."""
        require_pair(series, self.name)
        inliers = find_inliers(series, map_blocks)
        solve = on_bands(partial(slow_features, ridge=self.ridge), varying_bands(inliers.moments, series.bands))
        found = reweight(inliers, solve, self)
        return SlowFeaturesFitted(*fitted_parts(inliers, found, self, series))
