"""How far the content of one date is shifted against another's on the same grid. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, sqrt

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, minimum_filter

from geochange.arrays import Array, Bools, Floats
from geochange.scenes.grid import Tile

MAD_TO_SD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""

GRADIENT_SMOOTHING = 1.0  # pixels: sd of the Gaussian under the gradient; less lets noise in, more blurs texture away
GRADIENT_REACH = 4  # pixels: how far a gradient sees (three sd, and the neighbour of the central difference)
PEAK_SMOOTHING = 0.7  # pixels: takes the aliased end of the spectrum, which pulls peaks to whole pixels
LEAST_PEAK = 6.5  # root mean squares of the surface; unrelated NAIP windows stay under 6.3
LARGEST_RIVAL = 0.85  # of the peak, more than three pixels away from it; ridges and repeated patterns exceed it
LEAST_DATA = 0.25  # of a window's pixels
LEAST_WINDOW = 16  # pixels per side


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A measurement that was not possible."""

    reason: str


@dataclass(frozen=True, slots=True)
class WindowShift:
    """Where AFTER's content lies relative to BEFORE's, in one window: after[r + row, c + col] ~ before[r, c]."""

    row: float
    col: float

    quality: float
    """Height of the peak over the root mean square of the correlation surface, less its strongest rival's."""


@dataclass(frozen=True, slots=True)
class Shift:
    """Where AFTER's content lies relative to BEFORE's, in pixels: after[r + row, c + col] ~ before[r, c].

    Moving AFTER by (-row, -col) brings it onto BEFORE.
    """

    row: float
    col: float

    spread_row: float | None
    """Robust standard deviation over the windows (not of their mean); None where there is just one window."""

    spread_col: float | None

    windows_used: int
    """Windows used for the figures: measured, and no outliers."""

    windows_tried: int

    @property
    def spread(self) -> float:
        """The larger of both spreads; 0 where there is just one window."""
        return max(self.spread_row or 0.0, self.spread_col or 0.0)


