"""Corrections that move the boundaries of change to where an image has them. Pure.

Both are steps of `refinement`, led by an image in steps of its deviation (`guide_codes`); `LocalField` balances around
the threshold. Pixels that are not valid take no part: they are in no window and no neighbourhood.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import ClassVar

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.errors import BadOption
from geochange.probability.refinement import ScorePart

GUIDE_STEPS = 256  # a band of the guide is in steps of 1/256 of its standard deviation
GUIDE_LIMIT = 8  # standard deviations: brighter and darker pixels count as these
LARGEST_RADIUS = 32  # px, of sums over windows and of bands
LEAST_EPS = 1e-6  # keeps bands that repeat each other apart
MOST_ITERATIONS, LARGEST_FIELD = 10, 8  # px; a field holds a plane for each two pixels of its window
_FIXED = 1 << 20  # coefficients of the guided filter are averaged in steps of 2^-20


def guide_codes(values: Array, valid: Bools, mean: Floats, deviation: Floats) -> Ints:
    """Return bands in steps of 1/256 of their standard deviations, whatever their units.

    Args:
        values: (band, y, x).
        valid: (y, x); 0 elsewhere.
        mean: (band,) over the scene.
        deviation: (band,) over the scene; a constant band is 0 throughout.
    """
    scale = np.divide(GUIDE_STEPS, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    known = np.where(valid, values, 0).astype(np.float64)
    scaled = (known - mean[:, np.newaxis, np.newaxis]) * scale[:, np.newaxis, np.newaxis]
    limit = GUIDE_LIMIT * GUIDE_STEPS
    return np.where(valid, np.rint(np.clip(scaled, -limit, limit)), 0).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class GuidedFilter:
    """Each class's probability as a local linear function of the image (He, Sun and Tang 2013).

    In each window the probability is fitted by all bands at once, with their full covariance; a pixel takes the mean
    of the fits of all windows that hold it. With several radii, the mean of their results.
    """

    radii: tuple[int, ...] = (4,)
    """Pixels from a window's centre to its edge."""

    eps: float = 0.1
    """Variance of the image, in units of its bands' variance over the scene, below which it counts as flat."""

    name: ClassVar[str] = "guided"
    needs_guide = True

    def __post_init__(self) -> None:
        if not self.radii or not all(1 <= radius <= LARGEST_RADIUS for radius in self.radii):
            raise BadOption(f"guided filter of radius {self.radii} must lie in 1..{LARGEST_RADIUS} pixels")
        if not LEAST_EPS <= self.eps < float("inf"):
            raise BadOption(f"guided filter's eps {self.eps} must be at least {LEAST_EPS}")

    @property
    def reach(self) -> int:
        """Of a window, and of the windows that hold its pixels."""
        return 2 * max(self.radii)

    def apply(self, part: ScorePart) -> Ints:
        """Filter each class."""
        mean = sum(guided_filter(part, radius, self.eps) for radius in self.radii) / len(self.radii)
        codes: Ints = np.rint(np.clip(mean, 0, part.steps)).astype(part.codes.dtype)
        return codes


def guided_filter(part: ScorePart, radius: int, eps: float) -> Floats:
    """Return (class, y, x) float64 probabilities of a part, in codes, led by its guide; see `GuidedFilter`."""
    guide, codes = (np.where(part.valid, values, 0).astype(np.int64) for values in (part.guide, part.codes))
    count = box_sum(part.valid.astype(np.int64), radius)
    squares = np.maximum(count, 1).astype(np.float64) ** 2
    guide_sums, code_sums = box_sum(guide, radius), box_sum(codes, radius)
    bands = len(guide)
    spread = np.empty((bands, bands, *part.valid.shape))
    for i in range(bands):
        for j in range(i, bands):
            joint = count * box_sum(guide[i] * guide[j], radius) - guide_sums[i] * guide_sums[j]
            spread[i, j] = spread[j, i] = joint / squares
        spread[i, i] += eps * GUIDE_STEPS**2
    common = np.stack(
        [
            (count * box_sum(band * codes, radius) - sums * code_sums) / squares
            for band, sums in zip(guide, guide_sums, strict=True)
        ]
    )  # (band, class, y, x)
    slope = solve_positive(spread, common)
    level = (code_sums - sum(own * sums for own, sums in zip(slope, guide_sums, strict=True))) / np.maximum(count, 1)
    return _mean_of_fits(slope, level, guide, part.valid, radius)


def _mean_of_fits(slope: Floats, level: Floats, guide: Ints, valid: Bools, radius: int) -> Floats:
    """Average slope * guide + level over the windows centred on valid pixels."""
    count = np.maximum(box_sum(valid.astype(np.int64), radius), 1)
    total = box_sum(np.where(valid, np.rint(level * _FIXED), 0).astype(np.int64), radius)
    result: Floats = total / (count * _FIXED)
    for own, band in zip(slope, guide, strict=True):
        total = box_sum(np.where(valid, np.rint(own * _FIXED), 0).astype(np.int64), radius)
        result += total / (count * _FIXED) * band
    return result


def box_sum(values: Ints, radius: int) -> Ints:
    """Sum (..., y, x) int64 values over squares around each pixel; nothing lies beyond the array."""
    for axis in (-2, -1):
        length = values.shape[axis]
        shape = list(values.shape)
        shape[axis] = 1
        running = np.concatenate([np.zeros(shape, np.int64), np.cumsum(values, axis=axis)], axis=axis)
        place = np.arange(length)
        last = running.take(np.minimum(place + radius + 1, length), axis=axis)
        values = last - running.take(np.maximum(place - radius, 0), axis=axis)
    return values


