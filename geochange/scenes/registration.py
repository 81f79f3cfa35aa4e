"""How well two dates fit on each other: grids, residual shift, radiometry, and the preflight report. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cached_property
from math import atan2, ceil, degrees, floor, hypot, sqrt
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from scipy import fft
from scipy.ndimage import gaussian_filter, minimum_filter

from geochange.arrays import Array, Bools, Floats
from geochange.scenes.grid import Grid, Tile

MAD_TO_SD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""

GRID_TOLERANCE = 1e-6
"""Pixels by which corners may differ on one grid: above the rounding of doubles, below any meaning."""

ALIGN = "add --align, or run `geochange align` first"
GIVE_CRS = "give both a CRS (gdal_edit.py -a_srs), or neither"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which two grids differ."""

    subject: str
    """"CRS", "resolution", "rotation", "origin", "size" or "overlap"."""

    before: str
    after: str

    amount: str
    """How much, where that can be said: pixels of BEFORE and map units; else empty."""

    mend: str

    def __str__(self) -> str:
        amount = f" ({self.amount})" if self.amount else ""
        return f"{self.subject} {self.before} against {self.after}{amount}"


def grid_differences(before: Grid, after: Grid) -> list[Difference]:
    """What keeps two dates from lying on one grid; empty where they do.

    Corners that differ by less than 1e-6 px are the same. Where the CRSs differ, origin and rotation have no common
    measure and are left out.
    """
    if not _same_crs(before.crs, after.crs):
        mend = ALIGN if before.crs and after.crs else GIVE_CRS
        found = [Difference("CRS", _crs_name(before.crs), _crs_name(after.crs), "", mend), _resolution(before, after)]
    else:
        found = [_resolution(before, after), _rotation(before, after), _origin(before, after)]
    found += [_size(before, after), _overlap(before, after)]
    return [difference for difference in found if difference is not None]


def overlap_share(before: Grid, after: Grid) -> float | None:
    """Share of BEFORE's area, 0..1, that AFTER covers; None where just one has a CRS, so that nobody can say."""
    if (before.crs is None) != (after.crs is None):
        return None
    height, width = before.shape
    outline = _outline_in_pixels(before, after)
    if len(outline) < 3:
        return 0.0
    common = shapely.box(0, 0, width, height).intersection(shapely.make_valid(shapely.Polygon(outline)))
    return min(common.area / (width * height), 1.0)


def _outline_in_pixels(before: Grid, after: Grid, per_side: int = 21) -> Floats:
    """(n, 2) points (column, row) of BEFORE along AFTER's border, without those that its CRS cannot hold."""
    height, width = after.shape
    steps = np.arange(per_side) / per_side
    cols = np.concatenate([steps, np.ones(per_side), 1 - steps, np.zeros(per_side)]) * width
    rows = np.concatenate([np.zeros(per_side), steps, np.ones(per_side), 1 - steps]) * height
    xs, ys = after.transform @ (cols, rows)
    if not _same_crs(before.crs, after.crs):
        xs, ys = Transformer.from_crs(after.crs, before.crs, always_xy=True).transform(xs, ys)
    points = np.stack(~before.transform @ (np.asarray(xs), np.asarray(ys)), axis=1)
    return points[np.isfinite(points).all(axis=1)]


def _same_crs(before: CRS | None, after: CRS | None) -> bool:
    if before is None or after is None:
        return before is after
    return before.equals(after, ignore_axis_order=True)


def _crs_name(crs: CRS | None) -> str:
    authority = crs.to_authority() if crs else None
    return "no CRS" if crs is None else ":".join(authority) if authority else crs.name


def _relative(before: Grid, after: Grid) -> Affine:
    """AFTER's pixel coordinates (column, row) to BEFORE's."""
    return ~before.transform @ after.transform


def _resolution(before: Grid, after: Grid) -> Difference | None:
    relative = _relative(before, after)
    ratios = hypot(relative.a, relative.d), hypot(relative.b, relative.e)
    if _same_crs(before.crs, after.crs):
        if max(abs(ratio - 1) for ratio in ratios) * max(after.shape) <= GRID_TOLERANCE:
            return None
        amount = f"{ratios[0]:.7g} times as wide and {ratios[1]:.7g} times as high"
    else:
        amount = ""
    return Difference("resolution", _pixel_size(before), _pixel_size(after), amount, ALIGN)


def _pixel_size(grid: Grid) -> str:
    unit = grid.crs.axis_info[0].unit_name if grid.crs and grid.crs.axis_info else "unit"
    x, y = grid.resolution
    return f"{x:.9g} x {y:.9g} {unit}"