def windows_for(shape: tuple[int, int], size: int = 256, count: int = 100) -> list[Tile]:
    """At most `count` windows, regular over a scene of (rows, cols), to measure the shift in.

    They are `size` a side, smaller in scenes under three times that, and overlap by about half, less where `count` is
    the limit. Where there are several along an axis, they reach from the scene's first pixel to its last. Empty where
    the scene has fewer than 16 rows or columns.
    """
    if min(shape) < LEAST_WINDOW:
        return []
    sides = [min(length, size, max(length // 3, 48)) for length in shape]
    wanted = [1 + ceil(2 * (length / side - 1)) for length, side in zip(shape, sides, strict=True)]
    rows, cols = _fit_counts(wanted[0], wanted[1], count)
    starts = (np.linspace(0, shape[0] - sides[0], rows).round(), np.linspace(0, shape[1] - sides[1], cols).round())
    return [Tile(int(row), int(col), *sides) for row in starts[0] for col in starts[1]]


def _fit_counts(rows: int, cols: int, count: int) -> tuple[int, int]:
    """Rows and columns of windows, thinned alike until there are at most `count`; one at least."""
    if rows > cols:
        return _fit_counts(cols, rows, count)[::-1]
    rows = max(1, floor(rows * min(1, sqrt(count / (rows * cols)))))
    return rows, max(1, min(cols, count // rows))


def window_shift(before: Array, after: Array, valid: Bools) -> WindowShift | Unmeasured:
    """Shift between two dates in one window, by correlating the orientation of their gradients.

    Orientation correlation (Fitch et al. 2002) on the doubled angle, summed over bands as Di Zenzo (1986) does, so that
    neither gain and offset nor a contrast turned round matter. The surface is half-way between cross and phase
    correlation; its peak is found in whole pixels, the windows are cropped to their common content, and the peak is
    found again in an upsampled Fourier transform (Guizar-Sicairos et al. 2008).

    Args:
        before: (band, y, x) values of any type and scale.
        after: as `before`; content up to a quarter of the window away is found.
        valid: (y, x), True where both dates hold data.

    Returns:
        The shift in pixels; `Unmeasured` where there is too little data, texture or likeness.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if before.shape != after.shape or before.shape[1:] != valid.shape:
        raise ValueError(f"before {before.shape}, after {after.shape} and valid {valid.shape} differ in shape")
    if min(valid.shape) < LEAST_WINDOW:
        return Unmeasured(f"the window has fewer than {LEAST_WINDOW} rows or columns")
    usable = minimum_filter(valid, 2 * GRADIENT_REACH + 1)
    if usable.mean() < LEAST_DATA:
        return Unmeasured("too little data")
    first, second = (_orientation(date, valid, usable) for date in (before, after))
    if not (first.any() and second.any()):
        return Unmeasured("no texture")
    row, col, height, rival = _whole_peak(_cross_spectrum(first, second, usable))
    if height < LEAST_PEAK or rival > LARGEST_RIVAL:
        return Unmeasured("no distinct match")
    here, there = _common_slices(usable.shape, row, col)
    common = _cross_spectrum(first[here], second[there], usable[here] & usable[there])
    fine_row, fine_col = _upsampled_peak(common)
    return WindowShift(row + fine_row, col + fine_col, height * (1 - rival))


def _orientation(date: Array, valid: Bools, usable: Bools) -> Array:
    """(y, x) complex64: gradients' doubled angle over all bands, of length about 1; 0 where not usable, or all flat."""
    total = np.zeros(usable.shape, np.complex64)
    for band in date:
        gradient = _gradient(band, valid, usable)
        power = np.mean(np.square(gradient.real) + np.square(gradient.imag))
        if power > 0:
            total += gradient * gradient / power
    strength = np.abs(total)
    if strength.any():
        total /= strength + np.median(strength[strength > 0])
    return total


def _gradient(band: Array, valid: Bools, usable: Bools) -> Array:
    """(y, x) complex64: d/dx + i d/dy of the smoothed band in standard deviations; 0 where not usable or constant."""
    inside = band[usable].astype(np.float64)
    mean, sd = inside.mean(), inside.std()
    gradient = np.zeros(band.shape, np.complex64)
    if not sd > 1e-6 * abs(mean):
        return gradient
    values = np.where(valid, (band - mean) / sd, 0).astype(np.float32)
    smooth = gaussian_filter(values, GRADIENT_SMOOTHING, truncate=3)
    gradient.real[:, 1:-1] = smooth[:, 2:] - smooth[:, :-2]
    gradient.imag[1:-1] = smooth[2:] - smooth[:-2]
    return np.where(usable, gradient, 0)


def _cross_spectrum(before: Array, after: Array, usable: Bools) -> Array:
    """(y, x) spectrum of the correlation surface, tapered by Hann's window, half whitened, its peak smoothed."""
    height, width = usable.shape
    taper = np.outer(_hann(height), _hann(width)) * usable
    shape = fft.next_fast_len(height), fft.next_fast_len(width)
    cross = np.conj(fft.fft2(before * taper, shape)) * fft.fft2(after * taper, shape)
    rows, cols = (np.exp(-2 * (np.pi * PEAK_SMOOTHING * fft.fftfreq(n)) ** 2) for n in shape)
    whitened = cross / np.sqrt(np.abs(cross) + np.finfo(np.float32).tiny)
    smoothed: Array = whitened * np.outer(rows, cols)
    return smoothed.astype(np.complex64)


def _hann(length: int) -> Floats:
    return np.square(np.sin(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)


def _whole_peak(spectrum: Array) -> tuple[int, int, float, float]:
    """(row, col, height in root mean squares, strongest rival as a share of it), up to a quarter of the window away."""
    surface = fft.fftshift(fft.ifft2(spectrum).real)
    centre, reach = [n // 2 for n in surface.shape], [n // 4 for n in surface.shape]
    surface = surface[tuple(slice(c - r, c + r + 1) for c, r in zip(centre, reach, strict=True))]
    row, col = np.unravel_index(surface.argmax(), surface.shape)
    peak = surface[row, col]
    rest = surface.copy()
    rest[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4] = 0
    height = peak / np.sqrt(np.mean(rest**2))
    return int(row) - reach[0], int(col) - reach[1], float(height), float(rest.max() / peak)


def _common_slices(shape: tuple[int, int], row: int, col: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the parts of BEFORE and of AFTER that show what both show when AFTER's content lies at (row, col)."""
    places = list(zip((row, col), shape, strict=True))
    here = tuple(slice(max(-moved, 0), length - max(moved, 0)) for moved, length in places)
    there = tuple(slice(max(moved, 0), length - max(-moved, 0)) for moved, length in places)
    return here, there


def _upsampled_peak(spectrum: Array, reach: float = 1.5, step: float = 0.05) -> tuple[float, float]:
    """(row, col) of the surface's peak within `reach` pixels of zero: on a lattice of `step`, then by parabolas."""
    offsets = np.arange(-reach, reach + step / 2, step)
    rows, cols = (np.exp(2j * np.pi * np.outer(offsets, fft.fftfreq(n))) for n in spectrum.shape)
    surface = (rows.astype(np.complex64) @ spectrum @ cols.T.astype(np.complex64)).real
    row, col = np.unravel_index(surface.argmax(), surface.shape)
    return (
        float(offsets[row] + step * _parabola_peak(surface[:, col], int(row))),
        float(offsets[col] + step * _parabola_peak(surface[row], int(col))),
    )


def _parabola_peak(values: Floats, index: int) -> float:
    """Where the parabola through a peak and its neighbours is highest, in steps from `index`; 0 at the ends."""
    if not 0 < index < len(values) - 1:
        return 0.0
    left, middle, right = values[index - 1 : index + 2].astype(np.float64)
    bend = left - 2 * middle + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def combine_shifts(windows: Iterable[WindowShift | Unmeasured]) -> Shift | Unmeasured:
    """Combine windows to the scene's shift: the median over windows, weighted by their quality, without outliers.

    An outlier is more than three robust standard deviations (and 0.3 px) away from the median in either axis.
    """
    tried = list(windows)
    measured = [window for window in tried if isinstance(window, WindowShift)]
    if not measured:
        return Unmeasured(_commonest_reason(tried))
    places = np.array([(window.row, window.col) for window in measured])
    weights = np.array([window.quality for window in measured])
    centre = _weighted_median(places, weights)
    limit = 3 * np.maximum(MAD_TO_SD * np.median(np.abs(places - centre), axis=0), 0.1)
    used = (np.abs(places - centre) <= limit).all(axis=1)
    if not used.any():
        return Unmeasured("the windows contradict each other")
    row, col = _weighted_median(places[used], weights[used])
    spread = MAD_TO_SD * np.median(np.abs(places[used] - (row, col)), axis=0)
    known = [float(each) if used.sum() > 1 else None for each in spread]
    return Shift(float(row), float(col), known[0], known[1], int(used.sum()), len(tried))


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """(axis,) weighted medians of (n, axis) values, interpolated between neighbours."""
    medians = []
    for column in values.T:
        order = np.lexsort([weights, column])  # of equal values, the order of the windows is not to matter
        below = np.cumsum(weights[order]) - weights[order] / 2
        medians.append(np.interp(weights.sum() / 2, below, column[order]))
    return np.array(medians)


def _commonest_reason(windows: Sequence[WindowShift | Unmeasured]) -> str:
    if not windows:
        return f"the scene has fewer than {LEAST_WINDOW} rows or columns"
    reasons = Counter(window.reason for window in windows if isinstance(window, Unmeasured))
    reason, times = reasons.most_common(1)[0]
    return f"{reason} (in {times} of {len(windows)} windows)"
