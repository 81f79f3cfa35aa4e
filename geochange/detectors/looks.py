"""Speckle itself: intensities with a known equivalent number of looks, and the number that a scene shows. Pure.

Speckle multiplies. The intensity of even ground, averaged over L independent looks, follows a gamma distribution of
shape L around the backscatter.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import fdtri

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.detectors.detector import MapBlocks
from geochange.detectors.statistics import total_counts
from geochange.scenes.grid import Tile

LOG_BINS = 1024  # bins of a unit of a logarithm
LARGEST_LOG = 8  # logarithms beyond this count as this
FEWEST_LOOKS, MOST_LOOKS = 0.1, 1e4


def speckled(backscatter: Floats, looks: float, rng: np.random.Generator) -> Floats:
    """Return float32 intensities of a mean backscatter under speckle of so many looks."""
    return (backscatter * rng.gamma(looks, 1 / looks, np.shape(backscatter))).astype(np.float32)


def count_logs(logs: Floats) -> Ints:
    """Count logarithms in bins of 1 / `LOG_BINS`, symmetrically about 0."""
    reach = LARGEST_LOG * LOG_BINS
    bins = np.rint(np.clip(logs, -LARGEST_LOG, LARGEST_LOG) * LOG_BINS).astype(np.intp) + reach
    return np.bincount(bins.ravel(), minlength=2 * reach + 1)


def median_log(counts: Ints) -> float:
    """Return the median of what `count_logs` counted; 0 where it counted nothing."""
    total, below = int(counts.sum()), np.cumsum(counts)
    if total == 0:
        return 0.0
    middle = np.searchsorted(below, [(total + 1) // 2, total // 2 + 1])
    return float(middle.mean() / LOG_BINS - LARGEST_LOG)


def pair_logs(logs: Floats, valid: Bools, tile: Tile, lag: int) -> Floats:
    """Return (n,) absolute differences of (y, x) logs at pixels `lag` apart, the first of which lies in the tile.

    The arrays have a margin of `lag` around the tile.
    """
    own = slice(lag, lag + tile.height), slice(lag, lag + tile.width)
    further = ((slice(2 * lag, 2 * lag + tile.height), own[1]), (own[0], slice(2 * lag, 2 * lag + tile.width)))
    return np.concatenate([np.abs(logs[own] - logs[each])[valid[own] & valid[each]] for each in further])


def count_pair_logs(dates: Floats, valid: Bools, tile: Tile, *, floors: Floats, lag: int) -> Array:
    """Kernel (halo `lag`): (time, band, bins) counts of the log-ratio of each date's pixels `lag` apart."""
    counts = [
        [
            count_logs(pair_logs(np.log(np.maximum(band, floor)), seen, tile, lag))
            for band, floor in zip(*each, strict=True)
        ]
        for *each, seen in zip(dates, floors.astype(np.float32), valid, strict=True)
    ]
    return np.array(counts)


def looks_of(median: float) -> float:
    """Return the looks at which the ratio of two intensities has a logarithm of this median size.

    The ratio of two gamma variates of shape L follows an F distribution of 2 L and 2 L degrees of freedom, whose upper
    quartile is where half of the absolute logarithms lie.
    """

    def excess(log_looks: float) -> float:
        freedom = 2 * np.exp(log_looks)
        return float(np.log(fdtri(freedom, freedom, 0.75))) - median

    low, high = np.log([FEWEST_LOOKS, MOST_LOOKS])
    if excess(high) >= 0 or excess(low) <= 0:
        return MOST_LOOKS if excess(high) >= 0 else FEWEST_LOOKS
    return float(np.exp(brentq(excess, low, high)))


def estimate_looks(map_blocks: MapBlocks, floors: Floats, lag: int) -> Floats:
    """Estimate the equivalent number of looks of each date and band, in one pass.

    Pixels `lag` apart lie on the same ground more often than not, so the median of their log-ratios is that of speckle,
    whatever the edges and bright targets of the scene are. Texture counts as speckle, as in every estimate of looks.

    Args:
        map_blocks: shows kernels intensities.
        floors: (time, band) intensities under which all count alike.
        lag: pixels beyond which speckle is not correlated.

    Returns:
        (time, band) looks.
    """
    counts = total_counts(map_blocks(partial(count_pair_logs, floors=floors, lag=lag), lag))
    return np.array([[looks_of(median_log(each)) for each in date] for date in counts])
