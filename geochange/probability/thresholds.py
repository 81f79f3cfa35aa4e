"""Thresholds on stored probabilities that are found in the scene's one histogram. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geochange.arrays import Array, Floats
from geochange.detectors.mixture import NARROWEST, NO_CHANGE, fit_normals, otsu_split
from geochange.errors import NothingValid
from geochange.probability.options import HISTOGRAM_NAMES


def otsu(counts: Array, values: Floats) -> float:
    """Find the threshold that separates two classes best (Otsu 1979).

    Args:
        counts: (k,) pixels in each bin, nodata left out.
        values: (k,) probability of each bin, ascending in equal steps.

    Returns:
        A number midway between two occupied bins; above the only one where there is just one: no change.

    Raises:
        NothingValid: all bins are empty.
    """
    if (lone := _above_lone_bin(counts, values)) is not None:
        return lone
    return otsu_split(values, counts)


def minimum_error(counts: Array, values: Floats) -> float:
    """Find the threshold of least expected error between two normal classes (Kittler and Illingworth 1986).

    Args, returns and errors as for `otsu`.
    """
    if (lone := _above_lone_bin(counts, values)) is not None:
        return lone
    occupied = counts > 0
    values, weights = values[occupied].astype(np.float64), counts[occupied] / counts.sum()
    resolution = np.diff(values).min() ** 2 / 12  # variance of a value that is rounded to its bin
    cost = _class_cost(weights, values, resolution) + _class_cost(weights[::-1], values[::-1], resolution)[::-1]
    best = int(np.argmin(cost))
    return float(values[best] + values[best + 1]) / 2


def even_odds(counts: Array, values: Floats) -> float:
    """Find where a mixture of two normal classes, fitted by EM, is undecided (Bruzzone and Prieto 2000).

    No class is narrower than a hundredth of the range: the pixels that a detector is sure of lie in one bin, and as a
    class of their own they would leave all others to change.

    Args and errors as for `otsu`.

    Returns:
        As `otsu`; above the last occupied bin also where the mixture finds one class only: no change.
    """
    if (lone := _above_lone_bin(counts, values)) is not None:
        return lone
    occupied = np.flatnonzero(counts)
    mixture = fit_normals(values[occupied].astype(np.float64), counts[occupied].astype(np.float64), NARROWEST)
    changed = mixture.rising_log_odds(values[occupied]) >= 0
    if mixture is NO_CHANGE or not changed.any():
        return _above(values, int(occupied[-1]))
    first = max(int(np.argmax(changed)), 1)
    return float(values[occupied[first - 1]] + values[occupied[first]]) / 2


def _class_cost(weights: Floats, values: Floats, resolution: float) -> Floats:
    """Return (k - 1,) share of the class of the first 1, 2, ... bins times the log of its deviation over its share."""
    share = np.cumsum(weights)[:-1]
    mean = np.cumsum(weights * values)[:-1] / share
    variance = np.maximum(np.cumsum(weights * values**2)[:-1] / share - mean**2, 0) + resolution
    cost: Floats = share * (np.log(variance) / 2 - np.log(share))
    return cost


def _above_lone_bin(counts: Array, values: Floats) -> float | None:
    """Return a threshold above the only occupied bin; None where there are several."""
    occupied = np.flatnonzero(counts)
    if not len(occupied):
        raise NothingValid("no pixel of the raster holds data, so no threshold can be found in it")
    return None if len(occupied) > 1 else _above(values, int(occupied[0]))


def _above(values: Floats, place: int) -> float:
    """Return the upper edge of a bin: no value that is counted in it reaches that."""
    return float(values[place] + (values[1] - values[0]) / 2)


HISTOGRAM_METHODS: dict[str, Callable[[Array, Floats], float]] = dict(
    zip(HISTOGRAM_NAMES, (otsu, even_odds, minimum_error), strict=True)
)
"""Name of a method -> (counts, values) -> threshold, for rasters whose detector is not known."""