def solve_positive(matrix: Floats, right: Floats) -> Floats:
    """Solve a symmetric positive definite system at each pixel, by elimination without pivots.

    Args:
        matrix: (n, n, y, x).
        right: (n, k, y, x).

    Returns:
        (n, k, y, x).
    """
    matrix, right, size = matrix.copy(), right.copy(), len(matrix)
    for i in range(size):
        for j in range(i + 1, size):
            factor = matrix[j, i] / matrix[i, i]
            matrix[j, i + 1 :] -= factor * matrix[i, i + 1 :]
            right[j] -= factor * right[i]
    for i in reversed(range(size)):
        for j in range(i + 1, size):
            right[i] -= matrix[i, j] * right[j]
        right[i] /= matrix[i, i]
    return right


@dataclass(frozen=True, kw_only=True)
class LocalField:
    """Neighbours that look alike agree: a conditional random field over a small window (Teichmann and Cipolla 2018).

    Of the fully connected field of Krähenbühl and Koltun (2011) it keeps the two kernels, appearance (near, and of
    like colour) and smoothness (near), cut off at a window, and the mean-field iterations. A result then depends on
    no more than iterations * radius pixels around. Each class is a field of its own: change or not.
    """

    iterations: int = 5

    radius: int = 5
    """Pixels from the window's centre to its edge."""

    weight: float = 2.0
    """Log-odds that neighbours which are all certain, and look the same, bring to a pixel."""

    contrast: float = 0.3
    """Difference of colour, in standard deviations of the bands, at which neighbours hardly influence each other."""

    smoothness: float = 0.0
    """Share of the weight that the neighbours have whatever they look like."""

    name: ClassVar[str] = "crf"
    needs_guide = True

    def __post_init__(self) -> None:
        if not (1 <= self.iterations <= MOST_ITERATIONS and 1 <= self.radius <= LARGEST_FIELD):
            raise BadOption(
                f"crf of {self.iterations} iterations and radius {self.radius} must be within 1..{MOST_ITERATIONS} "
                f"and 1..{LARGEST_FIELD}"
            )
        if not (0 < self.weight < float("inf") and 0 < self.contrast < float("inf") and 0 <= self.smoothness <= 1):
            raise BadOption(
                f"crf's weight {self.weight} and contrast {self.contrast} must be above 0, "
                f"its smoothness {self.smoothness} in 0..1"
            )

    @property
    def reach(self) -> int:
        """Of all iterations."""
        return self.iterations * self.radius

    def apply(self, part: ScorePart) -> Ints:
        """Run the mean field of each class."""
        kernels = self._kernels(part)
        middle = _log_odds(np.float32(part.cutoff - 0.5), part.steps)
        fields = [self._field(_log_odds(codes, part.steps) - middle, kernels) + middle for codes in part.codes]
        agreed = np.rint(part.steps / (1 + np.exp(-np.stack(fields))))
        return np.where(part.valid, agreed, part.codes).astype(part.codes.dtype)

    def _field(self, own: Floats, kernels: list[tuple[tuple[int, int], Floats]]) -> Floats:
        """Return (y, x) log-odds after all iterations, given those of each pixel alone."""
        state = own
        for _ in range(self.iterations):
            opinion = np.tanh(state / 2)  # 2q - 1
            influence = np.zeros_like(own)
            for step, kernel in kernels:
                here, there = _shifted(step)
                influence[here] += kernel * opinion[there]
                influence[there] += kernel * opinion[here]
            state = own + influence
        return state

    def _kernels(self, part: ScorePart) -> list[tuple[tuple[int, int], Floats]]:
        """Return (step, (y, x) float32 log-odds that a pixel and the one a step further bring each other)."""
        offsets = [(row, col) for row in range(self.radius + 1) for col in range(-self.radius, self.radius + 1)]
        offsets = [step for step in offsets if step > (0, 0)]
        near = {step: exp(-(step[0] ** 2 + step[1] ** 2) / (2 * (self.radius / 2) ** 2)) for step in offsets}
        unit = np.float32(self.weight / (2 * sum(near.values())))
        falloff = np.float32(-1 / (2 * len(part.guide) * (self.contrast * GUIDE_STEPS) ** 2))
        kernels = []
        for step in offsets:
            here, there = _shifted(step)
            apart = ((part.guide[:, *here] - part.guide[:, *there]) ** 2).sum(axis=0, dtype=np.int32)
            alike = np.exp(apart.astype(np.float32) * falloff)
            mixed = np.float32(self.smoothness) + np.float32(1 - self.smoothness) * alike
            both = part.valid[here] & part.valid[there]
            kernels.append((step, np.where(both, unit * np.float32(near[step]) * mixed, np.float32(0))))
        return kernels


def _shifted(step: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return slices of all pixels that have one a (row >= 0, col) step further, and of those."""
    rows, cols = step
    here = slice(None, -rows or None), slice(max(-cols, 0), -max(cols, 0) or None)
    there = slice(rows, None), slice(max(cols, 0), -max(-cols, 0) or None)
    return here, there


def _log_odds(codes: Array | np.float32, steps: int) -> Floats:
    """Return float32 log-odds of probabilities, kept half a step away from 0 and 1."""
    share = np.clip(codes.astype(np.float32) / np.float32(steps), 0.5 / steps, 1 - 0.5 / steps)
    odds: Floats = np.log(share / (1 - share), dtype=np.float32)
    return odds
