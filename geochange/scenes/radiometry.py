"""How the values of one date follow from those of another, band by band. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from geochange.arrays import Array, Bools, Floats

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
    """Share of the pixels that lie on the line, within 2.5 standard deviations as the core has them: wider ones where
    much has changed."""


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