def _rotation(before: Grid, after: Grid) -> Difference | None:
    relative = _relative(before, after)
    scale = max(after.shape) / sqrt(abs(relative.determinant))
    off_axis = max(abs(relative.b), abs(relative.d)) * scale
    if off_axis <= GRID_TOLERANCE and relative.a > 0 and relative.e > 0:
        return None
    return Difference("rotation", _heading(before), _heading(after), "", ALIGN)


def _heading(grid: Grid) -> str:
    t = grid.transform
    rows = "down" if t.determinant < 0 else "up"
    return f"{degrees(atan2(t.d, t.a)):.6g} degrees, rows {rows}"


def _origin(before: Grid, after: Grid) -> Difference | None:
    row, col = before.offset_of(after)
    if max(abs(row), abs(col)) <= GRID_TOLERANCE:
        return None
    x, y = after.transform.c - before.transform.c, after.transform.f - before.transform.f
    amount = f"{col:+.6g} columns and {row:+.6g} rows; {x:+.6g}, {y:+.6g} map units"
    return Difference("origin", _corner(before), _corner(after), amount, ALIGN)


def _corner(grid: Grid) -> str:
    return f"{grid.transform.c:.10g},{grid.transform.f:.10g}"


def _size(before: Grid, after: Grid) -> Difference | None:
    if before.shape == after.shape:
        return None
    sizes = [f"{rows} rows x {cols} columns" for rows, cols in (before.shape, after.shape)]
    return Difference("size", *sizes, "", ALIGN)


def _overlap(before: Grid, after: Grid) -> Difference | None:
    share = overlap_share(before, after)
    if share is None or (1 - share) * before.area.size <= GRID_TOLERANCE * sum(before.shape):
        return None
    mend = ALIGN if share else "choose two images of one place"
    extents = [",".join(f"{edge:.10g}" for edge in grid.bounds) for grid in (before, after)]
    return Difference("overlap", *extents, f"AFTER covers {share:.1%} of BEFORE", mend)


SMOOTHING = 1.0  # pixels: sd of the Gaussian under the gradient; less lets noise in, more blurs small texture away
REACH = 4  # pixels: how far a gradient sees (three sd, and the neighbour of the central difference)
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
    """Windows that the figures rest on: measured, and no outliers."""

    windows_tried: int


