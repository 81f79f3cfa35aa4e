"""Filters of speckle. Pure.

They take (time, band, y, x) intensities with (time, y, x) validity, the pixels a side of their window, and the (time,
band) equivalent number of looks; what is not valid stays out of every mean. Arrays are mirrored beyond their edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

import numpy as np
from scipy.ndimage import correlate, correlate1d

from geochange.arrays import Bools, Floats, Ints
from geochange.errors import BadOption

FilterName: TypeAlias = Literal["none", "boxcar", "refined-lee", "frost", "multitemporal"]

WINDOWS = (3, 15)  # smallest and largest window of a filter, in pixels
SMALLEST = 1e-30  # divisors under this are this
FROST_DAMPING = 2.0


def window_sum(values: Floats, window: int) -> Floats:
    """Return the sum of the square window around each pixel of (..., y, x).

    It keeps no running sum: a pixel's result depends on its window alone, also beside values that are far out.
    """
    ones = np.ones(window)
    total: Floats = correlate1d(correlate1d(values, ones, -2, mode="mirror"), ones, -1, mode="mirror")
    return total


def window_mean(values: Floats, weights: Floats, window: int) -> Floats:
    """Return the weighted mean of the square window around each pixel of (..., y, x); 0 where no weight is."""
    total, weight = window_sum(values * weights, window), window_sum(weights, window)
    mean: Floats = total / np.maximum(weight, SMALLEST)
    return mean


def boxcar(dates: Floats, valid: Bools, window: int, looks: Floats) -> Floats:
    """Return the mean of the window: what speckle is tested with, since it leaves a gamma distribution."""
    return window_mean(dates, valid[:, None].astype(np.float32), window)


def multitemporal(dates: Floats, valid: Bools, window: int, looks: Floats) -> Floats:
    """Return each date's window mean times the mean, over the dates, of pixel over window mean (Quegan and Yu 2001)."""
    there = valid[:, None].astype(np.float32)
    means = window_mean(dates, there, window)
    ratios = np.divide(dates, means, out=np.ones_like(dates), where=valid[:, None] & (means > 0))
    seen = np.maximum(there.sum(axis=0), 1)
    filtered: Floats = (means * ((ratios * there).sum(axis=0) / seen)).astype(np.float32)
    return filtered


def frost(dates: Floats, valid: Bools, window: int, looks: Floats) -> Floats:
    """Return means whose weights fall off faster, the more the window varies (Frost et al. 1982)."""
    there = np.broadcast_to(valid[:, None], dates.shape).astype(np.float32)
    means = window_mean(dates, there, window)
    variances = np.maximum(window_mean(dates * dates, there, window) - means * means, 0)
    decay = FROST_DAMPING * variances / np.maximum(means * means, SMALLEST)
    reach = window // 2
    padded, present = (_mirror(each, reach) for each in (dates * there, there))
    total, weights = np.zeros_like(dates), np.zeros_like(dates)
    for row, col in product(range(window), repeat=2):
        part = (..., slice(row, row + dates.shape[-2]), slice(col, col + dates.shape[-1]))
        weight = np.exp(-decay * np.float32(np.hypot(row - reach, col - reach)))
        total += weight * padded[part]
        weights += weight * present[part]
    return total / np.maximum(weights, SMALLEST)


def refined_lee(dates: Floats, valid: Bools, window: int, looks: Floats) -> Floats:
    """Return Lee's minimum mean square error estimate over the half window on the pixel's side of an edge (Lee 1981).

    Args:
        dates: (time, band, y, x) intensities.
        valid: (time, y, x).
        window: pixels a side, 5 at least.
        looks: (time, band) equivalent number of looks.
    """
    filtered = np.empty_like(dates)
    for date, band in np.ndindex(dates.shape[:2]):
        filtered[date, band] = _refined_lee(
            dates[date, band], valid[date].astype(np.float32), window, float(looks[date, band])
        )
    return filtered


def _refined_lee(image: Floats, there: Floats, window: int, looks: float) -> Floats:
    side = _edge_side(window_mean(image, there, 3), max((window - 3) // 2, 1))
    present, first, second = image * 0, image * 0, image * 0
    for number, mask in enumerate(half_windows(window)):
        chosen = side == number
        for total, quantity in ((present, there), (first, there * image), (second, there * image * image)):
            total[chosen] = correlate(quantity, mask, mode="mirror")[chosen]
    mean = first / np.maximum(present, SMALLEST)
    variance = np.maximum(second / np.maximum(present, SMALLEST) - mean * mean, 0)
    noise = np.float32(1 / looks)
    ground = np.maximum(variance - mean * mean * noise, 0) / (1 + noise)
    return (mean + ground / np.maximum(variance, SMALLEST) * (image - mean)).astype(np.float32)


STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))
"""(row, col) directions in which an edge may rise; each has two sides."""


def half_windows(window: int) -> list[Floats]:
    """Return the eight masks of a window, with the line through its middle: of each direction the near and far side."""
    rows, cols = np.mgrid[:window, :window] - window // 2
    along = [rows * row + cols * col for row, col in STEPS]
    return [each.astype(np.float32) for line in along for each in (line[::-1, ::-1] >= 0, line >= 0)]


def _edge_side(means: Floats, step: int) -> Ints:
    """Return, for each pixel, the half window that holds what is like it: across the steepest of four directions."""
    padded = _mirror(means, step)
    steepest, side = np.full(means.shape, -1, means.dtype), np.zeros(means.shape, np.intp)
    for number, (row, col) in enumerate(STEPS):
        near, far = (
            padded[step + sign * step * row :, step + sign * step * col :][: means.shape[0], : means.shape[1]]
            for sign in (-1, 1)
        )
        slope = np.abs(far - near)
        found = slope > steepest
        steepest[found] = slope[found]
        side[found] = (2 * number + (np.abs(far - means) < np.abs(near - means)))[found]
    return side


def _mirror(values: Floats, reach: int) -> Floats:
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + [(reach, reach)] * 2, mode="reflect")


Filter = Callable[[Floats, Bools, int, Floats], Floats]

FILTERS: Mapping[str, Filter] = {
    "boxcar": boxcar,
    "refined-lee": refined_lee,
    "frost": frost,
    "multitemporal": multitemporal,
}


@dataclass(frozen=True)
class SpeckleFilter:
    """A filter by its name, with its window and the looks of what it is to filter."""

    name: FilterName
    window: int
    looks: Floats
    """(time, band)."""

    @property
    def radius(self) -> int:
        """Pixels of context that the filter needs."""
        return self.window // 2 if self.name in FILTERS else 0

    def __call__(self, dates: Floats, valid: Bools) -> Floats:
        """Filter (time, band, y, x) intensities with (time, y, x) validity; the result lacks `radius` on each side."""
        if self.name not in FILTERS:
            return dates
        inner = slice(self.radius, -self.radius)
        filtered: Floats = FILTERS[self.name](dates, valid, self.window, self.looks)[..., inner, inner]
        return filtered


def require_window(name: str, window: int) -> None:
    """Refuse, with BadOption, a window that no filter takes."""
    low, high = WINDOWS
    if window % 2 == 0 or not low <= window <= high:
        raise BadOption(f"window is {window}; it must be an odd number in {low}..{high}")
    if name == "refined-lee" and window < 5:
        raise BadOption(
            f"window is {window}; refined-lee needs 5 or more, to see on which side of an edge a pixel lies"
        )
