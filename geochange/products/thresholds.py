"""Thresholds on stored probabilities: given by the user, or found in the scene's one histogram. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Array, Floats
from geochange.detectors.mixture import otsu_split
from geochange.errors import BadOption, NothingValid


@dataclass(frozen=True, slots=True)
class Threshold:
    """Change is every region of pixels >= low that holds one >= high; equal for a plain threshold."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise BadOption(f"threshold {self.text} must lie in 0..1, the low one first; try 0.5 or 0.4:0.7")

    @property
    def text(self) -> str:
        """As the user writes it."""
        return f"{self.low:g}" if self.low == self.high else f"{self.low:g}:{self.high:g}"


def otsu(counts: Array, values: Floats) -> float:
    """Threshold that separates two classes best (Otsu 1979).

    Args:
        counts: (k,) pixels in each bin, nodata left out.
        values: (k,) ascending probability of each bin.

    Returns:
        A number midway between two occupied bins; above the only one where there is just one: no change.

    Raises:
        NothingValid: all bins are empty.
    """
    if (lone := _above_lone_bin(counts, values)) is not None:
        return lone
    return otsu_split(values, counts)


def minimum_error(counts: Array, values: Floats) -> float:
    """Threshold of least expected error between two normal classes (Kittler and Illingworth 1986).

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


def _class_cost(weights: Floats, values: Floats, resolution: float) -> Floats:
    """(k - 1,) share of the class of the first 1, 2, ... bins times the log of its deviation over its share."""
    share = np.cumsum(weights)[:-1]
    mean = np.cumsum(weights * values)[:-1] / share
    variance = np.maximum(np.cumsum(weights * values**2)[:-1] / share - mean**2, 0) + resolution
    cost: Floats = share * (np.log(variance) / 2 - np.log(share))
    return cost


def _above_lone_bin(counts: Array, values: Floats) -> float | None:
    """A threshold above the only occupied bin; None where there are several."""
    occupied = np.flatnonzero(counts)
    if not len(occupied):
        raise NothingValid("no pixel of the raster holds data, so no threshold can be found in it")
    return None if len(occupied) > 1 else float(np.nextafter(values[occupied[0]], np.inf))


METHODS: dict[str, Callable[[Array, Floats], float]] = {"otsu": otsu, "em": minimum_error}
"""Name of a method -> (counts, values) -> threshold, for rasters whose detector is not known."""


def parse_threshold(text: str) -> Threshold | str:
    """A threshold as the user writes it: "0.5", "low:high", or the name of another, which stays a name.

    Names are those of the automatic ones, and "precision=0.9" or "recall=0.9" of those that a network keeps.

    Raises:
        BadOption: the text is none of these, or a number lies outside 0..1.
    """
    if text in {*METHODS, "default"} or text.startswith(("precision=", "recall=")):
        return text
    low, _, high = text.partition(":")
    try:
        return Threshold(float(low), float(high or low))
    except ValueError as error:
        if isinstance(error, BadOption):
            raise
        known = ", ".join(("low:high", "precision=0.9", "recall=0.9", *METHODS))
        raise BadOption(f"threshold {text!r} is not a number, or one of {known}") from error