def windows_for(shape: tuple[int, int], size: int = 256, count: int = 100) -> list[Tile]:
    """At most `count` windows, regular over a scene of (rows, cols), to measure the shift in.

    They are `size` a side, smaller in scenes under three times that, and overlap by about half, less where `count` is
    the limit. Where there are several along an axis, they reach from the scene's first pixel to its last. Empty where
    the scene has fewer than 16 rows or columns.
    """
    if min(shape) < LEAST_WINDOW:
        return []
    sides = [min(length, size, max(length // 3, 48)) for length in shape]
    wanted = (1 + ceil(2 * (length / side - 1)) for length, side in zip(shape, sides, strict=True))
    rows, cols = _fit_counts(*wanted, count)
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
        The shift in pixels; `Unmeasured` where there is too little data, texture or likeness to tell.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if before.shape != after.shape or before.shape[1:] != valid.shape:
        raise ValueError(f"before {before.shape}, after {after.shape} and valid {valid.shape} differ in shape")
    if min(valid.shape) < LEAST_WINDOW:
        return Unmeasured(f"the window has fewer than {LEAST_WINDOW} rows or columns")
    usable = minimum_filter(valid, 2 * REACH + 1)
    if usable.mean() < LEAST_DATA:
        return Unmeasured("too little data")
    features = tuple(_orientation(date, valid, usable) for date in (before, after))
    if not all(feature.any() for feature in features):
        return Unmeasured("no texture")
    row, col, height, rival = _whole_peak(_cross_spectrum(*features, usable))
    if height < LEAST_PEAK or rival > LARGEST_RIVAL:
        return Unmeasured("no distinct match")
    here, there = _common_slices(usable.shape, row, col)
    common = _cross_spectrum(features[0][here], features[1][there], usable[here] & usable[there])
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
    if not strength.any():
        return total
    return total / (strength + np.median(strength[strength > 0]))


def _gradient(band: Array, valid: Bools, usable: Bools) -> Array:
    """(y, x) complex64: d/dx + i d/dy of the smoothed band in standard deviations; 0 where not usable or constant."""
    inside = band[usable].astype(np.float64)
    mean, sd = inside.mean(), inside.std()
    gradient = np.zeros(band.shape, np.complex64)
    if not sd > 1e-6 * abs(mean):
        return gradient
    values = np.where(valid, (band - mean) / sd, 0).astype(np.float32)
    smooth = gaussian_filter(values, SMOOTHING, truncate=3)
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
    return (whitened * np.outer(rows, cols)).astype(np.complex64)


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
    """The part of BEFORE, and of AFTER, that shows what both show when AFTER's content lies at (row, col)."""
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
    """The scene's shift: the median over windows, weighted by their quality, without outliers.

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
    spreads = (float(spread[0]), float(spread[1])) if used.sum() > 1 else (None, None)
    return Shift(float(row), float(col), *spreads, int(used.sum()), len(tried))


def _weighted_median(values: Floats, weights: Floats) -> Floats:
    """(axis,) weighted medians of (n, axis) values, interpolated between neighbours."""
    medians = []
    for column in values.T:
        order = np.argsort(column)
        below = np.cumsum(weights[order]) - weights[order] / 2
        medians.append(np.interp(weights.sum() / 2, below, column[order]))
    return np.array(medians)


def _commonest_reason(windows: Sequence[WindowShift | Unmeasured]) -> str:
    if not windows:
        return f"the scene has fewer than {LEAST_WINDOW} rows or columns"
    reasons = Counter(window.reason for window in windows if isinstance(window, Unmeasured))
    reason, times = reasons.most_common(1)[0]
    return f"{reason} (in {times} of {len(windows)} windows)"


UNCHANGED_SHARE = 0.6  # of the pixels: the core that the line is fitted to at first
QUANTILE_IN_SDS = 0.8416  # the 0.6 quantile of |residual| of a normal distribution, in its standard deviations


@dataclass(frozen=True, slots=True)
class Radiometry:
    """How one band of AFTER follows from BEFORE where nothing changed: after = gain * before + offset."""

    band: int
    gain: float | None
    """None where one date is constant."""

    offset: float | None
    """In AFTER's units."""

    correlation: float | None
    """Pearson's, over all pixels, changed ones too."""

    residual: float | None
    """Root mean square over the unchanged pixels, in AFTER's units."""

    unchanged: float
    """Share of the pixels that lie on the line, within 2.5 standard deviations."""


def radiometry(before: Array, after: Array, bands: Sequence[int]) -> list[Radiometry]:
    """Gain and offset of AFTER relative to BEFORE, band by band, not pulled by what changed.

    The reduced major axis (symmetrical in the dates, as both are noisy) of the 60 % of pixels next to it, iterated
    from a rising and a falling start as the concentration steps of Rousseeuw and Van Driessen (2006), then of all
    pixels within 2.5 standard deviations. Right while less than about 40 % of the pixels changed.

    Args:
        before: (band, n) values at n pixels that are valid at both dates; some 10,000 over the whole scene will do.
        after: as `before`, at the same pixels, in the same order.
        bands: their numbers, for the report.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    if before.shape != after.shape or len(bands) != len(before):
        raise ValueError(f"before {before.shape}, after {after.shape} and {len(bands)} bands differ")
    pairs = zip(bands, before, after, strict=True)
    return [_band_radiometry(band, x.astype(np.float64), y.astype(np.float64)) for band, x, y in pairs]


def _band_radiometry(band: int, before: Floats, after: Floats) -> Radiometry:
    if len(before) < 2 or np.ptp(before) == 0 or np.ptp(after) == 0:
        return Radiometry(band, None, None, None, None, 0.0)
    steepness = float(after.std() / before.std())
    lines = [_concentrate(before, after, gain) for gain in (steepness, -steepness)]
    line = min(lines, key=lambda line: _core_residual(before, after, line) / sqrt(abs(line[0])))
    for _ in range(3):
        near = _near_line(before, after, line)
        line = _major_axis(before[near], after[near]) or line
    near = _near_line(before, after, line)
    residual = np.sqrt(np.mean(_residuals(before[near], after[near], line) ** 2))
    correlation = np.corrcoef(before, after)[0, 1]
    return Radiometry(band, *map(float, (*line, correlation, residual, near.mean())))


def _concentrate(before: Floats, after: Floats, gain: float) -> tuple[float, float]:
    """(gain, offset) of the major axis of the pixels next to it, from a first gain, until it stands still."""
    line = (gain, float(np.median(after - gain * before)))
    for _ in range(50):
        residuals = np.abs(_residuals(before, after, line))
        core = residuals <= np.quantile(residuals, UNCHANGED_SHARE)
        following = _major_axis(before[core], after[core]) or line
        if following == line:
            break
        line = following
    return line


def _residuals(before: Floats, after: Floats, line: tuple[float, float]) -> Floats:
    return after - line[0] * before - line[1]


def _core_residual(before: Floats, after: Floats, line: tuple[float, float]) -> float:
    return float(np.quantile(np.abs(_residuals(before, after, line)), UNCHANGED_SHARE))


def _near_line(before: Floats, after: Floats, line: tuple[float, float]) -> Bools:
    """(n,) True within 2.5 standard deviations of the line, which the core gives; always true for the core."""
    core = _core_residual(before, after, line)
    return np.abs(_residuals(before, after, line)) <= 2.5 * core / QUANTILE_IN_SDS


def _major_axis(before: Floats, after: Floats) -> tuple[float, float] | None:
    """(gain, offset) of the reduced major axis; None where it has no direction."""
    x, y = before - before.mean(), after - after.mean()
    tilt = float(np.sign(x @ y))
    if not tilt:
        return None
    gain = tilt * sqrt(float(y @ y) / float(x @ x))
    return gain, float(after.mean() - gain * before.mean())


class Severity(IntEnum):
    """How much a finding matters; the largest decides the verdict."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the preflight report."""

    severity: Severity

    subject: str
    """"grid", "CRS", "overlap", "bands", "dtype", "nodata", "shift" or "radiometry"."""

    text: str

    mend: str = ""
    """What the user can do about it; empty where nothing needs doing."""


@dataclass(frozen=True, slots=True)
class DateFacts:
    """What the preflight report says of one date as it is stored."""

    name: str
    grid: Grid

    bands: int
    """How many there are."""

    dtype: str


SMALL_SHIFT, LARGE_SHIFT = 0.3, 1.0  # pixels: where edges begin to show as changes, and where they show everywhere
LARGE_SPREAD = 0.5  # pixels
LEAST_OVERLAP = 0.5  # of BEFORE's area
MOST_NODATA = 0.5  # of the pixels
LEAST_CORRELATION = 0.3
USUAL_GAIN = 1.5  # times, or divided by
REMOVE_SHIFT = "`geochange align --remove-shift` moves AFTER by it"


@dataclass(frozen=True)
class Report:
    """How well two dates suit a search for changes: facts, findings, and a verdict."""

    before: DateFacts
    after: DateFacts

    nodata: float | None
    """Share of the common pixels, 0..1, that hold no data at one date or both; None where nothing was read."""

    shift: Shift | Unmeasured | None
    """Left after AFTER is brought to BEFORE's grid; None where nothing was read."""

    radiometry: tuple[Radiometry, ...] = ()

    @cached_property
    def differences(self) -> list[Difference]:
        """What keeps the dates from lying on one grid."""
        return grid_differences(self.before.grid, self.after.grid)

    @cached_property
    def overlap(self) -> float | None:
        """Share of BEFORE's area that AFTER covers; None where nobody can say."""
        return overlap_share(self.before.grid, self.after.grid)

    @cached_property
    def findings(self) -> list[Finding]:
        """Everything that there is to say, in the order in which a user would mend it."""
        found = _grid_findings(self.differences) + _overlap_findings(self.before.grid, self.overlap)
        found += _storage_findings(self.before, self.after)
        if self.nodata is not None:
            found.append(_nodata_finding(self.nodata))
        if self.shift is not None:
            found += _shift_findings(self.shift)
        return found + _radiometry_findings(self.radiometry)

    @property
    def verdict(self) -> str:
        """ "ready", "usable with care", "needs alignment" or "not comparable"."""
        worst = max(finding.severity for finding in self.findings)
        if worst < Severity.PROBLEM:
            return "usable with care" if worst == Severity.WARNING else "ready"
        problems = {finding.subject for finding in self.findings if finding.severity == worst}
        return "needs alignment" if problems <= {"grid", "shift"} else "not comparable"

    def to_dict(self) -> dict[str, Any]:
        """The report in plain numbers, strings, lists and dicts, for JSON; what is not known is None."""
        return {
            "verdict": self.verdict,
            "before": _facts_dict(self.before),
            "after": _facts_dict(self.after),
            "grid_differences": [asdict(difference) for difference in self.differences],
            "overlap": self.overlap,
            "nodata": self.nodata,
            "shift": None if self.shift is None else asdict(self.shift),
            "radiometry": [asdict(band) for band in self.radiometry],
            "findings": [{**asdict(finding), "severity": finding.severity.name.lower()} for finding in self.findings],
        }


def _facts_dict(facts: DateFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "crs": _crs_name(facts.grid.crs),
        "transform": list(facts.grid.transform)[:6],
        "shape": list(facts.grid.shape),
        "bounds": list(facts.grid.bounds),
        "resolution": list(facts.grid.resolution),
        "bands": facts.bands,
        "dtype": facts.dtype,
    }


def _grid_findings(differences: Sequence[Difference]) -> list[Finding]:
    found = [
        Finding(Severity.PROBLEM, "grid", str(difference), difference.mend)
        for difference in differences
        if difference.subject != "overlap"  # it has a finding of its own
    ]
    return found or [Finding(Severity.OK, "grid", "one grid")]


def _overlap_findings(before: Grid, share: float | None) -> list[Finding]:
    if share is None:
        return [Finding(Severity.PROBLEM, "overlap", "not known: just one date has a CRS", GIVE_CRS)]
    text = f"AFTER covers {share:.1%} of BEFORE"
    if share == 0:
        return [Finding(Severity.PROBLEM, "overlap", text, "choose two images of one place")]
    found = [Finding(Severity.WARNING if share < LEAST_OVERLAP else Severity.OK, "overlap", text)]
    if before.crs is None:
        found.append(
            Finding(Severity.NOTE, "CRS", "no CRS: results lie in pixels, and areas in square metres are null")
        )
    return found


def _storage_findings(before: DateFacts, after: DateFacts) -> list[Finding]:
    found = [Finding(Severity.OK, "bands", f"{before.bands} bands each")]
    if before.bands != after.bands:
        text = f"{before.bands} bands against {after.bands}"
        found = [Finding(Severity.PROBLEM, "bands", text, "pick the ones that both have with --bands")]
    if before.dtype != after.dtype:
        text = f"{before.dtype} against {after.dtype}: values may be on different scales"
        found.append(Finding(Severity.NOTE, "dtype", text, "compare the gains below"))
    return found


def _nodata_finding(share: float) -> Finding:
    text = f"{share:.1%} of the pixels hold no data at one date or both"
    if share >= 1:
        return Finding(Severity.PROBLEM, "nodata", text, "check the files' nodata values, or say --nodata")
    return Finding(Severity.WARNING if share > MOST_NODATA else Severity.OK, "nodata", text)


def _shift_findings(shift: Shift | Unmeasured) -> list[Finding]:
    if isinstance(shift, Unmeasured):
        text = f"the shift could not be measured: {shift.reason}"
        return [Finding(Severity.WARNING, "shift", text, "compare the images by eye")]
    size = max(abs(shift.row), abs(shift.col))
    text = f"AFTER lies {shift.row:+.2f} rows and {shift.col:+.2f} columns off"
    found = [Finding(Severity.OK, "shift", text)]
    if size > SMALL_SHIFT:
        severity = Severity.PROBLEM if size > LARGE_SHIFT else Severity.WARNING
        found = [Finding(severity, "shift", f"{text}: edges will show as changes", REMOVE_SHIFT)]
    spread = max(shift.spread_row or 0, shift.spread_col or 0)
    if spread > LARGE_SPREAD:
        text = f"the shift varies by {spread:.2f} px over the scene (relief, buildings that lean, or bent imagery)"
        found.append(Finding(Severity.WARNING, "shift", text, "orthorectify both dates with one elevation model"))
    return found


def _radiometry_findings(bands: Sequence[Radiometry]) -> list[Finding]:
    found = [finding for band in bands for finding in _band_findings(band)]
    return found or ([Finding(Severity.OK, "radiometry", "every band follows its earlier self")] if bands else [])


def _band_findings(band: Radiometry) -> list[Finding]:
    if band.gain is None or band.correlation is None:
        return [Finding(Severity.WARNING, "radiometry", f"band {band.band} is constant", "leave it out with --bands")]
    if abs(band.correlation) < LEAST_CORRELATION:
        text = f"band {band.band} hardly follows its earlier self (correlation {band.correlation:.2f})"
        return [Finding(Severity.WARNING, "radiometry", text, "check that bands are in one order and seasons alike")]
    if not 1 / USUAL_GAIN <= band.gain <= USUAL_GAIN:
        text = f"band {band.band} has gain {band.gain:.3g}"
        return [Finding(Severity.NOTE, "radiometry", text, "choose a detector that gains do not touch, as ir-mad")]
    return []
