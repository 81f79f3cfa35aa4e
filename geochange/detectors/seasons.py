"""The yearly cycle of a series: found where dates tell it from a change, and taken out of each pixel. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.series import ClosedSeries, medians

DATES_A_HARMONIC = 8  # that a series has at least
MOST_HARMONICS = 2
SPREAD = 0.1  # least variance of a harmonic over the dates in any direction; 0.5 where they are spread evenly
FURTHER_DATES = 4  # of a pixel, beyond as many as there are coefficients
STEPS = 4  # of reweighting
RIDGE = 0.05  # in squared amplitudes


@dataclass(frozen=True, slots=True)
class Season:
    """Harmonics of the year at the dates of a series (Zhu and Woodcock 2014 take the same)."""

    waves: Floats
    """(coefficient, time) cosines and sines; no coefficient where there is no season to be found."""

    @property
    def fewest(self) -> int:
        """Dates that a pixel needs."""
        return len(self.waves) + FURTHER_DATES if len(self.waves) else 0

    def remove(self, series: ClosedSeries, scales: Floats, steps: int = STEPS) -> tuple[Floats, Floats]:
        """Take the season out of series of which each is fitted by itself, robustly.

        The fit is of the differences between dates that follow each other: there a lasting change is one outlier.

        Args:
            series: n of them.
            scales: (band,) of their noise, about.
            steps: of reweighting.

        Returns:
            (time, band, n) values without it, and (coefficient, band, n) float32.
        """
        if not len(self.waves):
            return series.values, np.zeros((0, *series.values.shape[1:]), np.float32)
        waves = self.waves.astype(np.float32)[:, series.order]  # (coefficient, time, n)
        rises, steps_up = np.diff(waves, axis=1), np.diff(series.values, axis=0)
        held = series.held(1)
        weights = held.astype(np.float32)
        for _ in range(steps):
            found = _solve(rises, steps_up, weights)
            left = (steps_up - _waves_of(found, rises)) / scales.astype(np.float32)[:, None]
            weights = _weights(np.sqrt(np.square(left).sum(axis=1)), held)
        without = series.values - _waves_of(found, waves)
        return np.where(series.held()[:, None], without, np.float32(0)), found

    def at(self, date: int, found: Floats) -> Floats:
        """(band, n) season at a date, from the coefficients of `remove`."""
        total = np.zeros(found.shape[1:], np.float32)
        for wave, coefficient in zip(self.waves, found, strict=True):
            total += np.float32(wave[date]) * coefficient
        return total


NO_SEASON = Season(np.zeros((0, 0)))


def season_of(times: tuple[float, ...] | None, fitted: Bools, years: float) -> Season:
    """Return the harmonics that some of the dates can tell.

    None where the dates are not known, or those span less than `years`, are fewer than `DATES_A_HARMONIC` a harmonic,
    or come at the same time of each year.

    Args:
        times: of all dates, in years.
        fitted: (time,) which are fitted to.
        years: that they span at least.
    """
    if times is None or not fitted.any() or np.ptp(np.asarray(times)[fitted]) < years:
        return NO_SEASON
    for harmonics in range(min(int(fitted.sum()) // DATES_A_HARMONIC, MOST_HARMONICS), 0, -1):
        turns = 2 * np.pi * np.outer(np.arange(1, harmonics + 1), times)
        waves = np.concatenate([np.cos(turns), np.sin(turns)])
        if np.linalg.eigvalsh(np.cov(waves[:, fitted], bias=True))[0] >= SPREAD:
            return Season(waves)
    return NO_SEASON


def _waves_of(found: Floats, waves: Floats) -> Floats:
    """(time, band, n) of (coefficient, band, n) and (coefficient, time, n)."""
    total = np.zeros((waves.shape[1], *found.shape[1:]), np.float32)
    for coefficient, wave in zip(found, waves, strict=True):
        total += coefficient * wave[:, None]
    return total


def _solve(rises: Floats, steps: Floats, weights: Floats) -> Floats:
    """(coefficient, band, n) of weighted least squares, each pixel by itself."""
    size, pixels = len(rises), rises.shape[2]
    gram, right = np.zeros((pixels, size, size)), np.zeros((pixels, size, steps.shape[1]))
    for row in range(size):
        weighted = rises[row] * weights
        for col in range(size):
            gram[:, row, col] = (weighted * rises[col]).sum(axis=0)
        right[:, row] = (weighted[:, None] * steps).sum(axis=0).T
    gram += RIDGE * np.eye(size)
    found: Floats = np.ascontiguousarray(np.linalg.solve(gram, right).transpose(1, 2, 0)).astype(np.float32)
    return found


def _weights(left: Floats, held: Bools) -> Floats:
    """(time, n) Cauchy weights of residuals, in units of their median over each pixel's dates."""
    scale = np.maximum(medians(left, held.sum(axis=0)), np.float32(1e-6))
    return np.asarray(held / (1 + np.square(left / (2 * scale))), np.float32)
