"""Iteratively reweighted multivariate alteration detection (Nielsen 2007).

Canonical correlation analysis finds the combinations of bands that agree most between the dates, whatever the gain and
offset of each; their differences are the MAD variates, and the sum of their squares over their no-change variance
is chi-square distributed where nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from scipy.linalg import cholesky, solve_triangular, svd

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


def mad_variates(moments: Moments, scale: Floats, *, ridge: float) -> Variates:
    """Differences of canonical variates, the most correlated pair first.

    Args:
        moments: of the 2 b bands of both dates, weighted by no change.
        scale: (2 b,) variances of the bands in the scene.
        ridge: added to both dates' own covariances, in units of `scale`.

    Returns:
        b variates; a pair of canonical variates has variance 1 each and a correlation that is not negative.
    """
    unit = np.sqrt(scale)
    covariance = moments.covariance / np.outer(unit, unit)
    b = len(scale) // 2
    before, after, cross = covariance[:b, :b], covariance[b:, b:], covariance[:b, b:]
    root_before = cholesky(before + ridge * np.eye(b), lower=True)
    root_after = cholesky(after + ridge * np.eye(b), lower=True)
    whitened = solve_triangular(root_before, cross, lower=True)
    whitened = solve_triangular(root_after, whitened.T, lower=True).T
    left, correlations, right = svd(whitened)
    a = solve_triangular(root_before.T, left)  # (b, k)
    c = solve_triangular(root_after.T, right.T)
    loadings = before @ a + after @ c
    sign = np.where(loadings.sum(axis=0) < 0, -1.0, 1.0)
    weights = np.vstack([-a * sign, c * sign]).T / unit
    freedom = (np.sum(a * (before @ a)) + np.sum(c * (after @ c))) / 2
    return Variates(weights, moments.mean, 2 * (1 - np.minimum(correlations, 1 - ridge)), correlations, freedom)


@dataclass(frozen=True)
class IrMadFitted(ReweightedFitted):
    """IR-MAD with a scene's canonical correlations."""

    name: ClassVar[str] = "ir-mad"
    variates_layer: ClassVar[str] = "mad"


@dataclass(frozen=True, kw_only=True)
class IrMad(Reweighting):
    """Differences of canonical variates, reweighted until they stand still; blind to gain and offset of the bands."""

    name: ClassVar[str] = "ir-mad"
    dates: ClassVar[int | None] = 2
    fitted: ClassVar[type[IrMadFitted]] = IrMadFitted

    def fit(self, series: Series, map_blocks: MapBlocks) -> IrMadFitted:
        """Iterate to the scene's canonical variates, and take the histogram of their statistic."""
        require_pair(series, self.name)
        inliers = find_inliers(series, map_blocks)
        solve = on_bands(partial(mad_variates, ridge=self.ridge), varying_bands(inliers.moments, series.bands))
        found = reweight(inliers, solve, self)
        return IrMadFitted(*fitted_parts(inliers, found, self, series))
